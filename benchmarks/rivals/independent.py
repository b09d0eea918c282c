"""Masks of their own for every class: what the rivals do, and what makes their log-odds noisy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gencls.likelihood.engine import TokenScorer, score_texts
from gencls.likelihood.estimators import Estimator

FloatArray = NDArray[np.float64]


def class_seed(seed: int, class_index: int) -> int:
    """Return the seed of a class's masks: no class meets another's."""
    return 1000 * seed + class_index + 1


def batched_scores(
    scorer: TokenScorer,
    token_ids: Sequence[NDArray[np.integer]],
    estimator: Estimator,
    *,
    seed: int,
    **options: Any,
) -> FloatArray:
    """Return what a rival's `score` gives, up to rounding, by our engine: for its agreement, not for its time.

    Parameters
    ----------
    scorer : TokenScorer
    token_ids : sequence of N ndarray of shape (L,), integer
    estimator : Estimator
    seed : int
    **options
        Of `score_texts`.

    Returns
    -------
    ndarray of shape (N, C, K), float64, nats
    """
    columns = [
        score_texts(scorer, token_ids, estimator, seed=class_seed(seed, index), classes=[index], **options).samples
        for index in range(scorer.n_classes)
    ]
    return np.concatenate(columns, axis=1)
