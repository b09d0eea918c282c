"""Rows of unlike length, in groups that need little padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

#: Positions of a group, padding counted in: few enough that its attention stays near the processor.
GROUP_POSITIONS = 1024


def groups_of(lengths: Sequence[int], n_positions: int = GROUP_POSITIONS) -> Iterator[tuple[int, int]]:
    """Yield start and stop of groups of at most `n_positions`, or of one row.

    Parameters
    ----------
    lengths : sequence of int
        From the longest row to the shortest; each group is as wide as its first row.
    n_positions : int
    """
    start = 0
    while start < len(lengths):
        stop = min(start + max(1, n_positions // max(1, lengths[start])), len(lengths))
        yield start, stop
        start = stop
