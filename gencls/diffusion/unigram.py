r"""Class unigram statistics: the naive-Bayes floor of the scorer.

With the output bias of class c at the smoothed log unigram frequencies of c and the rest of the output near zero, the
scorer *is* multinomial naive Bayes over the same tokens (McCallum & Nigam 1998); training can only add context.

Two traps. A word seen once must not carry the class: additive smoothing shrinks rare words to even odds. And counts
that include the text being trained on leak its label: every rare word of that text points to its class, the bias
alone classifies the training texts, and no class signal reaches the network. `cross_fitted_log_frequencies` gives
every training text a table of counts in which it took no part.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def class_counts(
    token_ids: Sequence[NDArray[np.integer]], labels: NDArray[np.integer], n_classes: int, vocab_size: int
) -> FloatArray:
    """Count tokens by class.

    Parameters
    ----------
    token_ids : sequence of N ndarray of shape (L,)
        Scorable tokens.
    labels : ndarray of shape (N,)
        Class indices.
    n_classes, vocab_size : int
        C and V.

    Returns
    -------
    ndarray of shape (C, V), float64
    """
    counts = np.zeros((n_classes, vocab_size))
    for index in range(n_classes):
        members = [ids for ids, label in zip(token_ids, labels, strict=True) if label == index]
        if members:
            counts[index] = np.bincount(np.concatenate(members), minlength=vocab_size)
    return counts


def log_frequencies(counts: FloatArray, smoothing: float) -> FloatArray:
    """Return log unigram frequencies with additive smoothing.

    Parameters
    ----------
    counts : ndarray of shape (..., V)
    smoothing : float
        Added to every count; 1 is Laplace's.

    Returns
    -------
    ndarray of shape (..., V), float64, nats
    """
    smoothed = counts + smoothing
    return np.asarray(np.log(smoothed) - np.log(smoothed.sum(axis=-1, keepdims=True)))


def class_deviations(counts: FloatArray, smoothing: float) -> FloatArray:
    """Return log p(v | c) - log p(v): what the class adds to the class-free unigram.

    Both frequencies get the same smoothing per class, so a word that no class prefers has deviation near zero.

    Parameters
    ----------
    counts : ndarray of shape (..., C, V)

    Returns
    -------
    ndarray of shape (..., C, V), float64, nats
    """
    total = counts.sum(axis=-2, keepdims=True)
    return log_frequencies(counts, smoothing) - log_frequencies(total, smoothing * counts.shape[-2])


def assign_folds(n_texts: int, n_folds: int, *, generator: np.random.Generator) -> NDArray[np.int64]:
    """Return a random fold, 0..n_folds-1, of each text; fold sizes differ by at most one."""
    return np.asarray(generator.permutation(np.arange(n_texts) % n_folds), dtype=np.int64)


def cross_fitted_deviations(
    token_ids: Sequence[NDArray[np.integer]],
    labels: NDArray[np.integer],
    folds: NDArray[np.integer],
    n_classes: int,
    vocab_size: int,
    *,
    smoothing: float,
) -> FloatArray:
    """Return class deviations of which the texts of a fold took no part in the fold's row.

    Returns
    -------
    ndarray of shape (F, C, V), float64, nats
        Row f is made of the counts of all texts outside fold f.
    """
    n_folds = int(folds.max()) + 1
    by_fold = np.stack(
        [
            class_counts(
                [ids for ids, fold in zip(token_ids, folds, strict=True) if fold == index],
                labels[folds == index],
                n_classes,
                vocab_size,
            )
            for index in range(n_folds)
        ]
    )
    return class_deviations(by_fold.sum(axis=0, keepdims=True) - by_fold, smoothing)


def choose_smoothing(
    counts: FloatArray,
    token_ids: Sequence[NDArray[np.integer]],
    labels: NDArray[np.integer],
    *,
    candidates: Sequence[float] = (0.1, 0.3, 1.0, 3.0, 10.0),
) -> float:
    """Choose the smoothing with the most validation texts right; ties go to the stronger smoothing.

    Parameters
    ----------
    counts : ndarray of shape (C, V)
        Counts of the training texts.
    token_ids, labels
        Validation texts and class indices.
    candidates : sequence of float

    Returns
    -------
    float
    """

    def accuracy(smoothing: float) -> float:
        log_p = log_frequencies(counts, smoothing)
        scores = np.stack([log_p[:, ids].sum(axis=1) for ids in token_ids])
        return float(np.mean(scores.argmax(axis=1) == labels))

    return max(candidates, key=lambda smoothing: (accuracy(smoothing), smoothing))
