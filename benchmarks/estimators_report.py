"""Page, tables and files of `benchmarks.estimators`: what it measured, written down; no measuring here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import estimators_figures as figures
from benchmarks import markdown
from benchmarks.agreement import SURE
from benchmarks.estimators_noise import MASKS
from gencls.data.storage import read_json, write_atomic, write_json
from gencls.reporting.plots import to_png

Row = Mapping[str, Any]
NAMES = {"fixed": "fixed", "adaptive": "adaptive", "naive": "t-test with peeking"}
PAGE = """\
# What a decision costs

{n_texts} held-out texts of {data} ({splits}), {mean_tokens:.0f} tokens on average, at most {max_length}; model \
`{run}` ({mode}), computed in {precision} on {device}. Nothing was chosen on these texts: stopping rule and level \
weights are fitted on the calibration split. Made by `{command}` in {minutes:.0f} minutes.

{targets}

## Decisions of 1 024 forwards, and how soon they are known

The reference is the mean of 1 023 draws of the two-step path: with the blank pass that they share, 1 024 forwards \
under each class. Its accuracy is {reference_accuracy}. A text whose leading class is {sure:g} standard errors ahead \
keeps its decision whatever the other draws say, so its remaining draws were not made: {reference_counts}. Draws of \
the rules are those of the reference, replayed. "Forwards" is the mean per text and class, the blank pass counted \
once, in full; ± and intervals are 95 % (Clopper and Pearson).

{agreement}

![share of changed decisions against forwards](agreement.png)

*adaptive* promises its target, *t-test with peeking* does not: its first looks take a variance from two or three \
draws, and every look is another chance to be wrong. "Open" are the texts that reached the cap undecided; the mean \
decides them, and the flips that this costs are part of the target.

## Time at equal agreement

{speed_head}

{speed}

{speed_reading}

![agreement and accuracy against time](speed.png)

## Estimators at equal numbers of forwards

{n_noise_texts} texts, {n_seeds} seeds; ± is one standard error over texts. The noise is the Monte-Carlo variance of \
the log-odds of two classes, the scorer's own; it has to be small against the spread, the variance of the log-odds \
over texts. Nats per token: lower is closer to the truth; the path with more steps is another, tighter bound. One \
path step hides everything, always, so it has no noise.

{noise}

![accuracy and noise against forwards](estimators.png)

### Texts short enough for a forward pass per token

The last tokens of {n_short_texts} texts, one draw. The chain is exact for its order. *confidence* reveals first \
what it is surest of; it is exact for that sampler, and has no noise.

{short}

## Long texts: all chunks or the end

{long}

![accuracy by length](lengths.png)

p is McNemar's for the same texts. Chunks overlap by a quarter, and each token is scored once, so their log-ratios \
add up.

## Weights of the masking levels

Other weights than the bound's give *evidence*, not a likelihood. *learned* is a logistic regression on the \
log-ratios of the steps of calibration texts; *uniform* is the bound itself for every path. p is McNemar's against \
the bound.

{weighting}

## What would disappoint

A flip rate whose interval lies above its target; a rival that reaches our agreement with fewer draws than it is \
charged with; an accuracy that still climbs at the right end of the noise figure (then noise decides); no gap \
between shared and independent masks (then there was no common noise to cancel); chunks that lose on the longest \
quartile.
"""

#: Share of the cores in other hands at which times are still believed.
MOST_LOAD = 0.05
BUSY = " **That is too much: these times and ratios are not to be believed. Run it again on a free machine.**"
SPEED_HEAD = """\
On {n_texts} reviews our rule at target 0.01 takes {milliseconds:.1f} ms a text, agrees with the reference on \
{agreement} and with the labels on {accuracy}; scored anew it decides as in the replay on {same}. The rivals run on \
the same model in the same precision; their masks are drawn anew for every class. Their time is of their own loop \
at the published draws, in proportion to the draws; their decisions are computed in batches. The reference is that \
of *our* estimator: a rival whose own limit decides otherwise does not reach it with any number of draws. So its \
accuracy is beside it, and the last rows show with fewer texts where it ends: many more draws, and LLaDA's with \
masks shared between classes. \
While times were taken, other processes had {load} of the cores.{warning}"""


def write_report(results: Mapping[str, Any], record: Mapping[str, Any], output: Path) -> Path:
    """Write results.json, run.json, the figures and the page beside targets.json; returns the page's path."""
    write_json(output / "results.json", results)
    write_json(output / "run.json", record)
    drawn = {
        "agreement": figures.plot_agreement(figures.prepare_agreement(results["agreement"])),
        "speed": figures.plot_speed(figures.prepare_speed(results["speed"])),
        "estimators": figures.plot_noise(figures.prepare_noise(results["noise"])),
        "lengths": figures.plot_lengths(figures.prepare_lengths(results["long"])),
    }
    for name, figure in drawn.items():
        write_atomic(output / f"{name}.png", to_png(figure))
    return write_atomic(output / "report.md", page(results, record, read_json(output / "targets.json")))


def page(results: Mapping[str, Any], record: Mapping[str, Any], targets: Sequence[Row]) -> str:
    """Fill the page."""
    speed = results["speed"]
    facts = {key: record[key] for key in ("n_texts", "data", "max_length", "run", "mode", "precision", "device")}
    return PAGE.format(
        **facts,
        **results["noise_facts"],
        splits=", ".join(f"{number} of {name}" for name, number in record["splits"].items()),
        mean_tokens=record["mean_tokens"],
        command=record["command"],
        minutes=record["wall_seconds"] / 60,
        targets=table(TARGET_COLUMNS, targets),
        reference_accuracy=percent(results["reference_accuracy"]),
        sure=SURE,
        reference_counts=", ".join(f"{n} texts after {k} draws" for k, n in results["reference"].items()),
        agreement=table(AGREEMENT_COLUMNS, results["agreement"]),
        speed_head=speed_head(speed),
        speed=table(SPEED_COLUMNS, speed["rivals"]),
        speed_reading="\n".join(f"* {speed_sentence(name, row)}" for name, row in speed["speedups"].items()),
        noise=table(NOISE_COLUMNS, results["noise"]),
        short=table(SHORT_COLUMNS, results["short"]),
        long=table(LONG_COLUMNS, results["long"]),
        weighting=table(WEIGHTING_COLUMNS, results["weighting"]),
    )


def speed_head(speed: Mapping[str, Any]) -> str:
    """Say what was timed, how we did, and whether the machine was free for it."""
    load = speed["other_load"]
    return SPEED_HEAD.format(
        n_texts=speed["n_texts"],
        milliseconds=1e3 * speed["our_seconds"],
        agreement=percent(speed["our_agreement"]),
        accuracy=percent(speed["our_accuracy"]),
        same=percent(speed["same_as_replay"]),
        load="an unknown share" if load is None else percent(load),
        warning=BUSY if load is not None and load > MOST_LOAD else "",
    )


def speed_sentence(name: str, row: Row) -> str:
    """Say a ratio, and of what kind it is."""
    ratios = row["ratios"]
    times = f"{row['ratio']:.1f} times our time (median of {len(ratios)} pairs, {min(ratios):.1f} to {max(ratios):.1f})"
    published = f"At its published {row['published_draws']} draws it takes {row['published_ratio']:.1f} times our time."
    if row["reaches"]:
        return f"**{name}** agrees as often as we do at {row['draws']} draws: {times}. {published}"
    return (
        f"**{name}** agrees less often than we do up to {row['draws']} draws, the intervals apart. The ratio there is "
        f"a *lower bound*: at least {times}. Where more draws are in the table, they are of too few texts to tell. "
        f"{published}"
    )


def table(columns: Mapping[str, Callable[[Row], str]], rows: Iterable[Row]) -> str:
    """Return a Markdown table with a function for the cells of each column."""
    return markdown.table(list(columns), ([cell(row) for cell in columns.values()] for row in rows))


def percent(value: float, error: float | None = None) -> str:
    """Return a share in percent, with its standard error if there is one."""
    return f"{100 * value:.1f} %" if error is None else f"{100 * value:.1f} ± {100 * error:.1f} %"


def number(value: float | None) -> str:
    """Three digits and no exponent, for numbers between thousandths and millions."""
    if value is None or value != value:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3f}"


def _flips(row: Row) -> str:
    return f"{100 * row['flip_rate']:.2f} % ({100 * row['low']:.2f} to {100 * row['high']:.2f})"


def _weights(row: Row) -> str:
    return "–" if row["coefficients"] is None else ", ".join(f"{value:.2f}" for value in row["coefficients"])


TARGET_COLUMNS: dict[str, Callable[[Row], str]] = {
    "target": lambda row: f"`{row['name']}`",
    "value": lambda row: "–" if row["value"] is None else f"{row['value']:.4g}",
    "wanted": lambda row: f"{row['direction']} {row['target']:g}",
    "met": lambda row: "yes" if row["met"] else "**no**",
}
AGREEMENT_COLUMNS: dict[str, Callable[[Row], str]] = {
    "rule": lambda row: NAMES[row["rule"]] + (f", {row['draws']} draws" if row["rule"] == "fixed" else ""),
    "target": lambda row: percent(row["target"]) if "target" in row else "–",
    "forwards": lambda row: number(row["forwards"]),
    "flips": lambda row: str(row["flips"]),
    "flip rate": _flips,
    "open": lambda row: percent(row["open"]) if "open" in row else "–",
    "cap, draws": lambda row: str(row.get("max_draws", "–")),
    "accuracy": lambda row: percent(row["accuracy"]),
}
SPEED_COLUMNS: dict[str, Callable[[Row], str]] = {
    "rival": lambda row: row["name"],
    "draws": lambda row: str(row["draws"]),
    "texts": lambda row: str(row["n_texts"]),
    "agreement": lambda row: (
        f"{percent(row['agreement'])} ({100 * row['agreement_low']:.1f} to {100 * row['agreement_high']:.1f})"
    ),
    "ours": lambda row: percent(row["our_agreement"]),
    "accuracy": lambda row: percent(row["accuracy"]),
    "our accuracy": lambda row: percent(row["our_accuracy"]),
    "p (McNemar)": lambda row: f"{row['mcnemar_p']:.2g}",
}
SHORT_COLUMNS: dict[str, Callable[[Row], str]] = {
    "estimator": lambda row: row["estimator"],
    "forwards": lambda row: f"{row['forwards']:g}",
    "accuracy": lambda row: percent(row[MASKS[0]]["accuracy"], row[MASKS[0]]["accuracy_se"]),
    "noise (nat²)": lambda row: f"{number(row[MASKS[0]]['mc_variance'])} ± {number(row[MASKS[0]]['mc_variance_se'])}",
    "spread (nat²)": lambda row: number(row[MASKS[0]]["spread"]),
    "nats per token": lambda row: f"{row['nats_per_token']:.3f} ± {row['nats_per_token_se']:.3f}",
}
NOISE_COLUMNS: dict[str, Callable[[Row], str]] = {
    **SHORT_COLUMNS,
    "accuracy, independent masks": lambda row: percent(row[MASKS[1]]["accuracy"], row[MASKS[1]]["accuracy_se"]),
    "noise, independent masks": lambda row: number(row[MASKS[1]]["mc_variance"]),
}
LONG_COLUMNS: dict[str, Callable[[Row], str]] = {
    "texts": lambda row: row["texts"],
    "number": lambda row: str(row["n_texts"]),
    "tokens": lambda row: f"{row['shortest']}–{row['longest']}",
    "accuracy, end": lambda row: percent(row["end"]["accuracy"], row["end"]["accuracy_se"]),
    "accuracy, chunks": lambda row: percent(row["chunks"]["accuracy"], row["chunks"]["accuracy_se"]),
    "p": lambda row: f"{row['mcnemar_p']:.2g}",
    "forwards, end": lambda row: number(row["end"]["forwards"]),
    "forwards, chunks": lambda row: number(row["chunks"]["forwards"]),
}
WEIGHTING_COLUMNS: dict[str, Callable[[Row], str]] = {
    "estimator": lambda row: f"{row['estimator']}, {row['steps']} steps, {row['draws']} draws",
    "weights": lambda row: row["weighting"],
    "accuracy": lambda row: percent(row["accuracy"], row["accuracy_se"]),
    "p": lambda row: f"{row['mcnemar_p']:.2g}",
    "coefficients": _weights,
}
