"""The first page, the figures and the targets of `benchmarks.accuracy`; the other pages are made beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import accuracy_figures as figures
from benchmarks.accuracy_factors import factors_page
from benchmarks.accuracy_overview import calibration_table, encoder_table, overview_table
from benchmarks.accuracy_results import Row, plain_rows
from benchmarks.accuracy_tables import tables_page
from benchmarks.accuracy_targets import report_folder, target_rows
from benchmarks.markdown import targets_table
from gencls.data.storage import read_json, write_atomic, write_json
from gencls.reporting.plots import to_png
from gencls.reporting.records import write_targets

_SECTION = "\n## "
CONCLUSIONS = Path(__file__).with_name("accuracy_conclusions.md")
_PAGE = """# Accuracy and calibration

Made by `{command}` on {device}; every number of the tables is generated.
"Generative": the network is trained by the generative loss alone, and log-likelihoods decide: the network's, or, where
the class's counts stand beside it and not in its softmax (all reviews: IMDB, the Chinese ones, the sentences of Rotten
Tomatoes), a weighted sum of the network's and the counts'. Fitted to labels are the strengths of the tables' smoothing
and how much less a long text counts, one to five numbers, by the decisions of cross-fitted training texts; that weight;
and the temperature and its like, two or three numbers, which move no decision. IMDB's and the Chinese reviews are
decided whole. "Hybrid": trained with the cross-entropy of the Bayes posterior as well; on reviews with the counts
inside, and, but for IMDB, fewer steps of the classes, cut texts, and tables that count long texts whole; on
Rotten Tomatoes on MiniLM, where the generative model has four layers of MPNet; on R52 without the shrinkage of small
classes. "Its count tables": what the generative model starts from, without the network.

All choices were made on training, validation and calibration texts, and a recipe's test split was scored once. But most
recipes are not the first of their data set, and a missed target was at times why another one was looked for: Rotten
Tomatoes, R52 and IMDB's calibration error met theirs only then. And one recipe serves both seeds, which cut their
splits from one pool where there is no official test split: of IMDB, Rotten Tomatoes and the Chinese reviews, texts that
chose the recipe with one seed are test texts of the other. [findings.md](findings.md) says how many, and what had been
scored before. Data are those of the package index: the test texts of IMDB, Rotten Tomatoes and the Chinese reviews are
cut from what it has, for the first two the official training split, so that figures of official test splits are not
comparable; Reuters (r8, r52) and newsgroups (20ng) are official splits, in lower case, letters only, the latter a
stratified sample of 2,500 of its 7,528 test texts.

{in_short}

## Targets

{targets}

## At a glance

Share of test texts classified rightly, in percent, mean over the seeds. Bold: the best of the data set. An arrow: above
(↑) or below (↓) the generative model beyond chance, with each of the seeds that the model has; one that lacks a seed
is never bold. A star: with an encoder in it that has other steps or another backbone than the generative model; the
next table says which.

{overview}

## Where the encoder wins, and where the generative model

The same backbone fine-tuned to discriminate, with all of its layers, where the generative model has the first four of
six (MPNet: of twelve; from scratch, all), on the same tokens (where the generative model decides whole texts, it reads
more of the long ones): points by which the generative and the hybrid model are ahead of it on the same test texts, with
the 95 % interval of the paired difference (none where an older evaluation does not tell single texts). Bold: beyond
chance. The encoder has as many steps as both stages of the generative model; where these would be too few for it, or
it is kept from an evaluation of another recipe, its own steps or backbone follow.

{encoder}

![accuracy by data set and model](accuracy.png)

## Are its probabilities frequencies?

Calibration error (ECE, 15 bins of equal mass) in percent, after the same kind of calibration, on the validation and
the calibration texts (of models that were evaluated before, on the latter alone: [tables.md](tables.md) tells how many
it was); beside it the largest that a perfectly calibrated model of the same confidences would show in 97.5 of 100
samples of as many texts. Bold: more than that.

{calibration}

![ECE beside its null](calibration.png)

## Read on

{pages}
"""
#: The pages of a report's folder and what they tell, in the order of reading; those of studies follow.
_PAGES = {
    "findings.md": "what was found on each data set, what did not work, and which test texts were scored before",
    "tables.md": "all numbers: each model with intervals, language model or not, ways to calibrate, costs",
    "factors.md": "what buys how much: every change of a recipe that was studied on held-out texts",
    "few-shot-*.md": "accuracy against the number of labelled texts",
    "shift.md": "from reviews to sentences and back",
    "gpu/README.md": "the same report of the GPU's recipes",
}
#: Pages of one data set and seed each.
_STUDIES = {
    "study-*.md": "the studies of factors",
    "smoothing-*.md": "the class tables alone, and what each option of their smoothing buys",
}
_FINDINGS = """# Accuracy and calibration: what was found

Written by hand about the numbers of [README.md](README.md), [tables.md](tables.md) and [factors.md](factors.md).

{findings}
"""


def write_report(
    evaluations: Sequence[Row],
    rows: Sequence[Row],
    record: Mapping[str, Any],
    output: Path,
    *,
    size: str,
) -> Path:
    """Write results.json, targets.json, run.json, the figures and the pages; returns the first page's path.

    Parameters
    ----------
    evaluations, rows : sequence of dict
        Of `accuracy_results.joined`.
    record : mapping
    output : Path
    size : {"cpu", "gpu"}
        The conclusions are those of the CPU's numbers.

    Raises
    ------
    ValueError
        If there is no evaluation of a generative model.
    """
    if not rows:
        raise ValueError("Expected an evaluation to summarise; got none. Run the benchmark without --summary first.")
    command = str(record["command"])
    targets = target_rows(rows, command, size=size, on_gpu=_on_gpu(output))
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / "results.json", {"evaluations": plain_rows(evaluations), "models": rows})
    write_json(output / "run.json", record)
    write_targets(output / "targets.json", targets)
    for name, figure in {"accuracy": figures.plot_accuracy(rows), "calibration": figures.plot_ece(rows)}.items():
        write_atomic(output / f"{name}.png", to_png(figure))
    in_short, findings = _conclusions(size)
    write_atomic(output / "tables.md", tables_page(rows, evaluations, command))
    write_atomic(output / "factors.md", factors_page(output, size))
    if findings:
        write_atomic(output / "findings.md", _FINDINGS.format(findings=findings))
    return write_atomic(output / "README.md", page(rows, evaluations, targets, command, in_short, output))


def _on_gpu(output: Path) -> dict[str, Any] | None:
    """What the report of the GPU's recipes tells, beside that of the CPU's."""
    folder = output / report_folder("gpu").name
    if not (folder / "results.json").exists():
        return None
    return {
        "models": read_json(folder / "results.json")["models"],
        "command": read_json(folder / "run.json")["command"],
    }


def _conclusions(size: str) -> tuple[str, str]:
    """The first section of the conclusions, for the first page, and the others."""
    if size != "cpu":
        return "", ""
    in_short, heading, others = CONCLUSIONS.read_text(encoding="utf-8").strip().partition(_SECTION)
    return in_short.strip(), (heading + others).strip()


def page(
    rows: Sequence[Row],
    evaluations: Sequence[Row],
    targets: Sequence[Mapping[str, Any]],
    command: str,
    in_short: str,
    output: Path,
) -> str:
    """Return the first page in Markdown; `output`: the folder whose other pages it names."""
    return _PAGE.format(
        command=command,
        device=", ".join(sorted({row["device"] for row in evaluations})),
        in_short=in_short,
        targets=targets_table(targets),
        overview=overview_table(rows),
        encoder=encoder_table(rows, evaluations),
        calibration=calibration_table(rows),
        pages="\n".join(_links(output)),
    )


def _links(output: Path) -> list[str]:
    """The other pages that are there, each with what it tells."""
    other_size = report_folder("gpu").name
    found = (
        (path.relative_to(output).as_posix(), said)
        for pattern, said in _PAGES.items()
        for path in sorted(output.glob(pattern))
    )
    told = [f"- [{name}]({name}): {said}." for name, said in found]
    for pattern, said in _STUDIES.items():
        names = sorted(path.relative_to(output).as_posix() for path in output.rglob(pattern))
        if names := [name for name in names if not name.startswith(f"{other_size}/")]:
            told.append(f"- {said}: {', '.join(f'[{name}]({name})' for name in names)}.")
    return told
