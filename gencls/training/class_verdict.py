"""Whether the class stage helped: the decision's loss on the validation texts, before it and after it.

The stage is trained by the generative loss, and with few labelled texts it learns those texts: the likelihood of its
training texts rises, and its decisions on others get worse than those of the count tables it started from. Early
stopping by the validation texts of the same loss would not see it, so that the decision's loss is what is looked at, at
the best temperature of each (`gencls.diffusion.smoothing.tempered_losses`). What is not an improvement by more than one
standard error is taken back: of two models that near each other the simpler one (Breiman, Friedman, Olshen and Stone
1984, 3.4.3). Few validation texts make that a weak test: of stages that change nothing it keeps about one in six.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gencls.data.storage import read_json, write_json
from gencls.diffusion.denoiser import Denoiser
from gencls.diffusion.smoothing import tempered_losses
from gencls.likelihood.engine import score_texts
from gencls.likelihood.estimators import Estimator
from gencls.training.config import TrainConfig
from gencls.training.examples import TokenizedSplit

logger = logging.getLogger("gencls.training")
FloatArray = NDArray[np.float64]
VERDICT = "verdict.json"
Weights = Mapping[str, Tensor]


class Verdict(TypedDict):
    """Mean decision losses of the validation texts, nats, and whether the stage's weights were kept.

    The standard error is that of the losses' difference, None for a single text. The shrinkage is that of the classes
    that were judged.
    """

    loss_before: float
    loss_after: float
    standard_error: float | None
    is_kept: bool
    class_shrinkage: float


def trainable_weights(denoiser: Denoiser) -> dict[str, Tensor]:
    """Return a copy, in main memory, of the weights that the next stage trains."""
    return {
        name: value.detach().to("cpu", copy=True) for name, value in denoiser.named_parameters() if value.requires_grad
    }


def keep_if_better(
    denoiser: Denoiser,
    before: Weights,
    validation: TokenizedSplit,
    log_prior: FloatArray,
    config: TrainConfig,
    folder: Path,
    *,
    bf16: bool,
    progress: bool = False,
) -> Verdict:
    """Take the class stage back unless the validation texts' decision loss fell by more than its standard error.

    Parameters
    ----------
    denoiser : Denoiser
        After the stage; its weights may be set to those before it.
    before : mapping of str to Tensor
        `trainable_weights` at the start of the stage.
    validation : TokenizedSplit
    log_prior : ndarray of shape (C,), nats
    config : TrainConfig
        Its estimator scores the texts.
    folder : Path
        Of the stage: the verdict is written there, and read where there is one of the same shrinkage.
    bf16 : bool
        As in training.
    progress : bool

    Returns
    -------
    Verdict
    """
    known = _known_verdict(folder)
    if known is not None and known["class_shrinkage"] == config.class_shrinkage:
        if not known["is_kept"]:
            _set(denoiser, before)
        return known
    options: dict[str, Any] = {"precision": "bfloat16" if bf16 else "float32", "progress": progress}
    losses_of = partial(_losses, denoiser, validation, log_prior, config, options)
    after = trainable_weights(denoiser)
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
    verdict: Verdict = {
        "loss_before": means["before"],
        "loss_after": means["after"],
        "standard_error": error,
        "is_kept": is_kept,
        "class_shrinkage": config.class_shrinkage,
    }
    write_json(folder / VERDICT, verdict)
    return verdict


def _known_verdict(folder: Path) -> Verdict | None:
    path = folder / VERDICT
    if not path.exists():
        return None
    known: Verdict = read_json(path)
    known.setdefault("class_shrinkage", 0.0)  # older ones do not tell it
    return known


def _losses(
    denoiser: Denoiser, validation: TokenizedSplit, log_prior: FloatArray, config: TrainConfig, options: dict[str, Any]
) -> FloatArray:
    """The decision's loss of each text, (N,), nats."""
    estimator = Estimator(config.estimator, config.n_steps, config.n_mc_samples, config.order)
    scores = score_texts(denoiser, validation.token_ids, estimator, seed=config.seed, **options)
    return tempered_losses(scores.samples.mean(axis=2) + log_prior, validation.labels)


def _set(denoiser: Denoiser, weights: Weights) -> None:
    for name, value in denoiser.named_parameters():
        if name in weights:
            with torch.no_grad():  # counted as a change, unlike one of `value.data`: what was derived is made anew
                value.copy_(weights[name])
