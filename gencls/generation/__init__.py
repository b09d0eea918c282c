"""Generation: the reverse process, from hidden tokens to text, and what it leaves to be looked at."""
