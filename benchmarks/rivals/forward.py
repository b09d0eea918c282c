"""The model's ordinary forward pass, as a rival calls it: some rows of one text, one class, no padding.

Kinder than the rivals' own code in two ways. The vocabulary projection is computed at hidden positions only (theirs
computes all of them), and a row of few hidden tokens is not filled up to the chunk of the vocabulary side, as it is in
our engine. Not kinder: a call with few hidden tokens brings the projection into the short type anew, about a seventh of
its time, as plain autocast without its cache would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from gencls.diffusion.batches import frame_rows
from gencls.diffusion.denoiser import Denoiser
from gencls.diffusion.vocabulary import PROJECTION_ROWS
from gencls.likelihood.estimators import Estimator
from gencls.likelihood.precision import Precision, autocast, resolve_precision

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]
#: Token ids (L,), masks (B, L), class index -> log-probabilities (B, L) in nats, zero at visible tokens.
HiddenLogProbs = Callable[[IntArray, BoolArray, int], FloatArray]


@contextmanager
def running(denoiser: Denoiser, precision: Precision) -> Iterator[HiddenLogProbs]:
    """Switch a denoiser to evaluation in the engine's precision, and give its forward pass.

    Parameters
    ----------
    denoiser : Denoiser
    precision : {"auto", "float32", "bfloat16", "float16"}
        As in `score_texts`.

    Yields
    ------
    HiddenLogProbs
    """
    was_training, device = denoiser.training, denoiser.bias.device
    denoiser.eval()
    try:
        # open as long as the scorer runs: autocast keeps the weights that it has cast
        with autocast(resolve_precision(precision, device), device):
            yield lambda token_ids, masks, index: _hidden_log_probs(denoiser, token_ids, masks, index)
    finally:
        denoiser.train(was_training)


def _hidden_log_probs(denoiser: Denoiser, token_ids: IntArray, masks: BoolArray, class_index: int) -> FloatArray:
    batch = frame_rows([token_ids] * len(masks), masks, masks, denoiser.frame).to(denoiser.bias.device)
    class_ids = torch.full_like(batch.input_ids[:, 0], class_index)
    # Without gradients the denoiser fills its chunks up to PROJECTION_ROWS. With them it takes the rows as they are,
    # which is four times as fast for the 19 hidden tokens of a row, and slower for the hundreds of a batch.
    with torch.set_grad_enabled(int(masks.sum()) < PROJECTION_ROWS):
        values = denoiser(batch, class_ids).detach()
    log_probs = np.zeros(masks.shape)
    log_probs[masks] = values.cpu().double().numpy()
    return log_probs


def score_in_batches(
    denoiser: Denoiser,
    token_ids: Sequence[NDArray[np.integer]],
    estimator: Estimator,
    seeds: Sequence[int],
    *,
    batch_size: int,
    precision: Precision,
) -> FloatArray:
    """Score texts one after the other, class by class, the draws of a text in batches.

    Parameters
    ----------
    denoiser : Denoiser
    token_ids : sequence of N ndarray of shape (L,), integer
    estimator : Estimator
        With one forward pass a draw.
    seeds : sequence of C int
        Of the masks of each class.
    batch_size : int
        Draws that run at once.
    precision : {"auto", "float32", "bfloat16", "float16"}

    Returns
    -------
    ndarray of shape (N, C, K), float64
        Zero for an empty text.
    """
    n_draws = estimator.n_mc_samples
    samples = np.zeros((len(token_ids), len(seeds), n_draws))
    with running(denoiser, precision) as hidden_log_probs:
        for row, ids in enumerate(token_ids):
            for index, seed in enumerate(seeds if len(ids) else ()):
                plan = estimator.plan(ids, seed=seed)
                for start in range(0, n_draws, batch_size):
                    part = slice(start, start + batch_size)
                    log_probs = hidden_log_probs(np.asarray(ids), plan.masked[part, 0], index)
                    samples[row, index, part] = plan.weights[part, 0] * log_probs.sum(axis=1)
    return samples
