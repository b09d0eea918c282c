"""The class-free stage: a backbone learns the language of a domain. It is all the training of a language model."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gencls.diffusion.denoiser import Denoiser
from gencls.training.config import TrainConfig
from gencls.training.examples import ScheduledExamples
from gencls.training.head import fit_linear_head
from gencls.training.loop import run_stage
from gencls.training.plan import adapt_share, collator, seconds_of

logger = logging.getLogger("gencls.training")
HEAD_TEXTS = 1200


def fit_head(denoiser: Denoiser, token_ids: Sequence[NDArray[np.int64]], config: TrainConfig, *, bf16: bool) -> float:
    """Fit the head of a backbone that brings none; return its gain over the unigram, nats per token."""
    generator = np.random.default_rng([config.seed, 2])
    chosen = generator.permutation(len(token_ids))[:HEAD_TEXTS]
    device = denoiser.bias.device.type
    gain = fit_linear_head(
        denoiser,
        [token_ids[place] for place in chosen],
        generator=generator,
        batch_size=config.batch_size,
        autocast=lambda: torch.autocast(device, torch.bfloat16, enabled=bf16),
    )
    logger.info("head: %.3f nats per token under the unigram before any training step", gain)
    return gain


def adapt(
    denoiser: Denoiser,
    examples: ScheduledExamples,
    plan: dict[str, Any],
    config: TrainConfig,
    folder: Path,
    options: dict[str, Any],
) -> dict[str, float]:
    """Train encoder, head and class-free bias; returns the facts of `run_stage`, which takes `options` too."""
    _train_only_shared(denoiser, config)
    return run_stage(
        "adapt",
        denoiser,
        examples.first(plan["adapt_steps"] * config.batch_size),
        collator(denoiser, config.adapt_level_low, config),
        folder,
        batch_size=config.batch_size,
        learning_rates=learning_rates(config, 1.0),
        hybrid_weight=0.0,
        max_seconds=seconds_of(plan, adapt_share(config)),
        **options,
    )


def learning_rates(config: TrainConfig, scale: float) -> dict[str, float]:
    """Return the learning rates of `Denoiser.parameter_groups`, the shared ones scaled."""
    return {
        "learning_rate": config.learning_rate * scale,
        "head_learning_rate": config.head_learning_rate * scale,
        "class_learning_rate": config.class_learning_rate,
    }


def _train_only_shared(denoiser: Denoiser, config: TrainConfig) -> None:
    class_names = denoiser.class_parameter_names()
    if len(denoiser.pairs.values) > denoiser.n_classes:
        class_names -= {"gate.weight", "gate.bias"}  # of the neighbours' table that the class-free model has
    for name, value in denoiser.named_parameters():
        value.requires_grad_(name not in class_names)
    freeze_embeddings(denoiser, config)


def freeze_embeddings(denoiser: Denoiser, config: TrainConfig) -> None:
    """Keep the word embeddings as they are, if the config says so."""
    if config.freeze_embeddings:
        denoiser.projection.requires_grad_(False)
        for name, value in denoiser.named_parameters():
            if "word_embeddings" in name or "tok_embeddings" in name:
                value.requires_grad_(False)
