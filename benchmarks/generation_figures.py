"""Figures of `benchmarks.generation`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import seaborn as sns
from matplotlib.figure import Figure

from benchmarks.generation_settings import PAIRED_ORDERS
from gencls.reporting.plots import LIGHT, MARKERS

Row = Mapping[str, Any]


def plot_quality(results: Row) -> Figure:
    """Draw perplexity and variety against wall time: diffusion by steps, and the autoregressive models."""
    figure, axes = _panels()
    steps = [row for row in results["settings"] if row["factor"] == f"steps, {PAIRED_ORDERS[0]}"]
    others = [("autoregressive, same size", results["others"]["causal"]), ("SmolLM2", results["others"]["judge"])]
    for ax, name in zip(axes, ("perplexity", "distinct_2"), strict=True):
        times = [row["seconds_per_text"] for row in steps]
        ax.plot(
            times, [row[name] for row in steps], marker=MARKERS[0], color=LIGHT.palette[0], label="diffusion, by steps"
        )
        for row in (steps[0], steps[-1]):
            ax.annotate(row["value"], (row["seconds_per_text"], row[name]), xytext=(4, 4), textcoords="offset points")
        for place, (title, row) in enumerate(others, start=1):
            colour = LIGHT.palette[place]
            ax.plot(row["seconds_per_text"], row[name], MARKERS[place], color=colour, ms=8, ls="none", label=title)
        ax.axhline(results["human"][name], color=LIGHT.muted, ls=":", label="human")
        ax.set(xscale="log", xlabel="seconds a text", ylabel=_LABELS[name])
    axes[0].set_yscale("log")
    axes[1].legend(frameon=False, loc="lower left")
    return figure


def plot_steps(rows: Sequence[Row]) -> Figure:
    """Draw perplexity and variety against steps, a line for each order that has them all."""
    figure, axes = _panels()
    for ax, name in zip(axes, ("perplexity", "distinct_2"), strict=True):
        for place, order in enumerate(PAIRED_ORDERS):
            own = [row for row in rows if row["factor"] == f"steps, {order}"]
            values = [row[name] for row in own]
            style = {"marker": MARKERS[place], "color": LIGHT.palette[place], "label": order}
            ax.plot([int(row["value"]) for row in own], values, **style)
        ax.set_xscale("log", base=2)
        ax.set(xlabel="steps", ylabel=_LABELS[name])
    axes[0].set_yscale("log")
    axes[0].legend(frameon=False)
    return figure


_LABELS = {"perplexity": "perplexity under SmolLM2", "distinct_2": "distinct-2"}


def _panels() -> tuple[Figure, list[Any]]:
    with sns.axes_style("whitegrid", {"axes.edgecolor": LIGHT.muted, "grid.color": LIGHT.grid}):
        figure = Figure(figsize=(10.0, 4.0), layout="constrained", dpi=140)
        axes = figure.subplots(1, 2).tolist()
    for ax in axes:
        sns.despine(ax=ax)
    return figure, axes
