r"""Estimators of (a bound on) log p(text | class), written as plans: which tokens are hidden, which are scored.

A plan has K independent draws of R forward passes. With :math:`D_c(i \mid M) = \log p_c(x_i \mid x_{\bar M})`,

.. math:: \mathrm{sample}_{k} = \sum_{r=1}^{R} w_{kr} \sum_{i \in \mathrm{scored}_{kr}} D_c(i \mid M_{kr}).

* ``path``: the S-step path. An order is cut in S blocks; each block is scored given the earlier ones, weight
  1. Every token is scored exactly once, so the spread of the 1/n weights of the bound does not exist. For a fixed
  order it is the exact log-probability of the S-step sampler of that order (Austin et al. 2021, arXiv:2107.03006;
  Hoogeboom et al. 2022, arXiv:2110.02037, section 3); its mean over orders is the S-step bound.
* ``importance_path``: log of the mean probability of several paths. An order is a latent variable with a known prior,
  so this is the importance-weighted bound (Burda et al. 2016, arXiv:1509.00519): between the path and log p.
* ``elbo``: exact-count bound, one forward a draw, weight L/n (Ou et al. 2024, arXiv:2406.03736).
* ``complementary_elbo``: the same with a mask and its complement, so that every token of a draw is scored twice; the
  case that hides everything, which has no complement, is taken exactly instead of by chance.
* ``bernoulli``: the continuous-time bound with independent masks, weight 1/t (Sahoo et al. 2024, arXiv:2406.07524).
* ``chain``: the path with a step for every token, the exact chain rule along each order.

A plan depends on the token ids and the seed only, so all classes of a text share it (common random numbers). Draw k
depends on k only, so more draws begin with the fewer.

The one estimator that is no plan, because its masks depend on what the model says, is in `confidence`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from gencls.data.errors import three_parts
from gencls.diffusion.masking import (
    BoolArray,
    bernoulli_mask,
    draw_generator,
    exact_count,
    order_blocks,
    random_mask,
    random_order,
    spaced_blocks,
    spread_level,
    text_key,
)

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
EstimatorName = Literal["path", "importance_path", "elbo", "complementary_elbo", "bernoulli", "chain"]
Order = Literal["spaced", "uniform", "left_to_right"]
#: Longest text of the chain, which takes one forward pass a token.
MAX_CHAIN_TOKENS = 512


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
    weights: FloatArray


#: One draw: masked (R, L), scored (R, L), weights (R,).
_Draw = tuple[BoolArray, BoolArray, FloatArray]


@dataclass(frozen=True)
class Estimator:
    """How a text is scored.

    Parameters
    ----------
    name : {"path", "importance_path", "elbo", "complementary_elbo", "bernoulli", "chain"}
        See the module.
    n_steps : int
        S, forward passes of one draw of the path.
    n_mc_samples : int
        K, draws. K >= 2 gives standard errors.
    order : {"spaced", "uniform", "left_to_right"}
        Of the path and the chain; spaced: of every window of S tokens one in each block.
    n_importance : int
        Paths of one draw of ``importance_path``.

    Raises
    ------
    ValueError
        If a name is unknown or a count is below one.
    """

    name: EstimatorName = "path"
    n_steps: int = 2
    n_mc_samples: int = 4
    order: Order = "spaced"
    n_importance: int = 8

    def __post_init__(self) -> None:
        if self.name not in get_args(EstimatorName):
            known = f"an estimator out of {get_args(EstimatorName)}"
            raise ValueError(three_parts(known, repr(self.name), "Use 'path' unless you compare estimators."))
        if self.order not in get_args(Order):
            known = f"an order out of {get_args(Order)}"
            raise ValueError(three_parts(known, repr(self.order), "Use 'spaced' unless you compare orders."))
        counts = {name: getattr(self, name) for name in ("n_steps", "n_mc_samples", "n_importance")}
        if min(counts.values()) < 1:
            expected = "n_steps >= 1, n_mc_samples >= 1 and n_importance >= 1"
            raise ValueError(three_parts(expected, str(counts), "Start with n_steps=2 and n_mc_samples=4."))

    @property
    def is_linear(self) -> bool:
        """Whether a sample is one draw of the plan, so that samples may be averaged as they come."""
        return self.name != "importance_path"

    @property
    def n_plan_draws(self) -> int:
        """Draws of the plan that make the K samples."""
        return self.n_mc_samples * (1 if self.is_linear else self.n_importance)

    def n_forwards(self, n_draws: int | None = None, *, n_tokens: int | None = None) -> int:
        """Return how many forward passes some draws of the plan take under each class, at most.

        Fewer where a text has fewer tokens than steps, or where masks coincide. Paths begin with a pass that hides
        everything. It is the same for all draws, and counted once.

        Parameters
        ----------
        n_draws : int, optional
            Of the plan; `n_plan_draws` if not given.
        n_tokens : int, optional
            L, which the chain needs.

        Raises
        ------
        ValueError
            For the chain without `n_tokens`.
        """
        draws = self.n_plan_draws if n_draws is None else n_draws
        if self.name in ("elbo", "bernoulli"):
            return draws
        if self.name == "complementary_elbo":
            return 1 + 2 * draws
        if self.name == "chain" and n_tokens is None:
            raise ValueError(three_parts("the length of the text", "none", "The chain takes a pass for every token."))
        n_steps = self.n_steps if self.name != "chain" else max(n_tokens or 0, 1)
        return 1 + (1 if self.order == "left_to_right" else draws) * (n_steps - 1)

    def plan(
        self, token_ids: NDArray[np.integer], *, seed: int, first_draw: int = 0, n_draws: int | None = None
    ) -> Plan:
        """Return the plan of one text.

        Parameters
        ----------
        token_ids : ndarray of shape (L,), integer
            Scorable tokens. With L = 0 the plan has no forward pass with a scored token.
        seed : int
            Seed of the scorer.
        first_draw, n_draws : int, optional
            Only these draws; all `n_plan_draws` of them by default.

        Returns
        -------
        Plan

        Raises
        ------
        ValueError
            If the chain gets a text of more than `MAX_CHAIN_TOKENS` tokens.
        """
        n_tokens = len(token_ids)
        if self.name == "chain" and n_tokens > MAX_CHAIN_TOKENS:
            raise ValueError(
                three_parts(
                    f"at most {MAX_CHAIN_TOKENS} tokens for the chain", str(n_tokens), "Use the path for long texts."
                )
            )
        draw = {
            "elbo": _elbo_draw,
            "complementary_elbo": _complementary_draw,
            "bernoulli": _bernoulli_draw,
        }.get(self.name, self._path_draw)
        key = text_key(token_ids, seed=seed)
        numbers = range(first_draw, first_draw + (self.n_plan_draws if n_draws is None else n_draws))
        parts = zip(*(draw(n_tokens, key, number) for number in numbers), strict=True)
        return Plan(*(np.stack(part) for part in parts))

    def combine(self, samples: FloatArray) -> FloatArray:
        """Turn draws of the plan into samples.

        Parameters
        ----------
        samples : ndarray of shape (N, C, K'), float64, nats
            Draws of the plan.

        Returns
        -------
        ndarray of shape (N, C, K), float64, nats
            The same, but for ``importance_path`` the log of the mean probability of every `n_importance` draws.

        Raises
        ------
        ValueError
            If there is a part of a sample.
        """
        if self.is_linear:
            return samples
        if samples.shape[2] % self.n_importance:
            todo = "Draw whole samples."
            raise ValueError(three_parts(f"a multiple of {self.n_importance} draws", str(samples.shape[2]), todo))
        groups = samples.reshape(*samples.shape[:2], samples.shape[2] // self.n_importance, self.n_importance)
        return np.asarray(logsumexp(groups, axis=-1) - np.log(self.n_importance))

    def _path_draw(self, n_tokens: int, key: int, draw: int) -> _Draw:
        n_steps = max(n_tokens, 1) if self.name == "chain" else self.n_steps
        blocks = self._blocks(n_tokens, n_steps, key, draw)
        steps = np.arange(n_steps)[:, None]
        return blocks >= steps, blocks == steps, np.ones(n_steps)

    def _blocks(self, n_tokens: int, n_steps: int, key: int, draw: int) -> IntArray:
        if self.order == "left_to_right":
            return order_blocks(np.arange(n_tokens), n_steps)
        generator = draw_generator(key, draw)
        if self.order == "spaced":
            return spaced_blocks(n_tokens, n_steps, generator=generator)
        return order_blocks(random_order(n_tokens, generator=generator), n_steps)


def _elbo_draw(n_tokens: int, key: int, draw: int) -> _Draw:
    n_hidden = exact_count(n_tokens, spread_level(key, draw))
    mask = random_mask(n_tokens, n_hidden, generator=draw_generator(key, draw))[None]
    return mask, mask, np.array([n_tokens / max(n_hidden, 1)])


def _complementary_draw(n_tokens: int, key: int, draw: int) -> _Draw:
    r"""The mean over n of :math:`(L/n) \sum_M D`: its term n = L exactly, the others by pairs of n and L - n."""
    n_hidden = exact_count(max(n_tokens - 1, 0), spread_level(key, draw))
    mask = random_mask(n_tokens, n_hidden, generator=draw_generator(key, draw))
    masks = np.stack([np.ones(n_tokens, dtype=bool), mask, ~mask])
    scored = masks & (np.arange(3) < (3 if n_tokens > 1 else 1))[:, None]
    sizes = np.maximum([n_hidden, n_tokens - n_hidden], 1)
    return masks, scored, np.array([1 / max(n_tokens, 1), *(n_tokens - 1) / (2 * sizes)])


def _bernoulli_draw(n_tokens: int, key: int, draw: int) -> _Draw:
    mask, weight = bernoulli_mask(n_tokens, generator=draw_generator(key, draw))
    return mask[None], mask[None], np.array([weight])
