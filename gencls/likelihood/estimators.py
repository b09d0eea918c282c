r"""Estimators of (a bound on) log p(text | class), written as plans: which tokens are hidden, which are scored.

A plan has K independent draws of R forward passes. With :math:`D_c(i \mid M) = \log p_c(x_i \mid x_{\bar M})`,

.. math:: \mathrm{sample}_{k} = \sum_{r=1}^{R} w_{kr} \sum_{i \in \mathrm{scored}_{kr}} D_c(i \mid M_{kr}).

* ``path``: the S-step path. A random order is cut in S blocks; each block is scored given the earlier ones, weight
  1. Every token is scored exactly once, so the spread of the 1/n weights of the bound does not exist. For a fixed
  order it is the exact log-probability of the S-step sampler of that order (Austin et al. 2021, arXiv:2107.03006;
  Hoogeboom et al. 2022, arXiv:2110.02037, section 3); its mean over orders is the S-step bound.
* ``elbo``: exact-count bound, one forward a draw, weight L/n (Ou et al. 2024, arXiv:2406.03736).
* ``bernoulli``: the continuous-time bound with independent masks, weight 1/t (Sahoo et al. 2024, arXiv:2406.07524).

A plan depends on the token ids and the seed only, so all classes of a text share it (common random numbers).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from gencls.diffusion.masking import (
    BoolArray,
    bernoulli_masks,
    exact_count_masks,
    order_blocks,
    random_orders,
    text_generator,
)

EstimatorName = Literal["path", "elbo", "bernoulli"]


@dataclass(frozen=True)
class Plan:
    """Forward passes that score one text.

    Attributes
    ----------
    masked : ndarray of shape (K, R, L), bool
        Tokens hidden from the network.
    scored : ndarray of shape (K, R, L), bool
        Tokens whose log-probability is taken; a subset of `masked`.
    weights : ndarray of shape (K, R), float64
        Weight of each forward pass.
    """

    masked: BoolArray
    scored: BoolArray
    weights: NDArray[np.float64]


@dataclass(frozen=True)
class Estimator:
    """How a text is scored.

    Parameters
    ----------
    name : {"path", "elbo", "bernoulli"}
        See the module.
    n_steps : int
        S, forward passes of one draw of the path; the other estimators take one.
    n_mc_samples : int
        K, draws. K >= 2 gives standard errors.

    Raises
    ------
    ValueError
        If the name is unknown or a count is below one.
    """

    name: EstimatorName = "path"
    n_steps: int = 2
    n_mc_samples: int = 4

    def __post_init__(self) -> None:
        if self.name not in get_args(EstimatorName):
            raise ValueError(
                f"expected an estimator out of {get_args(EstimatorName)}, got {self.name!r}; "
                "use 'path' unless you compare estimators."
            )
        if self.n_steps < 1 or self.n_mc_samples < 1:
            raise ValueError(
                f"expected n_steps >= 1 and n_mc_samples >= 1, got {self.n_steps} and {self.n_mc_samples}; "
                "start with n_steps=2, n_mc_samples=4."
            )

    @property
    def forwards_per_draw(self) -> int:
        """Forward passes per text, class and draw."""
        return self.n_steps if self.name == "path" else 1

    @property
    def n_forwards(self) -> int:
        """Forward passes per text and class."""
        return self.forwards_per_draw * self.n_mc_samples

    def plan(self, token_ids: NDArray[np.integer], *, seed: int) -> Plan:
        """Return the plan of one text.

        Parameters
        ----------
        token_ids : ndarray of shape (L,), integer
            Scorable tokens. With L = 0 the plan has no forward pass with a scored token.
        seed : int
            Seed of the scorer.

        Returns
        -------
        Plan
        """
        generator = text_generator(token_ids, seed=seed)
        makers = {"path": self._path, "elbo": self._elbo, "bernoulli": self._bernoulli}
        return makers[self.name](len(token_ids), generator)

    def _path(self, n_tokens: int, generator: np.random.Generator) -> Plan:
        ranks = random_orders(n_tokens, self.n_mc_samples, generator=generator)
        blocks = order_blocks(ranks, self.n_steps)[:, None, :]
        steps = np.arange(self.n_steps)[None, :, None]
        weights = np.ones((self.n_mc_samples, self.n_steps))
        return Plan(masked=blocks >= steps, scored=blocks == steps, weights=weights)

    def _elbo(self, n_tokens: int, generator: np.random.Generator) -> Plan:
        masks = exact_count_masks(n_tokens, self.n_mc_samples, generator=generator)[:, None, :]
        weights = n_tokens / np.maximum(masks.sum(axis=-1), 1)
        return Plan(masked=masks, scored=masks, weights=weights)

    def _bernoulli(self, n_tokens: int, generator: np.random.Generator) -> Plan:
        masks, weights = bernoulli_masks(n_tokens, self.n_mc_samples, generator=generator)
        return Plan(masked=masks[:, None], scored=masks[:, None], weights=weights[:, None])
