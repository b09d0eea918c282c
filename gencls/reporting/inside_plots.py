"""Figures of looking inside: every `plot_*` draws what a `prepare_*` of `inside` computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gencls.reporting.canvas import (
    LIGHT,
    LINES,
    MARKERS,
    Theme,
    cycle,
    in_percent,
    new_figure,
    put_legend,
    put_title,
    theme_colours,
)
from gencls.reporting.inside import LayerCurves, LevelLosses, ScheduleCurve


def plot_schedules(curves: Mapping[str, ScheduleCurve], theme: Theme = LIGHT) -> Figure:
    """Tokens hidden after each step, and revealed by each, of every schedule."""
    figure, (left, right) = new_figure(1, 2, theme, height=3.1)
    styles = zip(curves.items(), theme_colours(theme, len(curves)), cycle(LINES, len(curves)), strict=True)
    for (name, curve), colour, line in styles:
        steps = np.arange(len(curve.hidden))
        left.step(steps, curve.hidden, where="post", color=colour, ls=line, lw=1.8, label=name)
        right.plot(steps[1:], curve.revealed, color=colour, ls=line, lw=1.8, marker=".", ms=5)
    left.set(xlabel="step", ylabel="tokens hidden after it", ylim=(0, None))
    right.set(xlabel="step", ylabel="tokens revealed by it", ylim=(0, None))
    for ax in (left, right):
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    put_legend(left, theme)
    return figure


def plot_levels(stages: Sequence[LevelLosses], theme: Theme = LIGHT) -> Figure:
    """Training loss over the steps, one line for each range of levels and one panel for each stage."""
    figure, axes = new_figure(1, len(stages), theme, height=3.6, sharey=True)
    for ax, stage in zip(np.ravel(axes), stages, strict=True):
        for column, (level, colour) in enumerate(zip(stage.levels, _shades(theme, len(stage.levels)), strict=True)):
            seen = ~np.isnan(stage.loss[:, column])
            low = stage.levels[column - 1] if column else 0.0
            label = f"{100 * low:.0f} to {100 * level:.0f} %"
            ax.plot(stage.steps[seen], stage.loss[seen, column], color=colour, lw=1.5, label=label)
        ax.set(xlabel="step")
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        put_title(ax, stage.name, theme)
    first, last = np.ravel(axes)[[0, -1]]
    first.set_ylabel("loss, nats per hidden token")
    put_legend(last, theme, title="tokens hidden", loc="upper left", bbox_to_anchor=(1.0, 1.0), reverse=True)
    return figure


def plot_layers(curves: LayerCurves, theme: Theme = LIGHT) -> Figure:
    """How often each layer has the token, and how much of the attention goes to visible tokens, by level."""
    figure, (left, right) = new_figure(1, 2, theme, height=3.4)
    shades, markers = _shades(theme, len(curves.levels)), cycle(MARKERS, len(curves.levels))
    for row, (level, colour, marker) in enumerate(zip(curves.levels, shades, markers, strict=True)):
        style: dict[str, Any] = {"color": colour, "marker": marker, "ms": 5, "lw": 1.5}
        _with_band(left, curves.accuracy[row], curves.standard_error[row], f"{100 * level:.0f} % hidden", style)
        if not np.isnan(curves.attention[row]).all():
            right.plot(np.arange(1, curves.attention.shape[1] + 1), curves.attention[row], **style)
    right.axhline(1, color=theme.muted, lw=1, ls="--")
    left.set(xlabel="layer, 0: embeddings", ylabel="likeliest token is the true one", ylim=(0, None))
    right.set(xlabel="layer", ylabel="attention to visible tokens\n(1: as if it were even)", ylim=(0, None))
    in_percent(left.yaxis)
    for ax in (left, right):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    put_legend(left, theme, loc="upper left")
    return figure


def _with_band(ax: Axes, values: np.ndarray, errors: np.ndarray, label: str, style: Mapping[str, Any]) -> None:
    """Draw a line with its 95 % interval."""
    layers = np.arange(len(values))
    half = 1.96 * errors
    ax.fill_between(layers, values - half, values + half, color=style["color"], alpha=0.15, lw=0)
    ax.plot(layers, values, label=label, **style)


def _shades(theme: Theme, n: int) -> list[str]:
    """Colours for values that have an order: from the theme's orange to its blue, which differ in lightness too."""
    scale = LinearSegmentedColormap.from_list("levels", [theme.palette[1], theme.palette[4], theme.palette[0]])
    return [to_hex(scale(place)) for place in np.linspace(0.0, 1.0, n)]
