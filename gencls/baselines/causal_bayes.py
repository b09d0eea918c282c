r"""Bayes' rule over causal language models: the rival that reads from left to right.

.. math:: P(c \mid x) \propto P(c) \prod_i p_c(x_i \mid s, x_1, \dots, x_{i-1})
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.utils.validation import check_is_fitted

from gencls.baselines.causal_training import Ids
from gencls.baselines.prediction import LogProbaClassifier
from gencls.baselines.selection import NOT_FITTED, checked_labels


class CausalBayes(LogProbaClassifier):
    """Bayes' rule over log p(x | c) of causal models: what all such classifiers have in common.

    Attributes
    ----------
    log_prior_ : ndarray of shape (C,), float64, nats
        Log shares of the classes among the training texts.
    classes_ : ndarray of shape (C,), int64
    """

    def log_likelihood(self, ids: Ids) -> NDArray[np.float64]:
        """Return log p(x | c), shape (N, C), float64, nats; an empty text has zero under every class."""
        raise NotImplementedError

    def predict_log_proba(self, ids: Ids) -> np.ndarray:
        """Return log P(class | text), shape (N, C), float64, nats; an empty text gets the prior."""
        check_is_fitted(self, "log_prior_", msg=NOT_FITTED)
        return log_softmax(self.log_likelihood(ids) + self.log_prior_, axis=1)

    def count_classes(self, y: np.ndarray, n_texts: int) -> NDArray[np.int64]:
        """Set the classes and the prior; return ``y`` checked."""
        labels = checked_labels(y, n_texts)
        self.classes_, counts = np.unique(labels, return_counts=True)
        self.log_prior_ = np.log(counts / len(labels))
        return labels
