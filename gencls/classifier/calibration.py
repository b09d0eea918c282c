"""Temperature that depends on length: T(L) = a * L^b.

A summed log-ratio saturates. A model that errs by 0.05 nat per token is off by 12.5 nats after 250 tokens:
"sure", whether right or wrong. If errors of tokens were independent, evidence would grow as L and its noise
as sqrt(L); they are not, so the exponent b is fitted, on scores of texts that took no part in training:

    minimise  sum_i -w_i log softmax( (log p(x_i | c) + log P(c)) / T(L_i) )[y_i]  +  (ridge on log T and b)

The weight w_i is P(y_i) over the share of y_i among the held-out texts: a split that has a text of every class, however
rare, has too many of the rare ones, and their errors would ask for a temperature far too high for all others.

So under the prior of the fit the temperature moves no decision. (With the prior left as it is, a temperature well above
one, which most errors of a sure model ask for, lets the largest classes take the texts of the small ones.) Another
prior shifts the calibrated posterior by Bayes' rule, log P'(c) - log P(c), which needs no new calibration (Saerens et
al. 2002, equation 4), and a text without tokens gets the prior.

The ridge is a wide normal prior (sd 10 on log T at the typical length, sd 1 on b). It decides only what the
data leave open: b when all texts have one length, T when the data are separable or the scores do not differ
between classes. It is zero at T = 1, so the fit can never have a higher (weighted) NLL on its own data than no
calibration: a theorem, not a hope.

Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4 has b = 0. numpy and scipy only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize

from gencls.classifier.bayes import log_posterior

FloatArray = NDArray[np.float64]

LOG_T_RANGE = (np.log(1e-2), np.log(1e5))
EXPONENT_RANGE = (-2.0, 2.0)
LOG_T_PRIOR_SD = 10.0
EXPONENT_PRIOR_SD = 1.0
#: Share of the held-out texts that are too short to say how the temperature goes on below them.
SHORTEST_QUANTILE = 0.01


@dataclass(frozen=True)
class LengthTemperature:
    """T(L) = a * L^b with L the number of scored tokens.

    Parameters
    ----------
    a : float
        Positive; the temperature of a text of one token.
    b : float
        0 is ordinary temperature scaling; 1 would make the classifier trust the mean over tokens instead of
        the sum.
    shortest : float
        Texts of fewer tokens get the temperature of this length. Held-out texts say nothing of lengths that they do not
        have, and a power law drawn on to a handful of tokens makes a short text absurdly sure.
    log_prior : tuple of C float, nats, optional
        Prior of the fit, which is tempered with the evidence. Without it no prior is tempered.
    """

    a: float = 1.0
    b: float = 0.0
    shortest: float = 1.0
    log_prior: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not (np.isfinite(self.a) and np.isfinite(self.b) and self.a > 0):
            raise ValueError(
                f"LengthTemperature: expected a finite a > 0 and a finite b, got a={self.a}, b={self.b}. "
                "Fit them with fit_temperature."
            )

    def temperature(self, lengths: ArrayLike) -> FloatArray:
        """T of each text.

        Parameters
        ----------
        lengths : array (N,), tokens
            A text of no tokens counts as one token: its score is zero for all classes, and its prior is not tempered.

        Returns
        -------
        array (N,) of float64, positive

        Examples
        --------
        >>> LengthTemperature(a=0.5, b=0.5).temperature([0, 4, 100])
        array([0.5, 1. , 5. ])
        """
        return self.a * np.maximum(np.asarray(lengths, dtype=np.float64), self.shortest) ** self.b

    def log_proba(self, log_likelihood: ArrayLike, lengths: ArrayLike, log_prior: ArrayLike) -> FloatArray:
        """Calibrated log posterior, (N, C) in nats, of scores (N, C), lengths (N,) and a log prior (C,)."""
        t = self.temperature(lengths)
        return log_posterior(log_likelihood, self.tempered_prior(lengths, log_prior), t)

    def tempered_prior(self, lengths: ArrayLike, log_prior: ArrayLike) -> FloatArray:
        """Log prior (N, C) beside tempered scores, nats: the fit's over T, and what another one (C,) differs by."""
        prior = np.asarray(log_prior, dtype=np.float64)
        is_text = np.asarray(lengths)[:, None] > 0
        own = 0.0 if self.log_prior is None else np.where(is_text, self.log_prior, 0.0)
        return np.asarray(prior + (1 / self.temperature(lengths)[:, None] - 1) * own)

    def untempered_prior(self, lengths: ArrayLike, log_prior: ArrayLike) -> FloatArray:
        """Log prior (N, C) beside scores as they are, nats, that decides as `log_proba` does with `log_prior` (C,)."""
        return np.asarray(self.temperature(lengths)[:, None] * self.tempered_prior(lengths, log_prior))

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON."""
        prior = None if self.log_prior is None else list(self.log_prior)
        return {"a": float(self.a), "b": float(self.b), "shortest": float(self.shortest), "log_prior": prior}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LengthTemperature:
        """Inverse of `as_dict`; one of before priors were tempered leaves them as they are."""
        if not {"a", "b"} <= set(values):
            raise ValueError(
                f"LengthTemperature: expected the keys a and b, got {sorted(values)}. "
                "Fit it again with fit_temperature."
            )
        prior = values.get("log_prior")
        numbers = float(values["a"]), float(values["b"]), float(values.get("shortest", 1.0))
        return cls(*numbers, None if prior is None else tuple(map(float, prior)))


def fit_temperature(
    log_likelihood: ArrayLike,
    y: ArrayLike,
    lengths: ArrayLike,
    log_prior: ArrayLike,
    *,
    length_aware: bool = True,
) -> LengthTemperature:
    """Fit T(L) = a * L^b on held-out scores.

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
    log_t, exponent = _minimise(objective, length_aware=length_aware)
    scale = float(np.exp(log_t - exponent * centre))
    shortest = float(np.exp(log_shortest))
    return LengthTemperature(scale, float(exponent), shortest, tuple(prior.tolist()))


def prior_weights(y: NDArray[np.int64], log_prior: FloatArray) -> FloatArray:
    """Weights (N,) with which texts of classes `y` stand for a population of this prior (C,); their mean is one.

    Of importance sampling under label shift; a class without a text is not stood for.
    """
    share = np.bincount(y, minlength=log_prior.size) / y.size
    weights = np.exp(log_prior[y]) / share[y]
    return np.asarray(weights / weights.mean())


def mean_nll(log_post: ArrayLike, y: ArrayLike, weights: ArrayLike = 1.0) -> float:
    """Mean negative log posterior of the true class, nats; `log_post` (N, C), `y` (N,), weights of mean one (N,)."""
    labels = np.asarray(y)
    own = np.asarray(log_post, dtype=np.float64)[np.arange(labels.size), labels]
    return -float((np.asarray(weights) * own).mean())


def _objective(
    joint: FloatArray, y: NDArray[np.int64], centred_log_length: FloatArray, weights: FloatArray
) -> Callable[[FloatArray], tuple[float, FloatArray]]:
    """Penalised, weighted mean NLL and its gradient in (log T at the typical length, b); scores have their prior."""
    rows = np.arange(y.size)
    shifted = joint - joint.max(axis=1, keepdims=True)
    scale = np.array([LOG_T_PRIOR_SD, EXPONENT_PRIOR_SD])

    def value_and_gradient(theta: FloatArray) -> tuple[float, FloatArray]:
        log_t = theta[0] + theta[1] * centred_log_length
        log_post = log_posterior(shifted, 0.0, np.exp(log_t))
        # d NLL / d(1/T) = E_posterior[score] - score of the truth, and d(1/T) / d log T = -1/T.
        slope = -((np.exp(log_post) * shifted).sum(axis=1) - shifted[rows, y]) * np.exp(-log_t) * weights
        gradient = np.array([slope.mean(), (slope * centred_log_length).mean()])
        penalty = 0.5 * ((theta / scale) ** 2).sum() / y.size
        return mean_nll(log_post, y, weights) + penalty, gradient + theta / scale**2 / y.size

    return value_and_gradient


def _minimise(objective: Callable[[FloatArray], tuple[float, FloatArray]], *, length_aware: bool) -> FloatArray:
    """Best of T = 1 and two descents, the second from the best point of a coarse grid.

    Scores of thousands of nats make the slope at T = 1 useless as a guide to the scale; the grid finds it.
    """
    identity = np.zeros(2)
    grid = [np.array([log_t, 0.0]) for log_t in np.linspace(*LOG_T_RANGE, 33)]
    start = min(grid, key=lambda theta: objective(theta)[0])
    bounds = [LOG_T_RANGE, EXPONENT_RANGE if length_aware else (0.0, 0.0)]
    found = [
        minimize(objective, x0, jac=True, bounds=bounds, method="L-BFGS-B", options={"ftol": 1e-14, "gtol": 1e-9}).x
        for x0 in (identity, start)
    ]
    return min([identity, *found], key=lambda theta: objective(theta)[0])


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
