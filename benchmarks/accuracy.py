"""Accuracy and calibration on all data sets, against rivals trained with the same care.

    python -m benchmarks.accuracy --size cpu

For each data set and variant: train, calibrate, score the test split once, fit the rivals on the same splits. Every run
has a folder of its own and is resumed or skipped by the same call; the summary in `reports/accuracy/` is made of the
evaluations that are there, so that data sets can be run one by one (`--data imdb`), and `--summary` only writes it.
That of `--size gpu` is in `reports/accuracy/gpu/`; the CPU's has a target from it, so write it again afterwards.
What an earlier summary says of data sets whose runs are elsewhere stays in it.
`--data imdb --refit nb_svm` fits rivals again, or for the first time, beside finished evaluations, and scores nothing.
`--take-from RUNS` takes over what would be trained alike from runs in another folder, or, with `--refit`, the rivals.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.accuracy_calibration import write_held_out_scores
from benchmarks.accuracy_recipes import DATA, UNLABELLED, VARIANTS, Task, task
from benchmarks.accuracy_report import write_report
from benchmarks.accuracy_results import collect, joined
from benchmarks.accuracy_targets import report_folder
from benchmarks.commands import as_typed, log_to_stderr
from gencls.data.errors import three_parts
from gencls.data.storage import read_json, write_json
from gencls.evaluation.additions import add_baselines, take_baselines
from gencls.evaluation.evaluate import EvaluationOptions, evaluate_run
from gencls.evaluation.runs import train_run
from gencls.evaluation.same_run import RUN, identity_of
from gencls.reporting.records import run_record
from gencls.training.config import free_of_adaptation, other_options

logger = logging.getLogger("gencls.benchmarks")
#: The evaluation's folder in a run's, and the file that says what it was an evaluation of; written last.
EVALUATION, DONE = "evaluation", "task.json"


def run_task(chosen: Task, runs: Path, *, source: Path | None = None, command: str, progress: bool = False) -> Path:
    """Train and evaluate one model; nothing is done twice. Returns the folder of its evaluation.

    With `source`, a folder of earlier runs, it takes over from there what it would train alike.

    Raises
    ------
    ValueError
        If it is evaluated already, with another recipe or on other texts.
    """
    folder = runs / chosen.name
    output = folder / EVALUATION
    if (output / DONE).exists():
        check_same_recipe(chosen, folder)
        _check_same_number(folder, chosen.n_test)
        logger.info("%s is evaluated already", chosen.name)
        return output
    logger.info("%s", chosen.name)
    train_run(
        chosen.data,
        folder,
        chosen.config,
        fresh_test=chosen.fresh_test,
        n_test=chosen.n_test if chosen.variant == UNLABELLED else None,
        adapted=_adapted(chosen, runs, source),
        progress=progress,
        command=command,
    )
    evaluate_run(
        folder,
        output,
        EvaluationOptions(max_texts=chosen.n_test, baselines=chosen.rivals, encoder_steps=chosen.encoder_steps),
        progress=progress,
        command=command,
    )
    write_held_out_scores(folder, output, progress=progress)
    write_json(output / DONE, {**chosen.told, "seed": chosen.config.seed, "max_texts": chosen.n_test})
    return output


def _adapted(chosen: Task, runs: Path, earlier: Path | None) -> Path | None:
    """The run that a task takes its stages from, if there is one.

    An earlier one of its name; else, for a hybrid, the generative one; where its recipe has the same adaptation.
    """
    places = [] if earlier is None else [earlier / chosen.name]
    if chosen.variant == "hybrid":
        places.append(runs / replace(chosen, variant="generative").name)
    for place in places:
        if not (place / RUN).exists():
            continue
        ours, theirs = chosen.config.as_dict(), identity_of(place)["config"]
        other = other_options(ours, theirs, free=free_of_adaptation(ours, theirs))
        if not other:
            return place
        logger.info("%s takes nothing over from %s, which has another %s", chosen.name, place, ", ".join(other))
    return None


def check_same_recipe(chosen: Task, folder: Path) -> None:
    """Raise a ValueError if the run in a folder is not one of the recipe as it is now."""
    _refuse(other_options(chosen.config.as_dict(), identity_of(folder)["config"]), folder)


def _check_same_number(folder: Path, max_texts: int | None) -> None:
    _refuse(["max_texts"] * (read_json(folder / EVALUATION / DONE)["max_texts"] != max_texts), folder)


def _refuse(differing: Sequence[str], folder: Path) -> None:
    if differing:
        got = f"one with another {', '.join(differing)} in {folder.name}"
        todo = "A test split is scored once: take back the change, or remove the folder and say so."
        raise ValueError(three_parts("no evaluation, or one of the same recipe and texts", got, todo))


def refit(
    rivals: Sequence[str],
    runs: Path,
    *,
    size: str = "cpu",
    data: Sequence[str] = DATA,
    variants: Sequence[str] = VARIANTS,
    seeds: Sequence[int] = (0,),
    limit: int | None = None,
    backbone: str | None = None,
    source: Path | None = None,
    command: str = "",
    progress: bool = False,
) -> None:
    """Fit rivals again, or for the first time, beside the finished evaluations of the variants that have rivals.

    With `source`, a folder of earlier runs, they are taken over from the evaluations there and not fitted.

    Raises
    ------
    ValueError
        If none is evaluated yet, or one was with another recipe; before any fit.
    """
    tasks = _tasks(data, variants, seeds, size=size, n_test=limit, backbone=backbone)
    done = [chosen for chosen in tasks if (runs / chosen.name / EVALUATION / DONE).exists()]
    finished = [chosen for chosen in done if chosen.rivals]
    if not finished:
        todo = "Run it first, without --refit."
        raise ValueError(three_parts("a finished evaluation of a variant with rivals", f"none in {runs.name}", todo))
    for chosen in finished:
        check_same_recipe(chosen, runs / chosen.name)
    for chosen in finished:
        output = runs / chosen.name / EVALUATION
        if source is not None:
            take_baselines(runs / chosen.name, source / chosen.name / EVALUATION, output, rivals, command=command)
            continue
        max_texts = read_json(output / DONE)["max_texts"]
        options = EvaluationOptions(max_texts=max_texts, baselines=tuple(rivals), encoder_steps=chosen.encoder_steps)
        add_baselines(runs / chosen.name, output, options, progress=progress, command=command)


def _tasks(data: Sequence[str], variants: Sequence[str], seeds: Sequence[int], **options: Any) -> list[Task]:
    return [task(name, variant, seed=seed, **options) for seed in seeds for variant in variants for name in data]


def summarise(runs: Path, output: Path, *, size: str, command: str) -> Path:
    """Write the summary of all evaluations in a folder of runs; returns the page.

    What an earlier summary of this size in `output` tells of data sets that were run elsewhere stays in it.
    """
    folders = sorted(path.parent for path in runs.glob(f"*/{EVALUATION}/{DONE}"))
    found = [collect(folder, read_json(folder / DONE)) for folder in folders]
    evaluations, rows = joined(found, _reported(output, size))
    record = run_record(command, {"size": size}, 0, evaluations=[row["run"] for row in evaluations])
    return write_report(evaluations, rows, record, output, size=size)


def _reported(output: Path, size: str) -> Mapping[str, Any]:
    places = output / "results.json", output / "run.json"
    is_same = all(place.exists() for place in places) and read_json(places[1])["config"] == {"size": size}
    return read_json(places[0]) if is_same else {}


def main(
    *,
    size: str = "cpu",
    data: Sequence[str] = DATA,
    variants: Sequence[str] = VARIANTS,
    seeds: Sequence[int] = (0,),
    rivals: Sequence[str] | None = None,
    runs: Path | None = None,
    output: Path | None = None,
    limit: int | None = None,
    backbone: str | None = None,
    source: Path | None = None,
    command: str = "",
    progress: bool = False,
) -> Path:
    """Run what is missing and write the summary.

    Parameters
    ----------
    size : {"cpu", "gpu"}
    data, variants : sequence of str
        See `benchmarks.accuracy_recipes`.
    seeds : sequence of int
        Of splits, order and masks.
    rivals : sequence of str, optional
        Baselines beside the generative variant; the recipe's by default.
    runs : Path, optional
        Folder of the runs; ``runs/accuracy-<size>`` by default.
    output : Path, optional
        ``reports/accuracy`` by default, and the folder ``gpu`` in it for that size.
    limit : int, optional
        Test texts of each data set, a stratified sample.
    backbone : str, optional
        Instead of the recipes' own, for data that it can read. A run of another backbone in that folder is refused.
    source : Path, optional
        Folder of earlier runs, of which the stages are taken over that would be trained alike.
    command : str
    progress : bool

    Returns
    -------
    Path
        The page of the summary.

    Raises
    ------
    ValueError
        An unknown data set, variant or size; before any run.
    """
    folder = runs or Path("runs") / f"accuracy-{size}"
    for chosen in _tasks(data, variants, seeds, size=size, n_test=limit, backbone=backbone):
        wanted = chosen if rivals is None or not chosen.rivals else replace(chosen, rivals=tuple(rivals))
        run_task(wanted, folder, source=source, command=command, progress=progress)
    return summarise(folder, output or report_folder(size), size=size, command=command)


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description="accuracy on all data sets")
    made.add_argument("--size", choices=("cpu", "gpu"), default="cpu")
    made.add_argument("--data", nargs="+", default=list(DATA), metavar="NAME")
    made.add_argument("--variants", nargs="+", default=list(VARIANTS), metavar="VARIANT")
    made.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="SEED")
    made.add_argument("--rivals", nargs="*", metavar="NAME", help="baselines (default: those of the recipe)")
    made.add_argument(
        "--refit", nargs="+", metavar="NAME", help="only fit these baselines beside the evaluations that are there"
    )
    made.add_argument(
        "--take-from",
        type=Path,
        metavar="RUNS",
        help="folder of earlier runs: take from there the stages that would be trained alike, or what --refit names",
    )
    made.add_argument("--runs", type=Path, help="folder of the runs (default: runs/accuracy-SIZE)")
    made.add_argument("--output", type=Path, help="default: reports/accuracy, and its folder gpu for that size")
    made.add_argument("--backbone", metavar="NAME", help="instead of the recipes' own, with all of its layers")
    made.add_argument("--limit", type=int, metavar="N", help="test texts of each data set")
    made.add_argument("--summary", action="store_true", help="only write the summary of what is there")
    return made


if __name__ == "__main__":
    arguments = vars(parser().parse_args())
    log_to_stderr("gencls")
    size = arguments["size"]
    command = f"python -m benchmarks.accuracy --size {size}"
    place = arguments["runs"] or Path("runs") / f"accuracy-{size}"
    typed = as_typed(parser(), arguments, always=("size",))
    only_summary, again, source = (arguments.pop(name) for name in ("summary", "refit", "take_from"))
    if source is not None and only_summary and not again:
        raise SystemExit(three_parts("no --take-from with --summary", str(source), "Leave one of both out."))
    if again:
        chosen = {name: arguments[name] for name in ("size", "data", "variants", "seeds", "limit", "backbone")}
        refit(again, place, **chosen, source=source, command=typed, progress=sys.stderr.isatty())
    if again or only_summary:
        page = summarise(place, arguments["output"] or report_folder(size), size=size, command=command)
    else:
        page = main(**arguments, source=source, command=command, progress=sys.stderr.isatty())
    print(f"report: {page}")
