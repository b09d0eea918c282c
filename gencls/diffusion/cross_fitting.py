"""Training texts as new ones: each is scored with the class tables of the texts outside its fold (cross-fitting)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from gencls.diffusion.ngrams import ngram_places
from gencls.diffusion.statistics import ClassStatistics, Smoothing

FloatArray = NDArray[np.float64]


class CrossFittedTexts:
    """Texts whose tokens, pairs and triples are looked up once, to be scored with tables of many smoothings.

    Parameters
    ----------
    statistics : ClassStatistics
        The counts that the tables are of.
    token_ids : sequence of N ndarray of shape (L,)
        Scorable ids of N texts.
    labels : ndarray of shape (N,), integer
    folds : ndarray of shape (N,), integer
        The fold that a text was counted in; -1 for texts that were not counted, and are scored with the tables of all
        folds. Texts of a class that has no token outside their fold are left out.

    Attributes
    ----------
    labels : ndarray of shape (M,), integer
        Of the M texts that are left, fold by fold.
    """

    def __init__(
        self,
        statistics: ClassStatistics,
        token_ids: Sequence[NDArray[np.integer]],
        labels: NDArray[np.integer],
        folds: NDArray[np.integer],
    ) -> None:
        self._statistics = statistics
        self._parts = [
            _part(statistics, [token_ids[row] for row in rows.tolist()], labels[rows], fold if fold >= 0 else None)
            for fold in np.unique(folds)
            for rows in [np.flatnonzero(folds == fold)]
        ]
        self.labels = np.concatenate([part.labels for part in self._parts])

    def scores(self, smoothing: Smoothing) -> FloatArray:
        """Return the summed deviations of each text, (M, C), float64, nats, without priors."""
        return np.concatenate([self._scored(part, smoothing) for part in self._parts])

    def _scored(self, part: _Part, smoothing: Smoothing) -> FloatArray:
        table = self._statistics.table(**smoothing, without_fold=part.without_fold)
        scores = part.tokens @ table.deviations.T
        if smoothing["pair"] is not None:
            scores = scores + part.pairs @ table.pair_deviations.T
        if smoothing["triple"] is not None:
            scores = scores + part.triples @ table.triple_deviations.T
        return np.asarray(scores)


@dataclass(frozen=True)
class _Part:
    """Texts that are scored with the same tables: counts of their tokens (n, V), pairs (n, P) and triples (n, T)."""

    tokens: csr_matrix
    pairs: csr_matrix
    triples: csr_matrix
    labels: NDArray[np.integer]
    without_fold: int | None


def _part(
    statistics: ClassStatistics,
    token_ids: Sequence[NDArray[np.integer]],
    labels: NDArray[np.integer],
    without_fold: int | None,
) -> _Part:
    kept = np.flatnonzero(statistics.class_tokens(without_fold)[labels] > 0)
    texts = [token_ids[row] for row in kept.tolist()]
    pairs, triples = (
        _counts([ngram_places(known, ids) for ids in texts], len(known.keys))
        for known in (statistics.pairs, statistics.triples)
    )
    return _Part(
        _counts(texts, statistics.counts.shape[-1]),
        pairs,
        triples,
        labels[kept],
        without_fold,
    )


def _counts(rows: Sequence[NDArray[np.integer]], n_columns: int) -> csr_matrix:
    """Return how often each column is named in each row."""
    ends = np.cumsum([0, *(len(row) for row in rows)])
    columns = np.concatenate([np.zeros(0, dtype=np.int64), *rows])
    counts = csr_matrix((np.ones(len(columns)), columns, ends), shape=(len(rows), n_columns))
    counts.sum_duplicates()
    return counts
