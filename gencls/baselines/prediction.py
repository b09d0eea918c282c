"""Probabilities and classes from log-probabilities: what all baselines do alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin


class LogProbaClassifier(ClassifierMixin, BaseEstimator):
    """A classifier that is known by its ``predict_log_proba`` and ``classes_``.

    Attributes
    ----------
    classes_ : ndarray of shape (C,), int64
    """

    classes_: np.ndarray

    def predict_log_proba(self, inputs: Any) -> np.ndarray:
        """Return log P(class | input), shape (N, C), float64, nats."""
        raise NotImplementedError

    def predict_proba(self, inputs: Any) -> np.ndarray:
        """Return P(class | input), shape (N, C), float64."""
        return np.exp(self.predict_log_proba(inputs))

    def predict(self, inputs: Any) -> np.ndarray:
        """Return the most probable class of each input, shape (N,), int64."""
        best = self.predict_log_proba(inputs).argmax(axis=1)
        return self.classes_[best]
