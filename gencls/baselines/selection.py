"""How a baseline chooses its few settings: the lowest held-out NLL that any temperature gives it.

The caller calibrates every model with a temperature, so a setting is judged after the best one.
Plain NLL would punish naive Bayes for its certainty instead of its mistakes, and accuracy is a
much noisier judge on a small validation split.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

Model = TypeVar("Model")
Setting = TypeVar("Setting")

NOT_FITTED = "expected a fitted %(name)s, got an unfitted one: call fit first"


def tempered_nll(log_proba: np.ndarray, y: np.ndarray) -> float:
    """Return the mean NLL of ``softmax(log_proba / T)`` at the best temperature T.

    Parameters
    ----------
    log_proba : ndarray of shape (N, C), float64, nats
        Log-probabilities of the classes; any constant per row may be added.
    y : ndarray of shape (N,), int64
        True classes, 0 to C - 1.

    Returns
    -------
    float
        Nats per text, at most ``log C`` plus rounding.

    Examples
    --------
    >>> sure = np.log(np.array([[0.999, 0.001], [0.999, 0.001]]))
    >>> round(tempered_nll(sure, np.array([0, 1])), 3)  # right half of the time: one bit
    0.693
    """
    rows = np.arange(len(y))

    def nll(log_temperature: float) -> float:
        scaled = log_proba / np.exp(log_temperature)
        return float(np.mean(logsumexp(scaled, axis=1) - scaled[rows, y]))

    return float(minimize_scalar(nll, bounds=(-5.0, 12.0), method="bounded").fun)


def best_by_validation(
    settings: Iterable[Setting],
    fit: Callable[[Setting], Model],
    log_proba: Callable[[Model], np.ndarray],
    y: np.ndarray,
) -> tuple[Setting, Model]:
    """Fit a model for each setting and return the best setting with its model.

    Parameters
    ----------
    settings : iterable
        Candidates; the first of equals wins.
    fit : callable
        From a setting to a fitted model.
    log_proba : callable
        From a fitted model to the log-probabilities (N, C) of the validation texts.
    y : ndarray of shape (N,), int64
        Classes of the validation texts.

    Returns
    -------
    tuple of (setting, model)
        The chosen setting and the model fitted with it.
    """
    best: tuple[float, Setting, Model] | None = None
    for setting in settings:
        model = fit(setting)
        loss = tempered_nll(log_proba(model), y)
        if best is None or loss < best[0]:
            best = (loss, setting, model)
    if best is None:
        raise ValueError("expected at least one setting to choose from, got none: give a non-empty sequence")
    return best[1], best[2]


def checked_labels(y: np.ndarray, n_texts: int) -> np.ndarray:
    """Return ``y`` as int64 after checking that it labels ``n_texts`` texts of classes 0 to C - 1.

    Raises
    ------
    ValueError
        If the lengths differ, a class between 0 and the largest is absent, or there is one class only.
    """
    labels = np.asarray(y)
    if labels.shape != (n_texts,):
        raise ValueError(f"expected one label for each of {n_texts} texts, got shape {labels.shape}: pair them up")
    found = np.unique(labels)
    if not np.issubdtype(labels.dtype, np.integer) or not np.array_equal(found, np.arange(len(found))):
        raise ValueError(
            f"expected integer labels 0 to C - 1 with every class present, got {found[:10].tolist()}: "
            "number the classes without gaps"
        )
    if len(found) < 2:
        raise ValueError("expected at least two classes, got one: a classifier needs something to tell apart")
    return labels.astype(np.int64)


def checked_validation(validation: tuple | None, what: str) -> tuple:
    """Return the pair ``(inputs, labels)`` that choosing ``what`` needs, or say that it is missing.

    Raises
    ------
    ValueError
        If there is no validation split, or an empty one.
    """
    if validation is None or len(validation[0]) == 0:
        raise ValueError(
            f"expected a validation split to choose {what} on, got none: pass validation=(inputs, y) "
            f"or give {what} a number"
        )
    return validation[0], np.asarray(validation[1], dtype=np.int64)
