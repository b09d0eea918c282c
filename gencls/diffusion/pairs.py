r"""Class statistics of neighbouring tokens: the second floor of the scorer, above naive Bayes.

Naive Bayes counts "not" and "good" apart. How much more often two neighbours stand together in class c than their
unigrams would have it is a number that all training texts give in seconds of counting, while a network would need
millions of tokens to find it again in the generative loss. With :math:`s_c(v) \propto P(c)\, e^{\delta_c(v)}` the
class shares of a token, :math:`q_c(u, v) \propto s_c(u)\, s_c(v) / P(c)` those of a pair whose tokens are independent
given the class, and :math:`n_c(u, v)` the counts,

.. math:: \epsilon_c(u, v) = \log \frac{n_c(u, v) + a\, q_c(u, v)}{n(u, v) + a} - \log q_c(u, v).

When the token at i is predicted and its left neighbour u is visible, :math:`\epsilon_c(u, v)` is added to the logit
of v; with a visible right neighbour w, :math:`\epsilon_c(v, w)`. The softmax of the denoiser normalises, so the path
score stays the exact log-probability of its sampler. In a path of many steps every pair is used once: by the later of
its tokens. Where nothing is visible nothing is added: at one step the scorer still starts as naive Bayes.

Smoothing towards "independent given the class" is what Dirichlet smoothing does for a language model (Zhai & Lafferty
2004); pairs seen once or twice are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gencls.diffusion.tiles import TileEntries, TileIndex

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class PairCounts:
    """Counts of neighbouring tokens.

    Attributes
    ----------
    keys : ndarray of shape (P,), int64
        ``left * V + right`` of each kept pair, ascending.
    counts : ndarray of shape (F, C, P), float64
        By fold and class.
    vocab_size : int
        V.
    """

    keys: IntArray
    counts: FloatArray
    vocab_size: int


def count_pairs(
    token_ids: Sequence[NDArray[np.integer]],
    labels: NDArray[np.integer],
    folds: NDArray[np.integer],
    n_classes: int,
    vocab_size: int,
    *,
    min_count: int = 3,
) -> PairCounts:
    """Count the neighbouring tokens of training texts.

    Parameters
    ----------
    token_ids : sequence of N ndarray of shape (L,)
    labels, folds : ndarray of shape (N,), integer
    n_classes, vocab_size : int
    min_count : int
        Pairs seen less often in all texts together are left out.

    Returns
    -------
    PairCounts
    """
    n_folds = int(folds.max()) + 1
    keys = [np.asarray(ids[:-1], dtype=np.int64) * vocab_size + ids[1:] for ids in token_ids]
    group = np.repeat(folds * n_classes + labels, [len(key) for key in keys])
    kept, place, total = np.unique(np.concatenate(keys), return_inverse=True, return_counts=True)
    frequent = total >= min_count
    n_kept, new_place = int(frequent.sum()), np.cumsum(frequent) - 1
    counted = frequent[place]  # filtered before the table is made: most pairs are rare
    cells = group[counted] * n_kept + new_place[place[counted]]
    counts = np.bincount(cells, minlength=n_folds * n_classes * n_kept).astype(np.float64)
    return PairCounts(kept[frequent], counts.reshape(n_folds, n_classes, n_kept), vocab_size)


def pair_deviations(
    pairs: PairCounts,
    counts: FloatArray,
    class_deviation: FloatArray,
    log_prior: FloatArray,
    smoothing: float,
) -> FloatArray:
    """Return the class deviation of each pair beyond its tokens' unigrams.

    Parameters
    ----------
    pairs : PairCounts
        For the keys.
    counts : ndarray of shape (C, P)
        Counts to use: all texts, or all but one fold.
    class_deviation : ndarray of shape (C, V), nats
        Unigram deviations from the same texts.
    log_prior : ndarray of shape (C,), nats
        Class shares of the training tokens, with the smoothing of `class_deviation`.
    smoothing : float
        a: strength of the expectation, in pairs.

    Returns
    -------
    ndarray of shape (C, P), nats
    """
    left, right = np.divmod(pairs.keys, pairs.vocab_size)
    share = class_deviation + log_prior[:, None]
    share = share - np.logaddexp.reduce(share, axis=0)
    log_q = share[:, left] + share[:, right] - log_prior[:, None]
    log_q -= np.logaddexp.reduce(log_q, axis=0)
    smoothed = counts + smoothing * np.exp(log_q)
    return np.asarray(np.log(smoothed) - np.log(counts.sum(axis=0) + smoothing) - log_q)


def pair_scores(pairs: PairCounts, deviations: FloatArray, token_ids: Sequence[NDArray[np.integer]]) -> FloatArray:
    """Return the summed deviations of all neighbouring pairs of texts, shape (N, C), nats."""
    scores = np.zeros((len(token_ids), len(deviations)))
    if not len(pairs.keys):
        return scores
    for row, ids in enumerate(token_ids):
        scores[row] = deviations[:, pair_places(pairs, ids)].sum(axis=1)
    return scores


def pair_places(pairs: PairCounts, ids: NDArray[np.integer]) -> IntArray:
    """Return where the kept ones of a text's neighbouring pairs stand in the table, (n,); ids of shape (L,)."""
    if not len(pairs.keys):
        return np.zeros(0, dtype=np.int64)
    keys = np.asarray(ids[:-1], dtype=np.int64) * pairs.vocab_size + ids[1:]
    place = np.minimum(np.searchsorted(pairs.keys, keys), len(pairs.keys) - 1)
    return np.asarray(place[pairs.keys[place] == keys])


class PairBias(nn.Module):
    """The pair deviations as a sparse table that adds to logits.

    Parameters
    ----------
    n_classes, vocab_size : int
        C and V. The table is empty until `set_table`.
    """

    keys: Tensor
    values: Tensor

    def __init__(self, n_classes: int, vocab_size: int) -> None:
        super().__init__()
        self.n_classes = n_classes
        self.vocab_size = vocab_size
        self.register_buffer("keys", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("values", torch.zeros(n_classes, 0))
        self.training_values: Tensor | None = None
        self._index: tuple[Tensor, ...] | None = None
        self._tiles: TileIndex | None = None

    def set_table(self, keys: Tensor, values: Tensor) -> None:
        """Set the pairs: keys (P,) ascending and deviations (C, P) in nats, or (C + 1, P) with those of "no class"."""
        self.keys, self._index = keys.to(self.keys.device).contiguous(), None
        self._tiles = None
        self.values = values.float().to(self.values.device).contiguous()

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: object) -> None:
        # the number of pairs is a fact of the data: take the shape from the saved table
        if prefix + "keys" in state_dict and prefix + "values" in state_dict:
            self.set_table(state_dict[prefix + "keys"], state_dict[prefix + "values"])
        super()._load_from_state_dict(state_dict, prefix, *args)  # type: ignore[arg-type]

    def _indices(self) -> tuple[Tensor, ...]:
        """Row starts, columns and places in the table: by left token, and by right token."""
        if self._index is None or self._index[0].device != self.keys.device:
            left, right = self.keys // self.vocab_size, self.keys % self.vocab_size
            by_right = torch.argsort(right, stable=True)
            bounds = torch.arange(self.vocab_size + 1, device=self.keys.device)
            self._index = (
                torch.searchsorted(left, bounds),
                right,
                torch.arange(len(self.keys), device=self.keys.device),
                torch.searchsorted(right[by_right], bounds),
                left[by_right],
                by_right,
            )
        return self._index

    def entries(
        self, left_ids: Tensor, right_ids: Tensor, class_ids: Tensor, fold_ids: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the non-zero additions to logits.

        Parameters
        ----------
        left_ids, right_ids : Tensor of shape (n,), int64
            Visible neighbours of each scored position; -1 where there is none.
        class_ids : Tensor of shape (n,), int64
            C for "no class", which adds nothing unless the table has a row for it.
        fold_ids : Tensor of shape (n,), int64, optional
            Use the cross-fitted table of a fold.

        Returns
        -------
        rows, columns : Tensor of shape (E,), int64
        values : Tensor of shape (E,), nats
        """
        start_l, column_l, place_l, start_r, column_r, place_r = self._indices()
        known = class_ids < len(self.values)
        rows_l, cells_l = _expand(start_l, torch.where(known, left_ids, -1))
        rows_r, cells_r = _expand(start_r, torch.where(known, right_ids, -1))
        rows = torch.cat([rows_l, rows_r])
        columns = torch.cat([column_l[cells_l], column_r[cells_r]])
        places = torch.cat([place_l[cells_l], place_r[cells_r]])
        if fold_ids is not None and self.training_values is not None:
            return rows, columns, self.training_values[fold_ids[rows], class_ids[rows], places]
        return rows, columns, self.values[class_ids[rows], places]

    def lookup(self, first: Tensor, second: Tensor, class_id: int) -> Tensor:
        """Return the deviations of given pairs (-1: no token) under a class, zero for pairs not in the table, (n,)."""
        if class_id >= len(self.values) or not len(self.keys):
            return self.values.new_zeros(len(first))
        wanted = first * self.vocab_size + second
        place = torch.searchsorted(self.keys, wanted).clamp_max(len(self.keys) - 1)
        known = (self.keys[place] == wanted) & (first >= 0) & (second >= 0)
        return torch.where(known, self.values[class_id][place], 0.0)

    def by_tile(self, left_ids: Tensor, right_ids: Tensor, gates: Tensor, width: int) -> TileEntries:
        """Return the additions of both neighbours to the logits of n positions, by tiles of `width` tokens.

        Parameters
        ----------
        left_ids, right_ids : Tensor of shape (n,), int64
            As in `entries`.
        gates : Tensor of shape (n,), float32
            What the additions of each position are multiplied with.
        width : int
        """
        index = self._tile_index(width)
        ids = torch.cat([left_ids, torch.where(right_ids >= 0, right_ids + self.vocab_size, -1)])
        n, n_tiles, device = len(left_ids), len(index.starts) - 1, ids.device
        chosen = index.starts.index_select(1, ids.clamp_min(0))
        sizes = torch.where(ids >= 0, chosen.diff(dim=0), 0).flatten()
        # a group is the entries of one tile and neighbour: a run of the table
        group = torch.repeat_interleave(sizes)
        before = torch.cumsum(sizes, dim=0) - sizes
        shift = chosen[:-1].flatten() - before
        sources = shift.index_select(0, group).add_(torch.arange(len(group), device=device))
        first_token = torch.arange(n_tiles, device=device)[:, None] * width
        widths = (self.vocab_size - first_token).clamp_max(width)
        first_cell = (torch.arange(n, device=device).repeat(2) * widths - first_token).flatten()
        cells = first_cell.index_select(0, group).add_(index.columns.index_select(0, sources))
        gates = gates.repeat(2 * n_tiles).index_select(0, group)
        bounds = [0, *torch.cumsum(sizes.view(n_tiles, -1).sum(dim=1), dim=0).tolist()]
        return TileEntries(index.values, sources, gates, cells, bounds)

    def prepare(self, width: int) -> None:
        """Sort the table for `by_tile`, for use by several threads."""
        self._tile_index(width)

    def _tile_index(self, width: int) -> TileIndex:
        known = self._tiles
        if known is None or known.width != width or known.starts.device != self.keys.device:
            size, device = self.vocab_size, self.keys.device
            _, column_l, place_l, _, column_r, place_r = self._indices()
            edges = torch.arange(-(-size // width) + 1, device=device).mul(width).clamp_max(size)
            wanted = torch.arange(size, device=device) * size + edges[:, None]
            by_right = self.keys[place_r] % size * size + column_r
            starts = [torch.searchsorted(self.keys, wanted), torch.searchsorted(by_right, wanted) + len(self.keys)]
            values = torch.cat([self.values[:, place_l], self.values[:, place_r]], dim=1)
            known = TileIndex(width, torch.cat(starts, dim=1), torch.cat([column_l, column_r]), values)
            self._tiles = known
        return known


def _expand(starts: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and table cells of all pairs of each id (-1: none)."""
    safe = ids.clamp_min(0)
    first = starts[safe]
    sizes = torch.where(ids >= 0, starts[safe + 1] - first, 0)
    rows = torch.repeat_interleave(torch.arange(len(ids), device=ids.device), sizes)
    before = torch.cumsum(sizes, dim=0) - sizes
    cells = torch.arange(len(rows), device=ids.device) - before[rows] + first[rows]
    return rows, cells
