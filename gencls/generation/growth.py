"""One text on its way out of the masks: what is hidden, how sure it is of the rest, what it remembers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gencls.diffusion.schedule import hidden_after
from gencls.generation.config import GenerationConfig
from gencls.generation.orders import start_ranks
from gencls.generation.trajectory import Step

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]
#: Steps beyond the schedule that the rules may cost, for each token, before they give way.
PATIENCE = 4


@dataclass(frozen=True)
class Start:
    """Where a text starts.

    Attributes
    ----------
    token_ids : ndarray of shape (L,), int64
        The mask token's id where hidden.
    given : ndarray of shape (L,), bool
    forced : ndarray of shape (L,), int64
        Tokens that the first step reveals, whatever the model says; -1 elsewhere.
    """

    token_ids: IntArray
    given: BoolArray
    forced: IntArray


@dataclass
class GrowingText:
    """One text on its way."""

    start: Start
    generator: np.random.Generator
    token_ids: IntArray
    hidden: BoolArray
    confidence: FloatArray
    ranks: IntArray
    targets: IntArray
    steps: list[Step] = field(default_factory=list)
    refused: dict[int, list[int]] = field(default_factory=dict)

    @classmethod
    def begin(cls, start: Start, generator: np.random.Generator, config: GenerationConfig) -> GrowingText:
        hidden = ~start.given
        n_hidden, n_tokens = int(hidden.sum()), len(hidden)
        targets = hidden_after(n_hidden, config.n_steps or max(n_hidden, 1), config.schedule)
        ranks = start_ranks(n_tokens, config.order, generator=generator)
        unknown = np.full(n_tokens, np.nan)
        text = cls(start, generator, start.token_ids.copy(), hidden, unknown, ranks, targets)
        text.record(np.zeros(n_tokens, dtype=bool), np.zeros(n_tokens, dtype=bool), 0, 0.0)
        return text

    def record(self, revealed: BoolArray, remasked: BoolArray, n_forwards: int, seconds: float) -> None:
        """Keep the state after a step."""
        self.steps.append(Step(self.token_ids.copy(), self.confidence.copy(), revealed, remasked, n_forwards, seconds))

    @property
    def fixed(self) -> BoolArray:
        """Tokens that no step may hide again: given and, once revealed, forced ones."""
        return self.start.given | ((self.start.forced >= 0) & ~self.hidden)

    def target(self) -> int:
        """How many tokens are to be hidden after the next step; zero when the schedule is over."""
        number = len(self.steps) - 1
        return int(self.targets[number]) if number < len(self.targets) else 0

    def is_patient(self) -> bool:
        """Whether the rules have not yet cost too many steps."""
        return len(self.steps) <= len(self.targets) + PATIENCE * len(self.token_ids)

    def n_reveal(self, n_remasked: int) -> int:
        """How many tokens the next step is to reveal: as the schedule says, and as many as are hidden again."""
        return max(int(self.hidden.sum()) - self.target() + n_remasked, 1)

    def write(self, place: int, token_id: int, probability: float) -> None:
        """Reveal a token."""
        self.token_ids[place], self.confidence[place], self.hidden[place] = token_id, probability, False

    def refuse(self, place: int, mask_id: int) -> None:
        """Take back the token just written, and remember not to try it there again."""
        self.refused.setdefault(place, []).append(int(self.token_ids[place]))
        self.hide(np.arange(len(self.hidden)) == place, mask_id)

    def hide(self, places: BoolArray, mask_id: int) -> None:
        """Hide tokens again, at places (L,) bool."""
        self.hidden |= places
        self.confidence[places] = np.nan
        self.token_ids[places] = mask_id
