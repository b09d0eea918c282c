"""Score held-out texts of a run, fit the rivals, write `scores.npz`, the metrics and the report."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gencls.classifier.bayes import log_posterior
from gencls.classifier.estimator import DiffusionClassifier
from gencls.data import TextDataset, TextSplit, load_dataset, stratified_sample
from gencls.data.errors import three_parts
from gencls.data.storage import write_atomic, write_json
from gencls.data.text import normal_form
from gencls.diffusion.unigram import class_counts, log_frequencies
from gencls.evaluation.rivals import BASELINES, RivalData, check_baselines, fit_baseline
from gencls.evaluation.runs import load_run_data
from gencls.likelihood.engine import Scores
from gencls.likelihood.estimators import Estimator
from gencls.likelihood.store import ScoreStore
from gencls.reporting.evaluation import evaluation_metrics
from gencls.reporting.records import run_record
from gencls.reporting.report import build_report

logger = logging.getLogger("gencls.evaluation")
#: Language-model quality is measured with more path steps than the decision needs, on a sample of the texts.
BOUND_STEPS, BOUND_TEXTS = 8, 256


@dataclass(frozen=True)
class EvaluationOptions:
    """What is evaluated.

    Parameters
    ----------
    data : str, optional
        Another data set or file with the same labels; by default the run's own.
    split : str
    max_texts : int, optional
        Size of a stratified sample.
    baselines : tuple of str
    seed : int
        Of the sample and the bootstrap.
    """

    data: str | None = None
    split: str = "test"
    max_texts: int | None = None
    baselines: tuple[str, ...] = BASELINES
    seed: int = 0


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
        Unknown split, a test set of one class, labels that the run does not know.
    FileNotFoundError
        If `run` holds no trained run.
    """
    start = time.monotonic()
    check_baselines(options.baselines)
    classifier = DiffusionClassifier.load(run)
    classifier.progress = progress
    record, parts = _texts(run, classifier, options)
    test = parts["test"]
    was_stored = any((run / "scores").glob("*.npz"))  # a time that reads finished scores says nothing
    scores, seconds = _score(classifier, test, run)
    logger.info("scored %d texts, %.1f a second", len(test.texts), len(test.texts) / max(seconds, 1e-9))
    arrays = _score_arrays(classifier, scores, test)
    baseline_records = {}
    for name in options.baselines:
        arrays[f"baseline_{name}"], baseline_records[name] = fit_baseline(name, classifier, parts, progress=progress)
    bound = _bound(classifier, parts, options.seed, progress=progress)
    metrics = evaluation_metrics(arrays, generator=np.random.default_rng(options.seed))
    metrics["diffusion"] |= {
        "temperature": classifier.temperature_.as_dict(),
        "train_seconds": classifier.training_record_["seconds"],
        "score_texts_per_second": None if was_stored else len(test.texts) / max(seconds, 1e-9),
        **bound,
    }
    for name, entry in baseline_records.items():
        metrics[name]["train_seconds"] = entry["seconds"]
    output.mkdir(parents=True, exist_ok=True)
    (output / "targets.json").unlink(missing_ok=True)  # of an earlier evaluation
    _write_scores(output / "scores.npz", arrays)
    _write_predictions(output / "predictions.jsonl", classifier, test, arrays)
    write_json(output / "metrics.json", metrics)
    write_json(
        output / "run.json",
        {
            **run_record(
                command or f"gencls evaluate {run.name}",
                record["config"],
                options.seed,
                device=_device_name(classifier),
            ),
            "data": _data_facts(record, options, parts, classifier),
            "training": classifier.training_record_,
            "baselines": baseline_records,
            "backbone": {"name": classifier.backbone, "source": classifier.backbone_.source},
            "train_wall_seconds": record.get("train_seconds"),
            "n_texts": len(test.texts),
            "wall_seconds": time.monotonic() - start,
        },
    )
    return build_report(output, progress=progress)


def _texts(
    run: Path, classifier: DiffusionClassifier, options: EvaluationOptions
) -> tuple[dict[str, Any], dict[str, RivalData]]:
    record, dataset, splits = load_run_data(run)
    names: Sequence[str] = dataset.label_names
    if options.data is None:
        if options.split not in splits:
            raise ValueError(three_parts(f"a split out of {sorted(splits)}", repr(options.split), "Choose one."))
        test = splits[options.split]
    else:
        place = record["data"]
        other = load_dataset(options.data, text_column=place["text_column"], label_column=place["label_column"])
        names = other.label_names
        test = _other_split(other, options.split)
        classifier.encode_labels(np.array(names)[np.unique(test.labels)])  # unknown labels are said first
        test = _unseen(test, splits)
    if options.max_texts is not None:
        test = stratified_sample(test, options.max_texts, seed=options.seed)
    if len(np.unique(test.labels)) < 2:
        raise ValueError(
            three_parts("test texts of at least two classes", "one class", "An accuracy on one class is a recall.")
        )
    parts = {
        name: _rival_data(classifier, split, dataset.label_names) for name, split in splits.items() if name != "test"
    }
    parts["test"] = _rival_data(classifier, test, names)
    return record, parts


def _other_split(dataset: TextDataset, name: str) -> TextSplit:
    """The named split of another data set; the only split of one that has no test split, as a file has none."""
    if name in dataset.splits:
        return dataset.splits[name]
    if name == "test" and len(dataset.splits) == 1:
        return next(iter(dataset.splits.values()))
    raise ValueError(three_parts(f"a split out of {sorted(dataset.splits)}", repr(name), "Give --split."))


def _unseen(split: TextSplit, splits: Mapping[str, TextSplit]) -> TextSplit:
    """Leave out the texts that trained, chose or calibrated the run."""
    seen = {normal_form(text) for name in splits if name != "test" for text in splits[name].texts}
    rows = [row for row, text in enumerate(split.texts) if normal_form(text) not in seen]
    if len(rows) < len(split.texts):
        logger.warning("%d texts left out: the run was trained on them", len(split.texts) - len(rows))
    if not rows:
        raise ValueError(
            three_parts("texts that the run was not trained on", "none", "Evaluate without --data, or other data.")
        )
    return split.take(rows)


def _rival_data(classifier: DiffusionClassifier, split: TextSplit, names: Sequence[str]) -> RivalData:
    labels = classifier.encode_labels(np.array(names)[split.labels])
    return RivalData(split.texts, classifier.tokenize(split.texts).ids, labels)


def _score(classifier: DiffusionClassifier, test: RivalData, run: Path) -> tuple[Scores, float]:
    start = time.monotonic()
    scores = classifier.score_ids(test.ids, store=ScoreStore(run / "scores"))
    return scores, time.monotonic() - start


def _score_arrays(classifier: DiffusionClassifier, scores: Scores, test: RivalData) -> dict[str, NDArray[Any]]:
    mean = scores.samples.mean(axis=2)
    return {
        "samples": scores.samples,
        "y": test.labels,
        "n_tokens": scores.n_tokens,
        "log_proba": classifier.log_proba_of(scores),
        "log_proba_uncalibrated": log_posterior(mean, classifier.log_prior_),
        "log_odds_se": classifier.log_odds_standard_error(scores),
        "log_prior": classifier.log_prior_,
        "forwards_per_draw": np.array(scores.forwards_per_draw),
        "class_names": np.array([str(name) for name in classifier.classes_]),
    }


def _bound(
    classifier: DiffusionClassifier, parts: Mapping[str, RivalData], seed: int, *, progress: bool
) -> dict[str, float]:
    """Nats per token of held-out texts under their own class, beside the unigram of the training texts."""
    generator = np.random.default_rng([seed, 7])
    test = parts["test"]
    usable = np.flatnonzero([len(ids) > 0 for ids in test.ids])
    rows = generator.permutation(usable)[:BOUND_TEXTS]
    ids = [test.ids[row] for row in rows]
    estimator = Estimator("path", n_steps=BOUND_STEPS, n_mc_samples=1)
    samples = classifier.score_ids(ids, estimator=estimator, progress=progress).samples[:, :, 0]
    own = samples[np.arange(len(rows)), test.labels[rows]]
    n_tokens = sum(len(text) for text in ids)
    unigram_nats = _unigram_nats(classifier, parts, ids)
    nats = -float(own.sum()) / n_tokens
    per_token = own / np.array([len(text) for text in ids])
    return {
        "bound_nats_per_token": nats,
        "bound_nats_per_token_se": float(per_token.std(ddof=1) / len(rows) ** 0.5),
        "bound_steps": BOUND_STEPS,
        "bound_texts": len(rows),
        "unigram_nats_per_token": unigram_nats,
        "nats_per_token_under_unigram": unigram_nats - nats,
    }


def _unigram_nats(
    classifier: DiffusionClassifier, parts: Mapping[str, RivalData], ids: Sequence[NDArray[np.int64]]
) -> float:
    """Nats per token of texts under the training texts' unigram, smoothed as is best for the validation texts.

    Not with the smoothing of the classifier: that is chosen for its decisions, and too strong for an honest rival.
    """
    train = parts["train"]
    counts = class_counts(train.ids, np.zeros_like(train.labels), 1, classifier.denoiser_.vocab_size)[0]

    def nats(smoothing: float, texts: Sequence[NDArray[np.int64]]) -> float:
        tokens = np.concatenate(texts)
        return -float(log_frequencies(counts, smoothing)[tokens].mean()) if len(tokens) else 0.0

    candidates = classifier.train_config().smoothing
    best = min(candidates, key=lambda smoothing: nats(smoothing, parts["validation"].ids))
    return nats(best, ids)


def _device_name(classifier: DiffusionClassifier) -> str | None:
    """The accelerator's name; None on a CPU, which the record names itself."""
    device = classifier.denoiser_.bias.device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else None


def _write_scores(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    import io

    buffer = io.BytesIO()
    np.savez_compressed(buffer, **dict(arrays))  # type: ignore[arg-type]
    write_atomic(path, buffer.getvalue())


def _write_predictions(
    path: Path, classifier: DiffusionClassifier, test: RivalData, arrays: Mapping[str, NDArray[Any]]
) -> None:
    proba = np.exp(arrays["log_proba"])
    names = [str(name) for name in classifier.classes_]
    lines = [
        json.dumps(
            {
                "text_sha256": hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(),
                "label": names[label],
                "prediction": names[int(row.argmax())],
                "proba": {name: round(float(value), 6) for name, value in zip(names, row, strict=True)},
                "n_tokens": int(n_tokens),
            },
            ensure_ascii=False,
        )
        for text, label, row, n_tokens in zip(test.texts, test.labels, proba, arrays["n_tokens"], strict=True)
    ]
    write_atomic(path, "\n".join(lines) + "\n")


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
        "scored_class_counts": scored,
        "max_length": config.max_length,
        "truncation": config.truncation,
        "share_cut": float(cut.mean()),
    }
