r"""Which classes a token is likely to be used by, foretold from the word embeddings of the backbone.

Counts say nothing of a token that no labelled text has, and little of one that a single text has. The embeddings of a
pretrained backbone know what it is like: a log-linear model of the class shares,

.. math:: r_c(v) = C\, \mathrm{softmax}_c(w_c \cdot \phi(v)),

fitted to the counts, each class's scaled to one size, with a ridge penalty on :math:`w`, carries what was counted of
some tokens over to all that are like them. The additive pseudo-counts of a token are split between the classes in these
shares: evenly where the embedding tells nothing. There is no intercept, and the embeddings are centred over the
vocabulary: an intercept would follow the frequent tokens, and rare ones would lean to one class as a whole.

Log-linear multinomials with features of the words are those of Berg-Kirkpatrick, Bouchard-Côté, DeNero & Klein (2010,
"Painless unsupervised learning with features").
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

FloatArray = NDArray[np.float64]
#: Iterations of the fit, which is convex; what is left after them is far below what the counts can tell.
MAX_ITERATIONS = 200
#: The gradient is that of the mean loss over tens of thousands of tokens: the default stops far from the goal.
TOLERANCE = 1e-6


def embedding_preferences(counts: FloatArray, embeddings: NDArray[np.floating], ridge: float) -> FloatArray:
    """Return how much likelier than evenly each class uses a token, by the token's embedding.

    Parameters
    ----------
    counts : ndarray of shape (C, V)
        Tokens of the texts by class.
    embeddings : ndarray of shape (V, D)
        Centred and scaled here, to a mean square norm of one, so that `ridge` has one meaning for all backbones.
    ridge : float
        Penalty on the squared weights, in units of one counted token; large values lead to ones everywhere.

    Returns
    -------
    ndarray of shape (C, V)
        Positive, with a sum over the classes of C at every token. Ones for a class without tokens.

    Raises
    ------
    FloatingPointError
        If the fit ends in weights that are no numbers.
    """
    preferences = np.ones(counts.shape)
    known = np.flatnonzero(counts.sum(axis=1) > 0)
    if len(known) < 2:
        return preferences
    features = _scaled(embeddings)
    classes, tokens = np.nonzero(counts)
    sizes = counts.sum(axis=1)
    weights = counts[classes, tokens] * (sizes[known].mean() / sizes[classes])  # as if the classes were of one size
    model = LogisticRegression(C=1.0 / ridge, fit_intercept=False, tol=TOLERANCE, max_iter=MAX_ITERATIONS)
    # Kernels of some processors raise the flag of an invalid value in float32 products of finite matrices with finite
    # results, which numpy reports as a warning. What counts is looked at below.
    with np.errstate(invalid="ignore"):
        model.fit(features[tokens], classes, sample_weight=weights)
        log_odds = model.coef_ @ features.T
    if not np.isfinite(log_odds).all():
        raise FloatingPointError(
            f"the fit of the word embeddings to the counts has weights that are no numbers (ridge {ridge:g}, "
            f"embeddings of shape {embeddings.shape}): choose a larger embedding_ridge, or none"
        )
    if len(known) == 2:  # one row: the odds of the second class
        log_odds = np.concatenate([np.zeros_like(log_odds), log_odds])
    preferences[known] = len(known) * softmax(log_odds, axis=0)
    return preferences


def _scaled(embeddings: NDArray[np.floating]) -> NDArray[np.float32]:
    centred = embeddings - embeddings.mean(axis=0)
    spread = centred.std(axis=0)
    return np.asarray(centred / np.where(spread > 0, spread, 1.0) / np.sqrt(centred.shape[1]), dtype=np.float32)
