"""How the causal rivals are fitted: SmolLM2 (or another) per class by adapters, one from scratch per class, zero-shot.

All of them see texts cut as the run's are: to the same number of tokens, of the same end. Tokens are those of the
rival's own tokenizer, so those of SmolLM2 reach a little further than the classifier's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gencls.baselines.causal import CausalLM, load_causal, new_causal
from gencls.baselines.causal_per_class import PerClassCausalLM
from gencls.baselines.causal_zero_shot import ZeroShotCausalLM, prompt_contexts
from gencls.classifier.estimator import DiffusionClassifier
from gencls.diffusion.tokens import tokenize
from gencls.evaluation.costs import (
    forward_flops,
    matrix_parameters,
    mean_length,
    steps_of_stages,
    trainable_parameters,
    training_flops,
)
from gencls.evaluation.rival_checkpoints import RivalCheckpoints
from gencls.evaluation.rival_data import CausalOptions, Fitted, RivalData

Data = Mapping[str, RivalData]
Ids = list[NDArray[np.int64]]
ADAPTER_RATE, SCRATCH_RATE = 5e-4, 1e-3


def fit_causal_per_class(
    classifier: DiffusionClassifier,
    data: Data,
    options: CausalOptions,
    *,
    checkpoints: RivalCheckpoints | None,
    progress: bool,
) -> Fitted:
    """One adapter per class on a pretrained causal model."""
    causal, ids_of = _pretrained(classifier, options)
    model = PerClassCausalLM(
        causal.model,
        start_id=causal.start_id,
        adapter_rank=options.adapter_rank,
        learning_rate=options.learning_rate or ADAPTER_RATE,
        **_budget(classifier, options, progress),
    )
    about = {"model": options.model, "source": causal.source}
    model.checkpoints = _place("causal_per_class", about, options, data, checkpoints)
    return _fit(model, ids_of, data, about)


def fit_causal_scratch(
    classifier: DiffusionClassifier,
    data: Data,
    options: CausalOptions,
    *,
    checkpoints: RivalCheckpoints | None,
    progress: bool,
) -> Fitted:
    """One causal model per class, of the backbone's size and over its tokens, from random weights."""
    config, frame = classifier.backbone_.config, classifier.denoiser_.frame
    start_id = frame.pad if frame.bos is None else frame.bos
    fresh = new_causal(
        classifier.denoiser_.vocab_size,
        width=config.hidden_size,
        n_layers=config.num_hidden_layers,
        n_heads=config.num_attention_heads,
        n_positions=classifier.train_config().max_length + 1,
        seed=classifier.train_config().seed,
        pad_id=frame.pad,
    )
    model = PerClassCausalLM(
        fresh.to(classifier.denoiser_.bias.device),
        start_id=start_id,
        adapter_rank=None,
        learning_rate=options.learning_rate or SCRATCH_RATE,
        **_budget(classifier, options, progress),
    )
    about = {"source": "random weights"}
    model.checkpoints = _place("causal_scratch", about, options, data, checkpoints)
    return _fit(model, lambda part: part.ids, data, about)


def fit_causal_zero_shot(
    classifier: DiffusionClassifier,
    data: Data,
    options: CausalOptions,
    *,
    checkpoints: RivalCheckpoints | None,
    progress: bool,
) -> Fitted:
    """An untrained causal model under a prompt for each class; the training texts give the prior only."""
    causal, ids_of = _pretrained(classifier, options)
    contexts = prompt_contexts([str(name) for name in classifier.classes_], causal.tokenizer, causal.start_id)
    bf16 = bool(classifier.training_record_["bf16"])
    model = ZeroShotCausalLM(causal.model, contexts=contexts, bf16=bf16, progress=progress)
    model.fit(data["train"].ids, data["train"].labels)
    n_tokens = len(contexts) * mean_length(ids_of(data["test"])) + sum(map(len, contexts))
    record = {
        "model": options.model,
        "source": causal.source,
        "train_flops": 0.0,
        "score_flops_per_text": forward_flops(matrix_parameters(causal.model), n_tokens),
    }
    return lambda part: model.predict_log_proba(ids_of(part)), record


def _pretrained(classifier: DiffusionClassifier, options: CausalOptions) -> tuple[CausalLM, Callable[[RivalData], Ids]]:
    """Return the model, on the classifier's device, and how texts become its tokens."""
    causal, config = load_causal(options.model), classifier.train_config()
    causal.model.to(classifier.denoiser_.bias.device)

    def ids_of(part: RivalData) -> Ids:
        length, side = config.max_length, config.truncation
        return tokenize(part.texts, causal.tokenizer, max_length=length, truncation=side).ids

    return causal, ids_of


def _budget(classifier: DiffusionClassifier, options: CausalOptions, progress: bool) -> dict[str, Any]:
    """Return the training's settings that the options and the run give."""
    config = classifier.train_config()
    n_texts = steps_of_stages(classifier.training_record_["plan"]) * config.batch_size
    as_many = n_texts // (options.batch_size * len(classifier.classes_))
    return {
        "n_steps": options.n_steps or max(1, as_many),
        "max_seconds": options.max_seconds,
        "batch_size": options.batch_size,
        "bf16": bool(classifier.training_record_["bf16"]),
        "random_state": config.seed,
        "progress": progress,
    }


def _place(
    name: str, about: Mapping[str, Any], options: CausalOptions, data: Data, checkpoints: RivalCheckpoints | None
) -> Path | None:
    """Return the folder of a rival's checkpoints, where any are kept."""
    if checkpoints is None:
        return None
    told = {**asdict(options), **about}
    del told["calibration_texts"]  # they train nothing
    return checkpoints.place(name, told, data["train"])


def _fit(model: PerClassCausalLM, ids_of: Callable[[RivalData], Ids], data: Data, about: Mapping[str, Any]) -> Fitted:
    """Train on all training texts; what it took, and what a test text costs under all classes."""
    model.fit(ids_of(data["train"]), data["train"].labels)
    network, n_tokens = model.select(0), sum(training.tokens_seen for training in model.trainings_)
    n_parameters = matrix_parameters(model.model)
    n_trainable = None if model.adapter_rank is None else trainable_parameters(network)
    per_text = len(model.classes_) * mean_length(ids_of(data["test"]))
    record = {
        **about,
        "steps_per_class": model.n_steps_,
        "tokens_seen": n_tokens,
        "seconds_before": sum(training.seconds_before for training in model.trainings_),
        "tokens_seen_per_class": [training.tokens_seen for training in model.trainings_],
        "train_flops": training_flops(n_parameters, n_tokens, n_trainable=n_trainable),
        "score_flops_per_text": forward_flops(n_parameters, per_text),
    }
    return lambda part: model.predict_log_proba(ids_of(part)), record
