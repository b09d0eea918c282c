"""Accuracy, intervals and margins from answers: arithmetic only, no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gencls.reporting.metrics import mcnemar_p

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
N_BOOTSTRAP = 2000


def poem_weights(n_poems: int, *, generator: np.random.Generator, n_draws: int = N_BOOTSTRAP) -> IntArray:
    """Return how often each poem is in each bootstrap sample of poems, (n_draws, n_poems)."""
    return generator.multinomial(n_poems, np.full(n_poems, 1 / n_poems), size=n_draws)


def author_weights(authors: Sequence[str], *, generator: np.random.Generator, n_draws: int = N_BOOTSTRAP) -> IntArray:
    """Return how often each poem is in each bootstrap sample of authors, who bring all their poems, (n_draws, N)."""
    names, author_of = np.unique(np.asarray(authors), return_inverse=True)
    return poem_weights(len(names), generator=generator, n_draws=n_draws)[:, author_of]


def share_interval(values: FloatArray, counts: FloatArray, weights: IntArray) -> tuple[float, float, float]:
    """Return sum(values) / sum(counts) over poems with its 95 % bootstrap interval.

    Parameters
    ----------
    values, counts : ndarray of shape (N,)
        Of each poem, such as right answers and holes.
    weights : ndarray of shape (n_draws, N)
        See `poem_weights`; the same for two models makes their difference paired.

    Returns
    -------
    value, low, high : float
    """
    drawn = (weights @ values) / np.maximum(weights @ counts, 1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(values.sum() / counts.sum()), float(low), float(high)


def by_poem(flags: NDArray[Any], poem_of: IntArray, n_poems: int) -> FloatArray:
    """Sum what is known of each hole by poem, (N,)."""
    return np.asarray(np.bincount(poem_of, weights=flags.astype(np.float64), minlength=n_poems), dtype=np.float64)


def accuracy_row(best: IntArray, targets: IntArray, poem_of: IntArray, weights: IntArray) -> dict[str, float]:
    """Return accuracy and top-5 accuracy of one way of filling, with an interval over poems."""
    n_poems = weights.shape[1]
    counts = by_poem(np.ones_like(targets), poem_of, n_poems)
    accuracy, low, high = share_interval(by_poem(best[:, 0] == targets, poem_of, n_poems), counts, weights)
    top5 = float((best == targets[:, None]).any(axis=1).mean())
    return {"accuracy": accuracy, "low": low, "high": high, "top5": top5, "n_holes": len(targets), "n_poems": n_poems}


def margin_row(
    first: IntArray,
    second: IntArray,
    targets: IntArray,
    poem_of: IntArray,
    weights: IntArray,
    author_weights: IntArray | None = None,
) -> dict[str, float]:
    """Return the accuracy of one way of filling minus that of another, over the same holes, and McNemar's p.

    With the weights of `author_weights`, also the interval over authors, ``author_low`` and ``author_high``.
    """
    n_poems = weights.shape[1]
    right, rival = first[:, 0] == targets, second[:, 0] == targets
    counts = by_poem(np.ones_like(targets), poem_of, n_poems)
    difference = by_poem(right, poem_of, n_poems) - by_poem(rival, poem_of, n_poems)
    margin, low, high = share_interval(difference, counts, weights)
    row = {"margin": margin, "low": low, "high": high, "mcnemar_p": mcnemar_p(right, rival)}
    if author_weights is None:
        return row
    _, author_low, author_high = share_interval(difference, counts, author_weights)
    return {**row, "author_low": author_low, "author_high": author_high}


def strongest(accuracies: Mapping[str, float]) -> str:
    """Return the name with the highest accuracy; the first of equals."""
    return max(accuracies, key=lambda name: accuracies[name])


def accuracy_by_group(best: IntArray, targets: IntArray, groups: IntArray, n_groups: int) -> list[dict[str, float]]:
    """Return accuracy and number of holes of each group of holes."""
    rows = []
    for group in range(n_groups):
        chosen = groups == group
        right = (best[chosen, 0] == targets[chosen]).mean() if chosen.any() else float("nan")
        rows.append({"accuracy": float(right), "n_holes": int(chosen.sum())})
    return rows
