"""The model's ordinary forward pass, as a rival calls it: some rows of one text, one class, no padding.

Kinder than the rivals' own code in two ways. The vocabulary projection is computed at hidden positions only (theirs
computes all of them), and a row of few hidden tokens is not filled up to the chunk of the vocabulary side, as it is in
our engine. Not kinder: a call with few hidden tokens brings the projection into the short type anew, about a seventh of
its time, as plain autocast without its cache would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from gencls.diffusion.batches import RowBatch
from gencls.diffusion.denoiser import Denoiser
from gencls.diffusion.vocabulary import PROJECTION_ROWS
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
    batch = _batch(denoiser, token_ids, masks)
    class_ids = torch.full_like(batch.input_ids[:, 0], class_index)
    # Without gradients the denoiser fills its chunks up to PROJECTION_ROWS. With them it takes the rows as they are,
    # which is four times as fast for the 19 hidden tokens of a row, and slower for the hundreds of a batch.
    with torch.set_grad_enabled(int(masks.sum()) < PROJECTION_ROWS):
        values = denoiser(batch, class_ids).detach()
    log_probs = np.zeros(masks.shape)
    log_probs[masks] = values.cpu().double().numpy()
    return log_probs


def _batch(denoiser: Denoiser, token_ids: IntArray, masks: BoolArray) -> RowBatch:
    frame = denoiser.frame
    targets = np.repeat(frame.frame(token_ids)[None], len(masks), axis=0)
    hidden = np.zeros(targets.shape, dtype=bool)
    hidden[:, frame.n_before : frame.n_before + len(token_ids)] = masks
    arrays = (np.where(hidden, frame.mask, targets), np.ones_like(targets), targets, hidden)
    return RowBatch(*(torch.from_numpy(array) for array in arrays)).to(denoiser.bias.device)
