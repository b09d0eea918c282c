"""Tensors on their way through a denoiser: rows in, scored positions between encoder and vocabulary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from gencls.diffusion.tokens import TokenFrame
from gencls.diffusion.vocabulary import PROJECTION_ROWS


@dataclass
class RowBatch:
    """Rows for the network.

    Attributes
    ----------
    input_ids : Tensor of shape (B, L), int64
        Framed and padded tokens, hidden ones already replaced by the mask token.
    attention_mask : Tensor of shape (B, L), int64
    target_ids : Tensor of shape (B, L), int64
        The tokens before hiding.
    scored : Tensor of shape (B, L), bool
        Positions whose log-probability is asked for; row-major order is the order of every result.
    """

    input_ids: Tensor
    attention_mask: Tensor
    target_ids: Tensor
    scored: Tensor

    def to(self, device: torch.device) -> RowBatch:
        """Return the batch on a device."""
        return RowBatch(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


@dataclass
class EncodedPositions:
    """Scored positions between the encoder and the vocabulary.

    Attributes
    ----------
    hidden : Tensor of shape (G, n, D)
        Hidden states: G = 1 where all classes share them, else one set for each asked class.
    neighbours : Tensor of shape (n, 4), int64
        See `visible_neighbours`.
    """

    hidden: Tensor
    neighbours: Tensor

    def __len__(self) -> int:
        return len(self.neighbours)

    @classmethod
    def cat(cls, parts: Sequence[EncodedPositions]) -> EncodedPositions:
        """Join positions; their number is filled up to a multiple of `PROJECTION_ROWS` with copies of the first."""
        neighbours = torch.cat([part.neighbours for part in parts])
        hidden = torch.cat([part.hidden for part in parts], dim=1)
        n_rows = -(-len(neighbours) // PROJECTION_ROWS) * PROJECTION_ROWS
        hidden = filled(hidden.transpose(0, 1), n_rows).transpose(0, 1)
        return cls(hidden, filled(neighbours, n_rows))


@dataclass
class ScoredPositions:
    """What the output layer needs of the n scored positions; the first dimension of every tensor is n."""

    features: Tensor
    gate: Tensor
    class_ids: Tensor
    folds: Tensor | None
    targets: Tensor
    neighbours: Tensor

    def chunks(self, n_rows: int) -> Iterator[tuple[int, ScoredPositions]]:
        """Cut in chunks of exactly `n_rows`, the last one filled up; also give how many rows of each are real."""
        for start in range(0, len(self.targets), n_rows):
            size = min(n_rows, len(self.targets) - start)
            parts = [
                None if value is None else filled(value[start : start + n_rows], n_rows)
                for value in (getattr(self, name) for name in self.__dataclass_fields__)
            ]
            yield size, ScoredPositions(*parts)  # type: ignore[arg-type]


def frame_rows(
    token_ids: Sequence[NDArray[np.int64]],
    hidden: Sequence[NDArray[np.bool_]],
    scored: Sequence[NDArray[np.bool_]],
    frame: TokenFrame,
    shape: tuple[int, int] | None = None,
) -> RowBatch:
    """Build a padded batch from texts and their masks.

    Parameters
    ----------
    token_ids, hidden, scored : sequences of B arrays of shape (L,)
    frame : TokenFrame
    shape : tuple of int, optional
        Rows and positions; just as many as are needed, if not given. Further rows are padding and ask for nothing.

    Returns
    -------
    RowBatch
    """
    if shape is None:
        shape = len(token_ids), max(len(ids) for ids in token_ids) + frame.n_special
    targets = np.full(shape, frame.pad, dtype=np.int64)
    attention = np.zeros(shape, dtype=np.int64)
    is_hidden, is_scored = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    for row, ids in enumerate(token_ids):
        framed = frame.frame(ids)
        targets[row, : len(framed)] = framed
        attention[row, : len(framed)] = 1
        text = slice(frame.n_before, frame.n_before + len(ids))
        is_hidden[row, text], is_scored[row, text] = hidden[row], scored[row]
    tensors: list[Tensor] = [
        torch.from_numpy(array) for array in (np.where(is_hidden, frame.mask, targets), attention, targets, is_scored)
    ]
    return RowBatch(*tensors)


def filled(part: Tensor, n_rows: int) -> Tensor:
    """Fill up to `n_rows` rows with copies of the first."""
    return torch.cat([part, part[:1].expand(n_rows - len(part), *part.shape[1:])])


def visible_neighbours(batch: RowBatch, mask_id: int) -> Tensor:
    """Return the visible tokens around each scored position, (n, 4), int64; -1 where there is none.

    Two on the left and two on the right, in the order of the text.
    """
    seen = torch.where(batch.input_ids == mask_id, -1, batch.input_ids)
    padded = functional.pad(seen, (2, 2), value=-1)
    n_positions = seen.shape[1]
    around = [padded[:, 2 + step : 2 + step + n_positions] for step in (-2, -1, 1, 2)]
    return torch.stack([tokens[batch.scored] for tokens in around], dim=1)
