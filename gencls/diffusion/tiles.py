"""Sparse additions to logits, in the order in which the tiles of the vocabulary want them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TileIndex:
    """The tables of pairs and triples as the tiles of the vocabulary want them: by context, see `neighbours`.

    Attributes
    ----------
    width : int
        Tokens of a tile.
    starts : Tensor of shape (n_tiles + 1, n_contexts), int64
        First entry of each tile for each context.
    columns : Tensor of shape (E,), int64
        Token that an entry adds to: a pair has two entries, a triple three.
    values : Tensor of shape (C, E), nats
    """

    width: int
    starts: Tensor
    columns: Tensor
    values: Tensor


@dataclass(frozen=True)
class TileEntries:
    """Non-zero additions to the logits of n positions, grouped by tiles of the vocabulary.

    Attributes
    ----------
    values : Tensor of shape (C, P'), nats
    sources : Tensor of shape (E,), int64
        Places in `values`.
    gates : Tensor of shape (E,), float32
        Of the position of each entry.
    cells : Tensor of shape (E,), int64
        Cell in the tile's (n, width) logits, flattened.
    bounds : list of n_tiles + 1 int
        Entries of tile t are ``bounds[t]`` to ``bounds[t + 1]``.
    """

    values: Tensor
    sources: Tensor
    gates: Tensor
    cells: Tensor
    bounds: list[int]

    def additions(self, class_id: int, dtype: torch.dtype) -> Tensor | None:
        """Return what the entries add under a class, shape (E,); None for "no class", which adds nothing."""
        if class_id >= len(self.values):
            return None
        return self.values[class_id].index_select(0, self.sources).mul_(self.gates).to(dtype)

    def add_to(self, logits: Tensor, tile: int, additions: Tensor | None) -> None:
        """Add to the logits (n, width) of a tile, in place."""
        if additions is not None:
            where = slice(self.bounds[tile], self.bounds[tile + 1])
            logits.view(-1).index_add_(0, self.cells[where], additions[where])
