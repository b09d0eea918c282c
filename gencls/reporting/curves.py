"""Curves, computed: every `prepare_*` makes a small named bundle of arrays that `plots` only draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gencls.classifier.bayes import joint_log_proba
from gencls.classifier.selective import RiskCoverage, risk_coverage
from gencls.reporting.calibration_error import N_BINS, equal_mass_bins
from gencls.reporting.metrics import accuracy_interval, confidence_and_correct, wilson_interval

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
MAX_CLASSES_IN_HISTOGRAM = 6
HISTOGRAM_BINS = 50


@dataclass(frozen=True)
class Reliability:
    """Accuracy against confidence in bins of equal mass; arrays over the bins that hold texts.

    Bins of equal mass say nothing about where the texts lie, so `histogram` counts them between even `edges`.
    """

    confidence: FloatArray
    accuracy: FloatArray
    low: FloatArray
    high: FloatArray
    count: IntArray
    edges: FloatArray
    histogram: IntArray


@dataclass(frozen=True)
class LogOddsHistogram:
    """Counts (groups, bins) of log-odds between `edges` (bins + 1,), nats; the ends hold what lies beyond."""

    edges: FloatArray
    counts: IntArray
    groups: tuple[str, ...]
    axis_label: str


@dataclass(frozen=True)
class Confusion:
    """Counts (C, C): rows true, columns predicted; `share` divides each row by its sum."""

    counts: IntArray
    share: FloatArray
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class AccuracyAgainstForwards:
    """Arrays over k = 1..K draws; `low` and `high` are the worst and best window of k draws."""

    forwards: NDArray[Any]
    accuracy: FloatArray
    standard_error: FloatArray
    low: FloatArray
    high: FloatArray
    agreement: FloatArray


@dataclass(frozen=True)
class ModelScores:
    """Figures of one model beside each other: accuracy with its 95 % interval, ECE with that of its null."""

    name: str
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    ece: float
    ece_null_low: float
    ece_null_high: float


def prepare_reliability(log_proba: ArrayLike, y: ArrayLike, *, n_bins: int = N_BINS) -> Reliability:
    """Reliability of the top label, with Wilson 95 % intervals.

    Parameters
    ----------
    log_proba : array (N, C), nats
    y : array (N,) of int
    n_bins : int
    """
    confidence, correct = confidence_and_correct(log_proba, y)
    bins = equal_mass_bins(confidence, n_bins=n_bins)
    count = np.bincount(bins, minlength=n_bins)
    kept = count > 0
    hits = np.bincount(bins, weights=correct, minlength=n_bins)[kept]
    mean_confidence = np.bincount(bins, weights=confidence, minlength=n_bins)[kept] / count[kept]
    low, high = wilson_interval(hits, count[kept])
    edges = np.linspace(0, 1, HISTOGRAM_BINS + 1)
    histogram = np.histogram(confidence, edges)[0]
    return Reliability(mean_confidence, hits / count[kept], low, high, count[kept], edges, histogram)


def prepare_log_odds(
    log_proba: ArrayLike, y: ArrayLike, class_names: ArrayLike, *, n_bins: int = 48
) -> LogOddsHistogram:
    """Histogram of log-odds by true class.

    Two classes: log-odds of the second against the first. More: of the true class against the best other, so
    that zero separates right from wrong; over six classes the groups are right and wrong.

    Parameters
    ----------
    log_proba : array (N, C), nats
    y : array (N,) of int
    class_names : array (C,) of str
    """
    values, labels = np.asarray(log_proba, dtype=np.float64), np.asarray(y)
    names = [str(name) for name in np.asarray(class_names)]
    if len(names) == 2:
        odds, axis = values[:, 1] - values[:, 0], f"log-odds of “{names[1]}” against “{names[0]}” (nats)"
    else:
        odds, axis = _truth_against_best_other(values, labels), "log-odds of the true class (nats)"
    if len(names) > MAX_CLASSES_IN_HISTOGRAM:
        names, labels = ["right", "wrong"], (odds < 0).astype(np.int64)
    edges = _edges(odds, n_bins)
    inside = np.clip(odds, edges[0], edges[-1])
    counts = np.stack([np.histogram(inside[labels == g], edges)[0] for g in range(len(names))])
    return LogOddsHistogram(edges, counts, tuple(names), axis)


def prepare_confusion(log_proba: ArrayLike, y: ArrayLike, class_names: ArrayLike) -> Confusion:
    """Confusion matrix of the most probable classes; parameters as in `prepare_log_odds`."""
    predicted = np.asarray(log_proba).argmax(axis=1)
    names = tuple(str(name) for name in np.asarray(class_names))
    c = len(names)
    counts = np.bincount(np.asarray(y) * c + predicted, minlength=c * c).reshape(c, c)
    return Confusion(counts, counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), names)


def accuracy_against_forwards(
    samples: ArrayLike, y: ArrayLike, log_prior: ArrayLike, forwards: ArrayLike
) -> AccuracyAgainstForwards:
    """Accuracy when only k of the K draws had been made.

    For each k the K cyclic windows of k neighbouring draws are averaged, so no single lucky order of draws
    decides.

    Parameters
    ----------
    samples : array (N, C, K), nats
        As many draws for every text.
    y : array (N,) of int
    log_prior : array (C,), nats
    forwards : array (K,)
        Forward passes per text and class that the first k draws take, for k = 1..K.

    Returns
    -------
    AccuracyAgainstForwards
        `standard_error` is that of the texts (binomial), `agreement` the share of texts decided as with all
        draws.
    """
    draws, labels = np.asarray(samples, dtype=np.float64), np.asarray(y)
    n, _, k_all = draws.shape
    decision = joint_log_proba(draws, log_prior).argmax(axis=1)
    windows = [_window_decisions(draws, k, log_prior) for k in range(1, k_all + 1)]  # each (windows, N)
    per_window = [(w == labels).mean(axis=1) for w in windows]
    mean = np.array([a.mean() for a in per_window])
    return AccuracyAgainstForwards(
        forwards=np.asarray(forwards),
        accuracy=mean,
        standard_error=np.sqrt(mean * (1 - mean) / n),
        low=np.array([a.min() for a in per_window]),
        high=np.array([a.max() for a in per_window]),
        agreement=np.array([(w == decision).mean() for w in windows]),
    )


def prepare_risk_coverage(log_proba: ArrayLike, y: ArrayLike) -> RiskCoverage:
    """Risk-coverage curve by log-confidence of the top label.

    In log space the order survives saturation: by log-odds against all others, 1 - 1e-20 still ranks over 1 -
    1e-18.
    """
    values = np.asarray(log_proba, dtype=np.float64)
    rest = np.sort(values, axis=1)[:, :-1]
    doubt = np.logaddexp.reduce(rest, axis=1)
    return risk_coverage(-doubt, values.argmax(axis=1) == np.asarray(y))


def prepare_comparison(metrics: dict[str, dict[str, float]]) -> list[ModelScores]:
    """Accuracy and ECE of every model in `metrics.json`, with their intervals."""
    return [_model_scores(name, row) for name, row in metrics.items()]


def _model_scores(name: str, row: dict[str, float]) -> ModelScores:
    null = (row["ece_null_low"], row["ece_null_high"])
    return ModelScores(name, row["accuracy"], *accuracy_interval(row), row["ece"], *null)


def _window_decisions(draws: FloatArray, k: int, log_prior: ArrayLike) -> IntArray:
    k_all = draws.shape[2]
    starts = range(k_all if k < k_all else 1)
    picks = [np.arange(start, start + k) % k_all for start in starts]
    return np.stack([joint_log_proba(draws[:, :, pick], log_prior).argmax(axis=1) for pick in picks])


def _truth_against_best_other(values: FloatArray, labels: NDArray[np.int64]) -> FloatArray:
    truth = values[np.arange(labels.size), labels]
    others = np.where(np.eye(values.shape[1], dtype=bool)[labels], -np.inf, values)
    return truth - others.max(axis=1)


def _edges(odds: FloatArray, n_bins: int) -> FloatArray:
    """Even edges over all but the outermost 0.2 % of each side; symmetric, so zero is an edge."""
    reach = float(np.abs(np.quantile(odds, [0.002, 0.998])).max())
    return np.linspace(-1, 1, n_bins + 1) * max(reach, 1e-3)
