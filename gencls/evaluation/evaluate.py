"""Score held-out texts of a run, fit the rivals, write `scores.npz`, the metrics and the report."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gencls.classifier.estimator import DiffusionClassifier
from gencls.classifier.inputs import check_n_jobs
from gencls.data import TextDataset, TextSplit, held_out, load_dataset, stratified_sample
from gencls.data.errors import three_parts
from gencls.data.storage import write_json
from gencls.evaluation.language_model import language_model_metrics
from gencls.evaluation.rival_checkpoints import RivalCheckpoints
from gencls.evaluation.rival_data import CausalOptions, RivalData
from gencls.evaluation.rivals import BASELINES, check_baselines, fit_baseline
from gencls.evaluation.runs import accelerator_name, load_run_data
from gencls.evaluation.scores import score_arrays, score_test_texts, write_predictions, write_scores
from gencls.evaluation.seen_texts import was_trained_on
from gencls.evaluation.self_training import SELF_TRAINED, self_trained
from gencls.reporting.evaluation import BASELINE_PREFIX, evaluation_metrics
from gencls.reporting.records import run_record
from gencls.reporting.report import build_report

logger = logging.getLogger("gencls.evaluation")


@dataclass(frozen=True)
class EvaluationOptions:
    """What is evaluated.

    Parameters
    ----------
    data : str, optional
        Another data set or file with the same labels; by default the run's own.
    text_column, label_column : str, optional
        Of `data`; by default those of the run's.
    split : str
    max_texts : int, optional
        Size of a stratified sample.
    baselines : tuple of str
        Out of `gencls.evaluation.rivals.ALL_BASELINES`.
    seed : int
        Of the sample and the bootstrap.
    target_flip_rate : float, optional
        Score with an adaptive number of draws; the run is calibrated again for it, on its held-out texts.
    n_jobs : int
        Processes of scoring.
    encoder_steps : int, optional
        Training steps of the baseline ``encoder``; by default those of the run's stages together.
    causal : CausalOptions
        Model and budgets of the causal baselines, where they are asked for.
    """

    data: str | None = None
    text_column: str | None = None
    label_column: str | None = None
    split: str = "test"
    max_texts: int | None = None
    baselines: tuple[str, ...] = BASELINES
    seed: int = 0
    target_flip_rate: float | None = None
    n_jobs: int = 1
    encoder_steps: int | None = None
    causal: CausalOptions = field(default_factory=CausalOptions)

    def __post_init__(self) -> None:
        if self.encoder_steps is not None and not self.encoder_steps >= 1:
            todo = "Use None for as many as the run's stages have."
            raise ValueError(three_parts("at least one of encoder_steps", repr(self.encoder_steps), todo))


def evaluate_run(
    run: Path,
    output: Path,
    options: EvaluationOptions,
    *,
    progress: bool = False,
    command: str = "",
) -> Path:
    """Evaluate a run; returns the path of the HTML report.

    Raises
    ------
    ValueError
        Unknown split, a test set of one class, labels that the run does not know, a bad option.
    FileNotFoundError
        If `run` holds no trained run.
    """
    start = time.monotonic()
    check_baselines(options.baselines, options.causal)
    classifier = _loaded(run, options, progress=progress)
    record, parts = evaluated_parts(run, classifier, options)
    if options.target_flip_rate is not None:
        held = parts["calibration"]
        classifier.calibrate(held.texts, classifier.classes_[held.labels])
    _compare_calibration(classifier, parts["calibration"])
    test = parts["test"]
    was_stored = any((run / "scores").glob("*.sqlite"))  # a time that reads finished scores says nothing
    scores, seconds = score_test_texts(classifier, test, run)
    texts_per_second = len(test.texts) / max(seconds, 1e-9)
    logger.info("scored %d texts, %.1f a second", len(test.texts), texts_per_second)
    checkpoints = RivalCheckpoints(run)
    rivals, baseline_records = fit_baselines(classifier, parts, options, checkpoints, progress=progress)
    arrays = score_arrays(classifier, scores, test) | rivals
    bound = language_model_metrics(classifier, parts, options.seed, progress=progress)
    metrics = evaluation_metrics(arrays, generator=np.random.default_rng(options.seed))
    metrics["diffusion"] |= {
        "temperature": classifier.temperature_.as_dict(),
        "train_seconds": classifier.training_record_["seconds"],
        "score_texts_per_second": None if was_stored else texts_per_second,
        **bound,
    }
    output.mkdir(parents=True, exist_ok=True)
    (output / "targets.json").unlink(missing_ok=True)  # of an earlier evaluation
    write_predictions(output / "predictions.jsonl", classifier, test, arrays)
    facts = _run_facts(classifier, record, options, parts, command or f"gencls evaluate {run.name}")
    facts |= {"baselines": baseline_records, "wall_seconds": time.monotonic() - start}
    write_numbers(output, arrays, metrics, facts)
    checkpoints.drop(options.baselines)
    return build_report(output, progress=progress)


def fit_baselines(
    classifier: DiffusionClassifier,
    parts: Mapping[str, RivalData],
    options: EvaluationOptions,
    checkpoints: RivalCheckpoints,
    *,
    progress: bool,
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return the arrays that the options' baselines give `scores.npz`, and the record of each by its name.

    Where a run has learned from texts of its data set without their labels, its baselines do so as well, if they can.
    """
    arrays, records = {}, {}
    labels = parts["train"].labels
    shares = np.bincount(labels, minlength=len(classifier.classes_)) / len(labels)
    how: dict[str, Any] = {"encoder_steps": options.encoder_steps, "checkpoints": checkpoints, "progress": progress}
    for name in options.baselines:
        if "unlabelled" in parts and name in SELF_TRAINED:
            fitted = self_trained(name, classifier, parts, shares, **how)
        else:
            fitted = fit_baseline(name, classifier, parts, causal=options.causal, **how)
        arrays[BASELINE_PREFIX + name], records[name] = fitted
    return arrays, records


def write_numbers(
    output: Path, arrays: Mapping[str, NDArray[Any]], metrics: dict[str, Any], facts: Mapping[str, Any]
) -> None:
    """Write `scores.npz`, `metrics.json` and `run.json`, of which the report is made."""
    for name, entry in facts["baselines"].items():
        metrics[name]["train_seconds"] = entry["seconds"]
    write_scores(output / "scores.npz", arrays)
    write_json(output / "metrics.json", metrics)
    write_json(output / "run.json", facts)


def _run_facts(
    classifier: DiffusionClassifier,
    record: Mapping[str, Any],
    options: EvaluationOptions,
    parts: Mapping[str, RivalData],
    command: str,
) -> dict[str, Any]:
    device = accelerator_name(classifier.denoiser_.bias.device)
    return {
        **run_record(command, record["config"], options.seed, device=device),
        "data": _data_facts(record, options, parts, classifier),
        "unlabelled": record.get("unlabelled"),
        "training": classifier.training_record_,
        "scoring": _scoring_facts(classifier),
        "backbone": {"name": classifier.backbone, "source": classifier.backbone_.source},
        "train_wall_seconds": record.get("train_seconds"),
        "n_texts": len(parts["test"].texts),
    }


def _loaded(run: Path, options: EvaluationOptions, *, progress: bool) -> DiffusionClassifier:
    """The run's classifier, set to the options; a bad one is said before any work."""
    check_n_jobs(options.n_jobs)
    classifier = DiffusionClassifier.load(run)
    classifier.set_params(progress=progress, n_jobs=options.n_jobs)
    if options.target_flip_rate is not None:
        classifier.set_params(target_flip_rate=options.target_flip_rate).train_config()
    return classifier


def _compare_calibration(classifier: DiffusionClassifier, held: RivalData) -> None:
    """Say where the rivals calibrate on another number of texts than the run did, say in an older version."""
    own, theirs = classifier.temperature_.n_texts, sum(len(ids) > 0 for ids in held.ids)
    if own != theirs:
        said = f"{own} texts" if own else "a number of texts that it does not tell"
        todo = "`calibrate` it on `gencls.data.held_out` of its splits and save it, to calibrate both alike"
        logger.warning("the run was calibrated on %s, its baselines are on %d; %s", said, theirs, todo)


def evaluated_parts(
    run: Path, classifier: DiffusionClassifier, options: EvaluationOptions
) -> tuple[dict[str, Any], dict[str, RivalData]]:
    """Return the run's record, and its splits: ``test`` are the texts that the options ask for.

    All that is not trained calibrates: ``calibration`` are the held-out texts, those of validation among them.
    """
    record, dataset, splits = load_run_data(run)
    names: Sequence[str] = dataset.label_names
    if options.data is None:
        if options.split not in splits:
            raise ValueError(three_parts(f"a split out of {sorted(splits)}", repr(options.split), "Choose one."))
        test = splits[options.split]
        if options.split in ("validation", "calibration"):
            logger.warning("the calibration rests on the %s texts: judge on others", options.split)
        if options.split in ("train", "unlabelled"):
            logger.warning("the models have learned from the %s texts: judge on others", options.split)
    else:
        columns = {name: getattr(options, name) or record["data"][name] for name in ("text_column", "label_column")}
        other = load_dataset(options.data, **columns)
        names = other.label_names
        there = _other_split(other, options.split)
        classifier.encode_labels(np.array(names)[np.unique(there.labels)])  # unknown labels are said first
        test = _unseen(there, run, splits)
        record = {**record, "n_left_out": len(there.texts) - len(test.texts)}
    if options.max_texts is not None:
        test = stratified_sample(test, options.max_texts, seed=options.seed)
    if len(np.unique(test.labels)) < 2:
        raise ValueError(
            three_parts("test texts of at least two classes", "one class", "An accuracy on one class is a recall.")
        )
    served = {**splits, "calibration": held_out(splits)}
    parts = {
        name: RivalData.of(classifier, split, dataset.label_names) for name, split in served.items() if name != "test"
    }
    parts["test"] = RivalData.of(classifier, test, names)
    return record, parts


def _other_split(dataset: TextDataset, name: str) -> TextSplit:
    """The named split of another data set; the only split of one that has no test split, as a file has none."""
    if name in dataset.splits:
        return dataset.splits[name]
    if name == "test" and len(dataset.splits) == 1:
        return next(iter(dataset.splits.values()))
    raise ValueError(three_parts(f"a split out of {sorted(dataset.splits)}", repr(name), "Give --split."))


def _unseen(split: TextSplit, run: Path, splits: Mapping[str, TextSplit]) -> TextSplit:
    """Leave out the texts that trained, chose or calibrated the run."""
    is_seen = was_trained_on(run, splits)
    rows = [row for row, text in enumerate(split.texts) if not is_seen(text)]
    if len(rows) < len(split.texts):
        logger.warning("%d texts left out: the run was trained on them", len(split.texts) - len(rows))
    if not rows:
        raise ValueError(
            three_parts("texts that the run was not trained on", "none", "Evaluate without --data, or other data.")
        )
    return split.take(rows)


def _scoring_facts(classifier: DiffusionClassifier) -> dict[str, Any]:
    """How the texts were scored, beside the options of the run."""
    rule = classifier.stopping_rule_
    return {
        "estimator": asdict(classifier.scoring_estimator()),
        "stopping_rule": None if rule is None else rule.as_dict(),
        "level_weighting": classifier.level_weighting_.as_dict(),
        "network_weight": classifier.network_weight_ if classifier.denoiser_.is_gate_closed else None,
    }


def _data_facts(
    record: Mapping[str, Any],
    options: EvaluationOptions,
    parts: Mapping[str, RivalData],
    classifier: DiffusionClassifier,
) -> dict[str, Any]:
    config = classifier.train_config()
    cut = classifier.tokenize(parts["test"].texts).is_cut
    names = [str(name) for name in classifier.classes_]
    scored = {name: int((parts["test"].labels == index).sum()) for index, name in enumerate(names)}
    return {
        **record["data_facts"],
        "evaluated": options.data or record["data"]["name"],
        "split": options.split,
        "n_left_out": record.get("n_left_out", 0),
        "scored_class_counts": scored,
        "max_length": config.max_length,
        "truncation": config.truncation,
        "long_texts": config.long_texts,
        "share_cut": float(cut.mean()) if config.long_texts == "truncate" else 0.0,
    }
