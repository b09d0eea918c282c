"""Two ways of writing, timed so that neither has an advantage.

Each writes once without being timed; then they take turns, and who goes first changes in every round. What is shown is
the run with the median time, and the numbers are those of that run. Only the writing is timed: no loading, no
tokenising, no decoding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gencls.data.errors import three_parts
from gencls.generation.trajectory import Trajectory


@dataclass(frozen=True)
class Timed:
    """A way of writing and its times.

    Attributes
    ----------
    trajectory : Trajectory
        The run with the median time.
    seconds : ndarray of shape (R,), float64
        Wall time of every timed run, in order.
    """

    trajectory: Trajectory
    seconds: NDArray[np.float64]

    @property
    def n_tokens(self) -> int:
        """New tokens."""
        return int((~self.trajectory.given).sum())

    @property
    def n_characters(self) -> int:
        """Characters of the new tokens: tokens of two tokenizers are not the same amount of text."""
        last = self.trajectory.steps[-1]
        pieces = self.trajectory.pieces(last)
        return sum(len(piece or "") for piece, given in zip(pieces, self.trajectory.given, strict=True) if not given)

    def facts(self) -> dict[str, float | int]:
        """Return the numbers of the run with the median time, plain JSON data."""
        last = self.trajectory.steps[-1]
        return {
            "n_tokens": self.n_tokens,
            "n_forwards": last.n_forwards,
            "seconds": last.seconds,
            "fastest_seconds": float(self.seconds.min()),
            "slowest_seconds": float(self.seconds.max()),
            "tokens_per_second": self.n_tokens / last.seconds,
            "characters_per_second": self.n_characters / last.seconds,
        }


def take_turns(writers: Mapping[str, Callable[[], Trajectory]], *, n_repeats: int = 5) -> dict[str, Timed]:
    """Time several ways of writing.

    Parameters
    ----------
    writers : mapping of str to callable
        Each writes its text and returns how; the same text every time.
    n_repeats : int
        R, odd, so that one run has the median time.

    Returns
    -------
    dict of str to Timed

    Raises
    ------
    ValueError
        If `n_repeats` is even or below one.
    """
    check_repeats(n_repeats)
    runs: dict[str, list[Trajectory]] = {name: [] for name in writers}
    for write in writers.values():
        write()
    for round_number in range(n_repeats):
        names = list(writers) if round_number % 2 == 0 else list(writers)[::-1]
        for name in names:
            runs[name].append(writers[name]())
    return {name: _timed(own) for name, own in runs.items()}


def check_repeats(n_repeats: int) -> None:
    """Check the number of runs, before the long work.

    Raises
    ------
    ValueError
        If it is even or below one.
    """
    if n_repeats < 1 or n_repeats % 2 == 0:
        raise ValueError(three_parts("an odd number of repeats >= 1", str(n_repeats), "Use 5."))


def _timed(runs: list[Trajectory]) -> Timed:
    seconds = np.array([run.steps[-1].seconds for run in runs])
    return Timed(runs[int(np.argsort(seconds, kind="stable")[len(runs) // 2])], seconds)


def titled(name: str, timed: Timed) -> Trajectory:
    """Return the trajectory with its numbers in its title and its extras, to be shown."""
    facts = timed.facts()
    rate, seconds = facts["tokens_per_second"], facts["seconds"]
    label = f"{name}: {rate:.0f} tokens/s, {facts['n_forwards']} forwards, {seconds:.2f} s"
    return replace(timed.trajectory, label=label, extras={**timed.trajectory.extras, **facts})
