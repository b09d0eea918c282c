"""Page, figure and data of `benchmarks.accuracy_few_shot`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from scipy import stats

from benchmarks.accuracy_figures import OWN, title
from benchmarks.markdown import table
from gencls.data.storage import write_atomic, write_json
from gencls.reporting.plots import LIGHT, MARKERS, to_png

Row = Mapping[str, Any]
_PAGE = """# Few labelled texts: {data}

Made by `{command}`. Accuracy in %, mean over {n_seeds} draws of the labelled texts ± its standard error, on the same
{n_test} test texts. All {data} training texts are there without their labels: the generative model starts from a
language model of them ({adapt_steps} steps), the others cannot use them. Everything else is learned from the labelled
texts, the last {max_length} tokens of each (the linear models see the full text). The generative model's classes and
the encoder, which has all layers of its backbone as it came, take the same steps over the same batches.

{accuracy}

![accuracy against labelled texts](few-shot-{data}.png)

The generative model minus each rival, in points, with the 95 % interval of the mean over draws (Student's t, paired):

{ahead}
"""


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and its standard error; NaN for a single value.

    Examples
    --------
    >>> mean_and_error([1.0, 3.0])
    (2.0, 1.0)
    """
    error = float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else float("nan")
    return float(np.mean(values)), error


def paired_interval(own: Sequence[float], other: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean of the paired differences and its 95 % interval; NaN bounds for a single pair."""
    mean, error = mean_and_error(np.subtract(own, other).tolist())
    half = float(stats.t.ppf(0.975, len(own) - 1)) * error if len(own) > 1 else float("nan")
    return mean, mean - half, mean + half


def write_few_shot(data: str, rows: Sequence[Row], record: Mapping[str, Any], output: Path) -> Path:
    """Write the rows, the figure and the page; returns the page's path."""
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / f"few-shot-{data}.json", {"rows": list(rows), "run": dict(record)})
    write_atomic(output / f"few-shot-{data}.png", to_png(plot_few_shot(rows)))
    return write_atomic(output / f"few-shot-{data}.md", page(data, rows, record))


def page(data: str, rows: Sequence[Row], record: Mapping[str, Any]) -> str:
    """Return the page in Markdown."""
    sizes, models = (list(dict.fromkeys(row[name] for row in rows)) for name in ("size", "model"))
    values = _by_size_and_model(rows)
    accuracy = [[str(size), *(_cell(values[size, model]) for model in models)] for size in sizes]
    rivals = [model for model in models if model != "diffusion"]
    ahead = [
        [str(size), *(_difference(values[size, "diffusion"], values[size, model]) for model in rivals)]
        for size in sizes
    ]
    config = record["config"]
    return _PAGE.format(
        data=data,
        command=record["command"],
        n_seeds=len({row["seed"] for row in rows}),
        n_test=config["n_test"],
        adapt_steps=config["adapt_steps"],
        max_length=config["max_length"],
        accuracy=table(["texts of each class", *map(title, models)], accuracy),
        ahead=table(["texts of each class", *map(title, rivals)], ahead),
    )


def _by_size_and_model(rows: Sequence[Row]) -> dict[tuple[int, str], list[float]]:
    values: dict[tuple[int, str], list[float]] = {}
    for row in sorted(rows, key=lambda row: row["seed"]):
        values.setdefault((row["size"], row["model"]), []).append(row["accuracy"])
    return values


def _cell(values: Sequence[float]) -> str:
    mean, error = mean_and_error(values)
    return f"{100 * mean:.1f} ± {100 * error:.1f}" if np.isfinite(error) else f"{100 * mean:.1f}"


def _difference(own: Sequence[float], other: Sequence[float]) -> str:
    mean, low, high = (100 * value for value in paired_interval(own, other))
    return f"{mean:+.1f} [{low:.1f}, {high:.1f}]" if np.isfinite(low) else f"{mean:+.1f}"


def plot_few_shot(rows: Sequence[Row]) -> Figure:
    """Draw accuracy against labelled texts of each class, one line a model, with standard errors over draws."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    values = _by_size_and_model(rows)
    with sns.axes_style("whitegrid", {"axes.edgecolor": LIGHT.muted, "grid.color": LIGHT.grid}):
        figure = Figure(figsize=(7.5, 4.6), layout="constrained", dpi=140)
        ax = figure.subplots()
    for place, model in enumerate(models):
        sizes = sorted(size for size, name in values if name == model)
        means, errors = zip(*(mean_and_error(values[size, model]) for size in sizes), strict=True)
        own = model in OWN
        ax.errorbar(
            sizes,
            means,
            yerr=np.nan_to_num(errors),
            label=title(model),
            color=LIGHT.palette[place % len(LIGHT.palette)],
            marker=MARKERS[place % len(MARKERS)],
            lw=2.4 if own else 1.3,
            zorder=3 if own else 2,
        )
    ax.set_xscale("log", base=2)
    ax.set_xticks(sizes, [str(size) for size in sizes])
    ax.set(xlabel="labelled texts of each class", ylabel="accuracy")
    ax.legend(frameon=False)
    sns.despine(ax=ax)
    return figure
