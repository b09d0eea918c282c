"""Figures: every `plot_*` draws what a `prepare_*` of `curves` computed, and returns a matplotlib `Figure`.

`canvas` has what they share: themes, axes, legends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gencls.classifier.selective import RiskCoverage
from gencls.reporting.canvas import (
    DARK,
    DPI,
    LIGHT,
    LINES,
    MARKERS,
    WIDTH,
    Theme,
    cycle,
    in_percent,
    new_figure,
    put_legend,
    put_title,
    theme_colours,
    to_png,
)
from gencls.reporting.curves import (
    AccuracyAgainstForwards,
    Confusion,
    LogOddsHistogram,
    ModelScores,
    Reliability,
)

__all__ = [
    "DARK",
    "DPI",
    "LIGHT",
    "MARKERS",
    "Theme",
    "plot_accuracy_against_forwards",
    "plot_comparison",
    "plot_confusion",
    "plot_log_odds",
    "plot_reliability",
    "plot_risk_coverage",
    "to_png",
]

MAX_ANNOTATED_CLASSES = 12


def plot_comparison(models: Sequence[ModelScores], theme: Theme = LIGHT) -> Figure:
    """Accuracy with 95 % intervals, and ECE against the band of a perfectly calibrated model."""
    figure, (left, right) = new_figure(1, 2, theme, height=1.3 + 0.42 * len(models), sharey=True)
    rows = np.arange(len(models))
    for row, model, colour in zip(rows, models, theme_colours(theme, len(models)), strict=True):
        left.plot([model.accuracy_low, model.accuracy_high], [row, row], color=colour, lw=2.5, alpha=0.6)
        left.plot(model.accuracy, row, MARKERS[row % len(MARKERS)], color=colour, ms=8)
        right.plot(
            [model.ece_null_low, model.ece_null_high], [row, row], color=theme.muted, lw=11, alpha=0.35,
            solid_capstyle="butt", 
        )  # fmt: skip
        right.plot(model.ece, row, MARKERS[row % len(MARKERS)], color=colour, ms=8)
    left.set(yticks=rows, yticklabels=[model.name for model in models], ylim=(len(models) - 0.4, -0.6))
    left.set(xlabel="accuracy, 95 % interval")
    right.set(xlabel="ECE (grey: if calibrated)", xlim=(0, None))
    in_percent(left.xaxis, right.xaxis)
    for ax in (left, right):
        ax.xaxis.set_major_locator(MaxNLocator(5))
        ax.grid(axis="y", visible=False)
    return figure


def plot_reliability(curves: Mapping[str, Reliability], theme: Theme = LIGHT) -> Figure:
    """Reliability of each of the named curves side by side, over a histogram of its confidences."""
    layout: dict[str, Any] = {"height_ratios": (3.4, 1), "sharex": "col"}
    figure, axes = new_figure(2, len(curves), theme, height=3.9, **layout)
    grid = np.asarray(axes).reshape(2, len(curves))
    lowest = min(min(curve.low.min(), curve.confidence.min()) for curve in curves.values())
    floor = np.floor(max(lowest - 0.01, 0) * 20) / 20
    for column, (title, curve) in enumerate(curves.items()):
        _reliability_panel(grid[0, column], curve, floor, theme, column)
        bars = grid[1, column]
        bars.stairs(curve.histogram, curve.edges, fill=True, color=theme.palette[column], alpha=0.75)
        bars.set(xlabel="confidence in the predicted class", ylim=(0, None))
        bars.yaxis.set_major_locator(MaxNLocator(2, integer=True))
        in_percent(bars.xaxis, grid[0, column].yaxis)
        put_title(grid[0, column], title, theme)
    grid[0, 0].set_ylabel("accuracy")
    grid[1, 0].set_ylabel("texts")
    figure.align_ylabels()
    return figure


def plot_log_odds(panels: Mapping[str, LogOddsHistogram], theme: Theme = LIGHT) -> Figure:
    """Histograms of log-odds by true class, one panel for each named histogram."""
    figure, axes = new_figure(1, len(panels), theme, height=3.0, sharey=True)
    for ax, (title, histogram) in zip(np.ravel(axes), panels.items(), strict=True):
        colours = theme_colours(theme, len(histogram.groups))
        for group, counts, colour, line in zip(
            histogram.groups, histogram.counts, colours, cycle(LINES, len(colours)), strict=True
        ):
            ax.stairs(counts, histogram.edges, fill=True, color=colour, alpha=0.3)
            ax.stairs(counts, histogram.edges, color=colour, lw=1.5, ls=line, label=group)
        ax.axvline(0, color=theme.ink, lw=0.9)
        put_title(ax, title, theme)
    figure.supxlabel(histogram.axis_label, fontsize=10, color=theme.ink)
    first = np.ravel(axes)[0]
    first.set_ylabel("texts")
    first.set_ylim(0, 1.18 * max(histogram.counts.max() for histogram in panels.values()))
    put_legend(first, theme, title=None if "wrong" in histogram.groups else "true class", loc="upper left")
    return figure


def plot_confusion(confusion: Confusion, theme: Theme = LIGHT) -> Figure:
    """Share of each true class (row) that got each predicted class, with the counts."""
    c = len(confusion.class_names)
    annotated = c <= MAX_ANNOTATED_CLASSES
    side = min(2.3 + 0.75 * c, 6.2)
    figure, ax = new_figure(1, 1, theme, height=side - 0.4, width=min(side + 1.6, WIDTH))
    shades = LinearSegmentedColormap.from_list("shade", [theme.background, theme.palette[0]])
    text = [
        [f"{100 * share:.1f} %\n{count}" for share, count in zip(*row, strict=True)]
        for row in zip(confusion.share, confusion.counts, strict=True)
    ]
    sns.heatmap(
        confusion.share, ax=ax, cmap=shades, vmin=0, vmax=1, square=True, fmt="", linewidths=2, cbar=False,
        annot=np.array(text) if annotated else None, annot_kws={"fontsize": 11 if c <= 4 else 7},
        linecolor=theme.background, xticklabels=confusion.class_names, yticklabels=confusion.class_names,
    )  # fmt: skip
    ax.set(xlabel="predicted class", ylabel="true class")
    ax.tick_params(length=0, labelsize=10 if annotated else 6)
    ax.tick_params(axis="x", rotation=0 if c <= 4 else 90)
    ax.tick_params(axis="y", rotation=0)
    return figure


def plot_accuracy_against_forwards(curve: AccuracyAgainstForwards, theme: Theme = LIGHT) -> Figure:
    """Accuracy, and agreement with the decision of all draws, against the number of forwards."""
    figure, (left, right) = new_figure(1, 2, theme, height=2.9)
    colour, other = theme.palette[:2]
    half = 1.96 * curve.standard_error
    left.fill_between(
        curve.forwards, curve.accuracy - half, curve.accuracy + half, color=colour, alpha=0.15, lw=0,
        label="95 % interval over texts",
    )  # fmt: skip
    left.vlines(curve.forwards, curve.low, curve.high, color=colour, lw=2.5, alpha=0.7, label="range over draws")
    left.plot(curve.forwards, curve.accuracy, "o-", color=colour, label="mean over draws")
    left.set(xlabel="forwards per text and class", ylabel="accuracy")
    put_legend(left, theme, loc="lower right")
    right.plot(curve.forwards, curve.agreement, "s-", color=other)
    right.set(xlabel="forwards per text and class", ylabel="agreement with all draws")
    low, high = (curve.accuracy - half).min(), (curve.accuracy + half).max()
    reach = max(high - low, 1e-3)  # the legend needs room below, and a perfect score has no interval
    left.set_ylim(low - 0.55 * reach, high + 0.1 * reach)
    for ax in (left, right):
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        in_percent(ax.yaxis)
    return figure


def plot_risk_coverage(curves: Mapping[str, RiskCoverage], theme: Theme = LIGHT) -> Figure:
    """Error rate among the answered texts against the share answered, one line for each model."""
    figure, ax = new_figure(1, 1, theme, height=3.4)
    styles = zip(curves.items(), theme_colours(theme, len(curves)), cycle(LINES, len(curves)), strict=True)
    for (name, curve), colour, line in styles:
        # The first percent rests on a handful of texts and would set the scale of the whole figure.
        shown = curve.coverage >= min(0.01, curve.coverage[-1])
        label = f"{name}: area {curve.aurc:.3f}"
        ax.plot(curve.coverage[shown], curve.risk[shown], color=colour, ls=line, lw=1.8, label=label)
    ax.set(xlabel="coverage: share of texts answered, most confident first", ylabel="error rate among them")
    ax.set(xlim=(0, 1), ylim=(0, None))
    in_percent(ax.xaxis, ax.yaxis)
    put_legend(ax, theme, loc="upper left")
    return figure


def _reliability_panel(ax: Axes, curve: Reliability, floor: float, theme: Theme, index: int) -> None:
    colour = theme.palette[index]
    ax.plot([floor, 1], [floor, 1], color=theme.muted, lw=1, ls="--")
    errors = np.stack([curve.accuracy - curve.low, curve.high - curve.accuracy])
    ax.errorbar(
        curve.confidence, curve.accuracy, yerr=errors, color=colour, ecolor=colour, elinewidth=1.3, lw=1.2,
        marker=MARKERS[index], ms=5,
    )  # fmt: skip
    ax.set(xlim=(floor, 1.015), ylim=(floor, 1.015))
