"""All classes of a data set: adapt the backbone to the domain, then train the classes with equal budgets."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gencls.diffusion.conditioning import ConditioningConfig, Independent, Prompt
from gencls.diffusion.denoiser import Denoiser
from gencls.diffusion.parts import Backbone
from gencls.diffusion.shrinkage import credibility, shrink_classes
from gencls.likelihood.rows import check_lengths, row_limit
from gencls.training.adaptation import adapt, fit_head, freeze_embeddings, learning_rates
from gencls.training.class_tables import check_embeddings, check_validation, set_statistics, set_tables, tables_of
from gencls.training.class_verdict import keep_if_better, trainable_weights
from gencls.training.config import TrainConfig
from gencls.training.examples import (
    ScheduledExamples,
    TokenizedSplit,
    TrainingTexts,
    balanced_schedule,
    token_budget,
    training_texts,
    uniform_schedule,
)
from gencls.training.loop import run_stage, stage_folder
from gencls.training.plan import (
    CLASS_SHARE,
    choose_bf16,
    collator,
    kept_plan,
    make_plan,
    seconds_of,
    texts_digest,
    training_identity,
)
from gencls.training.rivals import Rivals
from gencls.training.seeds import private_seeds
from gencls.training.unlabelled import UnlabelledTexts, transduced

logger = logging.getLogger("gencls.training")


@dataclass
class TrainingResult:
    """A trained denoiser and the record of its training (plain JSON data).

    `transduction` are the classes that the unlabelled texts were given, (N,) int64; None without such texts.
    """

    denoiser: Denoiser
    record: dict[str, Any] = field(default_factory=dict)
    transduction: NDArray[np.int64] | None = None


@private_seeds()
def train_denoiser(
    backbone: Backbone,
    train: TokenizedSplit,
    validation: TokenizedSplit,
    label_names: Sequence[str],
    config: TrainConfig,
    folder: Path,
    *,
    unlabelled: UnlabelledTexts | None = None,
    device: torch.device | None = None,
    time_budget: float | None = None,
    progress: bool = False,
    on_step: Callable[[int], None] | None = None,
) -> TrainingResult:
    """Train one denoiser for all classes; the same call with the same folder resumes a killed run.

    Parameters
    ----------
    backbone : Backbone
    train, validation : TokenizedSplit
        The validation texts, and the training texts cross-fitted, choose the smoothing of the class tables; see
        `gencls.training.class_tables.fit_statistics`.
    label_names : sequence of C str
    config : TrainConfig
    folder : Path
        Run folder: checkpoints, log and plan are written there.
    unlabelled : UnlabelledTexts, optional
        Get their classes from the counts of `train`, and are training texts like those from there on; see
        `gencls.training.unlabelled`.
    device : torch.device, optional
    time_budget : float, optional
        Minutes for both stages; fewer steps are planned if the configured ones do not fit.
    progress : bool
    on_step : callable, optional
        Called with the step number after every optimiser step.

    Returns
    -------
    TrainingResult

    Raises
    ------
    ValueError
        If a class has no training text with a token, there is no validation text, or the folder holds another
        training, one with other validation texts, or one of a version that chose the smoothing otherwise.
    """
    start = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    texts = training_texts(train, len(label_names), config)
    check_validation(validation)
    check_embeddings(backbone, config)
    torch.manual_seed(config.seed)
    denoiser = Denoiser(backbone, len(label_names), conditioning_of(config))
    transduction = None
    if unlabelled is not None:
        transduction = transduced(denoiser, texts, validation, unlabelled, config)
        joined = training_texts(unlabelled.joined_to(train, transduction), len(label_names), config)
        texts = replace(joined, has_found_labels=True)
    identity = training_identity(texts, label_names, config)
    validation_digest = texts_digest(validation.token_ids, validation.labels)
    old_plan = kept_plan(folder, identity, validation_digest)
    check_lengths(texts.token_ids, denoiser.frame, row_limit(denoiser))
    denoiser.to(device or torch.device("cpu"))
    bf16 = choose_bf16(old_plan, config, denoiser.bias.device)
    smoothing = set_statistics(denoiser, backbone, texts, validation, config, chosen=old_plan.get("smoothing"))
    head_gain = fit_head(denoiser, texts.token_ids, config, bf16=bf16) if backbone.can_fit_head else 0.0
    stages = _stages(texts, config, _rivals(denoiser, texts, config))
    kept: dict[str, Any] = {"bf16": bf16, "identity": identity, "validation": validation_digest, "smoothing": smoothing}
    plan = make_plan(stages, denoiser, config, folder, time_budget, **kept)
    stage_options = {
        "bf16": bf16,
        "checkpoint_steps": config.checkpoint_steps,
        "progress": progress,
        "on_step": on_step,
    }
    tables = tables_of(denoiser) if config.counts_beside else None
    adapted = adapt(denoiser, stages["adapt"], plan, config, folder, stage_options)
    _start_classes(denoiser, backbone, label_names, config)
    classes = _train_classes(denoiser, stages["classes"], validation, plan, config, folder, stage_options)
    if tables is not None:
        set_tables(denoiser, tables)
    denoiser.use_training_tables(None, None)
    denoiser.eval()
    record = {
        "adapt": adapted,
        "classes": classes,
        "plan": plan,
        "class_budget": token_budget(stages["classes"].first(plan["class_steps"] * config.batch_size)),
        "smoothing": smoothing,
        "head_gain_nats": head_gain,
        "bf16": bf16,
        "seconds": max(time.monotonic() - start, adapted["seconds"] + classes["seconds"]),
        "parameters": sum(value.numel() for value in denoiser.parameters()),
    }
    if transduction is not None:
        record["unlabelled"] = np.bincount(transduction, minlength=len(label_names)).tolist()
    return TrainingResult(denoiser, record, transduction)


def conditioning_of(config: TrainConfig) -> ConditioningConfig:
    """Return the options of the class conditioning."""
    return ConditioningConfig(config.mode, config.rank, config.n_prompt_tokens, config.adapter_layers)


def _rivals(denoiser: Denoiser, texts: TrainingTexts, config: TrainConfig) -> Rivals | None:
    """The classes that the decision is trained against, where it is not against all of them."""
    if config.hybrid_classes is None or config.hybrid_classes >= texts.n_classes:
        return None
    return Rivals.of(denoiser.count_scores(texts.token_ids), texts.labels, config.hybrid_classes)


def _stages(texts: TrainingTexts, config: TrainConfig, rivals: Rivals | None) -> dict[str, ScheduledExamples]:
    generator = np.random.default_rng([config.seed, 3])
    adapt = uniform_schedule(len(texts.labels), config.adapt_steps * config.batch_size, generator=generator)
    classes = balanced_schedule(texts.labels, config.class_steps * config.batch_size, generator=generator)
    dropout = config.class_dropout if config.mode in {"conditional", "prompt"} else 0.0
    return {
        "adapt": ScheduledExamples(texts, adapt, class_dropout=1.0, seed=config.seed * 2 + 1),
        "classes": ScheduledExamples(texts, classes, class_dropout=dropout, seed=config.seed * 2 + 2, rivals=rivals),
    }


def _train_classes(
    denoiser: Denoiser,
    examples: ScheduledExamples,
    validation: TokenizedSplit,
    plan: dict[str, Any],
    config: TrainConfig,
    folder: Path,
    options: Any,
) -> dict[str, Any]:
    """Train the class stage; returns its record, with the ``verdict`` of the validation texts if they are asked."""
    before = trainable_weights(denoiser) if config.class_steps_must_help else {}
    record: dict[str, Any] = run_stage(
        "classes",
        denoiser,
        examples.first(plan["class_steps"] * config.batch_size),
        collator(denoiser, config.class_level_low, config),
        folder,
        batch_size=config.batch_size,
        learning_rates=learning_rates(config, config.shared_learning_rate_scale),
        hybrid_weight=config.hybrid_weight,
        max_seconds=seconds_of(plan, CLASS_SHARE),
        **options,
    )
    if config.class_shrinkage:
        n_texts = torch.from_numpy(examples.texts.class_sizes)
        shrink_classes(denoiser.network, credibility(n_texts, config.class_shrinkage))
    if config.class_steps_must_help and record["steps"]:
        asked = (denoiser, before, validation, examples.texts.log_prior, config, stage_folder(folder, "classes"))
        record["verdict"] = keep_if_better(*asked, bf16=options["bf16"], progress=options["progress"])
    return record


def _start_classes(denoiser: Denoiser, backbone: Backbone, label_names: Sequence[str], config: TrainConfig) -> None:
    """Set the class parts to what they start from, and say what their stage trains."""
    network = denoiser.network
    if isinstance(network, Independent):
        network.start_classes()
    if isinstance(network, Prompt):
        tokenizer = backbone.tokenizer
        network.start_from_words([tokenizer(name, add_special_tokens=False)["input_ids"] for name in label_names])
    _train_only_class_parts(denoiser, config)
    if config.counts_beside:
        denoiser.close_gate()
        denoiser.use_training_tables(None, None)  # they would add nothing


def _train_only_class_parts(denoiser: Denoiser, config: TrainConfig) -> None:
    """The class stage trains what its mode says: copies, adapters, or everything."""
    class_names = denoiser.class_parameter_names()
    shares_network = config.mode in {"conditional", "prompt"}
    for name, value in denoiser.named_parameters():
        value.requires_grad_(name in class_names or shares_network)
    freeze_embeddings(denoiser, config)
