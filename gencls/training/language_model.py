"""A class-free masked-diffusion language model: the class-free stage of the classifier, on any texts, and no more."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gencls.data.errors import three_parts
from gencls.diffusion.associations import set_associations
from gencls.diffusion.denoiser import Denoiser
from gencls.diffusion.language_model import LanguageModel, class_free_denoiser
from gencls.diffusion.parts import Backbone
from gencls.diffusion.unigram import assign_folds, class_counts, log_frequencies
from gencls.likelihood.rows import check_lengths, row_limit
from gencls.training.adaptation import adapt, fit_head
from gencls.training.config import TrainConfig
from gencls.training.examples import ScheduledExamples, TrainingTexts, uniform_schedule
from gencls.training.plan import choose_bf16, kept_plan, make_plan, training_identity
from gencls.training.presets import preset_of
from gencls.training.seeds import private_seeds
from gencls.training.streaming import StreamedTexts

IntArray = NDArray[np.int64]
#: Added to every count of the word frequencies, which are only a start: training goes on from them.
SMOOTHING = 1.0

#: Every level from one hidden token to all; half of the examples with a prefix.
PRESETS = {
    "quick": TrainConfig(
        backbone_layers=4,
        truncation="head",
        max_length=64,
        adapt_steps=250,
        class_steps=0,
        batch_size=32,
        n_scored=24,
        adapt_level_low=0.0,
        prefix_share=0.5,
        # lower than the classifier's, whose first steps undo what the fitted head knows
        learning_rate=3e-4,
        head_learning_rate=3e-4,
    ),
    "full": TrainConfig(
        truncation="head",
        max_length=256,
        adapt_steps=100_000,
        class_steps=0,
        batch_size=64,
        n_scored=64,
        adapt_level_low=0.0,
        prefix_share=0.5,
        learning_rate=3e-4,
        freeze_embeddings=False,
        checkpoint_steps=1000,
    ),
}


def language_model_preset(name: str, **changes: object) -> TrainConfig:
    """Return a preset of `train_language_model` with changes; ValueError if there is none of that name."""
    return preset_of(PRESETS, name, **changes)


@private_seeds()
def train_language_model(
    backbone: Backbone,
    token_ids: Sequence[IntArray],
    config: TrainConfig,
    folder: Path,
    *,
    folds: IntArray | None = None,
    device: torch.device | None = None,
    time_budget: float | None = None,
    progress: bool = False,
    on_step: Callable[[int], None] | None = None,
) -> LanguageModel:
    """Train on texts without labels; the same call with the same folder resumes a killed run.

    Parameters
    ----------
    backbone : Backbone
    token_ids : sequence of ndarray of shape (L,), int64
        Texts or windows of them (`gencls.diffusion.windows`); `StreamedTexts` are visited in their order.
    config : TrainConfig
        Its `adapt_steps` and the options beside it; nothing of the classes is used.
    folder : Path
        Checkpoints, log and plan are written there.
    folds : ndarray of shape (N,), int64, optional
        Fold of each text in the counts of neighbours, where windows of one text must share one; drawn if not given.
    device : torch.device, optional
    time_budget : float, optional
        Minutes; fewer steps are planned if the configured ones do not fit.
    progress : bool
    on_step : callable, optional
        Called with the step number after every optimiser step.

    Returns
    -------
    LanguageModel

    Raises
    ------
    ValueError
        If no text has a token, a text does not fit in a row, or the folder holds another training.
    """
    start = time.monotonic()
    texts = _classless_texts(token_ids, config, folds)
    front = _front(texts.token_ids)
    identity = training_identity(TrainingTexts(front, texts.labels[: len(front)], texts.folds, 0), (), config)
    old_plan = kept_plan(folder, identity)
    torch.manual_seed(config.seed)
    denoiser = class_free_denoiser(backbone)
    check_lengths(front, denoiser.frame, row_limit(denoiser))
    folder.mkdir(parents=True, exist_ok=True)
    denoiser.to(device or torch.device("cpu"))
    bf16 = choose_bf16(old_plan, config, denoiser.bias.device)
    unigram_nats = _set_unigram(denoiser, backbone, front)
    if config.neighbour_smoothing is not None:
        set_associations(denoiser, front, texts.folds[: len(front)], config.neighbour_smoothing)
    head_gain = fit_head(denoiser, front, config, bf16=bf16) if backbone.can_fit_head else 0.0
    stages = {"adapt": _examples(texts, config)}
    plan = make_plan(stages, denoiser, config, folder, time_budget, bf16=bf16, identity=identity)
    options = {"checkpoint_steps": config.checkpoint_steps, "progress": progress, "on_step": on_step}
    adapted = adapt(denoiser, stages["adapt"], plan, config, folder, {"bf16": bf16, **options})
    denoiser.use_training_tables(None, None)
    denoiser.eval()
    record = {
        "config": config.as_dict(),
        "adapt": adapted,
        "plan": plan,
        "unigram_nats_per_token": unigram_nats,
        "head_gain_nats": head_gain,
        "bf16": bf16,
        "seconds": max(time.monotonic() - start, adapted["seconds"]),
        "parameters": sum(value.numel() for value in denoiser.parameters()),
    }
    return LanguageModel(denoiser, backbone, record=record)


def _classless_texts(token_ids: Sequence[IntArray], config: TrainConfig, folds: IntArray | None) -> TrainingTexts:
    """The texts with tokens, of no class; in folds where their neighbours are counted."""
    kept = token_ids if isinstance(token_ids, StreamedTexts) else [ids for ids in token_ids if len(ids)]
    if not len(kept):
        raise ValueError(three_parts("training texts with tokens", "none", "Give another corpus."))
    nothing = np.zeros(len(kept), dtype=np.int64)
    if config.neighbour_smoothing is None:
        return TrainingTexts(kept, nothing, nothing, 0)
    if isinstance(kept, StreamedTexts):
        todo = "Read them into memory, or leave neighbour_smoothing out."
        raise ValueError(three_parts("texts in memory, whose neighbours can be counted", "a stream", todo))
    if folds is None:
        folds = assign_folds(kept, config.n_folds, generator=np.random.default_rng([config.seed, 1]))
    elif len(folds) != len(kept):
        got = f"{len(folds)} folds for {len(kept)} texts with tokens"
        raise ValueError(three_parts("a fold for each text with tokens", got, "Leave empty texts out."))
    return TrainingTexts(kept, nothing, folds, 0)


def _front(token_ids: Sequence[IntArray]) -> list[IntArray]:
    """The texts that are at hand: all, or the first ones of a stream."""
    return token_ids.front if isinstance(token_ids, StreamedTexts) else list(token_ids)


def _set_unigram(denoiser: Denoiser, backbone: Backbone, texts: Sequence[IntArray]) -> float:
    """Start a head without pretraining at the word frequencies; return their nats per token on the same texts."""
    counts = class_counts(texts, np.zeros(len(texts), dtype=np.int64), 1, denoiser.vocab_size)[0]
    log_probs = log_frequencies(counts, SMOOTHING)
    if not backbone.has_trained_output:
        denoiser.set_unigram(torch.from_numpy(log_probs).float(), denoiser.class_bias[:0])
    return -float(counts @ log_probs / counts.sum())


def _examples(texts: TrainingTexts, config: TrainConfig) -> ScheduledExamples:
    """Each text once before any is visited again; a stream in its own order."""
    n_examples = config.adapt_steps * config.batch_size
    schedule = np.arange(n_examples, dtype=np.int64) % len(texts.token_ids)
    if not isinstance(texts.token_ids, StreamedTexts):
        generator = np.random.default_rng([config.seed, 3])
        schedule = uniform_schedule(len(texts.token_ids), n_examples, generator=generator)
    return ScheduledExamples(texts, schedule, class_dropout=1.0, seed=config.seed * 2 + 1)
