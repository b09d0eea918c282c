"""The class statistics of a training set in one object: tokens (`unigram`), neighbouring `pairs` and `triples`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from gencls.diffusion.ngrams import NgramCounts, count_ngrams, ngram_scores
from gencls.diffusion.pairs import pair_deviations
from gencls.diffusion.preferences import embedding_preferences
from gencls.diffusion.triples import triple_deviations
from gencls.diffusion.unigram import (
    class_counts,
    class_deviations,
    discounted_deviations,
    interpolated_deviations,
    length_weights,
    log_frequencies,
)

FloatArray = NDArray[np.float64]


class Smoothing(TypedDict):
    """Smoothing of tokens, pairs and triples (None: none of them), the keywords of `ClassStatistics.table`."""

    unigram: float
    discount: float | None
    interpolation: float
    pair: float | None
    triple: float | None


def as_words(chosen: Mapping[str, Any]) -> str:
    """Return a smoothing, and what else was chosen of the tables, in words, without what is left out."""
    return ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in chosen.items() if value)


@dataclass(frozen=True)
class StatisticsTable:
    """Smoothed tables, in nats: class-free log unigram (V,); deviations (C, V), of pairs (C, P) and triples (C, T)."""

    log_frequencies: FloatArray
    deviations: FloatArray
    pair_deviations: FloatArray
    triple_deviations: FloatArray


@dataclass(frozen=True)
class ClassStatistics:
    """Counts by fold and class.

    Attributes
    ----------
    counts : ndarray of shape (F, C, V)
    pairs, triples : NgramCounts
        With counts of shape (F, C, P) and (F, C, T).
    embeddings : ndarray of shape (V, D), optional
        Word embeddings of a pretrained backbone: the additive smoothing of the tokens then is split between the classes
        as `gencls.diffusion.preferences` foretells, evenly without them.
    ridge : float, optional
        Penalty of that fit; no embeddings are used without it.
    length_exponent : float
        The counts are weighted by `gencls.diffusion.unigram.length_weights` with it.
    n_seen : ndarray of shape (F, V), optional
        How often a token was seen in all classes, unweighted; the sum of the counts if not given.
    """

    counts: FloatArray
    pairs: NgramCounts
    triples: NgramCounts
    embeddings: NDArray[np.floating] | None = None
    ridge: float | None = None
    length_exponent: float = 0.0
    n_seen: FloatArray | None = None
    _preferences: dict[int | None, FloatArray] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def from_texts(
        cls,
        token_ids: Sequence[NDArray[np.integer]],
        labels: NDArray[np.integer],
        folds: NDArray[np.integer],
        n_classes: int,
        vocab_size: int,
        *,
        with_triples: bool = False,
        embeddings: NDArray[np.floating] | None = None,
        ridge: float | None = None,
        length_exponent: float = 0.0,
    ) -> ClassStatistics:
        """Count training texts; see `count_ngrams` and the attributes for the parameters."""
        n_folds = int(folds.max()) + 1
        weights = length_weights(token_ids, length_exponent) if length_exponent else None
        joint = class_counts(token_ids, folds * n_classes + labels, n_folds * n_classes, vocab_size, weights)
        seen = None if weights is None else class_counts(token_ids, folds, n_folds, vocab_size)
        counted = token_ids, labels, folds, n_classes, vocab_size
        pairs = count_ngrams(*counted, weights=weights)
        triples = no_ngrams(n_folds, n_classes, vocab_size, 3)
        if with_triples:
            triples = count_ngrams(*counted, order=3, weights=weights)
        counts = joint.reshape(n_folds, n_classes, vocab_size)
        return cls(counts, pairs, triples, embeddings, ridge, length_exponent, seen)

    @property
    def n_folds(self) -> int:
        """F."""
        return len(self.counts)

    def table(
        self,
        *,
        unigram: float,
        pair: float | None,
        triple: float | None = None,
        discount: float | None = None,
        interpolation: float = 0.0,
        without_fold: int | None = None,
    ) -> StatisticsTable:
        """Return the smoothed tables of all texts, or of those outside one fold (cross-fitting).

        Parameters
        ----------
        unigram : float
            Additive smoothing of the tokens: pseudo-counts of each class, on average over the classes.
        pair : float or None
            Smoothing of the pairs; None sets all pair deviations to zero.
        triple : float, optional
            Smoothing of the triples; their deviations are zero by default.
        discount : float, optional
            Absolute discounting of the classes' tokens; `unigram` then smooths the class-free unigram only.
        interpolation : float
            Share of the class-free unigram in the smoothed tokens; see `interpolated_deviations`.
        without_fold : int, optional
        """
        counts = self._counts_of(1, without_fold)
        preferences: FloatArray | float = 1.0
        if discount is None:
            preferences = self._preferences_of(counts, without_fold)
            deviations = class_deviations(counts, unigram, preferences)
        else:
            deviations = discounted_deviations(counts, discount, unigram)
        deviations = interpolated_deviations(deviations, interpolation)
        # smoothed as the deviations are: their class shares then sum to one, also where a class is in one fold only
        sizes = (counts + unigram * preferences).sum(axis=1)
        log_prior = np.log(sizes / sizes.sum())
        between = np.zeros(self.pairs.counts.shape[1:])
        if pair is not None:
            between = pair_deviations(self.pairs, self._counts_of(2, without_fold), deviations, log_prior, pair)
        among = np.zeros(self.triples.counts.shape[1:])
        if triple is not None:
            known = self.pairs, between, deviations, log_prior
            among = triple_deviations(self.triples, self._counts_of(3, without_fold), *known, triple)
        total = log_frequencies(self._seen(without_fold), unigram * len(counts))
        return StatisticsTable(total, deviations, between, among)

    def class_tokens(self, without_fold: int | None = None) -> FloatArray:
        """Return the weighted tokens of each class, (C,), float64, in all texts or in those outside one fold."""
        return np.asarray(self._counts_of(1, without_fold).sum(axis=1))

    @property
    def _by_order(self) -> dict[int, FloatArray]:
        return {1: self.counts, 2: self.pairs.counts, 3: self.triples.counts}

    @cached_property
    def _totals(self) -> dict[int, FloatArray]:
        totals = {order: counts.sum(axis=0) for order, counts in self._by_order.items()}
        for total in totals.values():
            total.setflags(write=False)  # every table starts from them
        return totals

    def _counts_of(self, order: int, without_fold: int | None) -> FloatArray:
        """Counts (C, ...) of tokens (1), pairs (2) or triples (3) in all texts or in those outside one fold."""
        total = self._totals[order]
        return total if without_fold is None else total - self._by_order[order][without_fold]

    def _seen(self, without_fold: int | None) -> FloatArray:
        """How often each token was seen, (V,): the class-free unigram is that of the texts as they are."""
        if self.n_seen is None:
            return np.asarray(self._counts_of(1, without_fold).sum(axis=0))
        left_out = 0.0 if without_fold is None else self.n_seen[without_fold]
        return np.asarray(self.n_seen.sum(axis=0) - left_out)

    def _preferences_of(self, counts: FloatArray, without_fold: int | None) -> FloatArray | float:
        """The fit of one table's counts, kept: it depends on no smoothing."""
        if self.embeddings is None or self.ridge is None:
            return 1.0
        if without_fold not in self._preferences:
            self._preferences[without_fold] = embedding_preferences(counts, self.embeddings, self.ridge)
        return self._preferences[without_fold]

    def scores(self, table: StatisticsTable, token_ids: Sequence[NDArray[np.integer]]) -> FloatArray:
        """Return the summed deviations of tokens, pairs and triples of texts, (N, C), nats: what counts alone say."""
        runs = (self.pairs, table.pair_deviations), (self.triples, table.triple_deviations)
        return count_scores(table.deviations, runs, token_ids)


def no_ngrams(n_folds: int, n_classes: int, vocab_size: int, order: int) -> NgramCounts:
    """Return counts of no run of tokens."""
    return NgramCounts(np.zeros(0, dtype=np.int64), np.zeros((n_folds, n_classes, 0)), vocab_size, order)


def count_scores(
    deviations: FloatArray,
    runs: Sequence[tuple[NgramCounts, FloatArray]],
    token_ids: Sequence[NDArray[np.integer]],
) -> FloatArray:
    """Return the summed deviations of tokens (C, V) and of runs of tokens (C, P) in N texts, (N, C), nats."""
    scores = np.array([deviations[:, ids].sum(axis=1) for ids in token_ids]).reshape(len(token_ids), len(deviations))
    for known, values in runs:
        scores = scores + ngram_scores(known, values, token_ids)
    return np.asarray(scores)
