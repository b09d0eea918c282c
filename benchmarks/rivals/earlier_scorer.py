"""The earlier classifier's scorer: the mean loss at 15 % hidden tokens, called a log-likelihood.

Kept: five draws of masks; every draw hides 15 % of the tokens; masks drawn anew for every class; the mean cross-entropy
of the hidden tokens taken for the negative log-likelihood; one text, one class and one draw per forward pass.

Kinder than the original: the masks are seeded, so that its figures can be made again; at least one token is
hidden (the original hides none in a short text and gets NaN); the projection is computed at hidden tokens only;
the text has no padding; the model is ours, with its class unigrams, and trained equally for every class.

The mean over 15 % of the tokens is no bound on anything: it leaves out the number of tokens, so log-odds are a hundred
times too small, and it looks at one masking level, where most of the context is visible and hides the class.
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
DRAWS = 5
SHARE = 0.15


@dataclass(frozen=True)
class FixedShare(Estimator):
    """Plans that hide a fixed share of the tokens and take the mean over them; no likelihood.

    Parameters
    ----------
    share : float
        Of hidden tokens.
    """

    name: EstimatorName = "elbo"  # as many forward passes as draws
    n_mc_samples: int = DRAWS
    share: float = SHARE

    def plan(
        self, token_ids: NDArray[np.integer], *, seed: int, first_draw: int = 0, n_draws: int | None = None
    ) -> Plan:
        """Return some draws of a text's plan: masked and scored (K, 1, L), weights (K, 1)."""
        draws = range(first_draw, first_draw + (self.n_mc_samples if n_draws is None else n_draws))
        n_tokens = len(token_ids)
        n_hidden = min(max(1, round(self.share * n_tokens)), n_tokens)
        masks = np.zeros((len(draws), 1, n_tokens), dtype=bool)
        for row, draw in zip(masks[:, 0], draws, strict=True):
            row[text_generator(token_ids, seed=seed, draw=draw).permutation(n_tokens)[:n_hidden]] = True
        return Plan(masked=masks, scored=masks, weights=np.full((len(draws), 1), 1 / max(n_hidden, 1)))


def score(
    denoiser: Denoiser,
    token_ids: Sequence[NDArray[np.integer]],
    *,
    seed: int,
    n_draws: int = DRAWS,
    precision: Precision = "auto",
) -> FloatArray:
    """Score texts one after the other, class by class, draw by draw.

    Parameters
    ----------
    denoiser : Denoiser
    token_ids : sequence of N ndarray of shape (L,), integer
    seed : int
    n_draws : int
        K.
    precision : {"auto", "float32", "bfloat16", "float16"}

    Returns
    -------
    ndarray of shape (N, C, K), float64, nats per token
        Zero for an empty text.
    """
    seeds = [class_seed(seed, index) for index in range(denoiser.n_classes)]
    return score_in_batches(
        denoiser, token_ids, FixedShare(n_mc_samples=n_draws), seeds, batch_size=1, precision=precision
    )
