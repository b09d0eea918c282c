"""What makes it work: one factor at a time against the recipe, on held-out texts that are no test texts.

    python -m benchmarks.accuracy_study --data imdb --factors path_steps hybrid_weight

Each level of a factor changes options of the generative recipe and nothing else. Options of scoring need no training:
the recipe's own run is scored again. Where only the classes' stage differs, the recipe's adaptation is taken over,
and where only the shrinkage of the classes does, or tables that stand beside the network, their steps as well. A run
that is there is not trained again, so that factors can be added one by one, and the page is written after each level.
No test text is scored.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial, reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy_calibration import N_FOLDS, decision_losses, pooled_by_others
from benchmarks.accuracy_levels import FACTORS, FITTED, HUB_FACTORS, ON_REQUEST, Options, as_json, level_of
from benchmarks.accuracy_recipes import Task, task
from benchmarks.accuracy_results import difference, mean_and_half
from benchmarks.accuracy_study_report import BASE, study_name, write_study
from benchmarks.accuracy_targets import report_folder
from benchmarks.commands import as_typed, log_to_stderr
from gencls.classifier.bayes import mean_over_draws
from gencls.classifier.estimator import DiffusionClassifier
from gencls.data import TextSplit, stratified_sample
from gencls.data.errors import nearest, three_parts
from gencls.data.hub import hub_reachable
from gencls.evaluation.runs import load_run_data, names_of, train_run
from gencls.evaluation.same_run import RUN, identity_of
from gencls.likelihood.store import ScoreStore
from gencls.reporting.metrics import mcnemar_p
from gencls.reporting.records import run_record
from gencls.training.config import SCORING_OPTIONS, TrainConfig, free_of_adaptation

logger = logging.getLogger("gencls.benchmarks")
Row = dict[str, Any]
FloatArray = NDArray[np.float64]


#: No model has trained on them. The first helped to choose the smoothing of the counts, for all levels alike but those
#: of "pairs" and "discount"; both have set a temperature, which is not used here.
HELD_OUT = ("validation", "calibration")


def study(
    data: str,
    factors: Sequence[str],
    runs: Path,
    *,
    size: str = "cpu",
    seed: int = 0,
    backbone: str | None = None,
    limit: int | None = None,
    progress: bool = False,
    write: Callable[[list[Row]], object] = lambda rows: None,
) -> list[Row]:
    """Train what is missing and score the validation and calibration texts.

    Parameters
    ----------
    data : str
    factors : sequence of str
        Names of `FACTORS`.
    runs : Path
        Folder of the accuracy benchmark's runs; the recipe's own run is there or is trained.
    size : {"cpu", "gpu"}
    seed : int
    backbone : str, optional
        Instead of the recipe's own.
    limit : int, optional
        Texts of each of both, a stratified sample.
    progress : bool
    write : callable
        Called after each level with the rows so far.

    Returns
    -------
    list of dict
        The recipe first; then, for each level: ``factor``, ``level``, ``accuracy`` and its ``accuracy_se``, the paired
        difference ``ahead`` of the recipe with its interval, ``mcnemar_p``; ``decision_loss`` in nats, see
        `decision_losses`, and its paired change ``loss_change`` with interval; ``counts_accuracy`` of the level's count
        tables alone; ``nats_per_token``, ``forwards`` per text and class, and the ``adapt_steps`` and ``class_steps``
        of its training.

    Raises
    ------
    ValueError
        An unknown factor, one that needs a hub where none answers, or too low a limit; before any training.
    """
    for name in factors:
        if name not in FACTORS:
            raise ValueError(three_parts(f"factors out of {tuple(FACTORS)}", name, f"Use {nearest(name, FACTORS)}."))
    if (asked := [name for name in factors if name in HUB_FACTORS]) and not hub_reachable():
        raise ValueError(three_parts(f"a hub that answers, for {asked}", "none", "Leave them out of --factors."))
    base = task(data, "generative", size=size, seed=seed, backbone=backbone)
    if limit is not None and limit < N_FOLDS:
        todo = "The temperature of a fold is chosen on the others: raise it, or leave it out."
        raise ValueError(three_parts(f"a limit of at least {N_FOLDS} texts", str(limit), todo))
    return study_of(base, {name: FACTORS[name] for name in factors}, runs, limit=limit, progress=progress, write=write)


def study_of(
    base: Task,
    factors: Mapping[str, Sequence[Options]],
    runs: Path,
    *,
    limit: int | None,
    progress: bool,
    write: Callable[[list[Row]], object] = lambda rows: None,
) -> list[Row]:
    """`study` of any task and levels."""
    first = _scored(base, base.config, runs, limit, progress)
    rows = [_row(BASE, {}, first, first)]
    for factor, levels in factors.items():
        configs = [(level, replace(base.config, **level)) for level in (level_of(one, base.config) for one in levels)]
        changed = [(level, config) for level, config in configs if config != base.config]
        if len(changed) < len(configs):
            logger.info("%s: a level is the recipe itself, and has no row of its own", factor)
        for level, config in changed:
            rows.append(_row(factor, level, _scored(base, config, runs, limit, progress), first))
            logger.info("%s %s: %.4f", factor, level, rows[-1]["accuracy"])
            write(rows)
        if not changed:  # the recipe alone has a page, too
            write(rows)
    return rows


def _trained(base: Task, config: TrainConfig, runs: Path, progress: bool) -> Path:
    """Train what the options of scoring do not change, if it is not there; returns the run's folder."""
    wanted = replace(config, **{name: getattr(base.config, name) for name in SCORING_OPTIONS})
    ours, theirs = wanted.as_dict(), base.config.as_dict()
    changed = {name: value for name, value in ours.items() if value != theirs[name]}
    recipe = runs / base.name
    told = "-".join(f"{name}={value}" for name, value in changed.items()).replace(" ", "").replace("/", "_")
    folder = runs / "study" / f"{base.name}-{told}" if changed else recipe
    hybrid = runs / replace(base, variant="hybrid").name
    if changed and (hybrid / RUN).exists() and identity_of(hybrid)["config"] == ours:
        folder = hybrid  # a level is what the accuracy benchmark trains too
    source = recipe if changed and set(changed) <= set(free_of_adaptation(ours, theirs)) else None
    train_run(base.data, folder, wanted, fresh_test=base.fresh_test, adapted=source, progress=progress)
    return folder


def _scored(base: Task, config: TrainConfig, runs: Path, limit: int | None, progress: bool) -> Row:
    """Which held-out texts a model gets right, and what it costs."""
    folder = _trained(base, config, runs, progress)
    classifier = DiffusionClassifier.load(folder).set_params(progress=progress)
    own = set(classifier.get_params(deep=False))
    classifier.set_params(**{name: getattr(config, name) for name in SCORING_OPTIONS if name in own})
    _, dataset, splits = load_run_data(folder)
    parts = [splits[name] if limit is None else stratified_sample(splits[name], limit, seed=0) for name in HELD_OUT]
    if any(getattr(config, name) != getattr(base.config, name) for name in FITTED):
        classifier.calibrate(splits["calibration"].texts, names_of(dataset, splits["calibration"]))
        parts = parts[:1]
    part = reduce(TextSplit.followed_by, parts)
    labels = classifier.encode_labels(names_of(dataset, part))
    options = {"store": ScoreStore(folder / "scores"), "by_step": config.level_weighting != "bound"}
    ids = classifier.scoring_ids(part.texts)
    scores = classifier.score_ids(ids, **options)
    counts = classifier.denoiser_.count_scores(ids)
    by_counts = (counts + classifier.log_prior_).argmax(axis=1)
    true = mean_over_draws(scores.samples)[np.arange(len(labels)), labels]
    evidence = mean_over_draws(classifier.network_evidence(scores))
    if scores.count_scores is not None:  # the run's own weight was fitted to these texts
        evidence = pooled_by_others(evidence, counts, labels, scores.n_tokens, log_prior=classifier.log_prior_)
    return {
        "held": {"evidence": evidence, "labels": labels, "lengths": scores.n_tokens},
        "log_prior": classifier.log_prior_,
        "counts_accuracy": float((by_counts == labels).mean()),
        "nats_per_token": -float(true.sum()) / max(int(scores.n_tokens.sum()), 1),
        "forwards": float(scores.n_forwards.mean()),
        "adapt_steps": classifier.training_record_["adapt"]["steps"],
        "class_steps": classifier.training_record_["classes"]["steps"],
    }


def _row(factor: str, level: Options, scored: Row, first: Row) -> Row:
    n_texts = len(scored["held"]["labels"])
    (correct, losses), (was_correct, were_losses) = _decided(scored, n_texts), _decided(first, n_texts)
    accuracy = float(correct.mean())
    loss_change, half = mean_and_half(losses - were_losses)
    facts = {name: value for name, value in scored.items() if name not in ("held", "log_prior")}
    return {
        "factor": factor,
        "level": as_json(level),
        "n_texts": n_texts,
        "accuracy": accuracy,
        "accuracy_se": float(np.sqrt(accuracy * (1 - accuracy) / n_texts)),
        "mcnemar_p": None if not level else mcnemar_p(was_correct, correct),
        **difference({"diffusion": was_correct, "level": correct}, "level"),
        "decision_loss": float(losses.mean()),
        "loss_change": loss_change,
        "loss_change_low": loss_change - half,
        "loss_change_high": loss_change + half,
        **facts,
    }


def _decided(scored: Row, n_texts: int) -> tuple[NDArray[np.bool_], FloatArray]:
    """Which of the first texts are right, and the decision's losses; the validation texts come first."""
    held = {name: values[:n_texts] for name, values in scored["held"].items()}
    decided = (held["evidence"] + scored["log_prior"]).argmax(axis=1)
    return decided == held["labels"], decision_losses(**held, log_prior=scored["log_prior"])


def main(
    data: str,
    factors: Sequence[str],
    *,
    size: str = "cpu",
    seed: int = 0,
    backbone: str | None = None,
    runs: Path | None = None,
    output: Path | None = None,
    limit: int | None = None,
    command: str = "",
    progress: bool = False,
) -> Path:
    """Run what is missing and write the page after each level; returns it. Parameters as `study`."""
    recipe = task(data, "generative", size=size, seed=seed, backbone=backbone).config.as_dict()
    record = run_record(command, {"data": data, "size": size, "recipe": recipe}, seed)
    place, output = runs or Path("runs") / f"accuracy-{size}", output or report_folder(size)
    write = partial(write_study, data, record=record, output=output)
    options: dict[str, Any] = {"size": size, "seed": seed, "backbone": backbone, "limit": limit, "progress": progress}
    study(data, factors, place, write=write, **options)
    return output / f"{study_name(data, seed)}.md"


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.accuracy_study", description="one factor at a time")
    made.add_argument("--size", choices=("cpu", "gpu"), default="cpu")
    made.add_argument("--data", default="imdb")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--backbone", metavar="NAME", help="instead of the recipe's own, with all of its layers")
    usual = [name for name in FACTORS if name not in ON_REQUEST]
    made.add_argument("--factors", nargs="+", default=usual, choices=list(FACTORS), metavar="FACTOR")
    made.add_argument("--runs", type=Path, help="folder of the runs (default: runs/accuracy-SIZE)")
    made.add_argument("--output", type=Path, help="default: reports/accuracy, and its folder gpu for that size")
    made.add_argument("--limit", type=int, metavar="N", help="validation texts, and as many of calibration")
    return made


if __name__ == "__main__":
    arguments = vars(parser().parse_args())
    log_to_stderr("gencls")
    typed = as_typed(parser(), arguments, always=("size", "data"))
    print(f"study: {main(**arguments, command=typed, progress=sys.stderr.isatty())}")
