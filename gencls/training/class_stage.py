"""Whether the class stage helped: the decision's loss on the validation texts, before it and after it.

The stage is trained by the generative loss, and with few labelled texts it learns those texts: the likelihood of its
training texts rises, and its decisions on others get worse than those of the count tables it started from. Early
stopping by the validation texts of the same loss would not see it, so that the decision's loss is what is looked at, at
the best temperature of each (`gencls.diffusion.smoothing.tempered_losses`), and what is not an improvement beyond
chance is taken back: the simpler model within one standard error (Breiman, Friedman, Olshen and Stone 1984, 3.4.3).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gencls.diffusion.denoiser import Denoiser
from gencls.diffusion.smoothing import tempered_losses
from gencls.likelihood.engine import score_texts
from gencls.likelihood.estimators import Estimator
from gencls.likelihood.precision import Precision
from gencls.training.config import TrainConfig
from gencls.training.examples import TokenizedSplit

logger = logging.getLogger("gencls.training")
FloatArray = NDArray[np.float64]
Weights = Mapping[str, Tensor]


class Verdict(TypedDict):
    """Mean decision losses of the validation texts, nats, and whether the stage's weights were kept.

    The standard error is that of the losses' difference, None for a single text.
    """

    loss_before: float
    loss_after: float
    standard_error: float | None
    is_kept: bool


def trained_weights(denoiser: Denoiser) -> dict[str, Tensor]:
    """Return a copy of the weights that the next stage trains."""
    return {name: value.detach().clone() for name, value in denoiser.named_parameters() if value.requires_grad}


def keep_if_better(
    denoiser: Denoiser,
    before: Weights,
    validation: TokenizedSplit,
    log_prior: FloatArray,
    config: TrainConfig,
    *,
    bf16: bool,
) -> Verdict:
    """Take the class stage back unless the validation texts' decision loss fell by more than its standard error.

    Parameters
    ----------
    denoiser : Denoiser
        After the stage; its weights may be set to those before it.
    before : mapping of str to Tensor
        `trained_weights` at the start of the stage.
    validation : TokenizedSplit
    log_prior : ndarray of shape (C,), nats
    config : TrainConfig
        Its estimator scores the texts.
    bf16 : bool
        As in training: a choice that was measured anew could turn the verdict of a resumed run.

    Returns
    -------
    Verdict
    """
    losses_of = partial(_losses, denoiser, validation, log_prior, config, "bfloat16" if bf16 else "float32")
    after = trained_weights(denoiser)
    losses = {"after": losses_of()}
    _set(denoiser, before)
    losses["before"] = losses_of()
    gains = losses["before"] - losses["after"]
    error = float(gains.std(ddof=1)) / len(gains) ** 0.5 if len(gains) > 1 else None
    is_kept = error is not None and bool(gains.mean() > error)
    if is_kept:
        _set(denoiser, after)
    means = {name: float(values.mean()) for name, values in losses.items()}
    told = "kept" if is_kept else "taken back"
    logger.info("class stage %s: decision loss %.4f -> %.4f on validation texts", told, means["before"], means["after"])
    return {"loss_before": means["before"], "loss_after": means["after"], "standard_error": error, "is_kept": is_kept}


def _losses(
    denoiser: Denoiser, validation: TokenizedSplit, log_prior: FloatArray, config: TrainConfig, precision: Precision
) -> FloatArray:
    """The decision's loss of each text, (N,), nats."""
    estimator = Estimator(config.estimator, config.n_steps, config.n_mc_samples, config.order)
    scores = score_texts(denoiser, validation.token_ids, estimator, seed=config.seed, precision=precision)
    return tempered_losses(scores.samples.mean(axis=2) + log_prior, validation.labels)


def _set(denoiser: Denoiser, weights: Weights) -> None:
    for name, value in denoiser.named_parameters():
        if name in weights:
            value.data.copy_(weights[name])
