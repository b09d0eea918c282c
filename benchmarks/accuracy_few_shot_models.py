"""The models of `benchmarks.accuracy_few_shot`: those of the labelled texts, and those that train on the others too.

The latter all do it alike, once: a model of the labelled texts gives all others their classes, in equal shares
(`gencls.training.unlabelled.matched_classes`), and it is fitted to all of them. For the generative model that is a step
of classification EM, for a discriminative one self-training (Scudder 1965; Yarowsky 1995).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy_figures import STEPLESS
from gencls.classifier.estimator import DiffusionClassifier
from gencls.data.dataset import TextDataset
from gencls.evaluation.rival_data import RivalData
from gencls.evaluation.rivals import fit_baseline
from gencls.evaluation.runs import Splits, names_of
from gencls.evaluation.self_training import self_trained
from gencls.reporting.evaluation import OWN_TABLES
from gencls.training.config import TrainConfig

Row = dict[str, Any]
Given = Mapping[str, RivalData]
FloatArray = NDArray[np.float64]
GENERATIVE = "diffusion"
#: The encoder from the weights of the language model, which has read the unlabelled texts: a control.
ADAPTED = "encoder_adapted"
RIVALS = ("naive_bayes", OWN_TABLES, "nb_svm", "tfidf_logistic_regression", "encoder", ADAPTED)
#: After the name of a model that trains on the unlabelled texts too.
SUFFIX = "_unlabelled"
#: Rivals that train themselves; the classifier's own tables are of the classes that its training gave the texts.
SELF_TRAINED = ("nb_svm", "tfidf_logistic_regression")
#: Groups of models that are fitted together; the last is the control that trains itself, which takes long.
NO_STEPS, LABELLED, UNLABELLED, ENCODER = GROUPS = ("no-class-steps", "labelled", "unlabelled", "unlabelled-encoder")


def group_of(model: str) -> str:
    """Return the group of a model of a row."""
    if not model.endswith(SUFFIX):
        return NO_STEPS if model == STEPLESS else LABELLED
    return ENCODER if model.removesuffix(SUFFIX) == ADAPTED else UNLABELLED


def stepless_rows(
    dataset: TextDataset, parts: Splits, language_model: Path, config: TrainConfig, *, progress: bool
) -> list[Row]:
    """Fit the language model with the classes' count tables, no step of the network; see `labelled_rows`."""
    labelled = _labelled(parts)
    classifier = _classifier(language_model, replace(config, class_steps=0), progress)
    _fit(classifier, dataset, labelled)
    return [_own_row(STEPLESS, classifier, _given(classifier, dataset, labelled))]


def labelled_rows(
    dataset: TextDataset, parts: Splits, language_model: Path, config: TrainConfig, *, progress: bool
) -> list[Row]:
    """Fit the models that train on labelled texts only, and predict the test texts.

    Parameters
    ----------
    dataset : TextDataset
    parts : mapping of str to TextSplit
        ``train``, ``validation`` and ``calibration`` are labelled; ``unlabelled`` is for others; ``test`` is predicted.
    language_model : Path
        Folder of the language model that the generative model and the control start from.
    config : TrainConfig
        Of the classes' stage.
    progress : bool

    Returns
    -------
    list of dict
        ``model``, ``accuracy``, ``correct`` (0 or 1 for each test text), ``seconds`` of training, and, of a network,
        its ``steps`` and ``n_layers``.
    """
    labelled = _labelled(parts)
    classifier = _classifier(language_model, config, progress)
    _fit(classifier, dataset, labelled)
    given = _given(classifier, dataset, labelled)
    rows = [_own_row(GENERATIVE, classifier, given)]
    for name in RIVALS:
        rows.append(_row(name, *_rival(name, classifier, given, config.backbone, progress), given))
    return rows


def unlabelled_rows(
    dataset: TextDataset, parts: Splits, language_model: Path, config: TrainConfig, *, progress: bool
) -> list[Row]:
    """Fit the models that train on the unlabelled texts too; see `labelled_rows`.

    The generative model's row also has ``told_right``, the share of the unlabelled texts that got their class.
    """
    classifier = _classifier(language_model, config, progress).set_params(priors="uniform")
    _fit(classifier, dataset, parts, unlabelled=parts["unlabelled"].texts)
    given = _given(classifier, dataset, parts)
    told = classifier.encode_labels(classifier.transduction_)
    own = _own_row(GENERATIVE + SUFFIX, classifier, given)
    own["told_right"] = float((told == given["unlabelled"].labels).mean())
    tables = fit_baseline(OWN_TABLES, classifier, given, progress=progress)
    rows = [own, _row(OWN_TABLES + SUFFIX, *tables, given)]
    for name in SELF_TRAINED:
        rows.append(
            _row(name + SUFFIX, *self_trained(name, classifier, given, _equal(given), progress=progress), given)
        )
    return rows


def unlabelled_encoder_rows(
    dataset: TextDataset, parts: Splits, language_model: Path, config: TrainConfig, *, progress: bool
) -> list[Row]:
    """Fit the encoder that starts from the language model and trains itself; see `labelled_rows`."""
    classifier = _classifier(language_model, config, progress)
    _fit(classifier, dataset, parts)
    given = _given(classifier, dataset, parts)
    fitted = self_trained("encoder", classifier, given, _equal(given), progress=progress)
    return [_row(ADAPTED + SUFFIX, *fitted, given)]


#: The function of each group, in the order of the rows.
MAKERS = {
    NO_STEPS: stepless_rows,
    LABELLED: labelled_rows,
    UNLABELLED: unlabelled_rows,
    ENCODER: unlabelled_encoder_rows,
}


def _labelled(parts: Splits) -> Splits:
    return {name: part for name, part in parts.items() if name != "unlabelled"}


def _classifier(language_model: Path, config: TrainConfig, progress: bool) -> DiffusionClassifier:
    start = replace(config, adapt_steps=0, backbone=str(language_model), backbone_layers=None)
    return DiffusionClassifier.from_config(start, progress=progress)


def _fit(classifier: DiffusionClassifier, dataset: TextDataset, parts: Splits, **options: Any) -> None:
    pairs = {name: (part.texts, names_of(dataset, part)) for name, part in parts.items()}
    classifier.fit(*pairs["train"], validation=pairs["validation"], calibration=pairs["calibration"], **options)


def _given(classifier: DiffusionClassifier, dataset: TextDataset, parts: Splits) -> dict[str, RivalData]:
    return {name: RivalData.of(classifier, part, dataset.label_names) for name, part in parts.items()}


def _rival(
    name: str, classifier: DiffusionClassifier, given: Given, backbone: str, progress: bool
) -> tuple[FloatArray, Row]:
    if name == ADAPTED:  # the classifier's own backbone is the language model, as it was before the classes
        return fit_baseline("encoder", classifier, given, progress=progress)
    start = copy.copy(classifier).set_params(backbone=backbone)
    return fit_baseline(name, start, given, progress=progress)


def _equal(given: Given) -> FloatArray:
    """Equal shares of the classes, (C,)."""
    n_classes = len(np.unique(given["train"].labels))
    return np.full(n_classes, 1 / n_classes)


def _own_row(model: str, classifier: DiffusionClassifier, given: Given) -> Row:
    record = {
        "seconds": classifier.training_record_["seconds"],
        "steps": classifier.training_record_["classes"]["steps"],
        "n_layers": classifier.backbone_.config.num_hidden_layers,
    }
    return _row(model, classifier.predict_log_proba(given["test"].texts), record, given)


def _row(model: str, log_proba: FloatArray, record: Mapping[str, Any], given: Given) -> Row:
    correct = log_proba.argmax(axis=1) == given["test"].labels
    facts = {name: record[name] for name in ("seconds", "steps", "n_layers") if name in record}
    return {"model": model, "accuracy": float(correct.mean()), "correct": correct.astype(int).tolist(), **facts}
