r"""LLaDA's estimator of a log-likelihood (Nie et al. 2025, arXiv:2502.09992, eq. 14 and appendix B.5).

.. math:: \log p_c(x) \approx \frac1K \sum_k \frac{L}{n_k} \sum_{i \in M_k} D_c(i \mid M_k), \qquad |M_k| = n_k

Kept: 128 draws; the draws of a text run in batches of 32 rows; masks drawn anew for every candidate; and the published
level grid. In a batch of b rows it takes one start k uniform on 1..L, goes on in steps of L/b, *rounds*, and wraps
around: n_j = (round(k + j (L/b) (b-1)/(b-1)) - 1) mod L + 1. The counts of one batch are thus spread over all levels,
and each of them alone is uniform up to the rounding: L/b is added to an integer start, so its fraction is the same for
every start, and where L/b is an integer (L = 128, b = 32) there is no rounding at all.

Kinder than the original: seeded masks; the projection is computed at hidden tokens only (the original projects all
positions); no prompt and no padding in front of the text. ``shared=True`` is kinder still and not LLaDA: all
candidates then have the same masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.rivals.forward import score_in_batches
from benchmarks.rivals.independent import class_seed
from gencls.diffusion.denoiser import Denoiser
from gencls.diffusion.masking import text_generator
from gencls.likelihood.estimators import Estimator, EstimatorName, Plan
from gencls.likelihood.precision import Precision

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]
DRAWS = 128
BATCH = 32


def level_grid(n_tokens: int, batch_size: int, *, generator: np.random.Generator) -> IntArray:
    """Return the numbers of hidden tokens of one batch, each in 1..L.

    Parameters
    ----------
    n_tokens : int
        L, at least 1.
    batch_size : int
        b.
    generator : numpy.random.Generator

    Returns
    -------
    ndarray of shape (b,), int64
    """
    start = generator.integers(1, n_tokens + 1)
    grid = np.rint(np.linspace(start, start + (batch_size - 1) * n_tokens / batch_size, batch_size))
    return (grid.astype(np.int64) - 1) % n_tokens + 1


@dataclass(frozen=True)
class LladaEstimator(Estimator):
    """Plans of LLaDA's estimator; draw k is row k mod b of batch k // b, whichever draws are asked for.

    Parameters
    ----------
    batch_size : int
        b, rows that share one level grid.
    """

    name: EstimatorName = "elbo"
    n_mc_samples: int = DRAWS
    batch_size: int = BATCH

    def plan(
        self, token_ids: NDArray[np.integer], *, seed: int, first_draw: int = 0, n_draws: int | None = None
    ) -> Plan:
        """Return some draws of a text's plan: masked and scored (K, 1, L), weights (K, 1)."""
        end = first_draw + (self.n_mc_samples if n_draws is None else n_draws)
        batches = range(first_draw // self.batch_size, -(-end // self.batch_size))
        masks = np.concatenate([self._batch(token_ids, seed, number) for number in batches])
        skipped = first_draw - batches[0] * self.batch_size
        masks = masks[skipped : skipped + end - first_draw, None]
        weights = len(token_ids) / np.maximum(masks.sum(axis=-1), 1)
        return Plan(masked=masks, scored=masks, weights=weights)

    def _batch(self, token_ids: NDArray[np.integer], seed: int, number: int) -> BoolArray:
        """Masks (b, L) of one batch."""
        n_tokens = len(token_ids)
        if n_tokens == 0:
            return np.zeros((self.batch_size, 0), dtype=bool)
        generator = text_generator(token_ids, seed=seed, draw=number)
        counts = level_grid(n_tokens, self.batch_size, generator=generator)
        ranks = np.stack([generator.permutation(n_tokens) for _ in counts])
        return np.asarray(ranks < counts[:, None])


def score(
    denoiser: Denoiser,
    token_ids: Sequence[NDArray[np.integer]],
    *,
    seed: int,
    n_draws: int = DRAWS,
    batch_size: int = BATCH,
    shared: bool = False,
    precision: Precision = "auto",
) -> FloatArray:
    """Score texts one after the other, class by class, the draws of a text in batches.

    Parameters
    ----------
    denoiser : Denoiser
    token_ids : sequence of N ndarray of shape (L,), integer
    seed : int
    n_draws, batch_size : int
        K and b; K a multiple of b, as in the original.
    shared : bool
        The same masks for all classes.
    precision : {"auto", "float32", "bfloat16", "float16"}

    Returns
    -------
    ndarray of shape (N, C, K), float64, nats
        Zero for an empty text.
    """
    estimator = LladaEstimator(n_mc_samples=n_draws, batch_size=batch_size)
    seeds = [seed if shared else class_seed(seed, index) for index in range(denoiser.n_classes)]
    return score_in_batches(denoiser, token_ids, estimator, seeds, batch_size=batch_size, precision=precision)
