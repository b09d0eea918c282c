"""Page and data of `benchmarks.accuracy_study`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.accuracy_levels import NO_COUNTS, as_json
from benchmarks.markdown import table
from gencls.data.storage import read_json, write_atomic, write_json
from gencls.reporting.tables import p_value
from gencls.training.config import TrainConfig

logger = logging.getLogger("gencls.benchmarks")
Row = Mapping[str, Any]
#: Factor of the row that all others are compared with.
BASE = "recipe"
#: What the page can do without: rows that are older lack it.
NEWER = ("counts_accuracy",)
_PAGE = """# What makes it work: {data}, seed {seed}

Made by `{command}` on {device}; factors of earlier calls are kept.

One change of the recipe at a time, from its own value to the level's, on the validation and the calibration texts;
what is fitted to the latter is judged on the former alone, as the recipe is for that comparison. No test text. One
training of each level, of the one seed. The interval is that of the paired difference from the recipe, p is McNemar's.
Decision loss: negative log posterior of the true class, in nats, with a temperature by length that other folds of the
same texts chose, texts weighted to the shares of the classes, and its paired change. Counts: accuracy of the level's
count tables alone, without a network, which earlier rows lack. Nats per token: bound under the true class. Steps are
those of the adaptation and of the classes.

{rows}
"""


def study_name(data: str, seed: int, kind: str = "study") -> str:
    """Return the name of a study's files, each seed's its own."""
    return f"{kind}-{data}" if seed == 0 else f"{kind}-{data}-{seed}"


def write_study(data: str, rows: Sequence[Row], record: Mapping[str, Any], output: Path) -> Path:
    """Write the rows, those of earlier calls included, and the page; returns the page's path.

    Parameters
    ----------
    data : str
    rows : sequence of dict
        As `benchmarks.accuracy_study.study` gives them.
    record : mapping
        Of the run; its ``config`` has ``data``, ``size`` and ``recipe``. Earlier rows of another one, or whose recipe
        scored otherwise (trained again elsewhere, other texts), are left out: they differ from other decisions.
    output : Path
    """
    path = output / f"{study_name(data, record['config']['recipe']['seed'])}.json"
    fresh = {_key(row) for row in rows}
    merged = [*rows, *(row for row in _known(path, rows[0], record) if _key(row) not in fresh)]
    output.mkdir(parents=True, exist_ok=True)
    write_json(path, {"rows": merged, "run": dict(record)})
    return write_study_page(path)


def write_study_page(path: Path) -> Path:
    """Write the page beside a JSON file of `write_study`; returns its path."""
    return write_atomic(path.with_suffix(".md"), study_page(path))


def study_page(path: Path) -> str:
    """Return the page of a study whose numbers are in a JSON file of `write_study`."""
    found = read_json(path)
    return page(found["run"]["config"]["data"], found["rows"], found["run"])


def _known(path: Path, first: Row, record: Mapping[str, Any]) -> list[Row]:
    """Rows of earlier calls that belong beside the new ones: from a recipe that did as this one does."""
    if not path.exists():
        return []
    old = read_json(path)
    config = dict(old["run"]["config"])
    config["recipe"] = {**TrainConfig().as_dict(), **config.get("recipe", {})}  # options that are newer than it
    recipe = {**{name: first[name] for name in NEWER}, **old["rows"][0]}
    if config == dict(record["config"]) and recipe == dict(first):
        return list(old["rows"])
    logger.warning("%s is begun anew: its rows are differences from another recipe's decisions", path.name)
    return []


def _key(row: Row) -> tuple[str, str]:
    return row["factor"], repr(sorted(row["level"].items()))


def page(data: str, rows: Sequence[Row], record: Mapping[str, Any]) -> str:
    """Return the table of a study in Markdown."""
    names = ["factor", "level", "texts", "accuracy ± s.e.", "change, points [95 %]", "p", "counts"]
    cells = (_cells(row, record["config"]["recipe"]) for row in rows)
    names += ["decision loss", "change [95 %]", "nats/token", "forwards per text and class", "steps"]
    rows_table = table(names, cells)
    about = {"command": record["command"], "device": record["device"], "seed": record["config"]["recipe"]["seed"]}
    return _PAGE.format(data=data, rows=rows_table, **about)


def changes_of(row: Row, recipe: Mapping[str, Any]) -> str:
    """Return what a level changes: each option, from the recipe's value to its own; no counts in words."""
    level, uncounted, changes = row["level"], as_json(NO_COUNTS), []
    if uncounted.items() <= level.items():
        changes = ["without class counts"]
        level = {name: value for name, value in level.items() if name not in uncounted}
    changes += [f"{name} {recipe[name]} → {value}" for name, value in level.items() if value != recipe[name]]
    return ", ".join(changes) or "–"


def accuracy_change(row: Row) -> str:
    """Return how far a level is above the recipe, in points, with the interval."""
    low, high = (f"{-100 * row[name]:+.1f}" for name in ("ahead_high", "ahead_low"))
    return f"{-100 * row['ahead']:+.1f} [{low}, {high}]"


def loss_change(row: Row) -> str:
    """Return how far a level's decision loss is above the recipe's, in nats, with the interval."""
    low, high = (f"{row[name]:+.3f}" for name in ("loss_change_low", "loss_change_high"))
    return f"{row['loss_change']:+.3f} [{low}, {high}]"


def _cells(row: Row, recipe: Mapping[str, Any]) -> list[str]:
    level = changes_of(row, recipe)
    accuracy = f"{100 * row['accuracy']:.1f} ± {100 * row['accuracy_se']:.1f}"
    change = "" if row["mcnemar_p"] is None else accuracy_change(row)
    loss = [f"{row['decision_loss']:.3f}", loss_change(row) if row["level"] else ""]
    costs = [f"{row['nats_per_token']:.2f}", f"{row['forwards']:.1f}", f"{row['adapt_steps']} + {row['class_steps']}"]
    p = "" if row["mcnemar_p"] is None else p_value(row["mcnemar_p"])
    counts = f"{100 * row['counts_accuracy']:.1f}" if "counts_accuracy" in row else "–"
    return [row["factor"], level, f"{row['n_texts']:,}", accuracy, change, p, counts, *loss, *costs]
