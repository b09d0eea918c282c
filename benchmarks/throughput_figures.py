"""Figures of `benchmarks.throughput`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.throughput_tables import mode_title
from gencls.reporting.plots import LIGHT

STAGES = {"adapt": "training: adaptation", "classes": "training: classes"}
MARKERS = ("o", "s", "D", "^")
SHOWN_OPERATIONS = 8


def plot_fractions(results: Mapping[str, Any], scoring_target: float, training_target: float) -> Figure:
    """Draw the fractions of the matrix product's rate, with their extremes over pairs and the targets."""
    bars = [(f"scoring: {row['texts']}", row, scoring_target) for row in results["scoring"]]
    bars += [(STAGES[name], row, training_target) for name, row in results["training"]["stages"].items()]
    figure, (ax,) = _figure(7.0, 2.6)
    for place, (_, row, target) in enumerate(bars):
        colour = LIGHT.palette[0] if target == scoring_target else LIGHT.palette[1]
        ax.barh(place, row["fraction"], color=colour, alpha=0.8)
        ax.plot([row["fraction_low"], row["fraction_high"]], [place, place], color=LIGHT.ink, lw=1.5)
        ax.plot([target, target], [place - 0.4, place + 0.4], color=LIGHT.ink, ls="--", lw=1.2)
    ax.set_yticks(range(len(bars)), [title for title, _, _ in bars])
    ax.invert_yaxis()
    ax.set(xlim=(0, 1), xlabel="fraction of the matrix product's rate (dashed: target)")
    return figure


def plot_classes(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the time for a text against the number of classes; dashed is proportional."""
    figure, (ax,) = _figure(5.6, 3.4)
    titles = list(dict.fromkeys(mode_title(row) for row in rows))
    for colour, marker, title in zip(LIGHT.palette, MARKERS, titles, strict=False):
        line = [row for row in rows if mode_title(row) == title]
        counts = [row["n_classes"] for row in line]
        ax.plot(counts, [row["ratio"] for row in line], marker=marker, color=colour, label=title)
    ratios = sorted({(row["n_classes"], row["classes_ratio"]) for row in rows})
    ax.plot(*zip(*ratios, strict=True), color=LIGHT.muted, ls="--", label="proportional")
    ax.set_xscale("log", base=2)
    ax.set_yscale("log", base=2)
    ax.xaxis.set_major_formatter("{x:.0f}")
    ax.yaxis.set_major_formatter("{x:g}")
    ax.set(xlabel="classes", ylabel="time, ratio")
    ax.legend(frameon=False)
    return figure


def plot_profiles(before: Mapping[str, Any]) -> Figure:
    """Draw the operations that took most time, the plain way and in the engine."""
    figure, axes = _figure(9.0, 3.2, 2)
    for ax, name, title in zip(axes, ("before", "after"), ("before: plain", "after: engine"), strict=True):
        rows = before[name]["profile"][:SHOWN_OPERATIONS]
        ax.barh(range(len(rows)), [row["milliseconds"] for row in rows], color=LIGHT.palette[0], alpha=0.8)
        ax.set_yticks(range(len(rows)), [row["operation"][:34] for row in rows], fontsize=8)
        ax.invert_yaxis()
        ax.set(xlabel="own time, ms", title=title)
    axes[1].set_xlim(axes[0].get_xlim())
    return figure


def _figure(width: float, height: float, n_axes: int = 1) -> tuple[Figure, list[Axes]]:
    with sns.axes_style("whitegrid", {"axes.edgecolor": LIGHT.muted, "grid.color": LIGHT.grid}):
        figure = Figure(figsize=(width, height), layout="constrained", dpi=160)
        axes: list[Axes] = figure.subplots(1, n_axes, squeeze=False)[0].tolist()
    for ax in axes:
        sns.despine(ax=ax)
        ax.grid(axis="y", visible=False)
    return figure, axes
