r"""Masking levels of training.

The continuous-time bound is the same for every noise schedule (Kingma et al. 2021, arXiv:2107.00630; Sahoo et al.
2024, arXiv:2406.07524), so likelihoods need none. Training may still prefer some levels: the class of a text is
nearly known when much of it is visible, so most of the class signal lies at *high* levels. `LevelSchedule` draws
the share of hidden tokens of one training example.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LevelSchedule:
    r"""Uniform masking levels on :math:`[low, high]`.

    Parameters
    ----------
    low, high : float
        Range of the share of hidden tokens, ``0 <= low < high <= 1``. (0, 1) is the bound's own distribution.

    Raises
    ------
    ValueError
        If the range is empty or leaves [0, 1].
    """

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.low < self.high <= 1.0:
            raise ValueError(
                f"expected masking levels 0 <= low < high <= 1, got low={self.low}, high={self.high}; "
                "choose a range such as low=0, high=1."
            )

    def draw_count(self, n_tokens: int, *, generator: np.random.Generator) -> int:
        """Return how many of `n_tokens` (>= 1) tokens are hidden: 1..L."""
        level = self.low + (self.high - self.low) * generator.random()
        return min(int(level * n_tokens) + 1, n_tokens)
