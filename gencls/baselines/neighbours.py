"""A sparse table of neighbouring tokens that adds to logits: what a causal rival gets of the counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class NeighbourCounts:
    """Associations of neighbouring tokens, in the form they are handed over.

    Attributes
    ----------
    keys : ndarray of shape (P,), int64
        ``left * V + right``, ascending.
    values : ndarray of shape (P,), nats
    training_values : ndarray of shape (F, P), nats
        Without the pairs of each fold.
    """

    keys: NDArray[np.int64]
    values: NDArray[np.float64]
    training_values: NDArray[np.float64]


class NeighbourTable(nn.Module):
    """The associations by left and by right token.

    Parameters
    ----------
    counts : NeighbourCounts
    vocab_size : int
        V.
    """

    def __init__(self, counts: NeighbourCounts, vocab_size: int) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.n_pairs = len(counts.keys)
        left, right = (torch.from_numpy(part) for part in np.divmod(counts.keys, vocab_size))
        by_right = torch.argsort(right, stable=True)
        bounds = torch.arange(vocab_size + 1)
        starts = [torch.searchsorted(left, bounds), torch.searchsorted(right[by_right], bounds)]
        # all folds behind one another: fold f of place i is at f * 2 P + i
        folds = np.concatenate([counts.values[None], counts.training_values])
        values = torch.from_numpy(folds).float()
        # one table of 2 V rows: what comes after each left token, then what comes before each right one
        self._keep("starts", torch.cat([starts[0], starts[1][1:] + self.n_pairs]))
        self._keep("columns", torch.cat([right, left[by_right]]))
        self._keep("values", torch.cat([values, values[:, by_right]], dim=1))

    starts: Tensor
    columns: Tensor
    values: Tensor

    def _keep(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value.contiguous(), persistent=False)

    def additions(self, left: Tensor, right: Tensor, gate: Tensor, folds: Tensor | None) -> Tensor:
        """Return what the neighbours add to the logits, times the gate.

        Parameters
        ----------
        left, right : Tensor of shape (n,), int64
            Neighbours in sight of each asked place, -1 where there is none.
        gate : Tensor of shape (n,), float32
        folds : Tensor of shape (n,), int64, optional
            In training, the fold of each place's text.

        Returns
        -------
        Tensor of shape (n, V), float32, nats
        """
        total = gate.new_zeros(len(gate) * self.vocab_size)
        for rows_of in (left, torch.where(right >= 0, right + self.vocab_size, -1)):
            rows, cells = self._cells(rows_of)
            values = self.values[0 if folds is None else 1 + folds[rows], cells]
            total = total.index_add(0, rows * self.vocab_size + self.columns[cells], values * gate[rows])
        return total.view(len(gate), self.vocab_size)

    def _cells(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Rows and cells of all entries of each id (-1: none)."""
        safe = ids.clamp_min(0)
        sizes = torch.where(ids >= 0, self.starts[safe + 1] - self.starts[safe], 0)
        rows = torch.repeat_interleave(sizes)
        before = torch.cumsum(sizes, dim=0) - sizes
        return rows, torch.arange(len(rows), device=ids.device) - before[rows] + self.starts[safe][rows]
