"""Rivals beside a finished evaluation: fitted for the first time or again; nothing of the classifier is scored."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gencls.classifier.estimator import DiffusionClassifier
from gencls.classifier.temperature import LengthTemperature
from gencls.data.errors import three_parts
from gencls.data.storage import read_json
from gencls.evaluation.evaluate import EvaluationOptions, evaluated_parts, fit_baselines, write_numbers
from gencls.evaluation.rival_checkpoints import RivalCheckpoints
from gencls.evaluation.rival_data import RivalData
from gencls.evaluation.rivals import check_baselines
from gencls.evaluation.runs import accelerator_name
from gencls.evaluation.scores import read_digests, text_digest
from gencls.evaluation.seen_texts import other_unlabelled
from gencls.reporting.evaluation import BASELINE_PREFIX, OWN_TABLES, evaluation_metrics, load_scores
from gencls.reporting.records import run_record
from gencls.reporting.report import build_report

logger = logging.getLogger("gencls.evaluation")
FILES = ("run.json", "metrics.json", "scores.npz", "predictions.jsonl")
#: What the rivals of two evaluations must have had in common to be the same.
SAME_DATA = ("fingerprint", "evaluated", "split", "class_counts", "max_length", "truncation")
SAME_OPTIONS = ("seed", "backbone", "backbone_layers", "max_length", "adapt_steps", "class_steps", "batch_size")


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
    texts = _texts_to_judge(classifier, parts["test"])
    _found(run, output, record, texts, classifier)
    device = accelerator_name(classifier.denoiser_.bias.device)
    checkpoints = RivalCheckpoints(run)
    for name in options.baselines:  # written one by one: a causal rival takes half an hour
        start = time.monotonic()
        alone = replace(options, baselines=(name,))
        rivals, records = fit_baselines(classifier, parts, alone, checkpoints, progress=progress)
        # read again: a fit takes hours, and another one may have been added meanwhile, or the run evaluated anew
        arrays, facts = _found(run, output, record, texts, classifier)
        told = run_record(command or f"gencls evaluate {run.name} --add", {}, options.seed, device=device)
        _write(output, arrays | rivals, _with_added(facts, records, told, time.monotonic() - start))
        checkpoints.drop([name])
    return build_report(output, progress=progress)


def take_baselines(run: Path, source: Path, output: Path, names: Sequence[str], *, command: str = "") -> Path:
    """Take baselines over from an evaluation of an earlier run of the same data, and write the report again.

    A run that is trained again, with other options of its own, has the same rivals: hours of fits need not be repeated.

    Parameters
    ----------
    run, output : Path
        The run, and the folder of its evaluation.
    source : Path
        The evaluation that has the baselines.
    names : sequence of str
        Baselines of `source`, but for the count tables, which are those of the run itself.
    command : str
        For the record.

    Returns
    -------
    Path
        Of the HTML report.

    Raises
    ------
    ValueError
        If `source` lacks one of them, was fitted or judged on other texts, or for a run whose options give rivals other
        tokens, another backbone or other budgets; before anything is written.
    FileNotFoundError
        If a folder holds no evaluation.
    """
    for folder in (source, output):
        _check_finished(folder)
    ours, theirs = read_json(output / "run.json"), read_json(source / "run.json")
    missing = [name for name in names if name == OWN_TABLES or name not in theirs["baselines"]]
    if missing:
        known = ", ".join(name for name in theirs["baselines"] if name != OWN_TABLES)
        raise ValueError(three_parts(f"baselines out of {known}", ", ".join(missing), "Fit them: --add."))
    arrays, old = load_scores(output / "scores.npz"), load_scores(source / "scores.npz")
    _check_same_rivals(ours, theirs, source)
    texts, todo = _judged_texts(source, old), "Fit the baselines again: --add."
    _refuse_others(_judged_texts(output, arrays), texts, "an evaluation on the same texts", source, todo)
    arrays |= {BASELINE_PREFIX + name: old[BASELINE_PREFIX + name] for name in names}
    records = {name: theirs["baselines"][name] for name in names}
    _compare_calibration(output, records)
    told = run_record(command or f"gencls evaluate {run.name} --add", {}, ours["seed"], device=theirs["device"])
    _write(output, arrays, _with_added(ours, records, told, 0.0, taken_from=theirs["commit"]))
    return build_report(output)


def _check_same_rivals(ours: Mapping[str, Any], theirs: Mapping[str, Any], source: Path) -> None:
    """Refuse an evaluation whose rivals had other texts, tokens, backbones or budgets."""
    differing = [name for name in SAME_DATA if ours["data"].get(name) != theirs["data"].get(name)]
    differing += [name for name in SAME_OPTIONS if ours["config"].get(name) != theirs["config"].get(name)]
    # a vocabulary that is made of the texts is made of those without labels, too
    differing += other_unlabelled(ours, theirs)
    if differing:
        todo = "Fit the baselines again: --add."
        raise ValueError(three_parts("an evaluation of the same data and budgets", f"another {differing}", todo))


def _check_finished(output: Path) -> None:
    for name in FILES:
        if not (output / name).exists():
            got = f"none with {name} in {output}"
            raise FileNotFoundError(three_parts("a finished evaluation", got, "Evaluate the run first, without --add."))


def _found(
    run: Path, output: Path, record: Mapping[str, Any], texts: Mapping[str, Any], classifier: DiffusionClassifier
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The arrays and the record of a finished evaluation, if it is one of this run on these texts, in their order."""
    _check_finished(output)
    arrays, facts = load_scores(output / "scores.npz"), read_json(output / "run.json")
    _check_same_run(run, record, facts)
    _check_same_temperature(run, output, classifier)
    found = {**_judged_texts(output, arrays), "tokens": arrays["n_tokens"].tolist()}
    todo = "Give the data, split, number of texts and seed of the evaluation."
    _refuse_others(found, texts, "the texts that were evaluated", output, todo)
    return arrays, facts


def _check_same_run(run: Path, record: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    if record["config"] != facts["config"]:
        got = f"one of other options in {run.name}"
        raise ValueError(three_parts("the run that was evaluated", got, "Evaluate it without --add."))


def _check_same_temperature(run: Path, output: Path, classifier: DiffusionClassifier) -> None:
    """Refuse an evaluation from before the run was calibrated again: its rivals would rest on other texts than it."""
    told = read_json(output / "metrics.json")["diffusion"]
    is_adaptive = told.get("draws") is not None  # the evaluation has calibrated for itself
    if not is_adaptive and LengthTemperature.from_dict(told["temperature"]) != classifier.temperature_:
        got = f"one from before {run.name} was calibrated again, in {output}"
        raise ValueError(three_parts("an evaluation of the run as it is", got, "Evaluate it anew, without --add."))


def _compare_calibration(output: Path, records: Mapping[str, Any]) -> None:
    """Say where baselines were calibrated on another number of texts than the run that they come to stand beside."""
    own = read_json(output / "metrics.json")["diffusion"]["temperature"].get("n_texts")
    for name, record in records.items():
        theirs = record["temperature"].get("n_texts")
        if theirs != own:
            todo = "fit it again (--add) to calibrate both alike"
            logger.warning("%s was calibrated on %s texts, the run on %s; %s", name, theirs or "untold", own, todo)


def _texts_to_judge(classifier: DiffusionClassifier, test: RivalData) -> dict[str, Any]:
    """What an evaluation of these texts tells of them."""
    return {
        "texts": [text_digest(text) for text in test.texts],
        "labels": test.labels.tolist(),
        "classes": [str(name) for name in classifier.classes_],
        "tokens": [len(ids) for ids in classifier.scoring_ids(test.texts)],
    }


def _judged_texts(output: Path, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """What an evaluation tells of its texts that does not depend on how much the run reads of them."""
    return {
        "texts": read_digests(output / "predictions.jsonl"),
        "labels": arrays["y"].tolist(),
        "classes": arrays["class_names"].tolist(),
    }


def _refuse_others(found: Mapping[str, Any], wanted: Mapping[str, Any], expected: str, where: Path, todo: str) -> None:
    if differing := [name for name, value in found.items() if value != wanted[name]]:
        raise ValueError(three_parts(expected, f"other {', '.join(differing)} than in {where.name}", todo))


def _write(output: Path, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> None:
    """All metrics from the scores, in what `metrics.json` has beside them: temperature, costs, the bound."""
    old = read_json(output / "metrics.json")
    fresh = evaluation_metrics(arrays, generator=np.random.default_rng(facts["seed"]))
    write_numbers(output, arrays, {name: {**old.get(name, {}), **row} for name, row in fresh.items()}, facts)


def _with_added(
    facts: Mapping[str, Any], records: Mapping[str, Any], told: Mapping[str, Any], seconds: float, **origin: str
) -> dict[str, Any]:
    """`run.json` with the baselines' records, their time in its own, what was run for them and where they are from."""
    entry = {name: told[name] for name in ("command", "time", "commit", "device")} | origin
    return {
        **facts,
        "baselines": {**facts["baselines"], **records},
        "wall_seconds": facts["wall_seconds"] + seconds,
        "added": [*facts.get("added", []), {**entry, "baselines": list(records), "wall_seconds": seconds}],
    }
