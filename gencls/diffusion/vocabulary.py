r"""The vocabulary side of scoring: normalisers over V tokens without a (n, V) array.

For n scored positions and C classes the softmax over the vocabulary is the largest part of the work. Here it is done
in tiles that stay in the processor's cache:

.. math:: Z_c(i) = \sum_v \exp\left(w_v \cdot f(h_i) + t_{cv} \cdot l_c(h_i) + \text{pairs}\right)

* :math:`w_v \cdot f(h_i)` is the same for all classes that share a forward pass and is computed once;
* what a class adds, a low-rank map before the projection, its unigram and its bias, is a product of rank R + 4
  (:math:`t_{cv}` is the map after the projection, worked out once for a trained model), so that a further class costs
  a tenth of the first one;
* no maximum is searched: logits of a language model are far from the 88 at which exp overflows. A sum that overflows
  or vanishes all the same is computed again with its maximum.

The sums run in float32. The true token's logit enters a score unaveraged, so it is computed apart, in float32. In
bfloat16 the terms of a sum are rounded one by one; where a single token has nearly all of the probability, nothing
averages its rounding, and the normaliser is off by some hundredths of a nat.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from gencls.diffusion.neighbours import NeighbourBias
from gencls.diffusion.tiles import TileEntries

#: Rows of the vocabulary projection computed at once without gradients. Always this many (short chunks are padded),
#: because another shape may run another kernel and round differently.
PROJECTION_ROWS = 256
#: Tokens of a tile: 256 logits of two bytes for each of them fill two megabytes. Half of it is as fast.
TILE = 4096
#: Terms of a normaliser that are added up before rounding to bfloat16.
SUM_RUN = 256


@dataclass(frozen=True)
class VocabularyTable:
    """Projection and class terms in tiles, in the type of the matrix products.

    Attributes
    ----------
    shared : list of Tensor of shape (D, tile)
        The projection, transposed.
    classes : list (C + 1) of lists of Tensor of shape (R + 4, tile)
        What each class adds, last "no class".
    """

    shared: list[Tensor]
    classes: list[list[Tensor]]

    @classmethod
    def build(cls, projection: Tensor, class_maps: Sequence[Tensor], dtype: torch.dtype) -> VocabularyTable:
        """Cut in tiles.

        Parameters
        ----------
        projection : Tensor of shape (V, D)
        class_maps : sequence of C + 1 Tensor of shape (V, R + 2), float32
            Low-rank map after the projection, class deviation, bias; the last two are split in their rounding and the
            rest, so that a bias of ten nats keeps its digits in bfloat16.
        dtype : torch.dtype
        """
        shared = [part.to(dtype).contiguous().t() for part in projection.detach().split(TILE)]
        return cls(shared, [_class_tiles(table.detach(), dtype) for table in class_maps])


def _class_tiles(table: Tensor, dtype: torch.dtype) -> list[Tensor]:
    rank = table.shape[1] - 2
    low = table[:, :rank].to(dtype)
    rounded, rest = rounding_and_rest(table[:, rank:], dtype)
    columns = torch.stack([rounded[:, 0], rest[:, 0], rounded[:, 1], rest[:, 1]], dim=1)
    return [part.t().contiguous() for part in torch.cat([low, columns], dim=1).split(TILE)]


def rounding_and_rest(values: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Split numbers in their rounding and what it leaves: a bias of ten nats keeps its digits in a short type."""
    rounded = values.to(dtype)
    return rounded, (values - rounded.to(values.dtype)).to(dtype)


def class_inputs(low: Tensor, gate: Tensor) -> Tensor:
    """Return what a class's tiles are multiplied with: (n, R) and the unigram gate (n, 1) to (n, R + 4)."""
    gate = gate.to(low.dtype)
    ones = torch.ones_like(gate)
    return torch.cat([low, gate, gate, ones, ones], dim=1)


def log_normalisers(
    table: VocabularyTable,
    features: Tensor,
    inputs: Sequence[Tensor],
    class_ids: Sequence[int],
    pairs: NeighbourBias,
    neighbours: Tensor,
    pair_gate: Tensor,
) -> Tensor:
    """Return log Z of each position under each class, float32, nats.

    Parameters
    ----------
    table : VocabularyTable
    features : Tensor of shape (n, D)
        Before the projection, without what depends on the class; n a multiple of `PROJECTION_ROWS`.
    inputs : sequence of C Tensor of shape (n, R + 4)
        See `class_inputs`.
    class_ids : sequence of C int
    pairs : NeighbourBias
    neighbours : Tensor of shape (n, 4), int64
        See `gencls.diffusion.batches.visible_neighbours`.
    pair_gate : Tensor of shape (n,), float32

    Returns
    -------
    Tensor of shape (C, n)
    """
    buffers = _Buffers.of(features, table.shared[0].shape[1])
    parts = []
    for start in range(0, len(features), PROJECTION_ROWS):
        rows = slice(start, start + PROJECTION_ROWS)
        chunk = _Chunk(
            table,
            features[rows],
            [values[rows] for values in inputs],
            list(class_ids),
            pairs.by_tile(neighbours[rows], pair_gate[rows], TILE),
            buffers,
        )
        with torch.autocast(features.device.type, enabled=False):  # it would copy every tile to float32 for its sum
            parts.append(chunk.log_normalisers())
    return torch.cat(parts, dim=1) if parts else features.new_zeros(len(class_ids), 0, dtype=torch.float32)


@dataclass(frozen=True)
class _Buffers:
    """Room for the logits of one tile, used again and again: fresh memory costs more than the arithmetic on it."""

    shared: Tensor
    logits: Tensor

    @classmethod
    def of(cls, features: Tensor, width: int) -> _Buffers:
        return cls(*(features.new_empty(PROJECTION_ROWS * width) for _ in range(2)))

    def views(self, n_columns: int) -> tuple[Tensor, Tensor]:
        size = PROJECTION_ROWS * n_columns
        shared, logits = (buffer[:size].view(PROJECTION_ROWS, n_columns) for buffer in (self.shared, self.logits))
        return shared, logits


@dataclass(frozen=True)
class _Chunk:
    """The positions whose logits are in the cache at one time."""

    table: VocabularyTable
    features: Tensor
    inputs: list[Tensor]
    class_ids: list[int]
    entries: TileEntries
    buffers: _Buffers

    def log_normalisers(self) -> Tensor:
        log_sums = self._reduce(_exp_sum, torch.add, 0.0).log()
        if torch.isfinite(log_sums).all():
            return log_sums
        largest = self._reduce(lambda logits: logits.float().amax(dim=1), torch.maximum, -torch.inf)
        again = self._reduce(_exp_sum, torch.add, 0.0, largest).log() + largest
        return torch.where(torch.isfinite(log_sums), log_sums, again)  # nothing depends on the rest of the chunk

    def _reduce(
        self,
        over_tile: Callable[[Tensor], Tensor],
        combine: Callable[[Tensor, Tensor], Tensor],
        start: float,
        shift: Tensor | None = None,
    ) -> Tensor:
        """Fold the logits of all tiles to one number for each class and position, shape (C, n)."""
        totals = [self.features.new_full((len(self.features),), start, dtype=torch.float32) for _ in self.class_ids]
        additions = [self.entries.additions(index, self.features.dtype) for index in self.class_ids]
        for tile, projection in enumerate(self.table.shared):
            shared, logits = self.buffers.views(projection.shape[1])
            torch.mm(self.features, projection, out=shared)
            for place, index in enumerate(self.class_ids):
                # the last class may overwrite what is shared
                room = shared if place == len(self.class_ids) - 1 else logits
                torch.addmm(shared, self.inputs[place], self.table.classes[index][tile], out=room)
                self.entries.add_to(room, tile, additions[place])
                if shift is not None:
                    room.sub_(shift[place, :, None])
                totals[place] = combine(totals[place], over_tile(room))
        return torch.stack(totals)


def _exp_sum(logits: Tensor) -> Tensor:
    """Sum exp of logits (n, width), which are overwritten, in float32."""
    if logits.dtype == torch.float16:  # its exp overflows at 11
        return logits.float().exp_().sum(dim=1)
    return row_sums(logits.exp_())


def row_sums(terms: Tensor) -> Tensor:
    """Sum the columns of (n, width); terms in bfloat16 to float32."""
    if terms.dtype != torch.bfloat16:
        return terms.sum(dim=1)
    # A sum to float32 would first copy all terms. In bfloat16 the terms are added up in float32 as well, and only the
    # result is rounded: of short runs, so that the roundings average out.
    whole = terms.shape[1] // SUM_RUN * SUM_RUN
    runs = terms[:, :whole].unflatten(1, (-1, SUM_RUN)).sum(dim=2)
    return runs.float().sum(dim=1) + terms[:, whole:].float().sum(dim=1)


def target_logits(
    features: Tensor,
    gate: Tensor,
    targets: Tensor,
    projection: Tensor,
    bias: Tensor,
    unigram: Tensor,
    pair_values: Tensor,
) -> Tensor:
    """Return the logits of asked tokens, in the type of the gate: only they enter a score unaveraged.

    Parameters
    ----------
    features : Tensor of shape (n, D)
        With the class in them.
    gate : Tensor of shape (n, 2), float32 or float64
    targets : Tensor of shape (n,), int64
    projection : Tensor of shape (V, D)
    bias : Tensor of shape (V,), nats
    unigram : Tensor of shape (n,), nats
        Class deviation of the target.
    pair_values : Tensor of shape (n,), nats
        Summed pair deviations of the target with its visible neighbours.

    Returns
    -------
    Tensor of shape (n,)
    """
    chosen = functional.embedding(targets, projection).to(gate.dtype)
    own = (features.to(gate.dtype) * chosen).sum(dim=1)
    return own + bias[targets] + gate[:, 0] * unigram + gate[:, 1] * pair_values
