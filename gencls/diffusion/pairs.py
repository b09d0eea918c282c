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

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from gencls.diffusion.ngrams import IntArray, NgramCounts

FloatArray = NDArray[np.float64]


def token_shares(class_deviation: FloatArray, log_prior: FloatArray) -> FloatArray:
    """Return the log class shares of each token, (C, V), for deviations (C, V) and those of all tokens (C,)."""
    share = class_deviation + log_prior[:, None]
    return np.asarray(log_softmax(share, axis=0))


def pair_deviations(
    pairs: NgramCounts,
    counts: FloatArray,
    class_deviation: FloatArray,
    log_prior: FloatArray,
    smoothing: float,
) -> FloatArray:
    """Return the class deviation of each pair beyond its tokens' unigrams.

    Parameters
    ----------
    pairs : NgramCounts
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
    log_q = expected_shares(token_shares(class_deviation, log_prior), log_prior, left, right)
    return smoothed_deviations(counts, log_q, smoothing)


def expected_shares(share: FloatArray, log_prior: FloatArray, left: IntArray, right: IntArray) -> FloatArray:
    """Return the log class shares (C, n) of pairs of tokens, of log shares (C, V), independent given the class."""
    log_q = share[:, left] + share[:, right] - log_prior[:, None]
    return np.asarray(log_softmax(log_q, axis=0))


def smoothed_deviations(counts: FloatArray, log_q: FloatArray, smoothing: float) -> FloatArray:
    """Return how the log class shares of counts (C, n) deviate from expected ones, towards which they are smoothed."""
    smoothed = counts + smoothing * np.exp(log_q)
    return np.asarray(np.log(smoothed) - np.log(counts.sum(axis=0) + smoothing) - log_q)
