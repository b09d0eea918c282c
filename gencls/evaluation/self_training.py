"""Rivals that learn from texts without labels as the generative model does: by the classes that they give them.

A rival of the labelled texts gives all others their classes, once and in their expected shares
(`gencls.training.unlabelled.matched_classes`), and it is fitted to all of them: self-training (Scudder 1965; Yarowsky
1995).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gencls.classifier.estimator import DiffusionClassifier
from gencls.evaluation.rival_checkpoints import RivalCheckpoints
from gencls.evaluation.rival_data import FloatArray, RivalData
from gencls.evaluation.rivals import fit_baseline
from gencls.training.unlabelled import matched_classes

#: The classifier's own count tables have learned from these texts with it; causal models would take hours.
SELF_TRAINED = (
    "naive_bayes",
    "naive_bayes_words",
    "naive_bayes_bigrams",
    "nb_svm",
    "tfidf_logistic_regression",
    "encoder",
)


def self_trained(
    name: str,
    classifier: DiffusionClassifier,
    data: Mapping[str, RivalData],
    shares: FloatArray,
    *,
    encoder_steps: int | None = None,
    checkpoints: RivalCheckpoints | None = None,
    progress: bool = False,
) -> tuple[FloatArray, dict[str, Any]]:
    """Fit a rival, let it give the unlabelled texts their classes, and fit it to all of them.

    Parameters
    ----------
    name : str
        Out of `SELF_TRAINED`.
    classifier : DiffusionClassifier
    data : mapping of str to RivalData
        As `fit_baseline` takes it, and ``unlabelled``, whose labels are not looked at.
    shares : ndarray of shape (C,)
        Expected shares of the classes among the unlabelled texts; sum to one.
    encoder_steps : int, optional
    checkpoints : RivalCheckpoints, optional
        Both as `fit_baseline` takes them.
    progress : bool

    Returns
    -------
    log_proba : ndarray of shape (N, C), nats
        Of the second fit, on the test texts.
    record : dict
        Of the second fit; ``seconds`` are of both, and ``self_trained`` is the number of unlabelled texts.
    """
    fit = partial(
        fit_baseline, name, classifier, encoder_steps=encoder_steps, checkpoints=checkpoints, progress=progress
    )
    log_proba, first = fit({**data, "test": data["unlabelled"]})
    told = matched_classes(log_proba, shares)
    predicted, record = fit(with_classes(data, told))
    return predicted, {**record, "seconds": record["seconds"] + first["seconds"], "self_trained": len(told)}


def with_classes(data: Mapping[str, RivalData], told: NDArray[np.int64]) -> dict[str, RivalData]:
    """Return the parts with the unlabelled texts among the training texts, of the classes (N,) that they were given."""
    train, more = data["train"], data["unlabelled"]
    joined = RivalData(train.texts + more.texts, train.ids + more.ids, np.concatenate([train.labels, told]))
    return {**data, "train": joined}
