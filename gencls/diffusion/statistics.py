"""The class statistics of a training set in one object: tokens (`unigram`) and neighbouring pairs (`pairs`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from gencls.diffusion.pairs import PairCounts, count_pairs, pair_deviations, pair_scores
from gencls.diffusion.unigram import class_counts, class_deviations, log_frequencies

FloatArray = NDArray[np.float64]


class Smoothing(TypedDict):
    """Smoothing of tokens and of pairs (None: no pairs), the keywords of `ClassStatistics.table`."""

    unigram: float
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
    """

    counts: FloatArray
    pairs: PairCounts

    @classmethod
    def from_texts(
        cls,
        token_ids: Sequence[NDArray[np.integer]],
        labels: NDArray[np.integer],
        folds: NDArray[np.integer],
        n_classes: int,
        vocab_size: int,
    ) -> ClassStatistics:
        """Count training texts; see `count_pairs` for the parameters."""
        n_folds = int(folds.max()) + 1
        joint = class_counts(token_ids, folds * n_classes + labels, n_folds * n_classes, vocab_size)
        pairs = count_pairs(token_ids, labels, folds, n_classes, vocab_size)
        return cls(joint.reshape(n_folds, n_classes, vocab_size), pairs)

    @property
    def n_folds(self) -> int:
        """F."""
        return len(self.counts)

    def table(self, *, unigram: float, pair: float | None, without_fold: int | None = None) -> StatisticsTable:
        """Return the smoothed tables of all texts, or of those outside one fold (cross-fitting).

        Parameters
        ----------
        unigram : float
            Additive smoothing of the tokens.
        pair : float or None
            Smoothing of the pairs; None sets all pair deviations to zero.
        without_fold : int, optional
        """
        counts, pair_counts = self.counts.sum(axis=0), self.pairs.counts.sum(axis=0)
        if without_fold is not None:
            counts = counts - self.counts[without_fold]
            pair_counts = pair_counts - self.pairs.counts[without_fold]
        deviations = class_deviations(counts, unigram)
        # smoothed as the deviations are: their class shares then sum to one, also where a class is in one fold only
        sizes = counts.sum(axis=1) + unigram * counts.shape[1]
        log_prior = np.log(sizes / sizes.sum())
        between = np.zeros(pair_counts.shape)
        if pair is not None:
            between = pair_deviations(self.pairs, pair_counts, deviations, log_prior, pair)
        total = log_frequencies(counts.sum(axis=0), unigram * len(counts))
        return StatisticsTable(total, deviations, between)

    def choose_smoothing(
        self,
        token_ids: Sequence[NDArray[np.integer]],
        labels: NDArray[np.integer],
        *,
        unigram: Sequence[float],
        pair: Sequence[float],
    ) -> Smoothing:
        """Choose both smoothings by validation accuracy: tokens alone, then tokens and pairs together.

        Ties go to the stronger smoothing.

        Returns
        -------
        Smoothing
        """

        def scores(strength: float, pair_strength: float | None) -> FloatArray:
            table = self.table(unigram=strength, pair=pair_strength)
            tokens = np.stack([table.deviations[:, ids].sum(axis=1) for ids in token_ids])
            return tokens + pair_scores(self.pairs, table.pair_deviations, token_ids)

        def accuracy(strength: float, pair_strength: float | None) -> float:
            return float(np.mean(scores(strength, pair_strength).argmax(axis=1) == labels))

        best = max(unigram, key=lambda strength: (accuracy(strength, None), strength))
        best_pair = max(pair, key=lambda strength: (accuracy(best, strength), strength), default=None)
        return {"unigram": best, "pair": best_pair}
