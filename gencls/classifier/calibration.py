"""Temperature that depends on length, T(L) = a * L^b, and a rate of lapses.

A summed log-ratio saturates. A model that errs by 0.05 nat per token is off by 12.5 nats after 250 tokens:
"sure", whether right or wrong. If errors of tokens were independent, evidence would grow as L and its noise
as sqrt(L); they are not, so the exponent b is fitted, on scores of texts that took no part in training:

    minimise  sum_i -w_i log m_i[y_i]  +  (ridge on log T and b, pseudo-texts that are no lapses)
    m_i = (1 - e) softmax( (log p(x_i | c) + log P(c)) / T(L_i) ) + e / C

e is the lapse rate of psychometric functions (Wichmann & Hill 2001): the share of texts of which the scores say
nothing. There are such texts, of a class of one training text or of a wrong label, and their scores are as sure as
others': without e a few of them ask for a temperature too high for all the rest, and each that was not in the fit costs
up to a hundred nats.

The weight w_i is P(y_i) over the share of y_i among the held-out texts: a split that has a text of every class, however
rare, has too many of the rare ones, and their errors would ask for a temperature far too high for all others.

So under the prior of the fit neither temperature nor lapses move a decision. (With the prior left as it is, a
temperature well above one, which most errors of a sure model ask for, lets the largest classes take the texts of the
small ones.) Another prior shifts the calibrated posterior by Bayes' rule, log P'(c) - log P(c), which needs no new
calibration (Saerens et al. 2002, equation 4), and a text without tokens gets the prior.

The ridge is a wide normal prior (sd 10 on log T at the typical length, sd 1 on b). It decides only what the
data leave open: b when all texts have one length, T when the data are separable or the scores do not differ
between classes. It is zero at T = 1, and the pseudo-texts' loss at e = 0, so the fit can never have a higher (weighted)
NLL on its own data than no calibration: a theorem, not a hope.

Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4 has b = 0. numpy and scipy only.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import expit

from gencls.classifier.bayes import log_posterior
from gencls.classifier.temperature import LengthTemperature, with_lapses

FloatArray = NDArray[np.float64]
#: Loss and gradient.
Objective = Callable[[FloatArray], tuple[float, FloatArray]]

LOG_T_RANGE = (np.log(1e-2), np.log(1e5))
EXPONENT_RANGE = (-2.0, 2.0)
LOG_T_PRIOR_SD = 10.0
EXPONENT_PRIOR_SD = 1.0
#: Of the lapse rate: its logit's range, and texts that were none, which say what few held-out texts do not.
LAPSE_LOGIT_RANGE = (-14.0, 0.0)
N_NOT_LAPSED = 20
#: Where the fit with lapses starts: by how much log T lies below the fit without them, and the logit of the rate.
LAPSE_STARTS = ((0.0, -5.0), (0.7, -4.0), (1.5, -3.0))
#: Share of the held-out texts that are too short to say how the temperature goes on below them.
SHORTEST_QUANTILE = 0.01


def fit_temperature(
    log_likelihood: ArrayLike,
    y: ArrayLike,
    lengths: ArrayLike,
    log_prior: ArrayLike,
    *,
    length_aware: bool = True,
    lapses: bool = True,
) -> LengthTemperature:
    """Fit T(L) = a * L^b and the lapse rate on held-out scores.

    Parameters
    ----------
    log_likelihood : array (N, C), nats
        Mean over the draws, without the prior.
    y : array (N,) of int
        Index of the true class.
    lengths : array (N,), tokens
        Texts of none take no part: they get the prior.
    log_prior : array (C,), nats
        Of the held-out texts' population; it is tempered with the scores.
    length_aware : bool, default True
        False fixes b = 0.
    lapses : bool, default True
        False fixes the lapse rate at 0.

    Returns
    -------
    LengthTemperature

    Raises
    ------
    ValueError
        Shapes that do not agree, scores that are not finite, fewer than two classes in `y`, or no class indices.
    """
    scores, labels, prior = check_held_out(log_likelihood, y, lengths, log_prior)
    sizes = np.asarray(lengths, dtype=np.float64)
    is_text = sizes > 0
    if not is_text.any():
        return LengthTemperature(log_prior=tuple(prior.tolist()))
    log_length = np.log(np.maximum(sizes[is_text], 1.0))
    # the temperature is constant below a length that the held-out texts hardly have, in the fit as in use
    log_shortest = float(np.quantile(log_length, SHORTEST_QUANTILE))
    log_length = np.maximum(log_length, log_shortest)
    centre = float(log_length.mean())
    labels = labels[is_text]
    weights = prior_weights(labels, prior)
    objective = _objective((scores + prior)[is_text], labels, log_length - centre, weights)
    theta = _minimise(objective, length_aware=length_aware, lapses=lapses)
    log_t, exponent, lapse = float(theta[0]), float(theta[1]), _lapse_of(theta)
    scale, shortest = float(np.exp(log_t - exponent * centre)), float(np.exp(log_shortest))
    return LengthTemperature(scale, exponent, shortest, tuple(prior.tolist()), lapse, len(labels))


def prior_weights(y: NDArray[np.int64], log_prior: FloatArray) -> FloatArray:
    """Weights (N,) with which texts of classes `y` stand for a population of this prior (C,); their mean is one.

    Of importance sampling under label shift; a class without a text is not stood for.
    """
    share = np.bincount(y, minlength=log_prior.size) / y.size
    weights = np.exp(log_prior[y]) / share[y]
    return np.asarray(weights / weights.mean())


def _objective(
    joint: FloatArray, y: NDArray[np.int64], centred_log_length: FloatArray, weights: FloatArray
) -> Objective:
    """Penalised, weighted mean NLL and its gradient in (log T at the typical length, b, logit of the lapse rate).

    Without the third there are no lapses; scores have their prior.
    """
    rows, n_classes = np.arange(y.size), joint.shape[1]
    shifted = joint - joint.max(axis=1, keepdims=True)
    scale = np.array([LOG_T_PRIOR_SD, EXPONENT_PRIOR_SD])

    def value_and_gradient(theta: FloatArray) -> tuple[float, FloatArray]:
        log_t, lapse = theta[0] + theta[1] * centred_log_length, _lapse_of(theta)
        log_post = log_posterior(shifted, 0.0, np.exp(log_t))
        own = log_post[rows, y]
        mixed = with_lapses(own, lapse, n_classes)
        told = np.exp(np.log1p(-lapse) + own - mixed)  # probability that the text is no lapse
        # d NLL / d(1/T) = E_posterior[score] - score of the truth, and d(1/T) / d log T = -1/T.
        slope = -((np.exp(log_post) * shifted).sum(axis=1) - shifted[rows, y]) * np.exp(-log_t) * told * weights
        lapsed = weights * (told - (1 - lapse))
        gradient = np.array([slope.mean(), (slope * centred_log_length).mean(), lapsed.mean()])
        gradient[:2] += theta[:2] / scale**2 / y.size
        gradient[2] += N_NOT_LAPSED * lapse / y.size
        penalty = 0.5 * ((theta[:2] / scale) ** 2).sum() - N_NOT_LAPSED * np.log1p(-lapse)
        return float(-(weights * mixed).mean() + penalty / y.size), gradient[: len(theta)]

    return value_and_gradient


def _lapse_of(theta: FloatArray) -> float:
    """Lapse rate of the fit's numbers: the inverse logit of the third, zero where there is none."""
    return float(expit(theta[2])) if len(theta) > 2 else 0.0


def _minimise(objective: Objective, *, length_aware: bool, lapses: bool) -> FloatArray:
    """Best of T = 1 and descents, one of them from the best point of a coarse grid; then from there with lapses.

    Scores of thousands of nats make the slope at T = 1 useless as a guide to the scale; the grid finds it. With lapses
    the rest may be surer by far, and the loss has a second valley there.
    """
    bounds = [LOG_T_RANGE, EXPONENT_RANGE if length_aware else (0.0, 0.0), LAPSE_LOGIT_RANGE]

    def descend(start: FloatArray) -> FloatArray:
        options = {"ftol": 1e-14, "gtol": 1e-9}
        fitted = minimize(objective, start, jac=True, bounds=bounds[: len(start)], method="L-BFGS-B", options=options)
        return np.asarray(fitted.x)

    def value(theta: FloatArray) -> float:
        return objective(theta)[0]

    identity = np.zeros(2)
    start = min((np.array([log_t, 0.0]) for log_t in np.linspace(*LOG_T_RANGE, 33)), key=value)
    found = min([identity, descend(identity), descend(start)], key=value)
    if not lapses:
        return found
    surer = [np.array([max(found[0] - step, LOG_T_RANGE[0]), found[1], logit]) for step, logit in LAPSE_STARTS]
    return min([found, *map(descend, surer)], key=value)


def check_held_out(
    log_likelihood: ArrayLike, y: ArrayLike, lengths: ArrayLike, log_prior: ArrayLike
) -> tuple[FloatArray, NDArray[np.int64], FloatArray]:
    """Held-out scores (N, C), labels (N,) and log prior (C,) as arrays, or a ValueError on what cannot calibrate."""
    scores = np.asarray(log_likelihood, dtype=np.float64)
    labels = np.asarray(y)
    prior = np.asarray(log_prior, dtype=np.float64)
    shapes = (scores.shape, labels.shape, np.shape(lengths), prior.shape)
    if scores.ndim != 2 or shapes[1:] != ((len(scores),), (len(scores),), (scores.shape[1],)):
        raise ValueError(
            f"calibration: expected shapes (N, C), (N,), (N,), (C,), got {shapes}. "
            "Pass the mean over the draws, a label and a length for each text, and a prior for each class."
        )
    if not (np.isfinite(scores).all() and np.isfinite(prior).all()):
        raise ValueError(
            "calibration: expected finite scores and priors, got NaN or infinity. "
            "Look at the rows of log_likelihood that are not finite: a density gave no probability to a text."
        )
    if np.unique(labels).size < 2:
        raise ValueError(
            f"calibration: expected at least two classes in y, got {np.unique(labels).tolist()}. "
            "Draw the calibration split with all classes (stratified)."
        )
    is_index = labels.dtype.kind in "biu" and labels.min() >= 0 and labels.max() < scores.shape[1]
    if not is_index:  # -1 would count from the end
        raise ValueError(
            f"calibration: expected class indices 0..{scores.shape[1] - 1} in y, got {np.unique(labels)[:5].tolist()} "
            f"of the type {labels.dtype}. Pass integers: DiffusionClassifier.encode_labels gives them."
        )
    return scores, labels.astype(np.int64), prior
