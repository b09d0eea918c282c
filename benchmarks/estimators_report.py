"""Table and figure of `benchmarks.estimators`: what it measured, drawn and written; no measuring here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from gencls.data.storage import write_atomic, write_json
from gencls.reporting.plots import LIGHT, to_png

MASKS = ("shared", "independent")
TITLES = {"path": "path", "elbo": "ELBO, exact count", "bernoulli": "ELBO, Bernoulli"}
PAGE = """\
# Estimators at equal numbers of forwards

{n_texts} held-out texts, {n_seeds} seeds; ± is one standard error over texts.
Made by `{command}`.

| estimator | forwards | accuracy, shared masks | accuracy, independent masks | \
noise, shared (nat²) | noise, independent (nat²) | spread (nat²) | nats per token |
|---|--:|--:|--:|--:|--:|--:|--:|
{table}

![accuracy and noise against forwards](estimators.png)

How to read it: the noise is the Monte-Carlo variance of the log-odds of two classes, the scorer's own; it has
to be small against the spread, the variance of the log-odds over texts. Solid lines share the masks between
classes, dashed ones do not. Nats per token: lower is closer to the truth; the path with more steps is
another, tighter bound. One path step hides everything, always, so it has no noise.

What would disappoint: an accuracy that still climbs at the right end (noise decides), noise near the spread,
or no gap between shared and independent masks (then there was no common noise to cancel).
"""


def write_report(rows: Sequence[dict[str, Any]], record: dict[str, Any], output: Path) -> Path:
    """Write results.json, run.json, the figure and the table; returns the table's path."""
    write_json(output / "results.json", {"rows": list(rows)})
    write_json(output / "run.json", record)
    write_atomic(output / "estimators.png", to_png(plot_lines(prepare_lines(rows))))
    page = markdown(rows, record["n_texts"], record["n_seeds"], record["command"])
    return write_atomic(output / "report.md", page)


def prepare_lines(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Bring the rows in the long form of the figure: one line for each estimator and kind of masks."""
    columns = ("accuracy", "accuracy_se", "mc_variance")
    return pd.DataFrame(
        {
            "estimator": TITLES[row["estimator"]],
            "masks": masks,
            "forwards": row["forwards"],
            **{column: row[masks][column] for column in columns},
        }
        for row in rows
        for masks in MASKS
    )


def plot_lines(lines: pd.DataFrame) -> Figure:
    """Draw accuracy and Monte-Carlo variance against the forwards."""
    colours = dict(zip(TITLES.values(), LIGHT.palette, strict=False))
    with sns.axes_style("whitegrid", {"axes.edgecolor": LIGHT.muted, "grid.color": LIGHT.grid}):
        figure = Figure(figsize=(8.4, 3.4), layout="constrained")
        axes = figure.subplots(1, 2)
    for ax, column, label in zip(
        axes, ("accuracy", "mc_variance"), ("accuracy", "variance of the log-odds, nat²"), strict=True
    ):
        sns.lineplot(
            lines, x="forwards", y=column, hue="estimator", style="masks", palette=colours, markers=True,
            style_order=list(MASKS), errorbar=None, ax=ax, legend="auto" if ax is axes[1] else False,
        )  # fmt: skip
        ax.set_xscale("log", base=2)
        ax.set(xlabel="forwards per text and class", ylabel=label)
        ax.xaxis.set_major_formatter("{x:.0f}")
        sns.despine(ax=ax)
    for title, line in lines[lines["masks"] == "shared"].groupby("estimator"):
        bars = {"fmt": "none", "ecolor": colours[str(title)], "alpha": 0.5}
        axes[0].errorbar(line["forwards"], line["accuracy"], line["accuracy_se"], **bars)
    axes[1].set_yscale("symlog", linthresh=0.1)  # one path step hides everything and has no noise at all
    axes[1].set_ylim(0, 3 * max(lines["mc_variance"].max(), 0.1))
    sns.move_legend(axes[1], "upper left", bbox_to_anchor=(1, 1), frameon=False)
    return figure


def markdown(rows: Sequence[dict[str, Any]], n_texts: int, n_seeds: int, command: str) -> str:
    """Write the table with how to read it and what would disappoint."""
    table = "\n".join(_markdown_row(row) for row in rows)
    return PAGE.format(n_texts=n_texts, n_seeds=n_seeds, command=command, table=table)


def _markdown_row(row: dict[str, Any]) -> str:
    shared, independent = row["shared"], row["independent"]
    cells = [
        TITLES[row["estimator"]],
        str(row["forwards"]),
        *(f"{100 * part['accuracy']:.1f} ± {100 * part['accuracy_se']:.1f} %" for part in (shared, independent)),
        *(f"{_figure(part['mc_variance'])} ± {_figure(part['mc_variance_se'])}" for part in (shared, independent)),
        _figure(shared["spread"]),
        f"{row['nats_per_token']:.3f} ± {row['nats_per_token_se']:.3f}",
    ]
    return "| " + " | ".join(cells) + " |"


def _figure(value: float) -> str:
    """Three digits and no exponent, for numbers between thousandths and millions."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3f}"
