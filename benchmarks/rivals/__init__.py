"""Other people's scorers, written anew on our model, so that one thing differs: the estimator and how it is run."""
