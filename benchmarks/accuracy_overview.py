"""All models on all data sets in one table, before the tables that have a row for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.accuracy_figures import by_model, data_title, title
from benchmarks.accuracy_results import outcome
from benchmarks.markdown import table

Row = Mapping[str, Any]
#: A rival above the generative model, and one below it.
_ARROWS = {"loses": " ↑", "wins": " ↓"}


def overview_table(rows: Sequence[Row]) -> str:
    """Return accuracies in percent in Markdown: a row for each model, a column for each data set.

    Parameters
    ----------
    rows : sequence of dict
        Of `benchmarks.accuracy_results.joined`; a cell is the mean over the seeds of a model and data set.
    """
    data = {name: by_model(rows, name) for name in dict.fromkeys(row["data"] for row in rows)}
    models = dict.fromkeys(row["model"] for row in rows)
    names = ["", *(data_title(name, found) for name, found in data.items())]
    return table(names, ([title(model), *(_cell(model, found) for found in data.values())] for model in models))


def _cell(model: str, found: Mapping[str, Sequence[Row]]) -> str:
    """A model on a data set, of which `found` has the rows of all models."""
    if model not in found:
        return "–"
    rows, n_seeds = found[model], max(map(len, found.values()))
    mean, best = _mean(rows), max(map(_mean, found.values()))
    shown = f"**{100 * mean:.1f}**" if mean == best else f"{100 * mean:.1f}"
    of = "" if len(rows) == n_seeds else f" ({len(rows)} of {n_seeds})"
    return shown + _arrow(rows) + of


def _mean(rows: Sequence[Row]) -> float:
    return sum(row["accuracy"] for row in rows) / len(rows)


def _arrow(rows: Sequence[Row]) -> str:
    """Whether a rival is above or below the generative model beyond chance, with each of the seeds that have it."""
    outcomes = {outcome(row) for row in rows if row["model"] != "diffusion"}
    return _ARROWS.get(outcomes.pop(), "") if len(outcomes) == 1 else ""
