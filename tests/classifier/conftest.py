"""One small trained classifier for all tests of this room."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

TINY: dict[str, Any] = {
    "backbone": "tiny-random",
    "backbone_layers": None,
    "max_length": 24,
    "adapt_steps": 3,
    "class_steps": 3,
    "batch_size": 8,
    "options": {"n_scored": 8, "precision": "float32", "n_folds": 4},
}


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Any]:
    """An unfitted classifier with changes."""
    from gencls.classifier.estimator import DiffusionClassifier

    return lambda **changes: DiffusionClassifier(**{**TINY, **changes})


@pytest.fixture(scope="session")
def trained(tiny: Callable[..., Any], toy: Callable[..., Any]) -> Any:
    """Fitted on 80 toy texts; do not change it (copy it)."""
    return tiny().fit(*toy(80))


@pytest.fixture(scope="session")
def held_out(toy: Callable[..., Any]) -> Any:
    return toy(40, seed=1)


@pytest.fixture(scope="session")
def mean_nll() -> Callable[..., float]:
    """Mean negative log posterior of the true class, nats, of log posteriors (N, C) and labels (N,)."""
    return lambda log_post, y: -float(log_post[range(len(y)), y].mean())
