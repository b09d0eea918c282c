r"""Counts as rivals of a network that fills holes: one token, two neighbours, or up to four tokens on the left.

* `Unigram`: the same guess everywhere;
* `NeighbourBigram`: :math:`p(v \mid u, w) \propto p(v \mid u)\, p(v \mid w) / p(v)`, where u stands on the left of the
  hole and w on its right; a neighbour that is hidden itself is left out;
* `WittenBell`: the interpolated n-gram model of Witten & Bell (1991),
  :math:`p_n(v \mid h) = (c(h, v) + T(h)\, p_{n-1}(v \mid h')) / (c(h) + T(h))`, where T(h) is the number of different
  tokens seen after h, and h' is h without its first token.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


def unigram(token_ids: Sequence[IntArray], vocab_size: int, *, smoothing: float = 0.5) -> FloatArray:
    """Return log p(v) of training texts with additive smoothing, shape (V,), float64, nats.

    >>> np.exp(unigram([np.array([0, 0, 1])], 2, smoothing=1.0))
    array([0.6, 0.4])
    """
    counts = np.bincount(np.concatenate(token_ids), minlength=vocab_size) + smoothing
    return np.asarray(np.log(counts / counts.sum()))


@dataclass(frozen=True, eq=False)
class NeighbourBigram:
    """Bigrams of both sides, smoothed towards the unigram.

    Attributes
    ----------
    log_unigram : ndarray of shape (V,), float64, nats
    after, before : csr_matrix of shape (V, V), nats
        log p(v | u) - log p(v) up to a constant of each row: row u for v after u, row w for v before w. An unseen pair
        has zero.
    """

    log_unigram: FloatArray
    after: csr_matrix
    before: csr_matrix

    @classmethod
    def fit(cls, token_ids: Sequence[IntArray], vocab_size: int, *, prior: float = 100.0) -> NeighbourBigram:
        """Count training texts.

        Parameters
        ----------
        token_ids : sequence of N ndarray of shape (L,)
        vocab_size : int
            V.
        prior : float
            Strength of the unigram in p(v | u), in tokens (Dirichlet smoothing).
        """
        log_unigram = unigram(token_ids, vocab_size)
        first = np.concatenate([ids[:-1] for ids in token_ids])
        second = np.concatenate([ids[1:] for ids in token_ids])
        tables = [_table(known, asked, log_unigram, prior) for known, asked in ((first, second), (second, first))]
        return cls(log_unigram, *tables)

    def log_probs(self, left: IntArray, right: IntArray) -> FloatArray:
        """Return log p(v | neighbours), shape (n, V), float64, nats.

        Parameters
        ----------
        left, right : ndarray of shape (n,), int64
            Neighbours of each hole; -1 where there is none in sight.
        """
        logits = np.tile(self.log_unigram, (len(left), 1))
        for table, known in ((self.after, left), (self.before, right)):
            seen = known >= 0
            logits[seen] += table[known[seen]].toarray()
        return np.asarray(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))


def _table(known: IntArray, asked: IntArray, log_unigram: FloatArray, prior: float) -> csr_matrix:
    size = len(log_unigram)
    counts = csr_matrix((np.ones(len(known)), (known, asked)), shape=(size, size))
    counts.sum_duplicates()
    counts.data = np.log1p(counts.data / (prior * np.exp(log_unigram[counts.indices])))
    return counts


class WittenBell:
    """Interpolated n-grams from left to right.

    Parameters
    ----------
    vocab_size : int
        V.
    order : int
        n: up to n - 1 tokens of context.
    """

    def __init__(self, vocab_size: int, order: int = 5) -> None:
        self.vocab_size = vocab_size
        self.order = order

    def fit(self, token_ids: Sequence[IntArray]) -> WittenBell:
        """Count training texts."""
        raw: dict[tuple[int, ...], dict[int, int]] = defaultdict(lambda: defaultdict(int))
        for ids in token_ids:
            tokens = ids.tolist()
            for place, token in enumerate(tokens):
                for n_context in range(1, min(self.order, place + 1)):
                    raw[tuple(tokens[place - n_context : place])][token] += 1
        self.counts_ = {
            context: (np.fromiter(found, dtype=np.int64), np.fromiter(found.values(), dtype=np.float64))
            for context, found in raw.items()
        }
        self.unigram_ = np.exp(unigram(token_ids, self.vocab_size))
        return self

    def proba(self, context: Sequence[int]) -> FloatArray:
        """Return p(v | context), shape (V,), float64; of a long context its end counts."""
        proba = self.unigram_
        for n_context in range(1, min(self.order, len(context) + 1)):
            found = self.counts_.get(tuple(context[len(context) - n_context :]))
            if found is None:
                break  # a longer context that ends like this one was not seen either
            tokens, counts = found
            total = counts.sum() + len(tokens)
            proba = proba * (len(tokens) / total)
            proba[tokens] += counts / total
        return proba
