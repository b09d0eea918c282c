"""Figures of `benchmarks.accuracy`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import seaborn as sns
from matplotlib.figure import Figure

from gencls.reporting.figures import model_title
from gencls.reporting.plots import LIGHT, MARKERS

Row = Mapping[str, Any]
OWN = {"diffusion": "generative", "hybrid": "hybrid"}


def title(model: str) -> str:
    """Return a model's name as a reader's words."""
    return OWN.get(model, model_title(model))


def plot_accuracy(rows: Sequence[Row]) -> Figure:
    """Draw the accuracy of every model with its interval, one panel for each data set."""
    names, figure = _panels(rows)
    for ax, name in zip(figure.axes, names, strict=True):
        models = sorted((row for row in rows if row["data"] == name), key=lambda row: row["accuracy"])
        for place, row in enumerate(models):
            is_own = row["model"] in OWN
            colour = LIGHT.palette[0] if is_own else LIGHT.muted
            ax.plot([row["accuracy_low"], row["accuracy_high"]], [place, place], color=colour, lw=2)
            ax.plot(row["accuracy"], place, marker=MARKERS[0] if is_own else MARKERS[1], color=colour)
        ax.set_yticks(range(len(models)), [title(row["model"]) for row in models])
        ax.set(title=name, xlabel="accuracy")
    return figure


def plot_ece(rows: Sequence[Row]) -> Figure:
    """Draw the calibration error of every model beside where a calibrated one would land."""
    names, figure = _panels(rows)
    for ax, name in zip(figure.axes, names, strict=True):
        models = [row for row in rows if row["data"] == name]
        for place, row in enumerate(models):
            colour = LIGHT.palette[0] if row["model"] in OWN else LIGHT.ink
            ax.barh(place, row["ece_null_high"] - row["ece_null_low"], left=row["ece_null_low"], color=LIGHT.grid)
            ax.plot([row["ece_low"], row["ece_high"]], [place, place], color=colour, lw=1.5)
            ax.plot(row["ece"], place, marker=MARKERS[0] if row["model"] in OWN else MARKERS[1], color=colour)
        ax.set_yticks(range(len(models)), [title(row["model"]) for row in models])
        ax.invert_yaxis()
        ax.set(title=name, xlabel="ECE (grey: if perfectly calibrated)")
    return figure


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
