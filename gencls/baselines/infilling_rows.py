"""Rows of a causal network that fills holes, and what each asks for; see `gencls.baselines.infilling`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Specials:
    """Ids of the tokens that frame a row."""

    start: int
    separator: int
    mask: int


@dataclass(frozen=True, eq=False)
class Row:
    """One row of a causal network and what is asked of it.

    Attributes
    ----------
    input_ids, positions : ndarray of shape (T,), int64
    columns, targets, left, right : ndarray of shape (n,), int64
        Place in the row that answers, the true token, and its neighbours in sight (-1: none).
    """

    input_ids: IntArray
    positions: IntArray
    columns: IntArray
    targets: IntArray
    left: IntArray
    right: IntArray


def plain_row(token_ids: IntArray, specials: Specials) -> Row:
    """Ask for every token of a text from those on its left."""
    places = np.arange(len(token_ids))
    left = np.concatenate([[-1], token_ids[:-1]])
    input_ids = np.concatenate([[specials.start], token_ids[:-1]])
    return Row(input_ids, places, places, token_ids, left, np.full(len(token_ids), -1))


def infilling_row(token_ids: IntArray, hidden: BoolArray, specials: Specials) -> Row:
    """Ask for the visible tokens from the visible ones on their left, then for the hidden ones.

    Parameters
    ----------
    token_ids : ndarray of shape (L,), int64
    hidden : ndarray of shape (L,), bool

    Returns
    -------
    Row
        The hidden tokens are the last ones asked for, from left to right.
    """
    length, holes, shown = len(token_ids), np.flatnonzero(hidden), np.flatnonzero(~hidden)
    masked = np.where(hidden, specials.mask, token_ids)
    behind = np.concatenate([[specials.separator], token_ids[holes[:-1]]]) if len(holes) else token_ids[:0]
    sight = np.concatenate([[-1], np.where(hidden, -1, token_ids), [-1]])
    known = np.concatenate([[-1], token_ids])
    return Row(
        input_ids=np.concatenate([[specials.start], masked, behind]),
        # a token behind the separator stands where the next hole is
        positions=np.concatenate([np.arange(length + 1), holes + 1]),
        columns=np.concatenate([shown, length + 1 + np.arange(len(holes))]),
        targets=np.concatenate([token_ids[shown], token_ids[holes]]),
        left=np.concatenate([sight[shown], known[holes]]),
        right=np.concatenate([np.full(len(shown), -1), sight[holes + 2]]),
    )


def collate(rows: Sequence[Row], folds: Sequence[int] | None = None) -> dict[str, Any]:
    """Pad rows on the right, where no token of a causal network looks.

    Returns
    -------
    dict
        The arguments of `NeighbourCausal.forward`; what is asked has shape (n,), row by row.
    """
    shape = len(rows), max(len(row.input_ids) for row in rows)
    input_ids, positions = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for place, row in enumerate(rows):
        input_ids[place, : len(row.input_ids)] = row.input_ids
        positions[place, : len(row.positions)] = row.positions
    counts = [len(row.columns) for row in rows]
    asked = {
        name: torch.from_numpy(np.concatenate([getattr(row, name) for row in rows]).astype(np.int64))
        for name in ("columns", "targets", "left", "right")
    }
    whose = np.repeat(np.arange(len(rows)), counts)
    batch: dict[str, Any] = {
        "input_ids": torch.from_numpy(input_ids),
        "positions": torch.from_numpy(positions),
        "rows": torch.from_numpy(whose),
        **asked,
    }
    if folds is not None:
        batch["folds"] = torch.from_numpy(np.asarray(folds, dtype=np.int64)[whose])
    return batch


def hole_weights(row: Row) -> NDArray[np.float32]:
    """Weights of what an infilling row asks for: its hidden tokens weigh half of it together, at every level.

    As in the denoiser's loss, where a row of few holes counts as much as one of many.
    """
    n_asked = len(row.columns)
    n_hidden = len(row.input_ids) - n_asked - 1
    shown = np.ones(n_asked - n_hidden, dtype=np.float32)
    return np.concatenate([shown, np.full(n_hidden, n_asked / (2 * n_hidden), dtype=np.float32)])


def random_row(token_ids: IntArray, seed: int, specials: Specials, in_the_middle: bool) -> Row:
    """Return a plain row, or one with holes at a level and places of the seed."""
    if not in_the_middle:
        return plain_row(token_ids, specials)
    generator = np.random.default_rng(seed)
    count = min(int(generator.random() * len(token_ids)) + 1, len(token_ids))
    return infilling_row(token_ids, generator.permutation(len(token_ids)) < count, specials)
