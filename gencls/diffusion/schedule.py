r"""Masking levels of training, and unmasking schedules of generation.

The continuous-time bound is the same for every noise schedule (Kingma et al. 2021, arXiv:2107.00630; Sahoo et al.
2024, arXiv:2406.07524), so likelihoods need none. Training may still prefer some levels: the class of a text is
nearly known when much of it is visible, so most of the class signal lies at *high* levels. `LevelSchedule` draws
the share of hidden tokens of one training example.

Generation unmasks step by step. With :math:`u = s / S` the share of the steps done, :math:`\gamma(u)` of the tokens
are hidden:

* ``linear``: :math:`1 - u`, equally many tokens in every step;
* ``cosine``: :math:`\cos(\pi u / 2)`, few tokens while little is visible (Chang et al. 2022, arXiv:2202.04200,
  section 3.2);
* ``exponential``: :math:`(e^{-a u} - e^{-a}) / (1 - e^{-a})` with :math:`a = 3`: of what is hidden, nearly the same
  share in every step, so many tokens at first and few at the end.

The bound on the likelihood is the same for all; they differ in what a step can see.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
ScheduleName = Literal["linear", "cosine", "exponential"]
#: a of the exponential schedule: a twentieth is left of what a pure decay starts with.
DECAY = 3.0


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


def hidden_share(progress: FloatArray, schedule: ScheduleName) -> FloatArray:
    """Return the share of tokens that are hidden.

    Parameters
    ----------
    progress : ndarray, float64
        u in [0, 1].
    schedule : {"linear", "cosine", "exponential"}

    Returns
    -------
    ndarray of the same shape, float64
        Falls from one to zero.
    """
    if schedule == "linear":
        return 1.0 - progress
    if schedule == "cosine":
        return np.asarray(np.cos(0.5 * np.pi * progress))
    return np.asarray(np.expm1(DECAY * (1.0 - progress)) / np.expm1(DECAY))


def hidden_after(n_hidden: int, n_steps: int, schedule: ScheduleName) -> IntArray:
    """Return how many tokens are hidden after each step.

    Parameters
    ----------
    n_hidden : int
        Tokens hidden at the start.
    n_steps : int
        S >= 1; of more steps than tokens, only as many as tokens are taken.
    schedule : {"linear", "cosine", "exponential"}

    Returns
    -------
    ndarray of shape (min(S, n_hidden),), int64
        Falls by at least one in every step; the last is zero.

    Examples
    --------
    >>> hidden_after(8, 4, "linear").tolist()
    [6, 4, 2, 0]
    >>> hidden_after(8, 4, "cosine").tolist()
    [7, 5, 3, 0]
    """
    steps = min(n_steps, n_hidden)
    done = np.arange(1, steps + 1)
    wanted = np.floor(n_hidden * hidden_share(done / max(steps, 1), schedule) + 1e-9).astype(np.int64)
    # at least one token in every step, and one left for each that follows
    return np.maximum(np.minimum.accumulate(np.minimum(wanted, n_hidden - done) + done) - done, steps - done)
