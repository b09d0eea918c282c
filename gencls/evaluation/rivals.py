"""The baselines of a report: the same splits, the same tokens, the same treatment after training."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gencls.baselines.causal import check_causal_name
from gencls.classifier.calibration import fit_temperature
from gencls.classifier.estimator import DiffusionClassifier
from gencls.classifier.temperature import LengthTemperature
from gencls.data.errors import nearest, three_parts
from gencls.evaluation.rival_causal import fit_causal_per_class, fit_causal_scratch, fit_causal_zero_shot
from gencls.evaluation.rival_checkpoints import RivalCheckpoints
from gencls.evaluation.rival_data import CausalOptions, Fitted, FloatArray, RivalData
from gencls.evaluation.rival_fits import (
    fit_encoder,
    fit_nb_svm,
    fit_pair_tables,
    fit_tfidf,
    fit_token_naive_bayes,
    fit_word_naive_bayes,
)
from gencls.reporting.evaluation import OWN_TABLES

logger = logging.getLogger("gencls.evaluation")
#: What a report has unless others are asked for.
BASELINES = ("naive_bayes", OWN_TABLES, "tfidf_logistic_regression", "encoder")
_COUNTS_AND_LINEAR: dict[str, Callable[[DiffusionClassifier, Mapping[str, RivalData]], Fitted]] = {
    "naive_bayes": fit_token_naive_bayes,
    OWN_TABLES: fit_pair_tables,
    "naive_bayes_words": partial(fit_word_naive_bayes, 1),
    "naive_bayes_bigrams": partial(fit_word_naive_bayes, 2),
    "nb_svm": fit_nb_svm,
    "tfidf_logistic_regression": fit_tfidf,
}
#: Rivals that read the full text: its length in characters is what their temperature depends on.
FULL_TEXT = ("naive_bayes_words", "naive_bayes_bigrams", "nb_svm", "tfidf_logistic_regression")
#: Slow on a CPU: their training and the number of texts that are scored have budgets of their own.
_CAUSAL = {
    "causal_per_class": fit_causal_per_class,
    "causal_scratch": fit_causal_scratch,
    "causal_zero_shot": fit_causal_zero_shot,
}
_PRETRAINED_CAUSAL = ("causal_per_class", "causal_zero_shot")
ALL_BASELINES = (*_COUNTS_AND_LINEAR, "encoder", *_CAUSAL)


def check_baselines(names: Sequence[str], causal: CausalOptions = CausalOptions()) -> None:  # noqa: B008  (frozen)
    """Raise a ValueError on a name that is no baseline, or a causal model that is out of reach."""
    for name in names:
        if name not in ALL_BASELINES:
            raise ValueError(
                three_parts(f"baselines out of {ALL_BASELINES}", repr(name), f"Use {nearest(name, ALL_BASELINES)}.")
            )
    if set(names) & set(_PRETRAINED_CAUSAL):
        check_causal_name(causal.model)


def fit_baseline(
    name: str,
    classifier: DiffusionClassifier,
    data: Mapping[str, RivalData],
    *,
    encoder_steps: int | None = None,
    causal: CausalOptions = CausalOptions(),  # noqa: B008  (frozen)
    checkpoints: RivalCheckpoints | None = None,
    progress: bool = False,
) -> tuple[FloatArray, dict[str, Any]]:
    """Fit one baseline on train, choose on validation, calibrate on calibration, predict test.

    Parameters
    ----------
    name : str
        One of `ALL_BASELINES`.
    classifier : DiffusionClassifier
        Gives vocabulary, backbone, priors and training budget.
    data : mapping of str to RivalData
        ``train``, ``validation``, ``calibration``, ``test``.
    encoder_steps : int, optional
        Of the encoder's training; by default those of the classifier's stages together.
    causal : CausalOptions
        Budgets of the causal rivals.
    checkpoints : RivalCheckpoints, optional
        Folders of those that are trained in steps: a killed training goes on there.
    progress : bool

    Returns
    -------
    log_proba : ndarray of shape (N, C), nats
        Calibrated, on the test texts.
    record : dict
        ``seconds``, those before a resume counted in, what was chosen, and the costs ``train_flops`` and
        ``score_flops_per_text`` as `gencls.evaluation.costs` estimates them.
    """
    start = time.monotonic()
    if name in _CAUSAL:
        fit: Callable[..., Fitted] = partial(_CAUSAL[name], options=causal, checkpoints=checkpoints, progress=progress)
    elif name == "encoder":
        fit = partial(fit_encoder, n_steps=encoder_steps, checkpoints=checkpoints, progress=progress)
    else:
        fit = _COUNTS_AND_LINEAR[name]
    predict, record = fit(classifier, data)
    before = record.pop("seconds_before", 0.0)
    held = data["calibration"].sample(causal.calibration_texts if name in _CAUSAL else None)
    # what the texts say, without the training prior: the prior is then the classifier's own for every model
    class_count = np.bincount(data["train"].labels, minlength=len(classifier.classes_))
    log_share = np.log(class_count / class_count.sum())

    def judged(part: RivalData) -> tuple[FloatArray, NDArray[np.int64]]:
        """Evidence, floored (a zero probability would be an infinite score), and lengths."""
        return np.maximum(predict(part), -1e6) - log_share, _lengths(name, part, classifier)

    (evidence, lengths), log_prior = judged(held), classifier.log_prior_
    temperature = LengthTemperature()
    if len(np.unique(held.labels)) > 1:
        temperature = fit_temperature(evidence, held.labels, lengths, log_prior)
    calibrated = temperature.log_proba(*judged(data["test"]), log_prior)
    record |= {"seconds": before + time.monotonic() - start, "temperature": temperature.as_dict()}
    logger.info("baseline %s: %.0f s", name, record["seconds"])
    return calibrated, record


def _lengths(name: str, part: RivalData, classifier: DiffusionClassifier) -> NDArray[np.int64]:
    """How much of each text a rival reads, (N,), in a unit of its own: the temperature's scale absorbs it."""
    if name in FULL_TEXT:
        return np.array([len(text) for text in part.texts])
    read = part.scored_by(classifier) if name == OWN_TABLES else part.ids
    return np.array([len(ids) for ids in read])
