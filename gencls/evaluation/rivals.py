"""The baselines of a report: the same splits, the same tokens, the same treatment after training."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gencls.baselines.encoder import EncoderClassifier
from gencls.baselines.finetuning import Budget
from gencls.baselines.naive_bayes import TokenNaiveBayes
from gencls.baselines.tfidf import TfidfLogisticRegression
from gencls.classifier.bayes import log_posterior
from gencls.classifier.calibration import LengthTemperature, fit_temperature
from gencls.classifier.estimator import DiffusionClassifier
from gencls.data.errors import nearest, three_parts
from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.pairs import pair_scores
from gencls.diffusion.statistics import ClassStatistics

logger = logging.getLogger("gencls.evaluation")
FloatArray = NDArray[np.float64]
BASELINES = ("naive_bayes", "naive_bayes_pairs", "tfidf_logistic_regression", "encoder")


@dataclass(frozen=True)
class RivalData:
    """One split for the baselines: full texts, truncated ids and class indices."""

    texts: list[str]
    ids: list[NDArray[np.int64]]
    labels: NDArray[np.int64]


#: A way to predict log P(class | text), (N, C), and what was chosen on the way.
Fitted = tuple[Callable[[RivalData], FloatArray], dict[str, Any]]


def check_baselines(names: Sequence[str]) -> None:
    """Raise a ValueError on a name that is no baseline."""
    for name in names:
        if name not in BASELINES:
            raise ValueError(
                three_parts(f"baselines out of {BASELINES}", repr(name), f"Use {nearest(name, BASELINES)}.")
            )


def fit_baseline(
    name: str, classifier: DiffusionClassifier, data: Mapping[str, RivalData], *, progress: bool = False
) -> tuple[FloatArray, dict[str, Any]]:
    """Fit one baseline on train, choose on validation, calibrate on calibration, predict test.

    Parameters
    ----------
    name : str
        One of `BASELINES`.
    classifier : DiffusionClassifier
        Gives vocabulary, backbone, priors and training budget.
    data : mapping of str to RivalData
        ``train``, ``validation``, ``calibration``, ``test``.
    progress : bool

    Returns
    -------
    log_proba : ndarray of shape (N, C), nats
        Calibrated, on the test texts.
    record : dict
        ``seconds`` and what was chosen.
    """
    start = time.monotonic()
    predict, record = _FITTERS[name](classifier, data, progress)
    # what the texts say, without the training prior: the prior is then the classifier's own for every model
    class_count = np.bincount(data["train"].labels, minlength=len(classifier.classes_))
    evidence = {
        # floored: a zero probability would be an infinite score
        split: np.maximum(predict(data[split]), -1e6) - np.log(class_count / class_count.sum())
        for split in ("calibration", "test")
    }
    lengths = {split: np.array([len(ids) for ids in data[split].ids]) for split in evidence}
    held, log_prior = data["calibration"].labels, classifier.log_prior_
    temperature = LengthTemperature()
    if len(np.unique(held)) > 1:
        temperature = fit_temperature(evidence["calibration"], held, lengths["calibration"], log_prior)
    calibrated = log_posterior(evidence["test"], log_prior, temperature.temperature(lengths["test"]))
    record |= {"seconds": time.monotonic() - start, "temperature": temperature.as_dict()}
    logger.info("baseline %s: %.0f s", name, record["seconds"])
    return calibrated, record


def _naive_bayes(classifier: DiffusionClassifier, data: Mapping[str, RivalData], progress: bool) -> Fitted:
    train, validation = data["train"], data["validation"]
    model = TokenNaiveBayes(classifier.denoiser_.vocab_size)
    model.fit(train.ids, train.labels, validation=(validation.ids, validation.labels))
    return lambda part: model.predict_log_proba(part.ids), {"alpha": model.alpha_}


def _naive_bayes_pairs(classifier: DiffusionClassifier, data: Mapping[str, RivalData], progress: bool) -> Fitted:
    """The classifier's own count tables, of tokens and of neighbouring pairs, without the network."""
    train, validation = data["train"], data["validation"]
    n_classes, config = len(classifier.classes_), classifier.train_config()
    folds = np.zeros_like(train.labels)
    statistics = ClassStatistics.from_texts(train.ids, train.labels, folds, n_classes, classifier.denoiser_.vocab_size)
    chosen = statistics.choose_smoothing(
        validation.ids, validation.labels, unigram=config.smoothing, pair=config.pair_smoothing
    )
    table = statistics.table(**chosen)
    log_prior = np.log(np.bincount(train.labels, minlength=n_classes) / len(train.labels))

    def predict(part: RivalData) -> FloatArray:
        tokens = np.stack([table.deviations[:, ids].sum(axis=1) for ids in part.ids])
        scores = tokens + pair_scores(statistics.pairs, table.pair_deviations, part.ids)
        return log_posterior(scores, log_prior)

    return predict, dict(chosen)


def _tfidf(classifier: DiffusionClassifier, data: Mapping[str, RivalData], progress: bool) -> Fitted:
    train, validation = data["train"], data["validation"]
    model = TfidfLogisticRegression()
    model.fit(train.texts, train.labels, validation=(validation.texts, validation.labels))
    return lambda part: model.predict_log_proba(part.texts), {"strength": model.strength_}


def _encoder(classifier: DiffusionClassifier, data: Mapping[str, RivalData], progress: bool) -> Fitted:
    model = same_budget_encoder(classifier, progress=progress).fit(data["train"].ids, data["train"].labels)
    record = {"steps": model.n_steps_, "tokens_seen": model.tokens_seen_}
    return lambda part: model.predict_log_proba(part.ids), record


_FITTERS: dict[str, Callable[[DiffusionClassifier, Mapping[str, RivalData], bool], Fitted]] = {
    "naive_bayes": _naive_bayes,
    "naive_bayes_pairs": _naive_bayes_pairs,
    "tfidf_logistic_regression": _tfidf,
    "encoder": _encoder,
}


def same_budget_encoder(classifier: DiffusionClassifier, *, progress: bool) -> EncoderClassifier:
    """Return the discriminative rival: all layers of the backbone, as many training texts as all stages together."""
    backbone = load_backbone(classifier.backbone)
    frame, plan = backbone.frame, classifier.training_record_["plan"]
    config = classifier.train_config()
    for place, module in backbone.encoder.named_modules():
        if isinstance(module, torch.nn.Dropout) and "attention.self" in place:
            module.p = 0.0  # drawing (B, heads, L, L) random numbers is a third of its time on a CPU
    return EncoderClassifier(
        backbone.encoder.to(classifier.denoiser_.bias.device),
        cls_id=frame.bos,
        sep_id=frame.eos,
        pad_id=frame.pad,
        budget=Budget(max_steps=max(plan["adapt_steps"] + plan["class_steps"], 1)),
        batch_size=config.batch_size,
        bf16=bool(classifier.training_record_["bf16"]),
        random_state=config.seed,
        progress=progress,
    )
