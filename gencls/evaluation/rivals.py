"""The baselines of a report: the same splits, the same tokens, the same treatment after training."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
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

logger = logging.getLogger("gencls.evaluation")
FloatArray = NDArray[np.float64]
BASELINES = ("naive_bayes", "tfidf_logistic_regression", "encoder")


@dataclass(frozen=True)
class RivalData:
    """One split for the baselines: full texts, truncated ids and class indices."""

    texts: list[str]
    ids: list[NDArray[np.int64]]
    labels: NDArray[np.int64]


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
        Gives vocabulary, backbone and training budget.
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
    n_classes = len(classifier.classes_)
    train, validation = data["train"], data["validation"]
    if name == "naive_bayes":
        model: Any = TokenNaiveBayes(classifier.denoiser_.vocab_size)
        model.fit(train.ids, train.labels, validation=(validation.ids, validation.labels))
        record: dict[str, Any] = {"alpha": model.alpha_}
    elif name == "tfidf_logistic_regression":
        model = TfidfLogisticRegression()
        model.fit(train.texts, train.labels, validation=(validation.texts, validation.labels))
        record = {"strength": model.strength_}
    else:
        model = same_budget_encoder(classifier, progress=progress).fit(train.ids, train.labels)
        record = {"steps": model.n_steps_, "tokens_seen": model.tokens_seen_}

    def predict(split: str) -> FloatArray:
        part = data[split]
        inputs = part.texts if name == "tfidf_logistic_regression" else part.ids
        return np.asarray(model.predict_log_proba(inputs), dtype=np.float64)

    uniform = np.full(n_classes, -np.log(n_classes))
    held = data["calibration"]
    lengths = {split: np.array([len(ids) for ids in data[split].ids]) for split in ("calibration", "test")}
    # floored: a zero probability would be an infinite score
    temperature = LengthTemperature()
    if len(np.unique(held.labels)) > 1:
        temperature = fit_temperature(
            np.maximum(predict("calibration"), -1e6), held.labels, lengths["calibration"], uniform
        )
    calibrated = log_posterior(np.maximum(predict("test"), -1e6), uniform, temperature.temperature(lengths["test"]))
    record |= {"seconds": time.monotonic() - start, "temperature": temperature.as_dict()}
    logger.info("baseline %s: %.0f s", name, record["seconds"])
    return calibrated, record


def same_budget_encoder(classifier: DiffusionClassifier, *, progress: bool) -> EncoderClassifier:
    """Return the discriminative rival: all layers of the backbone, as many training texts as all stages together."""
    backbone = load_backbone(classifier.backbone)
    frame, plan = backbone.frame, classifier.training_record_["plan"]
    config = classifier.train_config()
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
