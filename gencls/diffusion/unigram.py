r"""Class unigram statistics: the naive-Bayes floor of the scorer.

With the output bias of class c at the smoothed log unigram frequencies of c and the rest of the output near zero, the
scorer *is* multinomial naive Bayes over the same tokens (McCallum & Nigam 1998); training can only add context.

Two traps. A word seen once must not carry the class: additive smoothing shrinks rare words to even odds. And counts
that include the text being trained on leak its label: every rare word of that text points to its class, the bias
alone classifies the training texts, and no class signal reaches the network. `statistics.ClassStatistics`
gives every training text a table of counts in which it took no part.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def class_counts(
    token_ids: Sequence[NDArray[np.integer]],
    labels: NDArray[np.integer],
    n_classes: int,
    vocab_size: int,
    weights: FloatArray | None = None,
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
    weights : ndarray of shape (N,), optional
        What each token of a text counts; 1 by default.

    Returns
    -------
    ndarray of shape (C, V), float64
    """
    counts = np.zeros((n_classes, vocab_size))
    for index in range(n_classes):
        members = np.flatnonzero(np.asarray(labels) == index)
        if len(members):
            texts = [token_ids[place] for place in members.tolist()]
            each = None if weights is None else np.repeat(weights[members], [len(ids) for ids in texts])
            counts[index] = np.bincount(np.concatenate(texts), each, minlength=vocab_size)
    return counts


def length_weights(token_ids: Sequence[NDArray[np.integer]], exponent: float) -> FloatArray:
    r"""Return what a token of each text counts: the less, the longer the text.

    A long text repeats itself: its tokens are no independent draws, and with equal weights the longest texts, which
    often are of a kind of their own, say most of what a class looks like. Rennie, Shih, Teevan & Karger (2003,
    "Tackling the poor assumptions of naive Bayes text classifiers") divide the counts of a text by their norm; here

    .. math:: w_i \propto L_i^{-\alpha}, \qquad \sum_i w_i L_i = \sum_i L_i,

    where 0 weighs all tokens alike, and 1 all texts. The total is kept, so that a smoothing means the same.

    Parameters
    ----------
    token_ids : sequence of N ndarray of shape (L,); every text has a token
    exponent : float
        :math:`\alpha`.

    Returns
    -------
    ndarray of shape (N,), float64

    Examples
    --------
    >>> length_weights([np.array([5]), np.array([5, 6, 7])], 1.0)
    array([2.        , 0.66666667])
    """
    lengths = np.array([len(ids) for ids in token_ids], dtype=np.float64)
    weights = lengths**-exponent
    return np.asarray(weights * (lengths.sum() / (weights @ lengths)))


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


def class_deviations(counts: FloatArray, smoothing: float, preferences: FloatArray | float = 1.0) -> FloatArray:
    """Return log p(v | c) - log p(v): what the class adds to the class-free unigram.

    Both frequencies get the same smoothing per class, so a word that no class prefers has deviation near zero.

    Parameters
    ----------
    counts : ndarray of shape (..., C, V)
    smoothing : float
        Added to every count of every class, on average over the classes.
    preferences : ndarray of shape (..., C, V), optional
        How it is split between the classes: of mean one over them, evenly by default; see
        `gencls.diffusion.preferences`.

    Returns
    -------
    ndarray of shape (..., C, V), float64, nats
    """
    total = counts.sum(axis=-2, keepdims=True)
    smoothed = log_frequencies(counts + smoothing * preferences, 0.0)
    return smoothed - log_frequencies(total, smoothing * counts.shape[-2])


def discounted_deviations(counts: FloatArray, discount: float, smoothing: float) -> FloatArray:
    r"""Return log p(v | c) - log p(v) with absolute discounting (Ney, Essen & Kneser 1994) towards all classes' p(v).

    .. math:: p(v \mid c) = \frac{\max(n_{cv} - d, 0) + r_c\, p(v)}{n_c}, \qquad r_c = \sum_v \min(n_{cv}, d)

    What is taken off, :math:`r_c`, is d for each distinct token of the class (of one that counts less than d, all of
    it), so that a class of few texts leans more on what all classes have. With many classes of very different sizes
    additive smoothing pulls the small ones towards the uniform distribution, and texts of large classes with it.

    Parameters
    ----------
    counts : ndarray of shape (..., C, V)
    discount : float
        d, between 0 and 1; taken off every count.
    smoothing : float
        Additive smoothing of p(v), per class.

    Returns
    -------
    ndarray of shape (..., C, V), float64, nats
        Zero for a class without a token.
    """
    total = log_frequencies(counts.sum(axis=-2, keepdims=True), smoothing * counts.shape[-2])
    sizes, taken_off = (values.sum(axis=-1, keepdims=True) for values in (counts, np.minimum(counts, discount)))
    shares = (np.maximum(counts - discount, 0.0) + taken_off * np.exp(total)) / np.where(sizes > 0, sizes, 1.0)
    return np.where(sizes > 0, np.log(np.where(sizes > 0, shares, 1.0)) - total, 0.0)


def interpolated_deviations(deviations: FloatArray, rate: float) -> FloatArray:
    r"""Return the deviations of classes whose texts take a share of their tokens from the class-free unigram.

    .. math:: p'(v \mid c) = (1 - \lambda)\, p(v \mid c) + \lambda\, p(v)

    Two-stage smoothing (Zhai & Lafferty 2002): what is added to the counts makes up for too few texts of a class, and
    is forgotten where there are many; the share stays: any text has tokens of its own, whatever its class. No token
    then says more than log lambda against a class.

    Parameters
    ----------
    deviations : ndarray of shape (..., C, V), nats
        log p(v | c) - log p(v), of any smoothing.
    rate : float
        Lambda, at least 0 and below 1; 0 changes nothing.

    Returns
    -------
    ndarray of shape (..., C, V), float64, nats
    """
    return np.log((1 - rate) * np.exp(deviations) + rate) if rate else deviations


def assign_folds(
    token_ids: Sequence[NDArray[np.integer]],
    n_folds: int,
    *,
    labels: NDArray[np.integer] | None = None,
    generator: np.random.Generator,
) -> NDArray[np.int64]:
    """Return a random fold, 0..n_folds-1, of each text, with the classes in equal shares.

    A fold with more of one class would leave a table in which that class has fewer tokens, and the texts of the fold
    would look like those of the others: with eight texts of each of two classes, four in five did. Copies of a text
    share a fold: a copy in another fold would count the text's own words. Fold sizes differ by at most one distinct
    text, and so do the numbers of a class's texts in them.

    Parameters
    ----------
    token_ids : sequence of N ndarray of shape (L,)
    n_folds : int
    labels : ndarray of shape (N,), int, optional
        Class of each text, the first one's of copies; all alike if not given.
    generator : numpy.random.Generator

    Returns
    -------
    ndarray of shape (N,), int64
    """
    keys = np.empty(len(token_ids), dtype=object)  # an array of bytes drops zeros at the end, and 0 may be a token
    keys[:] = [np.asarray(ids, dtype="<i8").tobytes() for ids in token_ids]
    _, first, text_of = np.unique(keys, return_index=True, return_inverse=True)
    place = generator.permutation(len(first))
    if labels is not None:
        place[np.lexsort((place, labels[first]))] = np.arange(len(first))  # class after class, each in its random order
    return np.asarray((place % n_folds)[text_of], dtype=np.int64)
