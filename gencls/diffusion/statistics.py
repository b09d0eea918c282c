"""The class statistics of a training set in one object: tokens (`unigram`) and neighbouring pairs (`pairs`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from gencls.diffusion.pairs import PairCounts, count_pairs, pair_deviations, pair_scores
from gencls.diffusion.preferences import embedding_preferences
from gencls.diffusion.unigram import class_counts, class_deviations, discounted_deviations, log_frequencies

FloatArray = NDArray[np.float64]


class Smoothing(TypedDict):
    """Smoothing of tokens and of pairs (None: no pairs), the keywords of `ClassStatistics.table`."""

    unigram: float
    discount: float | None
    pair: float | None


@dataclass(frozen=True)
class StatisticsTable:
    """Smoothed tables, in nats: class-free log unigram (V,), deviations (C, V) and pair deviations (C, P)."""

    log_frequencies: FloatArray
    deviations: FloatArray
    pair_deviations: FloatArray


@dataclass(frozen=True)
class ClassStatistics:
    """Counts by fold and class.

    Attributes
    ----------
    counts : ndarray of shape (F, C, V)
    pairs : PairCounts
        With counts of shape (F, C, P).
    embeddings : ndarray of shape (V, D), optional
        Word embeddings of a pretrained backbone: the additive smoothing of the tokens then is split between the classes
        as `gencls.diffusion.preferences` foretells, evenly without them.
    ridge : float, optional
        Penalty of that fit; no embeddings are used without it.
    """

    counts: FloatArray
    pairs: PairCounts
    embeddings: NDArray[np.floating] | None = None
    ridge: float | None = None
    _preferences: dict[int | None, FloatArray] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_texts(
        cls,
        token_ids: Sequence[NDArray[np.integer]],
        labels: NDArray[np.integer],
        folds: NDArray[np.integer],
        n_classes: int,
        vocab_size: int,
        *,
        embeddings: NDArray[np.floating] | None = None,
        ridge: float | None = None,
    ) -> ClassStatistics:
        """Count training texts; see `count_pairs` and the attributes for the parameters."""
        n_folds = int(folds.max()) + 1
        joint = class_counts(token_ids, folds * n_classes + labels, n_folds * n_classes, vocab_size)
        pairs = count_pairs(token_ids, labels, folds, n_classes, vocab_size)
        return cls(joint.reshape(n_folds, n_classes, vocab_size), pairs, embeddings, ridge)

    @property
    def n_folds(self) -> int:
        """F."""
        return len(self.counts)

    def table(
        self,
        *,
        unigram: float,
        pair: float | None,
        discount: float | None = None,
        without_fold: int | None = None,
    ) -> StatisticsTable:
        """Return the smoothed tables of all texts, or of those outside one fold (cross-fitting).

        Parameters
        ----------
        unigram : float
            Additive smoothing of the tokens: pseudo-counts of each class, on average over the classes.
        pair : float or None
            Smoothing of the pairs; None sets all pair deviations to zero.
        discount : float, optional
            Absolute discounting of the classes' tokens; `unigram` then smooths the class-free unigram only.
        without_fold : int, optional
        """
        counts, pair_counts = self.counts.sum(axis=0), self.pairs.counts.sum(axis=0)
        if without_fold is not None:
            counts = counts - self.counts[without_fold]
            pair_counts = pair_counts - self.pairs.counts[without_fold]
        preferences: FloatArray | float = 1.0
        if discount is None:
            preferences = self._preferences_of(counts, without_fold)
            deviations = class_deviations(counts, unigram, preferences)
        else:
            deviations = discounted_deviations(counts, discount, unigram)
        # smoothed as the deviations are: their class shares then sum to one, also where a class is in one fold only
        sizes = (counts + unigram * preferences).sum(axis=1)
        log_prior = np.log(sizes / sizes.sum())
        between = np.zeros(pair_counts.shape)
        if pair is not None:
            between = pair_deviations(self.pairs, pair_counts, deviations, log_prior, pair)
        total = log_frequencies(counts.sum(axis=0), unigram * len(counts))
        return StatisticsTable(total, deviations, between)

    def _preferences_of(self, counts: FloatArray, without_fold: int | None) -> FloatArray | float:
        """The fit of one table's counts, kept: it depends on no smoothing."""
        if self.embeddings is None or self.ridge is None:
            return 1.0
        if without_fold not in self._preferences:
            self._preferences[without_fold] = embedding_preferences(counts, self.embeddings, self.ridge)
        return self._preferences[without_fold]

    def scores(self, table: StatisticsTable, token_ids: Sequence[NDArray[np.integer]]) -> FloatArray:
        """Return the summed deviations of the tokens and pairs of texts, (N, C), nats: what counts alone say."""
        return count_scores(table.deviations, self.pairs, table.pair_deviations, token_ids)


def count_scores(
    deviations: FloatArray, pairs: PairCounts, between: FloatArray, token_ids: Sequence[NDArray[np.integer]]
) -> FloatArray:
    """Return the summed deviations of tokens (C, V) and of pairs (C, P) in N texts, (N, C), nats."""
    tokens = np.stack([deviations[:, ids].sum(axis=1) for ids in token_ids])
    return np.asarray(tokens + pair_scores(pairs, between, token_ids))
