"""Metrics of a classifier's log-probabilities, each with its error or the value that chance would give.

All take log-probabilities (N, C) in nats rather than probabilities: a saturated classifier says 1 - 1e-40,
which float64 rounds to 1, and its mistakes would cost infinity instead of 92 nats. Nothing is clipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp
from scipy.stats import binomtest, chi2

from gencls.reporting.calibration_error import (
    Interval,
    ece,
    ece_interval,
    ece_null,
    equal_mass_bins,
    smooth_ece,
)

__all__ = [
    "Interval",
    "accuracy",
    "accuracy_interval",
    "accuracy_standard_error",
    "brier",
    "classification_metrics",
    "confidence_and_correct",
    "ece",
    "ece_interval",
    "ece_null",
    "equal_mass_bins",
    "mcnemar_p",
    "nll",
    "smooth_ece",
    "wilson_interval",
]

FloatArray = NDArray[np.float64]
EXACT_MCNEMAR_BELOW = 25


def confidence_and_correct(log_proba: ArrayLike, y: ArrayLike) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Probability of the predicted class, and whether it is the true one.

    Parameters
    ----------
    log_proba : array (N, C), nats
    y : array (N,) of int

    Returns
    -------
    confidence : array (N,) of float64
    correct : array (N,) of bool
    """
    values = np.asarray(log_proba, dtype=np.float64)
    # A float32 baseline may say exp(1e-8) > 1.
    return np.minimum(np.exp(values.max(axis=1)), 1.0), values.argmax(axis=1) == np.asarray(y)


def accuracy(log_proba: ArrayLike, y: ArrayLike) -> float:
    """Share of texts whose most probable class is the true one."""
    return float(confidence_and_correct(log_proba, y)[1].mean())


def accuracy_standard_error(log_proba: ArrayLike, y: ArrayLike) -> float:
    """Binomial standard error of `accuracy`: sqrt(p (1 - p) / N)."""
    p = accuracy(log_proba, y)
    return float(np.sqrt(p * (1 - p) / np.size(y)))


def nll(log_proba: ArrayLike, y: ArrayLike) -> float:
    """Mean negative log-probability of the true class, nats. Proper: 0 is perfect, log C says nothing."""
    labels = np.asarray(y)
    return float(-np.asarray(log_proba, dtype=np.float64)[np.arange(labels.size), labels].mean())


def brier(log_proba: ArrayLike, y: ArrayLike) -> float:
    """Multi-class Brier score: mean over texts of the sum over classes of (p_c - [y = c])^2, from 0 to 2.

    With two classes this is twice the Brier score of the positive class alone.

    Examples
    --------
    >>> brier(np.log([[0.8, 0.2]]), [0]).__round__(12)
    0.08
    """
    proba = np.exp(np.asarray(log_proba, dtype=np.float64))
    truth = np.eye(proba.shape[1])[np.asarray(y)]
    return float(((proba - truth) ** 2).sum(axis=1).mean())


def mcnemar_p(correct_a: ArrayLike, correct_b: ArrayLike) -> float:
    """Two-sided p-value of McNemar's test that two classifiers are equally often right on the same texts.

    Exact binomial under 25 discordant texts, else chi-squared with continuity correction.

    Parameters
    ----------
    correct_a, correct_b : arrays (N,) of bool
    """
    a, b = np.asarray(correct_a, dtype=bool), np.asarray(correct_b, dtype=bool)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    discordant = only_a + only_b
    if discordant == 0:
        return 1.0
    if discordant < EXACT_MCNEMAR_BELOW:
        return float(binomtest(only_a, discordant, 0.5).pvalue)
    return float(chi2.sf(max(abs(only_a - only_b) - 1, 0) ** 2 / discordant, df=1))


def wilson_interval(successes: ArrayLike, trials: ArrayLike, z: float = 1.96) -> tuple[FloatArray, FloatArray]:
    """Wilson score interval of a proportion; stays in [0, 1] and is honest at 0 and N of N.

    Parameters
    ----------
    successes, trials : arrays of one shape

    Returns
    -------
    low, high : arrays of that shape
    """
    n = np.asarray(trials, dtype=np.float64)
    p = np.asarray(successes, dtype=np.float64) / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    # At p = 0 and p = 1 rounding may leave the interval 1e-17 short of its own estimate.
    return np.clip(np.minimum(centre - half, p), 0, 1), np.clip(np.maximum(centre + half, p), 0, 1)


def accuracy_interval(row: Mapping[str, Any]) -> tuple[float, float]:
    """The 95 % Wilson interval of the accuracy that a row of `metrics.json` gives, fractions."""
    low, high = wilson_interval(row["accuracy"] * row["n_texts"], row["n_texts"])
    return float(low), float(high)


def classification_metrics(log_proba: ArrayLike, y: ArrayLike, *, generator: np.random.Generator) -> dict[str, Any]:
    """Every figure that a report gives for one classifier.

    Parameters
    ----------
    log_proba : array (N, C), nats, rows normalised
    y : array (N,) of int
    generator : numpy.random.Generator
        For the bootstrap and the null of ECE.

    Returns
    -------
    dict
        accuracy, accuracy_se, nll, brier, ece, ece_low, ece_high (bootstrap), ece_null, ece_null_low,
        ece_null_high (perfect calibration at this n), smece, n_texts, majority_accuracy, class_counts.
        Fractions, not percentages.

    Raises
    ------
    ValueError
        Shapes that do not agree, rows that are not log-probabilities, or a test set of one class.
    """
    values, labels = _check(log_proba, y)
    sure, right = confidence_and_correct(values, labels)
    boot = ece_interval(sure, right, generator=generator)
    null = ece_null(sure, generator=generator)
    counts = np.bincount(labels, minlength=values.shape[1])
    return {
        "accuracy": accuracy(values, labels),
        "accuracy_se": accuracy_standard_error(values, labels),
        "nll": nll(values, labels),
        "brier": brier(values, labels),
        "ece": ece(sure, right),
        "ece_low": boot.low,
        "ece_high": boot.high,
        "ece_null": null.mean,
        "ece_null_low": null.low,
        "ece_null_high": null.high,
        "smece": smooth_ece(sure, right),
        "n_texts": int(labels.size),
        "majority_accuracy": float(counts.max() / labels.size),
        "class_counts": counts.tolist(),
    }


def _check(log_proba: ArrayLike, y: ArrayLike) -> tuple[FloatArray, NDArray[np.int64]]:
    values, labels = np.asarray(log_proba, dtype=np.float64), np.asarray(y)
    if values.ndim != 2 or labels.shape != values.shape[:1] or labels.size == 0:
        raise ValueError(
            f"metrics: expected log-probabilities (N, C) and labels (N,) with N >= 1, got {values.shape} and "
            f"{labels.shape}. Pass one row and one label for each text."
        )
    if np.isnan(values).any() or np.abs(logsumexp(values, axis=1)).max() > 1e-3:
        raise ValueError(
            "metrics: expected rows of log-probabilities whose exponentials sum to one, got others or NaN. "
            "Normalise scores with gencls.classifier.bayes.log_posterior first."
        )
    if np.unique(labels).size < 2:
        raise ValueError(
            f"metrics: expected a test set with at least two classes, got only class {labels[0]}. "
            "Draw the test texts stratified by class: on one class, accuracy is only a recall."
        )
    return values, labels.astype(np.int64)
