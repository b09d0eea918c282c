"""What written texts are like: variety, repetition, likeness to each other and to human texts, and what is copied.

Nothing here knows a model. A text is a sequence of words or of token ids; the divergence takes features of texts.
Perplexity under a judge is lowest for repetitive text, so none of these stands in a report without the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from gencls.data.errors import three_parts

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
Tokens = Sequence[Hashable]
#: Points of the divergence curve, and the scale of its exponent, as in the paper of MAUVE.
CURVE_POINTS, CURVE_SCALE = 100, 5.0


def ngrams(tokens: Tokens, n: int) -> list[tuple[Hashable, ...]]:
    """Return the runs of n tokens, from left to right.

    Examples
    --------
    >>> ngrams("abc", 2)
    [('a', 'b'), ('b', 'c')]
    """
    return [tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1)]


def distinct(texts: Sequence[Tokens], n: int) -> float:
    """Share of different runs of n tokens among all of all texts (Li et al. 2016, arXiv:1510.03055); NaN without any.

    It falls with the number and the length of the texts: compare equal numbers of equal length.

    Examples
    --------
    >>> distinct(["ab", "ab"], 1)
    0.5
    """
    found = [run for text in texts for run in ngrams(text, n)]
    return len(set(found)) / len(found) if found else float("nan")


def repetition(tokens: Tokens, n: int = 4) -> float:
    """1 - distinct / all runs of n tokens inside one text; 0 for a text that is too short to have one.

    Examples
    --------
    >>> repetition("abababab", 4)
    0.6
    """
    found = ngrams(tokens, n)
    return 1 - len(set(found)) / len(found) if found else 0.0


def bleu(hypothesis: Tokens, references: Sequence[Tokens], max_n: int = 4) -> float:
    """BLEU of one text (Papineni et al. 2002, eqs. 2 and 3), in 0 to 1, without smoothing.

    A text without a single run of `max_n` tokens in the references has 0.
    """
    precisions = [_clipped_precision(hypothesis, references, n) for n in range(1, max_n + 1)]
    if not hypothesis or min(precisions) == 0:
        return 0.0
    size = len(hypothesis)
    # the closest length of a reference, the shorter one of two equally close ones
    closest = min((len(text) for text in references), key=lambda length: (abs(length - size), length))
    return float(np.exp(min(0.0, 1 - closest / size) + np.log(precisions).mean()))


def _clipped_precision(hypothesis: Tokens, references: Sequence[Tokens], n: int) -> float:
    counts, most = Counter(ngrams(hypothesis, n)), Counter[tuple[Hashable, ...]]()
    for text in references:
        most |= Counter(ngrams(text, n))
    return sum((counts & most).values()) / max(1, counts.total())


def self_bleu(texts: Sequence[Tokens], max_n: int = 4) -> float:
    """Mean BLEU of each text against all others (Zhu et al. 2018, arXiv:1802.01886); high is monotonous.

    Raises
    ------
    ValueError
        With fewer than two texts.
    """
    if len(texts) < 2:
        raise ValueError(three_parts("two texts or more", str(len(texts)), "Write more texts."))
    others = ([*texts[:row], *texts[row + 1 :]] for row in range(len(texts)))
    return float(np.mean([bleu(text, rest, max_n) for text, rest in zip(texts, others, strict=True)]))


def divergence_area(p: FloatArray, q: FloatArray) -> float:
    r"""Area under the divergence curve of two distributions: 1 for equal ones, near 0 for disjoint ones.

    .. math:: \{(e^{-c\,KL(q|r_\lambda)}, e^{-c\,KL(p|r_\lambda)}) : r_\lambda = \lambda p + (1 - \lambda) q\}

    (Pillutla et al. 2021, arXiv:2102.01454, eq. 2, with c = 5.)

    Parameters
    ----------
    p, q : ndarray of shape (k,), float64
        Each sums to 1.
    """
    weights = np.linspace(1e-6, 1 - 1e-6, CURVE_POINTS)[:, None]
    mixed = weights * p + (1 - weights) * q
    x = np.exp(-CURVE_SCALE * _kl(q, mixed))
    y = np.exp(-CURVE_SCALE * _kl(p, mixed))
    # the curve ends on the axes; x rises as the mixture goes from p to q
    x, y = np.concatenate([[1.0], x, [0.0]]), np.concatenate([[0.0], y, [1.0]])
    return float((-np.diff(x) * (y[:-1] + y[1:]) / 2).sum())


def _kl(p: FloatArray, mixed: FloatArray) -> FloatArray:
    """KL(p | row) of every row of mixtures (n, k), nats."""
    at = p > 0
    return (p[at] * np.log(p[at] / mixed[:, at])).sum(axis=1)


def feature_divergence(ours: FloatArray, human: FloatArray, *, n_clusters: int, seed: int) -> float:
    """MAUVE-style likeness of two sets of texts: `divergence_area` of their shares of common clusters.

    The features are whitened by principal components with 90 % of the variance and clustered together, as in the
    paper. Small sets are far apart for their size alone: the same of human against human texts belongs beside it.

    Parameters
    ----------
    ours : ndarray of shape (n, D), float64
    human : ndarray of shape (m, D), float64
    n_clusters : int
        Of k-means, at most n + m.
    seed : int
    """
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import normalize

    both = normalize(np.concatenate([ours, human]))
    reduced = PCA(n_components=0.9, random_state=seed, svd_solver="full").fit_transform(both)
    labels = KMeans(n_clusters, n_init=5, random_state=seed).fit_predict(reduced)
    shares = [np.bincount(part, minlength=n_clusters) / len(part) for part in np.split(labels, [len(ours)])]
    return divergence_area(shares[0], shares[1])


def bootstrap_interval(values: FloatArray, *, seed: int, n_draws: int = 2000) -> tuple[float, float]:
    """95 % percentile interval of the mean of values (n,); of paired differences where the values are such."""
    values = np.asarray(values, dtype=np.float64)
    rows = np.random.default_rng(seed).integers(len(values), size=(n_draws, len(values)))
    low, high = np.quantile(values[rows].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)
