"""Page, figure and data of `benchmarks.accuracy_few_shot`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import stats

from benchmarks.accuracy_figures import OWN, title
from benchmarks.markdown import table
from benchmarks.packed import packed, unpacked
from gencls.data.storage import read_json, write_atomic, write_json
from gencls.reporting.plots import LIGHT, MARKERS, to_png

Row = Mapping[str, Any]
Values = Mapping[tuple[int, str], NDArray[np.float64]]
_PAGE = """# Few labelled texts: {data}

Made by `{command}`;
rows of earlier calls are kept. Accuracy in %, mean over the draws of the labelled texts, on the same {n_test} test
texts. Errors and intervals cover the draws and the test texts, but only one language model: what another training of
it would change is not in them.

All {n_unlabelled} training texts are there without their labels. The generative model starts from a language model of
them, which trained on {n_visited} ({adapt_steps} steps). "{adapted}" is a control: the encoder
fine-tuned from that language model's weights, whose network has no dropout. No other rival uses texts without labels.

Everything else is learned from the labelled texts, the {side} {max_length} tokens of each (the linear models see the
full text). The classes of the generative model and the encoders take as many steps of the same batch size,
{batch_size} texts: {epochs} passes over the labelled texts, but at least {fewest_steps} and at most {most_steps} steps.
Layers of the networks: {layers}.

Validation texts have labels too, and train nothing: as many as the training texts, as far as the split goes
({n_validation} of its smallest class), choose smoothing and regularisation of all but the encoders, and up to
{calibration} of a class of them fit temperatures, which move no decision between equally likely classes.

{accuracy}

± is the standard error, and so are the bars of the figure.

![accuracy against labelled texts](few-shot-{data}.png)

The generative model minus each rival, in points, on the same draws and test texts, with the 95 % interval (Student's t,
Welch-Satterthwaite degrees of freedom):

{ahead}
"""


class Mean(NamedTuple):
    """A mean over draws and test texts.

    Attributes
    ----------
    value : float
    error : float
        Standard error; NaN for a single draw.
    df : float
        Its degrees of freedom.
    """

    value: float
    error: float
    df: float

    def interval(self) -> tuple[float, float]:
        """Return the 95 % interval by Student's t; NaN for a single draw."""
        half = float(stats.t.ppf(0.975, self.df)) * self.error
        return self.value - half, self.value + half


def crossed_mean(values: NDArray[Any]) -> Mean:
    """Return the mean of values (S, N) of S draws on the same N texts, and its error for other draws and other texts.

    The variance is s^2 / S of the draws' means, plus v / N of the texts' means over draws. What belongs to a draw and a
    text together is in both: the error is on the safe side.
    """
    n_draws, n_texts = values.shape
    mean = float(values.mean())
    if n_draws == 1:
        return Mean(mean, float("nan"), float("nan"))
    draws = float(values.mean(axis=1).var(ddof=1)) / n_draws
    texts = float(values.mean(axis=0).var(ddof=1)) / n_texts
    if draws + texts == 0:
        return Mean(mean, 0.0, n_draws - 1.0)
    df = (draws + texts) ** 2 / (draws**2 / (n_draws - 1) + texts**2 / (n_texts - 1))
    return Mean(mean, (draws + texts) ** 0.5, df)


def write_few_shot(data: str, rows: Sequence[Row], record: Mapping[str, Any], output: Path) -> Path:
    """Write the rows, the figure and the page; returns the page's path."""
    output.mkdir(parents=True, exist_ok=True)
    short = [{**row, "correct": packed(row["correct"])} for row in rows]
    write_json(output / f"few-shot-{data}.json", {"rows": short, "run": dict(record)})
    write_atomic(output / f"few-shot-{data}.png", to_png(plot_few_shot(rows)))
    return write_atomic(output / f"few-shot-{data}.md", page(data, rows, record))


def reported_rows(data: str, output: Path, config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of an earlier report of the same config, none if there is no such report."""
    path = output / f"few-shot-{data}.json"
    if not path.exists():
        return []
    told = read_json(path)
    if told["run"]["config"] != config:
        return []
    return [{**row, "correct": unpacked(row["correct"], config["n_test"]).astype(int).tolist()} for row in told["rows"]]


def page(data: str, rows: Sequence[Row], record: Mapping[str, Any]) -> str:
    """Return the page in Markdown."""
    config, training = record["config"], record["config"]["training"]
    accuracy, ahead = _tables(rows)
    return _PAGE.format(
        **{**training, **config, "data": data},  # the name alone, where the data are a file
        command=record["command"],
        n_visited=_visited(config["n_unlabelled"], training["adapt_steps"] * training["batch_size"]),
        adapted=title("encoder_adapted"),
        side="last" if training["truncation"] == "tail" else "first",
        layers=_layers(rows),
        accuracy=accuracy,
        ahead=ahead,
    )


def _visited(n_texts: int, n_examples: int) -> str:
    return f"{n_examples} of them" if n_examples < n_texts else f"all of them, {n_examples / n_texts:.1f} times"


def _layers(rows: Sequence[Row]) -> str:
    found = {row["model"]: row["n_layers"] for row in rows if row.get("n_layers")}
    return "; ".join(f"{title(model)}: {count}" for model, count in found.items())


def _tables(rows: Sequence[Row]) -> tuple[str, str]:
    """Accuracy of each model, and the generative one's lead over each rival, by number of labelled texts."""
    sizes, models = (list(dict.fromkeys(row[name] for row in rows)) for name in ("size", "model"))
    rivals = [model for model in models if model != "diffusion"]
    values = _by_size_and_model(rows)
    steps = {row["size"]: row["n_steps"] for row in rows}
    accuracy, ahead = [], []
    for size in sizes:
        own = values[size, "diffusion"]
        facts = [str(size), str(len(own))]
        accuracy.append([*facts, str(steps[size]), *(_cell(crossed_mean(values[size, model])) for model in models)])
        ahead.append([*facts, *(_difference(crossed_mean(own - values[size, model])) for model in rivals)])
    names = ["texts of each class", "draws"]
    return (
        table([*names, "steps", *map(title, models)], accuracy),
        table([*names, *map(title, rivals)], ahead),
    )


def _by_size_and_model(rows: Sequence[Row]) -> Values:
    """Which test texts were right, (S, N) float64 of 0 and 1, the draws in the order of their seeds."""
    values: dict[tuple[int, str], list[list[int]]] = {}
    for row in sorted(rows, key=lambda row: row["seed"]):
        values.setdefault((row["size"], row["model"]), []).append(row["correct"])
    return {key: np.array(found, dtype=np.float64) for key, found in values.items()}


def _cell(mean: Mean) -> str:
    return f"{100 * mean.value:.1f} ± {100 * mean.error:.1f}" if np.isfinite(mean.error) else f"{100 * mean.value:.1f}"


def _difference(mean: Mean) -> str:
    low, high = mean.interval()
    value = f"{100 * mean.value:+.1f}"
    return f"{value} [{100 * low:.1f}, {100 * high:.1f}]" if np.isfinite(low) else value


def plot_few_shot(rows: Sequence[Row]) -> Figure:
    """Draw accuracy against labelled texts of each class, one line a model, with standard errors."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    values = _by_size_and_model(rows)
    with sns.axes_style("whitegrid", {"axes.edgecolor": LIGHT.muted, "grid.color": LIGHT.grid}):
        figure = Figure(figsize=(7.5, 4.6), layout="constrained", dpi=140)
        ax = figure.subplots()
    for place, model in enumerate(models):
        sizes = sorted(size for size, name in values if name == model)
        means = [crossed_mean(values[size, model]) for size in sizes]
        own = model in OWN
        ax.errorbar(
            sizes,
            [mean.value for mean in means],
            yerr=np.nan_to_num([mean.error for mean in means]),
            label=title(model),
            color=LIGHT.palette[place] if place < len(LIGHT.palette) else LIGHT.ink,
            linestyle="-" if place < len(LIGHT.palette) else "--",
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
