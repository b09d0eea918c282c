"""How each rival without a causal model is fitted: counts, linear models, and the fine-tuned encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from gencls.baselines.encoder import RECIPE, EncoderClassifier
from gencls.baselines.finetuning import Budget
from gencls.baselines.naive_bayes import TokenNaiveBayes, WordNaiveBayes
from gencls.baselines.nb_svm import NbSvm
from gencls.baselines.tfidf import TfidfLogisticRegression
from gencls.classifier.bayes import log_posterior
from gencls.classifier.estimator import DiffusionClassifier
from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.bidirectional import stay_in_place
from gencls.diffusion.scratch import scratch_model, size_of
from gencls.evaluation.costs import (
    forward_flops,
    linear_flops,
    matrix_parameters,
    mean_features,
    mean_length,
    steps_of_stages,
    training_flops,
)
from gencls.evaluation.rival_checkpoints import RivalCheckpoints
from gencls.evaluation.rival_data import Fitted, RivalData
from gencls.likelihood.store import scorer_fingerprint

Data = Mapping[str, RivalData]


def fit_token_naive_bayes(classifier: DiffusionClassifier, data: Data) -> Fitted:
    """Naive Bayes on the classifier's tokens."""
    train, validation = data["train"], data["validation"]
    model = TokenNaiveBayes(classifier.denoiser_.vocab_size)
    model.fit(train.ids, train.labels, validation=(validation.ids, validation.labels))
    costs = _count_costs(mean_length(train.ids), len(train.ids), len(classifier.classes_))
    return lambda part: model.predict_log_proba(part.ids), {"alpha": model.alpha_, **costs}


def fit_pair_tables(classifier: DiffusionClassifier, data: Data) -> Fitted:
    """The classifier's own count tables without the network."""
    train, n_classes = data["train"], len(classifier.classes_)
    log_prior = np.log(np.bincount(train.labels, minlength=n_classes) / len(train.labels))
    smoothing, unlabelled = (classifier.training_record_.get(name, {}) for name in ("smoothing", "unlabelled"))
    known = classifier.denoiser_.pairs
    n_tables = 1 + bool(len(known.keys)) + bool(len(known.triple_keys))  # a token, a pair and a triple that end there
    costs = _count_costs(n_tables * mean_length(train.ids), len(train.ids) + sum(unlabelled), n_classes)
    n_looked_up = n_tables * mean_length(data["test"].scored_by(classifier))
    costs |= {"score_flops_per_text": linear_flops(n_looked_up, n_classes)}
    return lambda part: log_posterior(classifier.denoiser_.count_scores(part.scored_by(classifier)), log_prior), {
        **smoothing,
        **costs,
    }


def fit_word_naive_bayes(longest: int, classifier: DiffusionClassifier, data: Data) -> Fitted:
    """Naive Bayes on the words of the full text, and on pairs of words too if `longest` is 2."""
    train, validation = data["train"], data["validation"]
    model = WordNaiveBayes(longest=longest)
    model.fit(train.texts, train.labels, validation=(validation.texts, validation.labels))
    n_features = mean_features(model.vectorizer_, train.texts)
    costs = _count_costs(n_features, len(train.texts), len(classifier.classes_))
    return lambda part: model.predict_log_proba(part.texts), {"alpha": model.alpha_, **costs}


def fit_nb_svm(classifier: DiffusionClassifier, data: Data) -> Fitted:
    """NB-SVM on the full text."""
    train, validation = data["train"], data["validation"]
    model = NbSvm().fit(train.texts, train.labels, validation=(validation.texts, validation.labels))
    n_features = mean_features(model.vectorizer_, train.texts)
    n_outputs = len(model.margins_.weights)
    costs = _linear_costs(n_features, len(train.texts), n_outputs, model.margins_.n_iterations / n_outputs)
    chosen = {"strength": model.strength_, "interpolation": model.interpolation_}
    return lambda part: model.predict_log_proba(part.texts), {**chosen, **costs}


def fit_tfidf(classifier: DiffusionClassifier, data: Data) -> Fitted:
    """TF-IDF with logistic regression on the full text."""
    train, validation = data["train"], data["validation"]
    model = TfidfLogisticRegression()
    model.fit(train.texts, train.labels, validation=(validation.texts, validation.labels))
    n_features = mean_features(model.vectorizer_, train.texts)
    costs = _linear_costs(n_features, len(train.texts), len(model.model_.coef_), float(model.model_.n_iter_.mean()))
    return lambda part: model.predict_log_proba(part.texts), {"strength": model.strength_, **costs}


def fit_encoder(
    classifier: DiffusionClassifier,
    data: Data,
    *,
    n_steps: int | None = None,
    checkpoints: RivalCheckpoints | None,
    progress: bool,
) -> Fitted:
    """The same backbone, fine-tuned to discriminate."""
    model, train = rival_encoder(classifier, n_steps=n_steps, progress=progress), data["train"]
    if checkpoints is not None:
        model.checkpoints = checkpoints.place("encoder", _decisive(model), train)
    model.fit(train.ids, train.labels)
    n_parameters = matrix_parameters(model.network_)
    record = {
        "steps": model.n_steps_,
        "learning_rate": model.learning_rate,
        "n_layers": getattr(model.encoder.config, "num_hidden_layers", None),
        "tokens_seen": model.tokens_seen_,
        "seconds_before": model.seconds_before_,
        "train_flops": training_flops(n_parameters, model.tokens_seen_),
        "score_flops_per_text": forward_flops(n_parameters, mean_length(data["test"].ids)),
    }
    return lambda part: model.predict_log_proba(part.ids), record


def _decisive(model: EncoderClassifier) -> dict[str, Any]:
    """What decides an encoder's weights, beside the texts: what it starts from and how it trains."""
    options = ("learning_rate", "warmup", "batch_size", "bf16", "random_state")
    settings = {name: getattr(model, name) for name in options}
    return {
        "recipe": RECIPE,
        "start": scorer_fingerprint(model.encoder),
        "max_steps": model.budget.max_steps,
        **settings,
    }


def default_encoder_steps(plan: Mapping[str, Any]) -> int:
    """Return the steps of an encoder that has none of its own: as `steps_of_stages`, at least 1."""
    return max(steps_of_stages(plan), 1)


def rival_encoder(
    classifier: DiffusionClassifier, *, n_steps: int | None = None, progress: bool = False
) -> EncoderClassifier:
    """Return the discriminative rival: all layers of the backbone, and by default as many steps as all stages have.

    Random weights bear larger steps than pretrained ones: they train at the rate that the classifier's have.
    """
    encoder, frame, config = _fresh_encoder(classifier), classifier.backbone_.frame, classifier.train_config()
    n_steps = n_steps or default_encoder_steps(classifier.training_record_["plan"])
    _keep_attention(encoder)
    own_rate: dict[str, Any] = {"learning_rate": config.learning_rate} if size_of(classifier.backbone) else {}
    return EncoderClassifier(
        encoder.to(classifier.denoiser_.bias.device),
        cls_id=frame.bos,
        sep_id=frame.eos,
        pad_id=frame.pad,
        # steps alone: passes would be a limit that the classifier's stages do not have, and few texts would starve it
        budget=Budget(max_epochs=float(n_steps), max_steps=n_steps),
        **own_rate,
        batch_size=config.batch_size,
        bf16=bool(classifier.training_record_["bf16"]),
        random_state=config.seed,
        progress=progress,
    )


def _keep_attention(encoder: torch.nn.Module) -> None:
    """Set the dropout of attention weights to zero: (B, heads, L, L) random numbers are a third of a step on a CPU."""
    for module in encoder.modules():
        if type(module).__name__.endswith("SelfAttention"):  # as in BERT, MPNet and their like
            for own in module.children():
                if isinstance(own, torch.nn.Dropout):
                    own.p = 0.0


def _fresh_encoder(classifier: DiffusionClassifier) -> torch.nn.Module:
    """The backbone's encoder before any training; over the classifier's own vocabulary, where that is of its texts."""
    if size := size_of(classifier.backbone):
        encoder: torch.nn.Module = scratch_model(classifier.tokenizer_, *size).base_model
        return encoder
    return stay_in_place(load_backbone(classifier.backbone, trimmed=classifier.tokenizer_).encoder)


def _count_costs(n_features: float, n_texts: int, n_classes: int) -> dict[str, Any]:
    """Costs of counting: one addition for each feature of a training text."""
    return {"train_flops": n_features * n_texts, "score_flops_per_text": linear_flops(n_features, n_classes)}


def _linear_costs(n_features: float, n_texts: int, n_outputs: int, n_iterations: float) -> dict[str, Any]:
    """Costs of a linear model: each iteration multiplies by the features twice, for the value and for the gradient.

    For the chosen setting only, and a lower bound: what a step's line search or inner solver adds is not known.
    """
    once = linear_flops(n_features, n_outputs)
    return {"train_flops": 2 * once * n_texts * n_iterations, "score_flops_per_text": once}
