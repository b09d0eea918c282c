"""Trained on one data set, used on another: does the accuracy hold, and does the calibration?

    python -m benchmarks.accuracy_shift --pairs imdb:rotten_tomatoes rotten_tomatoes:imdb

The accuracy benchmark's generative runs score texts of the other data set; the rivals are fitted on the run's own
texts. Temperatures stay those of the run's own held-out texts: nothing is fitted on the other data set. Rivals that
a finished evaluation lacks are added to it, and `--refit nb_svm` fits some again. The page is of all data sets that the
runs in question were used on, and keeps what an earlier page says of other runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.accuracy import DONE, EVALUATION, check_same_recipe
from benchmarks.accuracy_figures import title
from benchmarks.accuracy_recipes import RIVALS, task
from benchmarks.accuracy_results import Row, collect, compared
from benchmarks.accuracy_tables import percent, place_name
from benchmarks.accuracy_targets import report_folder
from benchmarks.commands import as_typed, log_to_stderr
from benchmarks.markdown import table
from gencls.data.errors import three_parts
from gencls.data.storage import read_json, write_atomic, write_json
from gencls.evaluation.additions import add_baselines
from gencls.evaluation.evaluate import EvaluationOptions, evaluate_run
from gencls.reporting.records import run_record

#: After the name of the data set that was trained on.
AT_HOME, ON = " at home", " on "
PAIRS = ("imdb:rotten_tomatoes", "rotten_tomatoes:imdb")
_PAGE = """# Shift between data sets

Made by `{command}`;
rows of earlier calls are kept.

Trained, chosen and calibrated on the first data set, used on the second: a stratified sample of its
texts, of the test split where it has one; "at home" is the run's own test split. The generative model,
the models of tokens and the encoder see the kept tokens of a text alone, where the linear models and the models of
words see all of it. The recipe of a row is that of its call: README.md may have a later one.

{texts}

"Generative ahead by": paired difference on the same texts with its 95 % interval, in points. ECE in 15 bins of equal
mass with its bootstrap interval, beside what a perfectly calibrated model of the same confidences would show ("null");
all in %.

{rows}
"""


def evaluate_pair(
    run: Path,
    other: str,
    *,
    max_texts: int | None,
    rivals: Sequence[str],
    refit: Sequence[str] = (),
    command: str,
) -> Path:
    """Score another data set's texts with a run, if that is not done, and fit what is missing; returns the folder.

    Parameters
    ----------
    run : Path
    other : str
    max_texts : int, optional
    rivals : sequence of str
        Fitted beside it, unless they are there.
    refit : sequence of str
        Fitted again if they are there.
    command : str
    """
    output = run / f"shift-{Path(other).stem}"
    options = EvaluationOptions(data=other, max_texts=max_texts, baselines=tuple(dict.fromkeys([*rivals, *refit])))
    if not (output / DONE).exists():
        evaluate_run(run, output, options, command=command)
        at_home = read_json(run / EVALUATION / DONE)
        told = at_home["data"] + ON + Path(other).stem
        wanted = {"other": other, "max_texts": max_texts}
        write_json(output / DONE, {**at_home, "data": told, "max_texts": max_texts, "options": wanted})
        return output
    _check_same_texts(output, other, max_texts)
    there = read_json(output / "run.json")["baselines"]
    wanted_rivals = tuple(name for name in options.baselines if name in refit or name not in there)
    if wanted_rivals:
        add_baselines(run, output, replace(options, baselines=wanted_rivals), command=command)
    return output


def _check_same_texts(output: Path, other: str, max_texts: int | None) -> None:
    found = read_json(output / DONE)["options"]
    if (found["other"], found["max_texts"]) != (other, max_texts):
        todo = "Remove the folder and say so: a test split is scored once."
        raise ValueError(three_parts("an evaluation of the same options", f"another in {output.name}", todo))


def main(
    pairs: Sequence[str] = PAIRS,
    *,
    size: str = "cpu",
    seed: int = 0,
    backbone: str | None = None,
    runs: Path | None = None,
    output: Path | None = None,
    limit: int | None = 1000,
    rivals: Sequence[str] = RIVALS,
    refit: Sequence[str] = (),
    command: str = "",
) -> Path:
    """Evaluate what is missing and write the page.

    Parameters
    ----------
    pairs : sequence of str
        ``TRAINED:USED``, names of data sets.
    size : {"cpu", "gpu"}
    seed : int
        Of the runs.
    backbone : str, optional
        Of the runs, where it is not the recipe's own.
    runs : Path, optional
        Folder of the accuracy benchmark's runs.
    output : Path, optional
        See `benchmarks.accuracy.main`.
    limit : int, optional
        Texts of the other data set, a stratified sample.
    rivals, refit : sequence of str
        Fitted where they are missing; and fitted again.
    command : str

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        A pair of another form, or a run that is not evaluated at home yet, or with another recipe; before any work.
    """
    folder = runs or Path("runs") / f"accuracy-{size}"
    found = [_run_of(pair, folder, size=size, seed=seed, backbone=backbone) for pair in pairs]
    options = {"max_texts": limit, "rivals": rivals, "refit": refit, "command": command}
    for run, other in found:
        evaluate_pair(run, other, **options)
    evaluations = [row for run in dict.fromkeys(run for run, _ in found) for row in _evaluations(run)]
    output = output or report_folder(size)
    there = output / "shift.json"
    earlier = _reported(there, size)
    rows = _with_earlier(compared(evaluations), earlier.get("rows", ()))
    texts = _with_earlier([_text_facts(row) for row in evaluations], earlier.get("texts", ()))
    record = run_record(command, {"size": size, "pairs": list(pairs), "max_texts": limit}, seed)
    write_json(there, {"rows": rows, "texts": texts, "run": record})
    return write_atomic(output / "shift.md", page(rows, texts, record))


def _evaluations(run: Path) -> list[Row]:
    """What a run's evaluations say: at home, and on all data sets that it was used on."""
    at_home = collect(run / EVALUATION, read_json(run / EVALUATION / DONE))
    places = sorted(path.parent for path in run.glob(f"shift-*/{DONE}"))
    away = [collect(place, read_json(place / DONE)) for place in places]
    return [{**at_home, "data": at_home["data"] + AT_HOME}, *away]


def _reported(path: Path, size: str) -> dict[str, Any]:
    """What an earlier page of the same size says; nothing if there is none, as other sizes are other recipes."""
    told: dict[str, Any] = read_json(path) if path.exists() else {}
    return told if told and told["run"]["config"]["size"] == size else {}


def _with_earlier(rows: Sequence[Row], earlier: Sequence[Row]) -> list[Row]:
    """Rows with those of an earlier page that are of other runs, by what was trained on."""
    earlier = [{"seed": 0, **row} for row in earlier]  # the first page did not tell the seed of the texts
    here = {_trained(row) for row in rows}
    return sorted([*rows, *(row for row in earlier if _trained(row) not in here)], key=_trained)


def _trained(row: Row) -> tuple[str, int]:
    return row["data"].removesuffix(AT_HOME).split(ON)[0], row["seed"]


def _text_facts(evaluation: Row) -> Row:
    """Which texts of an evaluation were scored, and what of them a model of tokens sees."""
    split = {name: evaluation["split"][name] for name in ("max_length", "truncation", "share_cut")}
    return {"data": evaluation["data"], "seed": evaluation["seed"], "n_texts": evaluation["n_texts"], **split}


def _run_of(pair: str, folder: Path, *, size: str, seed: int, backbone: str | None) -> tuple[Path, str]:
    trained, separator, other = pair.partition(":")
    if not separator or not other:
        raise ValueError(three_parts("pairs TRAINED:USED", repr(pair), "Write imdb:rotten_tomatoes."))
    chosen = task(trained, "generative", size=size, seed=seed, backbone=backbone)
    run = folder / chosen.name
    if not (run / EVALUATION / DONE).exists():
        todo = f"First: python -m benchmarks.accuracy --size {size} --data {trained} --seeds {seed}."
        raise ValueError(three_parts(f"an evaluated run of {trained}", f"none in {folder.name}", todo))
    check_same_recipe(chosen, run)
    return run, other


def page(rows: Sequence[Row], texts: Sequence[Row], record: dict[str, Any]) -> str:
    """Return the page in Markdown."""
    kept = table(["trained and used", "texts", "tokens kept", "texts cut"], map(_text_cells, texts))
    head = ["trained and used", "model", "accuracy [95 %]", "generative ahead by", "NLL", "ECE [95 %]", "null"]
    return _PAGE.format(command=record["command"], texts=kept, rows=table(head, map(_cells, rows)))


def _text_cells(row: Row) -> list[str]:
    side = "last" if row["truncation"] == "tail" else "first"
    return [place_name(row), str(row["n_texts"]), f"{side} {row['max_length']}", f"{100 * row['share_cut']:.0f} %"]


def _cells(row: Row) -> list[str]:
    accuracy = f"{percent(row['accuracy'])} [{percent(row['accuracy_low'])}, {percent(row['accuracy_high'])}]"
    low, high = percent(row["ahead_low"]), percent(row["ahead_high"])
    ahead = "" if row["model"] == "diffusion" else f"{100 * row['ahead']:+.1f} [{low}, {high}]"
    ece = f"{percent(row['ece'])} [{percent(row['ece_low'])}, {percent(row['ece_high'])}]"
    null = f"[{percent(row['ece_null_low'])}, {percent(row['ece_null_high'])}]"
    return [place_name(row), title(row["model"]), accuracy, ahead, f"{row['nll']:.3f}", ece, null]


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.accuracy_shift", description="accuracy under shift")
    made.add_argument("--pairs", nargs="+", default=list(PAIRS), metavar="TRAINED:USED")
    made.add_argument("--size", choices=("cpu", "gpu"), default="cpu")
    made.add_argument("--seed", type=int, default=0, help="of the runs")
    made.add_argument("--backbone", metavar="NAME", help="of the runs, where it is not the recipe's own")
    made.add_argument("--runs", type=Path, help="folder of the accuracy benchmark's runs")
    made.add_argument("--rivals", nargs="*", default=list(RIVALS), metavar="NAME", help="fitted where they are missing")
    made.add_argument("--refit", nargs="+", default=[], metavar="NAME", help="fitted again")
    made.add_argument("--output", type=Path, help="default: reports/accuracy, and its folder gpu for that size")
    made.add_argument("--limit", type=int, default=1000, metavar="N", help="texts of the other data set")
    return made


if __name__ == "__main__":
    arguments = vars(parser().parse_args())
    log_to_stderr("gencls")
    print(f"report: {main(**arguments, command=as_typed(parser(), arguments))}")
