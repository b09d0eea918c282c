"""What makes it work: one factor at a time against the recipe, on validation texts.

    python -m benchmarks.accuracy_study --data imdb --factors path_steps hybrid_weight

Each level of a factor changes options of the generative recipe and nothing else. Options of scoring need no training:
the recipe's own run is scored again. Where only the classes' stage differs, the recipe's adaptation is taken over. A
run that is there is not trained again, so that factors can be added one by one. No test text is scored.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy_recipes import Task, task
from benchmarks.accuracy_results import difference
from benchmarks.markdown import table
from gencls.classifier.bayes import mean_over_draws
from gencls.classifier.estimator import DiffusionClassifier
from gencls.data.errors import nearest, three_parts
from gencls.data.storage import read_json, write_atomic, write_json
from gencls.evaluation.runs import load_run_data, names_of, train_run
from gencls.likelihood.store import ScoreStore
from gencls.reporting.metrics import mcnemar_p
from gencls.reporting.records import run_record
from gencls.training.config import CLASS_STAGE_OPTIONS, SCORING_OPTIONS, TrainConfig

logger = logging.getLogger("gencls.benchmarks")
Row = dict[str, Any]
Options = Mapping[str, Any]
#: Name of a factor -> the changes of each of its levels.
FACTORS: dict[str, tuple[Options, ...]] = {
    "path_steps": tuple({"n_steps": steps} for steps in (1, 2, 8)),
    "draws": tuple({"n_mc_samples": draws} for draws in (1, 4)),
    "order": ({"order": "uniform"},),
    "long_texts": ({"long_texts": "chunks"},),
    "level_weighting": ({"level_weighting": "learned"},),
    "class_steps": ({"class_steps": 0}, {"class_steps": 1200}),
    "class_levels": ({"class_level_low": 0.5}, {"class_level_low": 0.8}),
    "hybrid_weight": tuple({"hybrid_weight": weight, "class_dropout": 0.0} for weight in (0.1, 1.0, 10.0)),
    "adaptation": ({"adapt_steps": 0}, {"adapt_steps": 1200}),
    "learning_rate": tuple({"learning_rate": rate, "head_learning_rate": rate} for rate in (1e-4, 3e-4)),
    "pairs": ({"pair_smoothing": ()},),
    "discount": ({"discount": (0.3, 0.5, 0.7, 0.9)},),
    "mode": tuple({"mode": mode} for mode in ("adapter", "prompt", "independent")),
    "truncation": ({"truncation": "head"}, {"truncation": "tail"}),
    "max_length": tuple({"max_length": length} for length in (64, 128, 512)),
    "layers": tuple({"backbone_layers": count} for count in (2, 6)),
    "backbone": ({"backbone": "mpnet", "backbone_layers": None},),
}
BASE = "recipe"


def study(
    data: str,
    factors: Sequence[str],
    runs: Path,
    *,
    size: str = "cpu",
    limit: int | None = None,
    progress: bool = False,
) -> list[Row]:
    """Train what is missing and score the validation texts.

    Parameters
    ----------
    data : str
    factors : sequence of str
        Names of `FACTORS`.
    runs : Path
        Folder of the accuracy benchmark's runs; the recipe's own run is there or is trained.
    size : {"cpu", "gpu"}
    limit : int, optional
        Validation texts.
    progress : bool

    Returns
    -------
    list of dict
        The recipe first; then, for each level: ``factor``, ``level``, ``accuracy`` and its ``accuracy_se``, the paired
        difference ``ahead`` of the recipe with its interval, ``mcnemar_p``, ``nats_per_token`` and ``forwards``.

    Raises
    ------
    ValueError
        An unknown factor; before any training.
    """
    for name in factors:
        if name not in FACTORS:
            raise ValueError(three_parts(f"factors out of {tuple(FACTORS)}", name, f"Use {nearest(name, FACTORS)}."))
    base = task(data, "generative", size=size)
    return study_of(base, {name: FACTORS[name] for name in factors}, runs, limit=limit, progress=progress)


def study_of(
    base: Task, factors: Mapping[str, Sequence[Options]], runs: Path, *, limit: int | None, progress: bool
) -> list[Row]:
    """`study` of any task and levels."""
    first = _scored(base, base.config, runs, limit, progress)
    rows = [_row(BASE, {}, first, first)]
    for factor, levels in factors.items():
        for level in levels:
            config = replace(base.config, **level)
            if config != base.config:
                scored = _scored(base, config, runs, limit, progress)
                rows.append(_row(factor, level, scored, first))
                logger.info("%s %s: %.4f", factor, level, rows[-1]["accuracy"])
    return rows


def _trained(base: Task, config: TrainConfig, runs: Path, progress: bool) -> Path:
    """Train what the options of scoring do not change, if it is not there; returns the run's folder."""
    wanted = replace(config, **{name: getattr(base.config, name) for name in SCORING_OPTIONS})
    ours, theirs = wanted.as_dict(), base.config.as_dict()
    changed = {name: value for name, value in ours.items() if value != theirs[name]}
    recipe = runs / base.name
    told = "-".join(f"{name}={value}" for name, value in changed.items()).replace(" ", "").replace("/", "_")
    folder = runs / "study" / f"{base.name}-{told}" if changed else recipe
    source = recipe if changed and set(changed) <= set(CLASS_STAGE_OPTIONS) else None
    train_run(base.data, folder, wanted, fresh_test=base.fresh_test, adapted=source, progress=progress)
    return folder


def _scored(base: Task, config: TrainConfig, runs: Path, limit: int | None, progress: bool) -> Row:
    """Which validation texts a model gets right, and what it costs."""
    folder = _trained(base, config, runs, progress)
    classifier = DiffusionClassifier.load(folder).set_params(progress=progress)
    own = set(classifier.get_params(deep=False))
    classifier.set_params(**{name: getattr(config, name) for name in SCORING_OPTIONS if name in own})
    _, dataset, splits = load_run_data(folder)
    if any(getattr(config, name) != getattr(base.config, name) for name in SCORING_OPTIONS):
        # the temperature of the recipe's own scoring is not that of this one; where classes differ in size, it decides
        classifier.calibrate(splits["calibration"].texts, names_of(dataset, splits["calibration"]))
    part = splits["validation"].take(np.arange(len(splits["validation"]))[:limit])
    labels = classifier.encode_labels(names_of(dataset, part))
    by_step = config.level_weighting != "bound"
    store = ScoreStore(folder / "scores")
    scores = classifier.score_ids(classifier.scoring_ids(part.texts), store=store, by_step=by_step)
    true = mean_over_draws(scores.samples)[np.arange(len(labels)), labels]
    return {
        "correct": classifier.log_proba_of(scores).argmax(axis=1) == labels,
        "nats_per_token": -float(true.sum()) / max(int(scores.n_tokens.sum()), 1),
        "forwards": float(scores.n_forwards.mean()),
        "train_seconds": classifier.training_record_["seconds"],
    }


def _row(factor: str, level: Options, scored: Row, first: Row) -> Row:
    correct: NDArray[np.bool_] = scored["correct"]
    accuracy = float(correct.mean())
    both = {"diffusion": first["correct"], "level": correct}
    facts = {name: value for name, value in scored.items() if name != "correct"}
    return {
        "factor": factor,
        "level": {name: list(value) if isinstance(value, tuple) else value for name, value in level.items()},
        "n_texts": len(correct),
        "accuracy": accuracy,
        "accuracy_se": float(np.sqrt(accuracy * (1 - accuracy) / len(correct))),
        "mcnemar_p": None if scored is first else mcnemar_p(first["correct"], correct),
        **difference(both, "level"),
        **facts,
    }


def page(data: str, rows: Sequence[Row], command: str) -> str:
    """Return the table of a study in Markdown."""
    head = [
        "factor",
        "level",
        "accuracy ± s.e.",
        "change, points [95 %]",
        "p",
        "nats/token",
        "forwards",
        "training, min",
    ]
    return _PAGE.format(data=data, command=command, n_texts=rows[0]["n_texts"], rows=table(head, map(_cells, rows)))


_PAGE = """# What makes it work: {data}

Made by `{command}`; one change of the recipe at a time, {n_texts} validation texts, one seed. The interval is that of
the paired difference from the recipe.

{rows}
"""


def _cells(row: Row) -> list[str]:
    level = ", ".join(f"{name} {value}" for name, value in row["level"].items()) or "–"
    accuracy = f"{100 * row['accuracy']:.1f} ± {100 * row['accuracy_se']:.1f}"
    low, high = (f"{-100 * row[name]:+.1f}" for name in ("ahead_high", "ahead_low"))
    change = "" if row["mcnemar_p"] is None else f"{-100 * row['ahead']:+.1f} [{low}, {high}]"
    p = "" if row["mcnemar_p"] is None else f"{row['mcnemar_p']:.3f}"
    costs = [f"{row['nats_per_token']:.2f}", f"{row['forwards']:.1f}", f"{row['train_seconds'] / 60:.1f}"]
    return [row["factor"], level, accuracy, change, p, *costs]


def write_study(data: str, rows: Sequence[Row], output: Path, command: str) -> Path:
    """Write the rows, those of earlier calls included, and the page; returns the page's path."""
    path = output / f"study-{data}.json"
    known = read_json(path)["rows"] if path.exists() else []
    fresh = {_key(row) for row in rows}
    merged = [*rows, *(row for row in known if _key(row) not in fresh)]
    write_json(path, {"rows": merged, "run": run_record(command, {"data": data}, 0)})
    return write_atomic(output / f"study-{data}.md", page(data, merged, command))


def _key(row: Row) -> tuple[str, str]:
    return row["factor"], repr(sorted(row["level"].items()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy_study", description="one factor at a time")
    parser.add_argument("--size", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--data", default="imdb")
    parser.add_argument("--factors", nargs="+", default=list(FACTORS), choices=list(FACTORS), metavar="FACTOR")
    parser.add_argument("--runs", type=Path, help="folder of the runs (default: runs/accuracy-SIZE)")
    parser.add_argument("--output", type=Path, default=Path("reports/accuracy"))
    parser.add_argument("--limit", type=int, metavar="N", help="validation texts")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", stream=sys.stderr)
    for logger_name in ("gencls", "gencls.benchmarks"):
        logging.getLogger(logger_name).setLevel(logging.INFO)
    place = arguments.runs or Path("runs") / f"accuracy-{arguments.size}"
    options = {"size": arguments.size, "limit": arguments.limit, "progress": sys.stderr.isatty()}
    found = study(arguments.data, arguments.factors, place, **options)
    typed = f"python -m benchmarks.accuracy_study --size {arguments.size} --data {arguments.data}"
    print(f"study: {write_study(arguments.data, found, arguments.output, typed)}")
