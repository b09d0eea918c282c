"""Rows of unlike length, in groups that need little padding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

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


def run_in_groups(run: Callable[[Tensor, Tensor], Tensor], rows: Tensor, attention_mask: Tensor) -> Tensor:
    """Run rows from the longest to the shortest, each group as wide as its longest row.

    Parameters
    ----------
    run : callable
        Rows (b, l, ...) and their attention mask (b, l) to a result (b, ...) of one shape for all widths.
    rows : Tensor of shape (B, L, ...)
        Padded on the right.
    attention_mask : Tensor of shape (B, L), int64

    Returns
    -------
    Tensor of shape (B, ...)
        In the order of the rows.
    """
    lengths, order = attention_mask.sum(dim=1).sort(descending=True, stable=True)
    parts = []
    for start, stop in groups_of(lengths.tolist()):
        group, width = order[start:stop], int(lengths[start])
        parts.append(run(rows[group, :width], attention_mask[group, :width]))
    return torch.cat(parts)[order.argsort()]
