"""The figures of the poem report: drawing only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from benchmarks.poem_tables import way_title
from gencls.reporting.canvas import LIGHT, MARKERS, Theme, in_percent, new_figure, put_legend, put_title, theme_colours

SHOWN = ("diffusion", "causal left", "causal rescored", "causal iterated", "middle", "bigram", "unigram")


def plot_accuracy(levels: Mapping[str, Any], theme: Theme = LIGHT) -> Figure:
    """Accuracy against the share of hidden tokens, with 95 % intervals, one line for each way to fill."""
    figure, ax = new_figure(1, 1, theme, height=4.6)
    for name, colour, marker in zip(SHOWN, [*theme_colours(theme, 6), theme.muted], [*MARKERS, "x"], strict=True):
        points = [(float(level), _row(row, name)) for level, row in levels.items()]
        kept = [(level, row) for level, row in points if row is not None]
        x = [level for level, _ in kept]
        label = "diffusion, as chosen on validation poems" if name == "diffusion" else way_title(name)
        width = 2.4 if name == "diffusion" else 1.3
        ax.plot(x, [row["accuracy"] for _, row in kept], marker=marker, color=colour, lw=width, ms=5, label=label)
        ax.fill_between(x, [row["low"] for _, row in kept], [row["high"] for _, row in kept], color=colour, alpha=0.15)
    ax.set(xlabel="hidden tokens", ylabel="accuracy on hidden tokens, 95 % interval", ylim=(0, None))
    in_percent(ax.xaxis, ax.yaxis)
    put_title(ax, "Poem completion without leakage", theme)
    put_legend(ax, theme)
    return figure


def _row(level: Mapping[str, Any], name: str) -> Mapping[str, float] | None:
    found: Mapping[str, float] | None = level["ways"].get(level["chosen"]["diffusion"] if name == "diffusion" else name)
    return found


def plot_leakage(rows: Sequence[Mapping[str, Any]], theme: Theme = LIGHT) -> Figure:
    """Accuracy on the test poems against the share of them that was trained on."""
    figure, ax = new_figure(1, 1, theme, height=3.6)
    levels = list(rows[0]["levels"])
    for level, colour, marker in zip(levels, theme_colours(theme, len(levels)), MARKERS, strict=False):
        x = [row["share"] for row in rows]
        points = [row["levels"][level] for row in rows]
        ax.plot(x, [row["accuracy"] for row in points], marker=marker, color=colour, label=f"{float(level):.0%} hidden")
        ax.fill_between(x, [row["low"] for row in points], [row["high"] for row in points], color=colour, alpha=0.15)
    ax.set(xlabel="test poems trained on, on purpose", ylabel="accuracy", ylim=(0, None))
    in_percent(ax.xaxis, ax.yaxis)
    put_title(ax, "What leakage does to the number", theme)
    put_legend(ax, theme)
    return figure
