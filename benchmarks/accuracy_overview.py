"""All models on all data sets in one table, before the tables that have a row for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.accuracy_figures import title
from benchmarks.markdown import table

Row = Mapping[str, Any]


def overview_table(rows: Sequence[Row]) -> str:
    """Return accuracies in percent in Markdown: a row for each model, a column for each data set.

    Parameters
    ----------
    rows : sequence of dict
        Of `benchmarks.accuracy_results.joined`; a cell is the mean over the seeds of a model and data set.
    """
    cells: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        cells.setdefault(row["model"], {}).setdefault(row["data"], []).append(row)
    names = list(dict.fromkeys(row["data"] for row in rows))
    n_seeds = {name: len({row["seed"] for row in rows if row["data"] == name}) for name in names}
    best = {name: max(_mean(data[name]) for data in cells.values() if name in data) for name in names}
    seeds = [f"{name}, {count} seeds" if count > 1 else name for name, count in n_seeds.items()]
    shown = (
        [title(model), *(_cell(data.get(name, []), best[name], n_seeds[name]) for name in names)]
        for model, data in cells.items()
    )
    return table(["", *seeds], shown)


def _mean(rows: Sequence[Row]) -> float:
    return sum(row["accuracy"] for row in rows) / len(rows)


def _cell(rows: Sequence[Row], best: float, n_seeds: int) -> str:
    if not rows:
        return "–"
    mean = _mean(rows)
    shown = f"{100 * mean:.1f}"
    of = "" if len(rows) == n_seeds else f" ({len(rows)} of {n_seeds})"
    return (f"**{shown}**" if mean == best else shown) + _against_ours(rows) + of


def _against_ours(rows: Sequence[Row]) -> str:
    """Whether the generative model loses to a model, or wins, beyond chance with each of the seeds that have it."""
    if any(row["model"] == "diffusion" for row in rows):
        return ""
    if all(row["ahead_high"] < 0 for row in rows):
        return " ↑"
    return " ↓" if all(row["ahead_low"] > 0 for row in rows) else ""
