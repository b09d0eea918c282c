"""Page and targets of `benchmarks.generation`: what it measured, written; no measuring here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.generation_examples import SHOWN, TITLES, example_lines
from benchmarks.generation_figures import plot_quality, plot_steps
from benchmarks.generation_settings import PAIRED_ORDERS
from benchmarks.generation_speed import TIMED_TEXTS
from benchmarks.markdown import table, targets_table
from gencls.data.storage import write_atomic, write_json
from gencls.reporting.plots import to_png
from gencls.reporting.records import target_row, write_targets

Row = Mapping[str, Any]
#: What was written by hand about the tables.
CONCLUSIONS = Path(__file__).with_name("generation_conclusions.md")
_COLUMNS = [
    "perplexity [95 %]",
    "nats/character",
    "distinct-1",
    "distinct-2",
    "distinct-3",
    "self-BLEU",
    "MAUVE-style",
    "repetition",
    "copied run, tokens",
    "long copies",
    "s/text",
]
_PAGE = """# Generation

Made by `{command}` on {device}, {cores} cores; every number is generated, and every text is chosen by its seed.

{n_texts} texts of {length} new tokens behind {prefix}-token beginnings of held-out {data} texts.
Diffusion: {diffusion_m:.1f} M parameters, {steps} steps from a pretrained encoder; it writes {n_per_prefix} texts in
a batch, of which
the time is shared. Autoregressive model of the same size: {causal_m:.1f} M parameters, the same windows and
steps, from scratch, because no registry holds a pretrained one of that size; it writes one text at a time with a cache.
SmolLM2: {judge_m:.0f} M parameters, pretrained on very many more tokens; it is also the judge, and in its own row it
judges
itself.

{conclusions}

## Targets

{targets}

## How to read it

Perplexity is that of SmolLM2 on the new text behind its beginning, all in lower case; with nats per character, which do
not depend on the judge's tokens. It is **lowest for text that repeats itself**, so it says something only beside
distinct-n (share of different n-grams of words over all texts; higher is more varied), self-BLEU-4 (lower is more
varied), repetition (share of repeated 4-grams inside a text) and the MAUVE-style area (divergence of the judge's last
states from those of {n_reference} other human texts, {n_clusters} clusters). Distinct-n, self-BLEU and the area change
with the number of texts: compare them among the settings, which have equally many, and not with rows of fewer.
A copied run is the longest run of tokens that stands in a training text as it is; a long one has 12
tokens or more. What would disappoint: a setting that is better in perplexity and worse in everything else.

## Writers

Diffusion with the base setting: {base}.

{writers}

![quality against time](quality.png)

## Steps and orders

Confidence order against random order, difference of nats per judge token on the same beginnings and seeds (below zero:
the judge prefers confidence), with its bootstrap interval. {verdict}

{orders}

![perplexity and variety against steps](steps.png)

## Settings

One factor at a time around the base.

{settings}

## Speed

Tokens per second for {n_speed} texts of {length} tokens, one token a step, the same model, prefix, temperature and
precision; the ways take turns, {n_repeats} rounds. "Loop": position by position, one text at a time, all logits of
every position, as the earlier systems do. Ratios of medians, with the extremes of single rounds.

{speed}

{guidance}

## Texts

The first {shown} by prefix and seed, the beginning in bold.

{texts}
"""
_GUIDANCE = """## Class guidance

{n} texts of each class without a beginning, from the per-class models. Share that goes to the wanted class, with
Wilson's 95 % interval: by an encoder that was fine-tuned to discriminate and is no part of the generator, and by the
classifier's own posterior. Weight 0 is the class-free model. The weight {best} was chosen on the first half of the
seeds; the target takes the other half. The encoder gives {human} % of human texts, cut to the same length, to their
own class.

{rows}
"""


def write_report(results: Row, record: Row, output: Path, *, conclusions: Path = CONCLUSIONS) -> Path:
    """Write results.json, targets.json, run.json, the figures and README.md; returns the page's path."""
    output.mkdir(parents=True, exist_ok=True)
    targets = target_rows(results, str(record["command"]))
    write_json(output / "results.json", _slim(results))
    write_json(output / "run.json", record)
    write_targets(output / "targets.json", targets)
    write_atomic(output / "quality.png", to_png(plot_quality(results)))
    write_atomic(output / "steps.png", to_png(plot_steps(results["settings"])))
    said = conclusions.read_text(encoding="utf-8").strip() if conclusions.exists() else ""
    return write_atomic(output / "README.md", page(results, record, targets, said))


def target_rows(results: Row, command: str) -> list[dict[str, Any]]:
    """Return the rows of `targets.json`; the speed is that of the order that the library defaults to."""
    default = next(row for row in results["speed"] if row["order"] == PAIRED_ORDERS[0])
    kept = [row["prefix_respected"] for row in results["settings"]]
    guidance = results["guidance"]
    guided = None if guidance is None else guidance["shares"][guidance["best"]]["judged_by"]["value"]
    wanted = [
        ("sampler_speedup_over_loop", default["speedup_over_loop"]["value"], 5),
        ("batch16_speedup", default["batch_speedup"]["value"], 6),
        ("prefix_respected", min(kept), 1),
        ("guided_class_share", guided, 0.9),
    ]
    return [target_row(name, value, target, ">=", command) for name, value, target in wanted]


def _slim(results: Row) -> dict[str, Any]:
    """The results without the texts, of which only the first stand on the page."""

    def without(row: Row) -> dict[str, Any]:
        return {name: value for name, value in row.items() if name not in ("samples", "nats_per_token_of_texts")}

    guidance = results["guidance"]
    return {
        **results,
        "human": without(results["human"]),
        "others": {name: without(row) for name, row in results["others"].items()},
        "settings": [without(row) for row in results["settings"]],
        "guidance": None if guidance is None else without(guidance),
    }


def base_row(rows: Sequence[Row]) -> Row:
    """Return the row of the base: the default of the order factor."""
    return next(row for row in rows if row["factor"] == "order" and row["value"] == PAIRED_ORDERS[0])


def page(results: Row, record: Row, targets: Sequence[Row], conclusions: str) -> str:
    """Return the page in Markdown."""
    config, models, base = record["config"], results["models"], base_row(results["settings"])
    writers = [("human", results["human"]), ("diffusion, base", base), *results["others"].items()]
    head = ["writer", "texts", *_COLUMNS]
    orders = [row for row in results["orders"] if row["steps"] > 1]  # in one step there is no order
    return _PAGE.format(
        command=record["command"],
        device=record["device"],
        cores=record["n_cores"],
        n_texts=base["n_samples"],
        length=config["length"],
        n_per_prefix=config["n_per_prefix"],
        prefix=config["prefix"],
        data=config["data"],
        diffusion_m=models["diffusion"]["parameters"] / 1e6,
        steps=models["diffusion"]["steps"],
        causal_m=models["causal"]["parameters"] / 1e6,
        judge_m=models["judge"]["parameters"] / 1e6,
        conclusions=conclusions,
        targets=targets_table(targets, ".3f"),
        n_reference=config["n_reference"],
        n_clusters=config["n_clusters"],
        base=_told(config["base"]),
        writers=table(head, ([TITLES.get(name, name), str(row["n_samples"]), *_cells(row)] for name, row in writers)),
        verdict=_verdict(orders),
        orders=table(
            ["steps", "difference [95 %]"],
            ([str(row["steps"]), _interval(row)] for row in orders),
        ),
        settings=table(
            ["factor", "value", *_COLUMNS], ([row["factor"], row["value"], *_cells(row)] for row in results["settings"])
        ),
        n_speed=TIMED_TEXTS,
        n_repeats=config["n_repeats"],
        speed=table(
            [
                "order",
                f"batch of {TIMED_TEXTS}",
                "one by one",
                "loop",
                "batch over loop",
                "one by one over loop",
                "batch over one by one",
            ],
            map(_speed, results["speed"]),
        ),
        guidance="" if results["guidance"] is None else _guidance(results["guidance"], config),
        shown=SHOWN,
        texts="\n".join(example_lines(writers, results["guidance"])),
    )


def _told(base: Row) -> str:
    names = {
        "n_steps": "steps",
        "order": "order",
        "schedule": "schedule",
        "temperature": "temperature",
        "top_p": "top_p",
    }
    return ", ".join(f"{told} {base[name]}" for name, told in names.items())


def _cells(row: Row) -> list[str]:
    low, high = row["perplexity_interval"]
    return [
        f"{row['perplexity']:.1f} [{low:.1f}, {high:.1f}]",
        f"{row['nats_per_character']:.2f}",
        *(f"{row[f'distinct_{n}']:.2f}" for n in (1, 2, 3)),
        f"{row['self_bleu']:.2f}",
        f"{row['divergence']:.2f}",
        f"{100 * row['repetition']:.1f} %",
        f"{row['copied_tokens']:.1f}",
        f"{100 * row['long_copies']:.0f} %",
        f"{row['seconds_per_text']:.2f}" if row["seconds_per_text"] else "–",
    ]


def _interval(row: Row) -> str:
    low, high = row["interval"]
    return f"{row['value']:+.2f} [{low:.2f}, {high:.2f}]"


def _verdict(rows: Sequence[Row]) -> str:
    """One sentence on whether the judge prefers the confidence order at equal steps."""
    better = [row["steps"] for row in rows if row["interval"][1] < 0]
    worse = [row["steps"] for row in rows if row["interval"][0] > 0]
    if rows and len(better) == len(rows):
        return "The judge prefers confidence at every number of steps above one; its texts are also less varied."
    listed = [
        f"{word} at {', '.join(map(str, steps))} steps"
        for word, steps in (("better", better), ("worse", worse))
        if steps
    ]
    return (
        f"Confidence is {' and '.join(listed) or 'not distinguishable from random'} for the judge; otherwise undecided."
    )


def _speed(row: Row) -> list[str]:
    ways = row["ways"]
    rates = [
        f"{ways[name]['tokens_per_second']:.0f}" if name in ways else "–" for name in ("batch", "one by one", "loop")
    ]
    names = ("speedup_over_loop", "speedup_over_loop_one_by_one", "batch_speedup")
    return [row["order"], *rates, *(_ratio(row.get(name)) for name in names)]


def _ratio(row: Row | None) -> str:
    return "–" if row is None else f"{row['value']:.1f} [{row['low']:.1f}, {row['high']:.1f}]"


def _share(row: Row | None) -> str:
    return "–" if row is None else f"{100 * row['value']:.0f} [{100 * row['low']:.0f}, {100 * row['high']:.0f}]"


def _guidance(found: Row, config: Row) -> str:
    rows = [
        [weight, _share(row["chosen_by"]), _share(row["judged_by"]), _share(row.get("own"))]
        for weight, row in found["shares"].items()
    ]
    head = ["weight", "encoder, first half", "encoder, second half", "own posterior"]
    return _GUIDANCE.format(
        n=config["n_guided"], best=found["best"], human=_share(found["human"]), rows=table(head, rows)
    )
