"""What a reverse process leaves behind: the state after every step, from all hidden to none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Step:
    """The state of one text after one step; step 0 is the start, where everything not given is hidden.

    Attributes
    ----------
    token_ids : ndarray of shape (L,), int64
        The mask token's id where hidden.
    confidence : ndarray of shape (L,), float64
        Probability of the token when it was revealed last; NaN where hidden or given.
    revealed, remasked : ndarray of shape (L,), bool
        Revealed in this step, hidden again in this step.
    n_forwards : int
        Forward passes of the network for this text's batch so far.
    seconds : float
        Wall time so far.
    """

    token_ids: NDArray[np.int64]
    confidence: NDArray[np.float64]
    revealed: NDArray[np.bool_]
    remasked: NDArray[np.bool_]
    n_forwards: int
    seconds: float


@dataclass(frozen=True, eq=False)
class Trajectory:
    """One text on its way out of the masks.

    Attributes
    ----------
    steps : list of Step
        The first is the start, the last the result.
    given : ndarray of shape (L,), bool
        Tokens that the caller gave: visible from the start, never changed.
    mask_id : int
        Id of the mask token.
    tokens : sequence of V str
        How each token id reads, a space in front of it where it begins a word.
    text : str
        The result, decoded.
    label : str
        What it is, for titles.
    extras : dict
        What else is known of the result, plain JSON data: ``class_proba``, ``constraints`` (each met or not), ...

    Examples
    --------
    >>> nothing = np.array([False, False])
    >>> start = Step(np.array([1, 0]), np.array([np.nan, np.nan]), nothing, nothing, 0, 0.0)
    >>> trajectory = Trajectory([start], np.array([True, False]), 0, ["[MASK]", " hello"], " hello")
    >>> trajectory.pieces(start)
    [' hello', None]
    """

    steps: list[Step]
    given: NDArray[np.bool_]
    mask_id: int
    tokens: Sequence[str]
    text: str
    label: str = ""
    extras: dict[str, Any] = field(default_factory=dict)

    @property
    def token_ids(self) -> NDArray[np.int64]:
        """The result (L,), int64."""
        return self.steps[-1].token_ids

    def pieces(self, step: Step) -> list[str | None]:
        """Return how each of the L tokens of a step reads; None where it is hidden."""
        return [None if index == self.mask_id else self.tokens[index] for index in step.token_ids.tolist()]
