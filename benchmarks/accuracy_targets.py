"""What `benchmarks.accuracy` has to reach, and how far it is: the rows of `targets.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.accuracy_recipes import with_unlabelled_texts
from benchmarks.accuracy_results import Row
from gencls.reporting.records import target_row

TARGETS = {"r8": 0.96, "r52": 0.92, "20ng": 0.85, "rotten_tomatoes": 0.80, "chinese_reviews": 0.88}


def report_folder(size: str) -> Path:
    """Return the folder of the reports of a size: that of the CPU holds those of the others."""
    return Path("reports/accuracy") / ("" if size == "cpu" else size)


def target_rows(
    rows: Sequence[Row], command: str, *, size: str, on_gpu: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Return the rows of `targets.json`: means over seeds, None where nothing was measured.

    Parameters
    ----------
    rows : sequence of dict
        The models of a size, as `benchmarks.accuracy_results.joined` gives them.
    command : str
    size : {"cpu", "gpu"}
    on_gpu : mapping, optional
        ``models`` and ``command`` of the report of the GPU's recipes, beside that of the CPU's.
    """
    imdb = _mean(rows, "imdb", "diffusion", "accuracy")
    if size == "gpu":
        on_gpu = {"models": rows, "command": command}
    imdb_on_gpu = None if on_gpu is None else _mean(on_gpu["models"], "imdb", "diffusion", "accuracy")
    learned = {name: _mean(rows, with_unlabelled_texts(name), "diffusion", "accuracy") for name in TARGETS}
    wanted = [
        ("imdb_generative_cpu", imdb if size == "cpu" else None, 0.88, ">="),
        ("imdb_generative_gpu", imdb_on_gpu, 0.92, ">="),
        ("imdb_hybrid_minus_encoder", _minus(rows, "imdb", "hybrid", "encoder"), -0.005, ">="),
        *((name, _mean(rows, name, "diffusion", "accuracy"), target, ">=") for name, target in TARGETS.items()),
        *((f"{name}_unlabelled", value, TARGETS[name], ">=") for name, value in learned.items() if value is not None),
        ("imdb_ece", _mean(rows, "imdb", "diffusion", "ece"), 0.015, "<="),
    ]
    commands = {} if on_gpu is None else {"imdb_generative_gpu": str(on_gpu["command"])}
    return [
        target_row(name, value, target, direction, commands.get(name, command))
        for name, value, target, direction in wanted
    ]


def _mean(rows: Sequence[Row], data: str, model: str, metric: str) -> float | None:
    values = [row[metric] for row in rows if row["data"] == data and row["model"] == model]
    return sum(values) / len(values) if values else None


def _minus(rows: Sequence[Row], data: str, one: str, other: str) -> float | None:
    """The mean difference of two models' accuracies over the seeds that have both, None where none has."""
    there = [row for row in rows if row["data"] == data]
    ones, others = ({row["seed"]: row["accuracy"] for row in there if row["model"] == name} for name in (one, other))
    leads = [ones[seed] - others[seed] for seed in ones if seed in others]
    return sum(leads) / len(leads) if leads else None
