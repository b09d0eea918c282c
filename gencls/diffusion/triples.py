r"""Class statistics of three tokens in a row: what a class's pairs do not say of them.

With :math:`s_c(u, v)` the smoothed class shares of a pair (`gencls.diffusion.pairs`; those of independent tokens where
it was left out) and :math:`s_c(v)` those of a token, :math:`q_c(u, v, w) \propto s_c(u, v)\, s_c(v, w) / s_c(v)` are
the class shares of a triple whose ends are independent given the class and its middle, and

.. math:: \epsilon_c(u, v, w) = \log \frac{n_c(u, v, w) + a\, q_c(u, v, w)}{n(u, v, w) + a} - \log q_c(u, v, w)

is added to the logit of a token that completes the triple when its other two tokens are visible. In a path of many
steps every triple is used once: by the last of its tokens.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from gencls.diffusion.ngrams import IntArray, NgramCounts, found_in
from gencls.diffusion.pairs import expected_shares, smoothed_deviations, token_shares

FloatArray = NDArray[np.float64]


def triple_deviations(
    triples: NgramCounts,
    counts: FloatArray,
    pairs: NgramCounts,
    pair_deviation: FloatArray,
    class_deviation: FloatArray,
    log_prior: FloatArray,
    smoothing: float,
) -> FloatArray:
    """Return the class deviation of each triple beyond its pairs.

    Parameters
    ----------
    triples, pairs : NgramCounts
        For the keys.
    counts : ndarray of shape (C, T)
        Counts of triples to use: all texts, or all but one fold.
    pair_deviation : ndarray of shape (C, P), nats
        From the same texts, as the next one.
    class_deviation : ndarray of shape (C, V), nats
    log_prior : ndarray of shape (C,), nats
        Class shares of the training tokens, with the smoothing of `class_deviation`.
    smoothing : float
        a: strength of the expectation, in triples.

    Returns
    -------
    ndarray of shape (C, T), nats
    """
    size = triples.vocab_size
    front, last = np.divmod(triples.keys, size)
    first, middle = np.divmod(front, size)
    share = token_shares(class_deviation, log_prior)

    def pair_share(left: IntArray, right: IntArray) -> FloatArray:
        log_q = expected_shares(share, log_prior, left, right)
        place, is_kept = found_in(pairs.keys, left * size + right)
        if len(pairs.keys):
            log_q += np.where(is_kept, pair_deviation[:, place], 0.0)
        return np.asarray(log_q)

    log_q = pair_share(first, middle) + pair_share(middle, last) - share[:, middle]
    return smoothed_deviations(counts, np.asarray(log_softmax(log_q, axis=0)), smoothing)
