"""What scoring gives: draws of log p(text | class), or of a bound on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gencls.likelihood.work import sum_in_order

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Scores:
    """What scoring gives.

    Attributes
    ----------
    samples : ndarray of shape (N, C, K), float64, nats
        Draws of log p(text | class), or of a bound on it.
    n_tokens : ndarray of shape (N,), int64
        Scored tokens of each text.
    n_forwards : ndarray of shape (N,), int64
        Forward passes that a text took under each class, a shared blank one counted in full.
    steps : ndarray of shape (N, C, K, R), float64, nats, optional
        What each forward pass of a draw adds to its sample, weight included.
    n_draws : ndarray of shape (N,), int64, optional
        Draws of each text, where they differ; NaN fills `samples` up behind them.
    count_scores : ndarray of shape (N, C), float64, nats, optional
        What class tables that stand beside the scorer say of the texts; see `gencls.classifier.pool`.
    """

    samples: FloatArray
    n_tokens: IntArray
    n_forwards: IntArray
    steps: FloatArray | None = None
    n_draws: IntArray | None = None
    count_scores: FloatArray | None = None

    def mean(self) -> FloatArray:
        """Return the mean over each text's draws, shape (N, C), nats: the same bits whatever fills them up."""
        drawn = ~np.isnan(self.samples)
        return np.asarray(sum_in_order(np.where(drawn, self.samples, 0.0)) / drawn.sum(axis=2))
