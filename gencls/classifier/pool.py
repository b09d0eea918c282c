r"""The pool of a network and of the class tables: what decides where the tables stand beside the network.

In one softmax with the network (the other way, see `gencls.diffusion.denoiser`) the tables count less where the context
says the token, and what the network is left to learn of the classes is what they do not say. Beside it, each is a model
of its own of the text under its classes, and they are pooled, with one weight between them:

.. math:: \mathrm{evidence}_{kc} = w\, s_{kc} + \sum_i \delta_c(x_i) + \sum_i \epsilon_c(x_{i-1}, x_i),

with the draws s of the network's likelihood (or what levels with weights of their own make of them) and the deviations
of the tables' tokens, pairs and triples. This is the logarithmic opinion pool of two densities (Genest & Zidek 1986),
whose weight is fitted to the decision, as Raina, Shen, Ng & McCallum (2003) do for the parts of a document. The pool
is evidence, and no likelihood: it is not normalised over the texts, has no bits per token, and compares classes of one
text only.

Only numpy and scipy here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar

from gencls.classifier.calibration import check_held_out, fit_temperature, prior_weights
from gencls.data.errors import three_parts

FloatArray = NDArray[np.float64]
#: The weight lies between these; at either end one of the two has nothing to say.
WEIGHT_RANGE = (1e-2, 1e2)
#: Of a coarse grid of weights: each has a temperature and lapses of its own, and the loss may have a second valley.
GRID_POINTS = 9
#: Standard deviation of the normal prior of the log weight: without texts that say otherwise both count the same.
LOG_WEIGHT_PRIOR_SD = 1.0


def pooled(samples: FloatArray, count_scores: FloatArray | None, weight: float) -> FloatArray:
    """Return the evidence (N, C, K) of a network's draws and the scores (N, C) of the tables beside it, nats.

    Raises
    ------
    ValueError
        If there are no scores of the tables.

    Examples
    --------
    >>> pooled(np.array([[[-8.0], [-9.0]]]), np.array([[0.5, -0.5]]), 0.5)[0, :, 0]
    array([-3.5, -5. ])
    """
    if count_scores is None:
        todo = "Score with `DiffusionClassifier.score_ids`."
        raise ValueError(three_parts("scores with `count_scores`, which stand beside the network", "none", todo))
    return _pool(samples, count_scores[:, :, None], weight)


def _pool(network: FloatArray, count_scores: FloatArray, weight: float) -> FloatArray:
    return np.asarray(weight * network + count_scores)


def fit_network_weight(
    network: ArrayLike, count_scores: ArrayLike, y: ArrayLike, n_tokens: ArrayLike, log_prior: ArrayLike
) -> float:
    """Fit the weight of the network beside the class tables on held-out scores.

    The weight with the lowest negative log posterior of the labels, each weight at its best temperature by length
    (`fit_temperature`), and with a normal prior on its logarithm. The texts stand for the population of the prior, as
    in the temperature's fit.

    Parameters
    ----------
    network : array (N, C), nats
        Mean over the draws, without the prior.
    count_scores : array (N, C), nats
    y : array (N,) of int
        Index of the true class.
    n_tokens : array (N,)
    log_prior : array (C,), nats

    Returns
    -------
    float
        Positive.

    Raises
    ------
    ValueError
        As `fit_temperature`.
    """
    own, labels, prior = check_held_out(network, y, n_tokens, log_prior)
    beside, *_ = check_held_out(count_scores, y, n_tokens, log_prior)
    weights, rows = prior_weights(labels, prior), np.arange(len(labels))

    def loss(log_weight: float) -> float:
        evidence = _pool(own, beside, float(np.exp(log_weight)))
        temperature = fit_temperature(evidence, labels, n_tokens, prior)
        log_proba = temperature.log_proba(evidence, n_tokens, prior)[rows, labels]
        return float(-weights @ log_proba + 0.5 * (log_weight / LOG_WEIGHT_PRIOR_SD) ** 2)

    lowest, highest = np.log(WEIGHT_RANGE)
    grid = np.linspace(lowest, highest, GRID_POINTS)
    best = int(np.argmin([loss(point) for point in grid]))
    bounds = grid[max(best - 1, 0)], grid[min(best + 1, GRID_POINTS - 1)]
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 0.01})
    return float(np.exp(found.x))
