"""Page and targets of `benchmarks.throughput`: what it measured, written; no measuring here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.markdown import targets_table
from benchmarks.throughput_figures import plot_classes, plot_fractions, plot_profiles
from benchmarks.throughput_tables import (
    classes_table,
    machine_table,
    memory_table,
    mode_title,
    options_table,
    padding_table,
    percent,
    profile_table,
    scoring_table,
    total_ms,
    training_table,
)
from gencls.data.storage import write_atomic, write_json
from gencls.reporting.plots import to_png
from gencls.reporting.records import target_row, write_targets

SCORING_TARGET, TRAINING_TARGET, MEMORY_TARGET = 0.60, 0.45, 2.0
#: A time of at most this part of another one is better than it; a fraction under this part of another is worse.
WORTHWHILE = 0.9
#: Modes whose classes share a network.
SHARING = ("conditional", "prompt", "adapter")
#: Share of positions that may be computed for nothing.
MOST_PADDING = 0.05
PAGE = """\
# Throughput

{device}, {cores} cores, {threads} threads of PyTorch {torch}; run `{run}`; {minutes:.1f} minutes.
Made by `{command}`.

{targets}

Scoring's target is that of texts of {texts}.

![fractions of the matrix product's rate](fractions.png)

## The machine's matrix product

Best: {best}. The fractions below are of this product's rate in the same minutes: every measurement stands between two
of it, the ratio is taken within the pair, and the median over pairs is given (lowest and highest in brackets).

{machine}

## Scoring

Useful multiply-adds only, two operations each: no padding, no copies that fill up a batch, the vocabulary only at
scored positions and once for all classes that share hidden states, a shared pass once. Path of two steps, two draws,
every class.

{scoring}

## Training

Steps of the library's own loop with the run's options, the first three of each stage left out; forward and backward,
no product for a gradient that frozen weights do not need. Both stages together, in the run's proportion
({planned}): {training_fraction}.

{training}

## Before and after

{n_plain} texts the plain way, `Denoiser.forward` for every text, class and step in padded batches of 32, and by
the engine, both in {precision}: {before_rate} and {after_rate} passes (text, class, draw, step) a second,
**{speedup:.1f} times** as many. The largest difference of a log-odds is {difference:.3f} nats;
{changed} of {n_plain} decisions differ.

![time by operation](profile.png)

Profiles are of one thread. Before, {before_ms:,.0f} ms:

{before}

After, {after_ms:,.0f} ms:

{after}

## Padding

Positions that the encoder computes for nothing (padding, and copies that fill up the last batch of a bucket), over the
run's training texts. At most {most_padding:.0%} is wanted: {padding_verdict}

{padding}

## Memory

Peak resident memory above that of the loaded model, in a process of its own{layers}.

{memory}

## Classes

{n_class_texts} texts of 128 tokens, untrained class parts, real tables of counts. Sub-linear is a ratio below the
classes' own. In mode `adapter` all classes go through the encoder in one pass, whose layers below the first adapter are
computed once; the vocabulary is each class's own. {class_verdict}

{classes}

![time against classes](classes.png)

## Precision and options

The largest difference to float32, of a draw (a sum over a text) and of a log-odds, in nats. Time is a multiple of the
engine's in the precision that it chooses, median of pairs. Every new shape of a batch is compiled anew; the start is of
one. {option_verdict}

{options}

## Worker processes

{n_jobs} processes, {n_job_texts} texts: scores {identical}, time {job_ratio:.2f} of one process's.

## How to read it

A fraction near one would be a program that does nothing but large matrix products. What keeps scoring below: exp over
the vocabulary, the attention's softmax, and Python. What would disappoint: a fraction that falls with the length of the
texts, or a ratio of classes near their number where the classes share the network. {seen}
"""


def write_report(results: Mapping[str, Any], record: Mapping[str, Any], output: Path) -> Path:
    """Write results.json, targets.json, run.json, the figures and the page; returns the page's path."""
    targets = target_rows(results, str(record["command"]))
    write_json(output / "results.json", results)
    write_json(output / "run.json", record)
    write_targets(output / "targets.json", targets)
    write_atomic(output / "fractions.png", to_png(plot_fractions(results, SCORING_TARGET, TRAINING_TARGET)))
    write_atomic(output / "classes.png", to_png(plot_classes(results["classes"])))
    write_atomic(output / "profile.png", to_png(plot_profiles(results["before"])))
    return write_atomic(output / "report.md", markdown(results, record, targets))


def target_rows(results: Mapping[str, Any], command: str) -> list[dict[str, Any]]:
    """Return the rows of `targets.json`; scoring is that of 128-token texts."""
    values = [
        ("scoring_fraction_of_matmul_rate", results["scoring"][0]["fraction"], SCORING_TARGET, ">="),
        ("training_fraction_of_matmul_rate", results["training"]["fraction"], TRAINING_TARGET, ">="),
        ("scoring_extra_gib", results["memory"]["texts"]["extra_gib"], MEMORY_TARGET, "<="),
    ]
    return [target_row(name, value, target, direction, command) for name, value, target, direction in values]


def markdown(results: Mapping[str, Any], record: Mapping[str, Any], targets: Sequence[Mapping[str, Any]]) -> str:
    """Write the page."""
    machine, training, before = results["machine"], results["training"], results["before"]
    workers, planned = results["workers"], training["planned_steps"]
    layers = results["memory"]["layers"]
    return PAGE.format(
        device=record["device"],
        cores=record["n_cores"],
        threads=machine["threads"],
        torch=record["versions"]["torch"],
        run=record["run"],
        minutes=record["wall_seconds"] / 60,
        command=record["command"],
        targets=targets_table(targets, ".3g"),
        texts=results["scoring"][0]["texts"],
        seen=disappointments(results),
        best=f"{machine['best']['dtype']}, {machine['best']['size']}",
        machine=machine_table(machine),
        scoring=scoring_table(results["scoring"]),
        training=training_table(training["stages"]),
        training_fraction=percent(training["fraction"]),
        planned=" and ".join(f"{steps} steps of {name}" for name, steps in planned.items()),
        n_plain=before["n_texts"],
        precision=before["precision"],
        before_rate=f"{before['before']['passes_per_second']:.0f}",
        after_rate=f"{before['after']['passes_per_second']:.0f}",
        speedup=before["speedup"],
        difference=before["largest_log_odds_difference"],
        changed=before["decisions_changed"],
        before_ms=total_ms(before["before"]["profile"]),
        after_ms=total_ms(before["after"]["profile"]),
        before=profile_table(before["before"]["profile"]),
        after=profile_table(before["after"]["profile"]),
        most_padding=MOST_PADDING,
        padding_verdict=_padding_verdict(results["padding"]),
        padding=padding_table(results["padding"]),
        layers="" if layers is None else f"; of the encoder {layers} layer(s), to save time",
        memory=memory_table(results["memory"]),
        n_class_texts=record["config"]["n_class_texts"],
        classes=classes_table(results["classes"]),
        class_verdict=class_verdict(results["classes"]),
        option_verdict=option_verdict(results["options"]),
        options=options_table(results["options"]),
        n_jobs=workers["n_jobs"],
        n_job_texts=workers["n_texts"],
        identical="are the same to the last bit" if workers["is_identical"] else "DIFFER",
        job_ratio=workers["ratio"],
    )


def option_verdict(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say of each option whether it pays, from its time and its differences."""
    sentences = []
    for row in rows:
        if row["option"] == "engine":
            continue
        if "error" in row:
            sentences.append(f"{row['option']} does not run here.")
        elif row["ratio"] <= WORTHWHILE:
            sentences.append(f"{row['option']} pays: {row['ratio']:.2f} of the time.")
        else:
            sentences.append(f"{row['option']} does not pay: {row['ratio']:.2f} of the time.")
    return " ".join(sentences)


def class_verdict(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say of each mode how its time grows up to its largest number of classes."""
    largest = {mode_title(row): row for row in sorted(rows, key=lambda row: int(row["n_classes"]))}
    parts = [f"{title} {row['ratio']:.1f} for {row['classes_ratio']:g}" for title, row in largest.items()]
    return f"Time for times the classes: {'; '.join(parts)}."


def disappointments(results: Mapping[str, Any]) -> str:
    """Say which of the things that would disappoint were seen."""
    short, long = results["scoring"][0], results["scoring"][-1]
    seen = []
    if long["fraction"] < WORTHWHILE * short["fraction"]:
        shares = f"{percent(short['fraction'])} at {short['texts']}, {percent(long['fraction'])} at {long['texts']}"
        seen.append(f"the fraction falls with the length ({shares})")
    shared = [row for row in results["classes"] if row["mode"] in SHARING and row["classes_ratio"] > 1]
    for row in shared:
        if row["ratio"] >= WORTHWHILE * row["classes_ratio"]:
            times = f"{row['ratio']:.1f} times for {row['classes_ratio']:g}"
            seen.append(f"mode {mode_title(row)} saves next to nothing at {row['n_classes']} classes ({times})")
    return f"Of these, seen here: {'; '.join(seen)}." if seen else "Nothing of these was seen here."


def _padding_verdict(rows: Sequence[Mapping[str, Any]]) -> str:
    return "it is so." if all(row["waste"] <= MOST_PADDING for row in rows) else "it is more."
