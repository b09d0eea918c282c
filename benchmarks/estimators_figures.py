"""Figures of `benchmarks.estimators`: every `plot_*` draws what a `prepare_*` brought in form; nothing is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.estimators_noise import MASKS
from gencls.reporting.plots import LIGHT, MARKERS

RULES = {"fixed": "as many draws for every text", "adaptive": "adaptive", "naive": "t-test, peeking"}
#: Below this, a flip rate of zero is drawn.
FLOOR = 2e-4


def prepare_noise(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Bring the rows of the noise table in long form: one line for each estimator and kind of masks."""
    columns = ("accuracy", "accuracy_se", "mc_variance")
    return pd.DataFrame(
        {
            "estimator": row["estimator"],
            "masks": masks,
            "forwards": row["forwards"],
            **{column: row[masks][column] for column in columns},
        }
        for row in rows
        for masks in MASKS
    )


def plot_noise(lines: pd.DataFrame) -> Figure:
    """Draw accuracy and Monte-Carlo variance against the forwards."""
    titles = list(dict.fromkeys(lines["estimator"]))
    colours = dict(zip(titles, sns.color_palette("colorblind", len(titles)), strict=True))
    figure, axes = _figure(2, width=9.6)
    for ax, column, label in zip(
        axes, ("accuracy", "mc_variance"), ("accuracy", "variance of the log-odds, nat²"), strict=True
    ):
        sns.lineplot(
            lines, x="forwards", y=column, hue="estimator", style="masks", palette=colours, markers=True,
            style_order=list(MASKS), errorbar=None, ax=ax, legend="auto" if ax is axes[1] else False,
        )  # fmt: skip
        ax.set(xlabel="forwards per text and class", ylabel=label)
        _powers_of_two(ax)
        sns.despine(ax=ax)
    axes[1].set_yscale("symlog", linthresh=0.1)  # one path step hides everything and has no noise at all
    axes[1].set_ylim(0, 3 * max(lines["mc_variance"].max(), 0.1))
    sns.move_legend(axes[1], "upper left", bbox_to_anchor=(1, 1), frameon=False)
    return figure


def prepare_agreement(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Bring the rules' rows in the form of the figure: flip rates with the parts of their intervals."""
    rates, lows, highs = (np.array([row[name] for row in rows]) for name in ("flip_rate", "low", "high"))
    return pd.DataFrame(
        {
            "rule": [RULES[row["rule"]] for row in rows],
            "target": [row.get("target", np.nan) for row in rows],
            "forwards": [row["forwards"] for row in rows],
            "flip_rate": np.maximum(rates, FLOOR),
            "below": np.maximum(rates, FLOOR) - np.maximum(lows, FLOOR / 2),
            "above": highs - np.maximum(rates, FLOOR),
        }
    )


def plot_agreement(points: pd.DataFrame) -> Figure:
    """Draw how often a decision is not that of 1 024 forwards, against what it costs."""
    figure, (ax,) = _figure(1, width=6.6)
    for number, (rule, part) in enumerate(points.groupby("rule", sort=False)):
        bars = part[["below", "above"]].to_numpy().T
        style = {"color": LIGHT.palette[number], "marker": MARKERS[number], "capsize": 2, "elinewidth": 0.8}
        line = "-" if rule == RULES["fixed"] else ":"
        ax.errorbar(part["forwards"], part["flip_rate"], bars, label=str(rule), linestyle=line, **style)
        for _, point in part.dropna(subset=["target"]).iterrows():
            place = (point["forwards"], point["flip_rate"])
            offset = (8, 8 if rule == RULES["naive"] else -14)
            ax.annotate(f"{point['target']:g}", place, offset, textcoords="offset points", color=LIGHT.muted)
    for target in points["target"].dropna().unique():
        ax.axhline(target, color=LIGHT.muted, linewidth=0.6, linestyle="--", zorder=0)
        end = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "bottom", "fontsize": 7}
        ax.annotate(f"target {target:g}", (1.0, target), color=LIGHT.muted, **end)
    ax.grid(axis="y", visible=False)  # the lines that count are the targets'
    ax.set_yscale("log")
    ax.set(xlabel="mean forwards per text and class", ylabel="share of changed decisions")
    _powers_of_two(ax)
    ax.legend(frameon=False)
    sns.despine(ax=ax)
    return figure


def prepare_speed(speed: Mapping[str, Any]) -> pd.DataFrame:
    """Bring the scorers' agreement and seconds per text in the form of the figure, seconds in proportion to draws.

    What was measured on fewer texts is left out: it does not compare.
    """
    ours = {"name": "ours", "seconds": speed["our_seconds"]}
    rows = [{**ours, "agreement": speed["our_agreement"], "accuracy": speed["our_accuracy"]}]
    for row in speed["rivals"]:
        known = speed["speedups"].get(row["name"])
        if known is not None and row["n_texts"] == speed["n_texts"]:
            seconds = known["seconds"] / known["draws"] * row["draws"]
            rows.append({key: row[key] for key in ("name", "agreement", "accuracy")} | {"seconds": seconds})
    return pd.DataFrame(rows)


def plot_speed(points: pd.DataFrame) -> Figure:
    """Draw agreement and accuracy against the time of a text."""
    figure, axes = _figure(2, width=8.4)
    for ax, column in zip(axes, ("agreement", "accuracy"), strict=True):
        names = list(dict.fromkeys(points["name"]))
        for name, part in points.sort_values("seconds").groupby("name", sort=False):
            number = names.index(name)
            style = {"color": LIGHT.palette[number], "marker": MARKERS[number]}
            ax.plot(part["seconds"], part[column], label=str(name), **style)
        ax.set_xscale("log")
        ax.set(xlabel="seconds per text", ylabel=column if column == "accuracy" else "agreement with 1 024 forwards")
        sns.despine(ax=ax)
    axes[0].legend(frameon=False)
    return figure


def prepare_lengths(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Bring the rows of long texts in long form."""
    return pd.DataFrame(
        {
            "texts": f"{row['texts']}\n{row['shortest']}-{row['longest']} tokens",
            "scored": label,
            "accuracy": row[side]["accuracy"],
            "accuracy_se": row[side]["accuracy_se"],
        }
        for row in rows
        for side, label in (("end", "the end only"), ("chunks", "all, in chunks"))
    )


def plot_lengths(points: pd.DataFrame) -> Figure:
    """Draw accuracy by quartile of length."""
    figure, (ax,) = _figure(1, width=7.0)
    groups = points.groupby("scored", sort=False)
    for number, (label, part) in enumerate(groups):
        places = np.arange(len(part)) + 0.12 * (number - 0.5)
        style = {"color": LIGHT.palette[number], "marker": MARKERS[number], "linestyle": "", "capsize": 2}
        ax.errorbar(places, part["accuracy"], part["accuracy_se"], label=str(label), **style)
        ax.set_xticks(np.arange(len(part)), part["texts"], fontsize=8)
    ax.set(ylabel="accuracy ± standard error")
    ax.legend(frameon=False)
    sns.despine(ax=ax)
    return figure


def _figure(n_axes: int, *, width: float) -> tuple[Figure, Sequence[Axes]]:
    with sns.axes_style("whitegrid", {"axes.edgecolor": LIGHT.muted, "grid.color": LIGHT.grid}):
        figure = Figure(figsize=(width, 3.6), layout="constrained")
        axes = figure.subplots(1, n_axes, squeeze=False)
    return figure, list(axes[0])


def _powers_of_two(ax: Axes) -> None:
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter("{x:.0f}")
