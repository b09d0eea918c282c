"""Tables of `benchmarks.throughput`, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.markdown import table


def _table(header: str, rows: Sequence[Sequence[str]]) -> str:
    return table(header.split(" | "), rows)


def percent(value: float) -> str:
    """A fraction as a percentage."""
    return f"{100 * value:.1f} %"


def machine_table(machine: Mapping[str, Any]) -> str:
    """Rates of matrix products by size and type."""
    rates = machine["matmul_gflops_per_second"]
    sizes = next(iter(rates.values()))
    rows = [[size, *(f"{rates[dtype][size]:,.0f}" for dtype in rates)] for size in sizes]
    return _table(" | ".join(["rows x inner x columns", *(f"{dtype}, GFLOP/s" for dtype in rates)]), rows)


def _rate_cells(row: Mapping[str, Any]) -> list[str]:
    spread = f"({100 * row['fraction_low']:.1f} to {100 * row['fraction_high']:.1f}; {row['n_pairs']})"
    rates = [f"{row['gflops_per_second']:,.0f}", f"{row['matmul_gflops_per_second']:,.0f}"]
    return [*rates, f"**{percent(row['fraction'])}** {spread}"]


def scoring_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Scoring rates by length of the texts."""
    cells = [
        [
            row["texts"],
            str(row["n_texts"]),
            f"{row['mean_tokens']:.0f}",
            f"{row['texts_per_second']:.1f}",
            *_rate_cells(row),
        ]
        for row in rows
    ]
    return _table("texts | number | mean tokens | texts/s | useful GFLOP/s | matrix product | fraction", cells)


def training_table(stages: Mapping[str, Mapping[str, Any]]) -> str:
    """Training rates by stage."""
    cells = [[name, f"{row['seconds']:.3f}", *_rate_cells(row)] for name, row in stages.items()]
    return _table("stage | seconds a step | useful GFLOP/s | matrix product | fraction", cells)


def total_ms(profile: Sequence[Mapping[str, Any]]) -> float:
    """Sum of a profile, milliseconds."""
    return float(sum(row["milliseconds"] for row in profile))


def profile_table(profile: Sequence[Mapping[str, Any]]) -> str:
    """Operations by their own time."""
    cells = [
        [f"`{row['operation']}`", f"{row['milliseconds']:.1f}", percent(row["share"]), str(row["calls"])]
        for row in profile
    ]
    return _table("operation | own ms | share | calls", cells)


def padding_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Padding by longest text."""
    cells = [
        [str(row["max_length"]), str(row["n_texts"]), f"{row['mean_tokens']:.0f}", percent(row["waste"])]
        for row in rows
    ]
    return _table("at most | texts | mean tokens | computed for nothing", cells)


def memory_table(memory: Mapping[str, Any]) -> str:
    """Memory of many texts and of a long one."""
    texts, long = memory["texts"], memory["long_text"]
    titles = (f"{texts['n_texts']:,} texts", f"one text of {long['n_characters']:,} characters, in chunks")
    cells = [
        [
            title,
            f"{row['n_tokens']:,}",
            f"{row['model_gib']:.2f}",
            f"**{row['extra_gib']:.2f}**",
            f"{row['seconds']:.0f}",
        ]
        for title, row in zip(titles, (texts, long), strict=True)
    ]
    return _table("what | tokens | model, GiB | above it, GiB | seconds", cells)


def mode_title(row: Mapping[str, Any]) -> str:
    """A mode, with the layers that carry adapters where not all do."""
    n_layers = row.get("adapter_layers")
    return str(row["mode"]) if n_layers is None else f"{row['mode']}, last {n_layers} layer(s)"


def classes_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Time by mode and number of classes."""
    cells = [
        [
            mode_title(row),
            str(row["n_classes"]),
            f"{1000 * row['seconds_per_text']:.1f}",
            f"{row['ratio']:.2f}",
            f"{row['classes_ratio']:g}",
        ]
        for row in rows
    ]
    return _table("mode | classes | ms a text | time, ratio | classes, ratio", cells)


def options_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Time and differences of every option."""
    cells = [[row["option"], row["precision"], *_option_cells(row)] for row in rows]
    return _table("option | precision | ms a text | start, s | time | draw, nats | log-odds, nats | decisions", cells)


def _option_cells(row: Mapping[str, Any]) -> list[str]:
    if "error" in row:
        return [str(row["error"]).replace("|", "/"), "", "", "", "", ""]
    return [
        f"{1000 * row['seconds_per_text']:.1f}",
        f"{row['start_seconds']:.0f}",
        f"{row['ratio']:.2f}",
        f"{row['largest_sum_difference']:.3f}",
        f"{row['largest_log_odds_difference']:.3f}",
        str(row["decisions_changed"]),
    ]
