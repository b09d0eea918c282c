"""Trained on one data set, used on another: does the accuracy hold, and does the calibration?

    python -m benchmarks.accuracy_shift --pairs imdb:rotten_tomatoes rotten_tomatoes:imdb

The accuracy benchmark's generative runs score the other data set's test split; the rivals are fitted on the run's own
texts. Temperatures stay those of the run's own calibration texts: nothing is fitted on the other data set.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.accuracy import DONE, EVALUATION
from benchmarks.accuracy_figures import title
from benchmarks.accuracy_recipes import RIVALS, task
from benchmarks.accuracy_report import percent
from benchmarks.accuracy_results import Row, collect, compared
from benchmarks.markdown import table
from gencls.data.errors import three_parts
from gencls.data.storage import read_json, write_atomic, write_json
from gencls.evaluation.evaluate import EvaluationOptions, evaluate_run
from gencls.reporting.records import run_record

PAIRS = ("imdb:rotten_tomatoes", "rotten_tomatoes:imdb")
_PAGE = """# Shift between data sets

Made by `{command}`.

Trained, chosen and calibrated on the first data set, used on the second, at most {max_texts} of
its test texts; "at home" is the run's own test split. "Generative ahead by": paired difference on the same texts with
its 95 % interval, in points. ECE in 15 bins of equal mass with its bootstrap interval, beside what a perfectly
calibrated model of the same confidences would show ("null"); all in %.

{rows}
"""


def evaluate_pair(run: Path, other: str, *, max_texts: int | None, rivals: Sequence[str], command: str) -> Path:
    """Score another data set's test texts with a run and its rivals, if that is not done; returns the folder."""
    output = run / f"shift-{Path(other).stem}"
    wanted = {"other": other, "max_texts": max_texts, "rivals": list(rivals)}
    if (output / DONE).exists():
        if read_json(output / DONE)["options"] != wanted:
            todo = "Remove the folder and say so: a test split is scored once."
            raise ValueError(three_parts("an evaluation of the same options", f"another in {output.name}", todo))
        return output
    options = EvaluationOptions(data=other, max_texts=max_texts, baselines=tuple(rivals))
    evaluate_run(run, output, options, command=command)
    at_home = read_json(run / EVALUATION / DONE)
    told = f"{at_home['data']} on {Path(other).stem}"
    write_json(output / DONE, {**at_home, "data": told, "max_texts": max_texts, "options": wanted})
    return output


def main(
    pairs: Sequence[str] = PAIRS,
    *,
    size: str = "cpu",
    runs: Path | None = None,
    output: Path = Path("reports/accuracy"),
    limit: int | None = 1000,
    rivals: Sequence[str] = RIVALS,
    command: str = "",
) -> Path:
    """Evaluate what is missing and write the page.

    Parameters
    ----------
    pairs : sequence of str
        ``TRAINED:USED``, names of data sets.
    size : {"cpu", "gpu"}
    runs : Path, optional
        Folder of the accuracy benchmark's runs.
    output : Path
    limit : int, optional
        Test texts of the other data set, a stratified sample.
    rivals : sequence of str
    command : str

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        A pair of another form, or a run that is not evaluated at home yet; before any work.
    """
    folder = runs or Path("runs") / f"accuracy-{size}"
    found = [_run_of(pair, folder, size) for pair in pairs]
    shifted = [evaluate_pair(run, other, max_texts=limit, rivals=rivals, command=command) for run, other in found]
    evaluations: list[Row] = []
    for (run, _), place in zip(found, shifted, strict=True):
        at_home = collect(run / EVALUATION, read_json(run / EVALUATION / DONE))
        evaluations += [{**at_home, "data": f"{at_home['data']} at home"}, collect(place, read_json(place / DONE))]
    rows = compared(evaluations)
    record = run_record(command, {"size": size, "pairs": list(pairs), "max_texts": limit}, 0)
    write_json(output / "shift.json", {"rows": rows, "run": record})
    return write_atomic(output / "shift.md", page(rows, record))


def _run_of(pair: str, folder: Path, size: str) -> tuple[Path, str]:
    trained, separator, other = pair.partition(":")
    if not separator or not other:
        raise ValueError(three_parts("pairs TRAINED:USED", repr(pair), "Write imdb:rotten_tomatoes."))
    run = folder / task(trained, "generative", size=size).name
    if not (run / EVALUATION / DONE).exists():
        todo = f"First: python -m benchmarks.accuracy --size {size} --data {trained}."
        raise ValueError(three_parts(f"an evaluated run of {trained}", f"none in {folder.name}", todo))
    return run, other


def page(rows: Sequence[Row], record: dict[str, Any]) -> str:
    """Return the page in Markdown."""
    head = ["trained and used", "model", "accuracy [95 %]", "generative ahead by", "NLL", "ECE [95 %]", "null"]
    max_texts = record["config"]["max_texts"] or "all"
    return _PAGE.format(command=record["command"], max_texts=max_texts, rows=table(head, map(_cells, rows)))


def _cells(row: Row) -> list[str]:
    accuracy = f"{percent(row['accuracy'])} [{percent(row['accuracy_low'])}, {percent(row['accuracy_high'])}]"
    low, high = percent(row["ahead_low"]), percent(row["ahead_high"])
    ahead = "" if row["model"] == "diffusion" else f"{100 * row['ahead']:+.1f} [{low}, {high}]"
    ece = f"{percent(row['ece'])} [{percent(row['ece_low'])}, {percent(row['ece_high'])}]"
    null = f"[{percent(row['ece_null_low'])}, {percent(row['ece_null_high'])}]"
    return [row["data"], title(row["model"]), accuracy, ahead, f"{row['nll']:.3f}", ece, null]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy_shift", description="accuracy under shift")
    parser.add_argument("--pairs", nargs="+", default=list(PAIRS), metavar="TRAINED:USED")
    parser.add_argument("--size", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--runs", type=Path, help="folder of the accuracy benchmark's runs")
    parser.add_argument("--rivals", nargs="*", default=list(RIVALS), metavar="NAME")
    parser.add_argument("--output", type=Path, default=Path("reports/accuracy"))
    parser.add_argument("--limit", type=int, default=1000, metavar="N", help="test texts of the other data set")
    arguments = vars(parser.parse_args())
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", stream=sys.stderr)
    logging.getLogger("gencls").setLevel(logging.INFO)
    typed = "python -m benchmarks.accuracy_shift"
    if arguments["rivals"] != list(RIVALS):
        typed += " --rivals " + " ".join(arguments["rivals"])
    print(f"report: {main(**arguments, command=typed)}")
