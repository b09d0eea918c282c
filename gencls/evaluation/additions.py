"""Rivals beside a finished evaluation: fitted for the first time or again; nothing of the classifier is scored."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gencls.classifier.estimator import DiffusionClassifier
from gencls.data.errors import three_parts
from gencls.data.storage import read_json
from gencls.evaluation.evaluate import EvaluationOptions, evaluated_parts, fit_baselines, write_numbers
from gencls.evaluation.rival_checkpoints import drop_checkpoints, with_checkpoints
from gencls.evaluation.rival_data import RivalData
from gencls.evaluation.rivals import check_baselines
from gencls.evaluation.runs import accelerator_name
from gencls.evaluation.scores import read_digests, text_digest
from gencls.reporting.evaluation import evaluation_metrics, load_scores
from gencls.reporting.records import run_record
from gencls.reporting.report import build_report

FILES = ("run.json", "metrics.json", "scores.npz", "predictions.jsonl")


def add_baselines(
    run: Path,
    output: Path,
    options: EvaluationOptions,
    *,
    progress: bool = False,
    command: str = "",
) -> Path:
    """Fit baselines beside a finished evaluation and write its files again after each, and its report at the end.

    Parameters
    ----------
    run, output : Path
        The run, and the folder of its evaluation.
    options : EvaluationOptions
        Those of the evaluation, with the baselines that are to be fitted. One that is there is replaced; the others,
        the scores and what `metrics.json` says of the classifier stay as they are.
    progress : bool
    command : str
        For the record.

    Returns
    -------
    Path
        Of the HTML report.

    Raises
    ------
    ValueError
        If the options give other texts than those of the evaluation, or the run has other options; before any fit.
    FileNotFoundError
        If `output` holds no evaluation.
    """
    check_baselines(options.baselines, options.causal)
    _check_finished(output)
    classifier = DiffusionClassifier.load(run).set_params(progress=progress)
    record, parts = evaluated_parts(run, classifier, options)
    arrays, facts = load_scores(output / "scores.npz"), read_json(output / "run.json")
    _check_same_run(run, record, facts)
    _check_same_texts(output, arrays, parts["test"], classifier)
    device = accelerator_name(classifier.denoiser_.bias.device)
    causal = with_checkpoints(options.causal, run, parts["train"])
    for name in options.baselines:  # written one by one: a causal rival takes half an hour
        start = time.monotonic()
        alone = replace(options, baselines=(name,), causal=causal)
        rivals, records = fit_baselines(classifier, parts, alone, progress=progress)
        arrays |= rivals
        metrics = _merged(read_json(output / "metrics.json"), arrays, facts["seed"])
        told = run_record(command or f"gencls evaluate {run.name} --add", {}, options.seed, device=device)
        facts = _with_added(facts, records, told, time.monotonic() - start)
        write_numbers(output, arrays, metrics, facts)
        drop_checkpoints(causal, [name])
    return build_report(output, progress=progress)


def _check_finished(output: Path) -> None:
    for name in FILES:
        if not (output / name).exists():
            got = f"none with {name} in {output}"
            raise FileNotFoundError(three_parts("a finished evaluation", got, "Evaluate the run first, without --add."))


def _check_same_run(run: Path, record: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    if record["config"] != facts["config"]:
        got = f"one of other options in {run.name}"
        raise ValueError(three_parts("the run that was evaluated", got, "Evaluate it without --add."))


def _check_same_texts(
    output: Path, arrays: Mapping[str, NDArray[Any]], test: RivalData, classifier: DiffusionClassifier
) -> None:
    """Refuse texts, labels or tokens that are not those of the evaluation, in its order."""
    found = {
        "texts": read_digests(output / "predictions.jsonl") == [text_digest(text) for text in test.texts],
        "labels": np.array_equal(arrays["y"], test.labels),
        "classes": arrays["class_names"].tolist() == [str(name) for name in classifier.classes_],
        "tokens": arrays["n_tokens"].tolist() == [len(ids) for ids in classifier.scoring_ids(test.texts)],
    }
    if differing := [name for name, is_same in found.items() if not is_same]:
        todo = "Give the data, split, number of texts and seed of the evaluation."
        got = f"other {', '.join(differing)} than in {output.name}"
        raise ValueError(three_parts("the texts that were evaluated", got, todo))


def _merged(old: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], seed: int) -> dict[str, Any]:
    """All metrics from the scores, in what `metrics.json` has beside them: temperature, costs, the bound."""
    fresh = evaluation_metrics(arrays, generator=np.random.default_rng(seed))
    return {name: {**old.get(name, {}), **row} for name, row in fresh.items()}


def _with_added(
    facts: Mapping[str, Any], records: Mapping[str, Any], told: Mapping[str, Any], seconds: float
) -> dict[str, Any]:
    """`run.json` with the baselines' records, their time in its own, and what was run for them."""
    entry = {name: told[name] for name in ("command", "time", "commit", "device")}
    return {
        **facts,
        "baselines": {**facts["baselines"], **records},
        "wall_seconds": facts["wall_seconds"] + seconds,
        "added": [*facts.get("added", []), {**entry, "baselines": list(records), "wall_seconds": seconds}],
    }
