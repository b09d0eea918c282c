"""One text on its way: which forward passes it needs, and what they add up to."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gencls.likelihood.estimators import Plan

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Forward:
    """A mask of one text, and the draws and steps that want it.

    Attributes
    ----------
    hidden : ndarray of shape (L,), bool
        Context included.
    places : ndarray of shape (n,), int64
        Tokens that any of the uses scores, ascending.
    uses : list of (draw, step)
    """

    hidden: BoolArray
    places: IntArray
    uses: list[tuple[int, int]]

    @property
    def is_blank(self) -> bool:
        """Whether everything is hidden, so that only the length of the text is seen."""
        return bool(self.hidden.all())


@dataclass
class TextWork:
    """A text, its plan and its sums so far.

    Attributes
    ----------
    index : int
        Place of the text in the caller's list.
    token_ids : ndarray of shape (L,), int64
    n_context : int
    plan : Plan
    sums : ndarray of shape (C, K, R), float64, nats
    forwards : list of Forward
    n_open : int
        Forwards whose answer is missing.
    """

    index: int
    token_ids: IntArray
    n_context: int
    plan: Plan
    sums: FloatArray
    forwards: list[Forward] = field(default_factory=list)
    n_open: int = 0

    @classmethod
    def start(cls, index: int, token_ids: IntArray, n_context: int, plan: Plan, n_classes: int) -> TextWork:
        """Return the work of a text, nothing done."""
        forwards = list(_distinct_forwards(plan, n_context))
        sums = np.zeros((n_classes, *plan.weights.shape))
        return cls(index, token_ids, n_context, plan, sums, forwards, len(forwards))

    @property
    def n_forwards(self) -> int:
        """Forward passes that the text takes under each class."""
        return len(self.forwards)

    def receive(self, forward: Forward, log_probs: FloatArray) -> None:
        """Take the answer (C, n) of a forward pass at its places."""
        for draw, step in forward.uses:
            scored = np.flatnonzero(self.plan.scored[draw, step]) + self.n_context
            values = log_probs
            if len(scored) < len(forward.places):
                values = log_probs[:, np.searchsorted(forward.places, scored)]
            self.sums[:, draw, step] = self.plan.weights[draw, step] * sum_in_order(values)
        self.n_open -= 1


def sum_in_order(values: FloatArray) -> FloatArray:
    """Sum over the last axis, one after the other: the rounding then depends on the terms alone."""
    return np.asarray(np.cumsum(values, axis=-1)[..., -1])


def _distinct_forwards(plan: Plan, n_context: int) -> list[Forward]:
    """Group the draws and steps that score anything by their masks."""
    uses: dict[bytes, list[tuple[int, int]]] = {}
    for draw, step in np.argwhere(plan.scored.any(axis=-1)).tolist():
        uses.setdefault(plan.masked[draw, step].tobytes(), []).append((draw, step))
    forwards = []
    for same in uses.values():
        hidden = np.concatenate([np.zeros(n_context, dtype=bool), plan.masked[same[0]]])
        scored = plan.scored[same[0]] if len(same) == 1 else np.any([plan.scored[use] for use in same], axis=0)
        forwards.append(Forward(hidden, np.flatnonzero(scored) + n_context, same))
    return forwards
