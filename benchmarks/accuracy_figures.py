"""Figures of `benchmarks.accuracy`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from gencls.reporting.figures import model_title
from gencls.reporting.plots import LIGHT, MARKERS

Row = Mapping[str, Any]
STEPLESS = "diffusion_no_class_steps"
OWN = {"diffusion": "generative", STEPLESS: "generative, no class steps", "hybrid": "hybrid"}


def title(model: str) -> str:
    """Return a model's name as a reader's words."""
    return OWN.get(model, model_title(model))


def plot_accuracy(rows: Sequence[Row]) -> Figure:
    """Draw the accuracy of every model with its interval, a line for each seed, one panel for each data set."""
    names, figure = _panels(rows)
    for ax, name in zip(figure.axes, names, strict=True):
        models = by_model(rows, name)
        order = sorted(models, key=lambda model: float(np.mean([row["accuracy"] for row in models[model]])))
        for place, row in _places(models, order):
            is_own = row["model"] in OWN
            colour = LIGHT.palette[0] if is_own else LIGHT.muted
            ax.plot([row["accuracy_low"], row["accuracy_high"]], [place, place], color=colour, lw=2)
            ax.plot(row["accuracy"], place, marker=MARKERS[0] if is_own else MARKERS[1], color=colour)
        ax.set_yticks(range(len(order)), [title(model) for model in order])
        ax.set(title=data_title(name, models), xlabel="accuracy")
    return figure


def plot_ece(rows: Sequence[Row]) -> Figure:
    """Draw the calibration error of every model beside where a calibrated one would land."""
    names, figure = _panels(rows)
    for ax, name in zip(figure.axes, names, strict=True):
        models = by_model(rows, name)
        for place, row in _places(models, list(models)):
            colour = LIGHT.palette[0] if row["model"] in OWN else LIGHT.ink
            width, height = row["ece_null_high"] - row["ece_null_low"], 0.8 / len(models[row["model"]])
            ax.barh(place, width, height, left=row["ece_null_low"], color=LIGHT.grid)
            ax.plot([row["ece_low"], row["ece_high"]], [place, place], color=colour, lw=1.5)
            ax.plot(row["ece"], place, marker=MARKERS[0] if row["model"] in OWN else MARKERS[1], color=colour)
        ax.set_yticks(range(len(models)), [title(model) for model in models])
        ax.invert_yaxis()
        ax.set(title=data_title(name, models), xlabel="ECE (grey: if perfectly calibrated)")
    return figure


def by_model(rows: Sequence[Row], data: str) -> dict[str, list[Row]]:
    """Return the rows of each model on a data set, one for each seed."""
    models: dict[str, list[Row]] = {}
    for row in rows:
        if row["data"] == data:
            models.setdefault(row["model"], []).append(row)
    return models


def _places(models: Mapping[str, Sequence[Row]], order: Sequence[str]) -> Iterator[tuple[float, Row]]:
    """Where each row is drawn: its model's place, the seeds beside each other within it."""
    for place, model in enumerate(order):
        seeds = models[model]
        for row, offset in zip(seeds, np.arange(len(seeds)) - (len(seeds) - 1) / 2, strict=True):
            yield place + 0.8 / len(seeds) * float(offset), row


def data_title(data: str, models: Mapping[str, Sequence[Row]]) -> str:
    """Return a data set's name with the number of its seeds, if there are several; `models` as `by_model`."""
    n_seeds = max(map(len, models.values()))
    return data if n_seeds == 1 else f"{data}, {n_seeds} seeds"


def _panels(rows: Sequence[Row]) -> tuple[list[str], Figure]:
    names = list(dict.fromkeys(row["data"] for row in rows))
    n_rows = -(-len(names) // 2)
    with sns.axes_style("whitegrid", {"axes.edgecolor": LIGHT.muted, "grid.color": LIGHT.grid}):
        figure = Figure(figsize=(10.0, 2.9 * n_rows), layout="constrained", dpi=140)
        panels = figure.subplots(n_rows, 2, squeeze=False).ravel().tolist()
    for ax in panels[len(names) :]:
        ax.remove()
    for ax in panels[: len(names)]:
        sns.despine(ax=ax)
        ax.grid(axis="y", visible=False)
    return names, figure
