"""Isotonic calibration: a step-like map from log-odds to probability, of no form but that it never falls.

One map for two classes, else one for each class against the rest, normalised to a distribution:

    m_c = log P(c | x) - log P(not c | x)   at T = 1 and the prior of the fit
    P_cal(c | x)  proportional to  g_c(m_c) * prior(c) / prior of the fit(c)

with g_c the isotonic regression of "is of class c" on m_c over held-out texts (Zadrozny & Elkan 2002, "Transforming
Classifier Scores into Accurate Multiclass Probability Estimates"). It corrects any monotone distortion where a
temperature corrects the scale, needs more held-out texts for it, and knows nothing of lengths. Texts on one step of
g get one probability, so it may tie classes that the scores tell apart. numpy and scikit-learn only.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp
from sklearn.isotonic import IsotonicRegression

from gencls.classifier.bayes import log_posterior
from gencls.classifier.calibration import check_held_out, prior_weights

logger = logging.getLogger("gencls.classifier")

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class IsotonicCalibration:
    """Non-decreasing maps from log-odds to probability, linear between their knots and flat beyond them.

    Parameters
    ----------
    knots : tuple of M pairs of arrays
        Log-odds in nats, increasing, and the probability at each. M = 1 for two classes (of the second), else C.
    log_prior : array (C,), nats
        Prior of the fit.
    """

    knots: tuple[tuple[FloatArray, FloatArray], ...]
    log_prior: FloatArray

    def log_proba(self, log_likelihood: ArrayLike, lengths: ArrayLike, log_prior: ArrayLike) -> FloatArray:
        """Calibrated log posterior.

        Parameters
        ----------
        log_likelihood : array (N, C), nats
        lengths : array (N,), tokens
            Not used; there because `LengthTemperature.log_proba` has it.
        log_prior : array (C,), nats
            Another one than the fit's is exact, as for a temperature, if the classes' texts are the same.

        Returns
        -------
        array (N, C) of float64, nats
            Rows are normalised.
        """
        odds = _log_odds_against_rest(np.asarray(log_likelihood, dtype=np.float64), self.log_prior)
        proba = [np.interp(column, *knots) for column, knots in zip(odds.T, self.knots, strict=True)]
        by_class = [1 - proba[0], proba[0]] if len(proba) == 1 else proba
        shifted = np.log(np.stack(by_class, axis=1)) + np.asarray(log_prior) - self.log_prior
        return shifted - logsumexp(shifted, axis=1, keepdims=True)

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON."""
        knots = [{"log_odds": at.tolist(), "proba": proba.tolist()} for at, proba in self.knots]
        return {"knots": knots, "log_prior": self.log_prior.tolist()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> IsotonicCalibration:
        """Inverse of `as_dict`."""
        knots = tuple((np.array(entry["log_odds"]), np.array(entry["proba"])) for entry in values["knots"])
        return cls(knots, np.array(values["log_prior"]))


def fit_isotonic(
    log_likelihood: ArrayLike, y: ArrayLike, lengths: ArrayLike, log_prior: ArrayLike
) -> IsotonicCalibration:
    """Fit the maps on held-out scores.

    Parameters
    ----------
    log_likelihood : array (N, C), nats
        Mean over the draws, without the prior.
    y : array (N,) of int
        Index of the true class.
    lengths : array (N,), tokens
        Not used; there because `fit_temperature` has it.
    log_prior : array (C,), nats

    Returns
    -------
    IsotonicCalibration
        No map goes above 1 - 1 / (N + 2), Laplace's rule for N texts of one kind, or below 1 / (N + 2) / (C - 1), so
        that all other classes together have the rest: with no such bound the first error beyond the held-out texts'
        range would be an infinite loss. A class that is absent from `y` gets the lower one whatever its log-odds, so it
        is hardly ever predicted; a warning names it.

    Raises
    ------
    ValueError
        Shapes that do not agree, scores that are not finite, fewer than two classes in `y`, or no class indices.

    Examples
    --------
    >>> scores = [[0.0, -3.0], [0.0, -1.0], [0.0, 1.0], [0.0, 3.0]]
    >>> fitted = fit_isotonic(scores, [0, 1, 0, 1], [9, 9, 9, 9], np.log([0.5, 0.5]))
    >>> np.exp(fitted.log_proba(scores, [9, 9, 9, 9], np.log([0.5, 0.5])))[:, 1].round(3)  # 1/6, one half twice, 5/6
    array([0.167, 0.5  , 0.5  , 0.833])
    """
    scores, labels, prior = check_held_out(log_likelihood, y, lengths, log_prior)
    odds = _log_odds_against_rest(scores, prior)
    classes = [1] if odds.shape[1] == 1 else range(scores.shape[1])
    if absent := sorted(set(range(scores.shape[1])) - set(labels.tolist())):
        logger.warning("isotonic calibration: no held-out text of the classes %s, whose maps are constant", absent)
    rest = 1 / (len(labels) + 2)  # of a sure decision, for all other classes together
    bounds = rest / (scores.shape[1] - 1), 1 - rest
    weights = prior_weights(labels, prior)  # as for a temperature
    knots = [_fit_map(column, labels == index, weights, bounds) for column, index in zip(odds.T, classes, strict=True)]
    return IsotonicCalibration(tuple(knots), prior)


def _fit_map(
    log_odds: FloatArray, is_class: NDArray[np.bool_], weights: FloatArray, bounds: tuple[float, float]
) -> tuple[FloatArray, FloatArray]:
    model = IsotonicRegression(y_min=bounds[0], y_max=bounds[1])
    model.fit(log_odds, is_class.astype(np.float64), weights)
    return model.X_thresholds_, model.y_thresholds_


def _log_odds_against_rest(scores: FloatArray, log_prior: FloatArray) -> FloatArray:
    """Log P(c | x) - log P(not c | x): (N, 1), of the second class, for two classes, else (N, C); nats."""
    log_post = log_posterior(scores, log_prior)
    n_classes = scores.shape[1]
    # from the other classes, not as log(1 - p), which is -infinity where p rounds to one
    rest = [logsumexp(np.delete(log_post, index, axis=1), axis=1) for index in range(n_classes)]
    odds = log_post - np.stack(rest, axis=1)
    return odds[:, 1:] if n_classes == 2 else odds
