"""Selective classification: answer when sure, abstain when not.

Sort the texts by confidence and answer only the first k. Coverage is k / N, risk the error rate among those
answered. The area under the risk-coverage curve (AURC, Geifman, Uziel & El-Yaniv 2019) is the mean risk over
all coverages: it judges the *order* of the confidences, where calibration judges their values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class RiskCoverage:
    """Risk among the answered texts at each coverage, most confident first.

    Attributes
    ----------
    coverage, risk, threshold : arrays (N,)
        Share answered, error rate among them, and the lowest confidence answered.
    aurc : float
        Mean risk over the N coverages; lower is better.
    aurc_random, aurc_oracle : float
        The same if confidence said nothing (the error rate), and if every right answer came before every
        wrong one.
    """

    coverage: FloatArray
    risk: FloatArray
    threshold: FloatArray
    aurc: float
    aurc_random: float
    aurc_oracle: float


def risk_coverage(confidence: ArrayLike, correct: ArrayLike) -> RiskCoverage:
    """Risk-coverage curve and its area.

    Parameters
    ----------
    confidence : array (N,)
        Anything that grows with certainty. Ties are answered in random order, in expectation: the curve does
        not depend on the order of the rows.
    correct : array (N,) of bool

    Returns
    -------
    RiskCoverage

    Examples
    --------
    >>> risk_coverage([0.9, 0.8, 0.7, 0.6], [True, True, True, False]).risk
    array([0.  , 0.  , 0.  , 0.25])
    """
    sure, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=bool)
    if sure.ndim != 1 or sure.shape != right.shape or sure.size == 0 or np.isnan(sure).any():
        raise ValueError(
            f"risk_coverage: expected two arrays of one length N >= 1 without NaN, "
            f"got {sure.shape} and {right.shape}. Give one confidence and one True/False for each text."
        )
    order = np.argsort(-sure, kind="stable")
    risk = _running_risk(_mean_over_ties(sure[order], ~right[order]))
    oracle = _running_risk(np.sort((~right).astype(np.float64)))
    coverage = np.arange(1, sure.size + 1) / sure.size
    return RiskCoverage(coverage, risk, sure[order], float(risk.mean()), float((~right).mean()), float(oracle.mean()))


def _running_risk(errors: FloatArray) -> FloatArray:
    return np.cumsum(errors) / np.arange(1, errors.size + 1)


def _mean_over_ties(sorted_confidence: FloatArray, errors: NDArray[np.bool_]) -> FloatArray:
    """Each error replaced by the error rate among the texts of the same confidence."""
    _, group = np.unique(sorted_confidence, return_inverse=True)
    return (np.bincount(group, weights=errors) / np.bincount(group))[group]
