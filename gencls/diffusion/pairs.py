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
from numpy.typing import NDArray

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
