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

from benchmarks.accuracy_few_shot_models import ADAPTED, GENERATIVE, STEPLESS, SUFFIX
from benchmarks.accuracy_figures import OWN, title
from benchmarks.markdown import table
from benchmarks.packed import packed, unpacked
from gencls.data.storage import read_json, write_atomic, write_json
from gencls.reporting.plots import LIGHT, MARKERS, to_png
from gencls.training.config import TrainConfig

Row = Mapping[str, Any]
#: Size and model -> seed -> which test texts were right, (N,) float64 of 0 and 1.
Values = Mapping[tuple[int, str], Mapping[int, NDArray[np.float64]]]
_PAGE = """# Few labelled texts: {data}

Made by `{command}`;
rows of earlier calls are kept. Accuracy in %, mean over the draws of the labelled texts, on the same {n_test} test
texts. Errors and intervals cover the draws and the test texts, but only one language model: what another training of
it would change is not in them.

All {n_unlabelled} training texts are there without their labels. The generative model starts from a language model of
them, which trained on {n_visited} ({adapt_steps} steps). "{adapted}" is a control: the encoder
fine-tuned from that language model's weights, whose network has no dropout.

"With unlabelled texts": a model of the labelled texts gives all others their classes once, in equal shares, and it is
fitted to all of them. Of the generative model these are its count tables, and the network's classes train on the same
texts. All others learn from the labelled texts alone.

Networks and count tables see the {side} {max_length} tokens of a text, the linear models the full text. The classes of
the generative model and the encoders take as many steps of the same batch size, {batch_size} texts: {epochs} passes
over the labelled texts, but at least {fewest_steps} and at most {most_steps} steps. "{stepless}" is
the language model with the classes' count tables: no step of its network looks at a label.
Layers of the networks: {layers}.

Validation texts have labels too, and train nothing: as many as the training texts, as far as the split goes
({n_validation} of its smallest class), choose smoothing and regularisation of all but the encoders, and up to
{calibration} of a class of them fit temperatures, which move no decision between equally likely classes.

{accuracy}

± is the standard error, and so are the bars of the figure.

![accuracy against labelled texts](few-shot-{data}.png)

A generative model minus each of the others, in points, on the same draws and test texts, with the 95 % interval
(Student's t, Welch-Satterthwaite degrees of freedom).
{ahead}"""


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
    if of_this_version(told["run"]["config"]) != config:
        return []
    return [{**row, "correct": unpacked(row["correct"], config["n_test"]).astype(int).tolist()} for row in told["rows"]]


def of_this_version(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of a folder or a report, with training options that are newer than it at their defaults."""
    return {**config, "training": {**TrainConfig().as_dict(), **config["training"]}}


def page(data: str, rows: Sequence[Row], record: Mapping[str, Any]) -> str:
    """Return the page in Markdown."""
    config, training = record["config"], record["config"]["training"]
    accuracy, ahead = _tables(rows)
    return _PAGE.format(
        **{**training, **config, "data": data},  # the name alone, where the data are a file
        command=record["command"],
        n_visited=_visited(config["n_unlabelled"], training["adapt_steps"] * training["batch_size"]),
        adapted=title(ADAPTED),
        stepless=title(STEPLESS),
        side="last" if training["truncation"] == "tail" else "first",
        layers=_layers(rows),
        accuracy=accuracy,
        ahead=ahead,
    )


def _visited(n_texts: int, n_examples: int) -> str:
    return f"{n_examples} of them" if n_examples < n_texts else f"all of them, {n_examples / n_texts:.1f} times"


def _title(model: str) -> str:
    if model.endswith(SUFFIX):
        return title(model.removesuffix(SUFFIX)) + ", with unlabelled texts"
    return title(model)


def _layers(rows: Sequence[Row]) -> str:
    found = {row["model"]: row["n_layers"] for row in rows if row.get("n_layers")}
    return "; ".join(f"{_title(model)}: {count}" for model, count in found.items())


def _tables(rows: Sequence[Row]) -> tuple[str, str]:
    """Accuracy of each model, and the generative ones' lead over each other one, by number of labelled texts."""
    sizes, models = (list(dict.fromkeys(row[name] for row in rows)) for name in ("size", "model"))
    values = _by_size_and_model(rows)
    accuracy = _facts(rows, sizes)
    for model in models:
        accuracy.append([_title(model), *(_accuracy(values, size, model) for size in sizes)])
    header = ["texts of each class", *map(str, sizes)]
    ahead = ""
    for own in (model for model in models if model.removesuffix(SUFFIX) in (GENERATIVE, STEPLESS)):
        lines = [
            [_title(model), *(_lead(values, size, own, model) for size in sizes)] for model in models if model != own
        ]
        ahead += f"\n{_title(own).capitalize()}, minus:\n\n{table(header, lines)}\n"
    return table(header, accuracy), ahead


def _facts(rows: Sequence[Row], sizes: Sequence[int]) -> list[list[str]]:
    """Draws and steps of each size, and how many of the unlabelled texts got their class, where any did."""
    facts = {
        "draws": [str(len({row["seed"] for row in rows if row["size"] == size})) for size in sizes],
        "steps of the networks": [next(str(row["n_steps"]) for row in rows if row["size"] == size) for size in sizes],
    }
    told = [[row["told_right"] for row in rows if row["size"] == size and "told_right" in row] for size in sizes]
    if any(told):
        shares = ["–" if not found else f"{100 * float(np.mean(found)):.1f}" for found in told]
        facts["unlabelled texts whose class the count tables told right"] = shares
    return [[name, *cells] for name, cells in facts.items()]


def _by_size_and_model(rows: Sequence[Row]) -> Values:
    values: dict[tuple[int, str], dict[int, NDArray[np.float64]]] = {}
    for row in sorted(rows, key=lambda row: row["seed"]):
        right = np.array(row["correct"], dtype=np.float64)
        values.setdefault((row["size"], row["model"]), {})[row["seed"]] = right
    return values


def _accuracy(values: Values, size: int, model: str) -> str:
    """The mean over draws, with their number where it is not that of the others."""
    found = values.get((size, model))
    if found is None:
        return "–"
    most = max(len(draws) for (other, _), draws in values.items() if other == size)
    fewer = f" ({len(found)} of {most} draws)" if len(found) < most else ""
    return _cell(_mean_of(found)) + fewer


def _mean_of(draws: Mapping[int, NDArray[np.float64]]) -> Mean:
    return crossed_mean(np.stack(list(draws.values())))


def _lead(values: Values, size: int, own: str, rival: str) -> str:
    ours, theirs = values.get((size, own), {}), values.get((size, rival), {})
    seeds = [seed for seed in ours if seed in theirs]
    return _difference(_mean_of({seed: ours[seed] - theirs[seed] for seed in seeds})) if seeds else "–"


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
        figure = Figure(figsize=(10.5, 4.8), layout="constrained", dpi=140)
        ax = figure.subplots()
    bases = list(dict.fromkeys(model.removesuffix(SUFFIX) for model in models))
    colours = dict(zip(bases, [*LIGHT.palette, LIGHT.ink, *[LIGHT.muted] * len(bases)], strict=False))
    for model in models:
        place = bases.index(model.removesuffix(SUFFIX))
        sizes = sorted(size for size, name in values if name == model)
        means = [_mean_of(values[size, model]) for size in sizes]
        own = model.removesuffix(SUFFIX) in OWN
        ax.errorbar(
            sizes,
            [mean.value for mean in means],
            yerr=np.nan_to_num([mean.error for mean in means]),
            label=_title(model),
            color=colours[model.removesuffix(SUFFIX)],
            linestyle="--" if model.endswith(SUFFIX) else "-",
            marker=MARKERS[place % len(MARKERS)],
            lw=2.4 if own else 1.3,
            zorder=3 if own else 2,
        )
    ax.set_xscale("log", base=2)
    shown = sorted({size for size, _ in values})
    ax.set_xticks(shown, [str(size) for size in shown])
    ax.set(xlabel="labelled texts of each class", ylabel="accuracy")
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    sns.despine(ax=ax)
    return figure
