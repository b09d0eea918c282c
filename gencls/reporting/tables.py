"""Tables of a report as text: numbers formatted once, for Markdown and HTML alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gencls.reporting.figures import model_title
from gencls.reporting.metrics import accuracy_interval

MISSING = "–"
MAX_CLASSES_IN_MATRIX = 12

MODEL_COLUMNS = (
    "model",
    "accuracy [95\u00a0%]",
    "NLL, nats",
    "Brier",
    "ECE [95\u00a0%]",
    "ECE if calibrated [95\u00a0%]",
    "smooth ECE",
    "McNemar p",
)
TARGET_COLUMNS = ("target", "wanted", "measured", "met", "command")


@dataclass(frozen=True)
class Cell:
    """One cell: its text, and whether it is to be set off ("best", "met", "missed", "quiet" or nothing)."""

    text: str
    mark: str = ""


@dataclass(frozen=True)
class Table:
    """Column heads and rows of cells; the first cell of a row names it."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


Facts = list[tuple[str, str]]


def percent(value: float | None, digits: int = 1) -> str:
    r"""A fraction in percent, the sign tied to its number by a no-break space.

    Examples
    --------
    >>> percent(0.853)
    '85.3\xa0%'
    """
    return MISSING if value is None else f"{100 * value:.{digits}f}\u00a0%"


def number(value: float | None, digits: int = 3) -> str:
    """A number with fixed digits, a dash when there is none."""
    return MISSING if value is None else f"{value:.{digits}f}"


def p_value(value: float | None) -> str:
    """A p-value with an end.

    Examples
    --------
    >>> p_value(1e-9), p_value(0.0321)
    ('< 0.001', '0.032')
    """
    return MISSING if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def duration(seconds: float | None) -> str:
    """Seconds, minutes or hours, whichever reads best.

    Examples
    --------
    >>> duration(42.0), duration(754.0), duration(9000.0)
    ('42.0 s', '12.6 min', '2.5 h')
    """
    if seconds is None:
        return MISSING
    return (
        f"{seconds:.1f} s"
        if seconds < 120
        else f"{seconds / 60:.1f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )


def model_table(metrics: Mapping[str, Any]) -> Table:
    """Diffusion, the same before temperature, and each baseline."""
    diffusion = metrics["diffusion"]
    rows = [_model_row("diffusion", diffusion)]
    if diffusion.get("uncalibrated"):
        rows.append(_model_row("diffusion, before temperature", diffusion["uncalibrated"], mark="quiet"))
    rows += [_model_row(model_title(name), row) for name, row in metrics.items() if name != "diffusion"]
    return Table(MODEL_COLUMNS, tuple(rows))


def model_text(metrics: Mapping[str, Any]) -> str:
    """The model table as aligned plain text, for a terminal."""
    table = model_table(metrics)
    rows = [list(table.columns), *([cell.text for cell in row] for row in table.rows)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(table.columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def target_table(targets: Sequence[Mapping[str, Any]]) -> Table:
    """What the run was asked to show, and whether it did."""
    return Table(TARGET_COLUMNS, tuple(_target_row(row) for row in targets))


def bits_table(matrix: Sequence[Sequence[float | None]], class_names: Sequence[str]) -> Table | None:
    """Bits per token of the texts of each class under each class's model; None if too large for a page."""
    if not matrix or len(class_names) > MAX_CLASSES_IN_MATRIX:
        return None
    rows = [
        (Cell(name), *(Cell(number(value, 3), "best" if value == _least(row) else "") for value in row))
        for name, row in zip(class_names, matrix, strict=True)
    ]
    return Table(("texts of", *(f"model of {name}" for name in class_names)), tuple(rows))


def counts_table(data: Mapping[str, Any]) -> Table | None:
    """Texts of each class in each split."""
    splits: Mapping[str, Mapping[str, int]] = data.get("class_counts") or {}
    if not splits:
        return None
    names = list(next(iter(splits.values())))
    if len(names) > MAX_CLASSES_IN_MATRIX:
        return Table(("split", "texts"), tuple(_split_row(split, counts, []) for split, counts in splits.items()))
    rows = tuple(_split_row(split, counts, names) for split, counts in splits.items())
    return Table(("split", *names, "all"), rows)


def cost_facts(diffusion: Mapping[str, Any], run: Mapping[str, Any]) -> Facts:
    """Training and scoring costs."""
    speed = diffusion.get("score_texts_per_second")
    return [
        ("training", duration(diffusion.get("train_seconds"))),
        *_verdict_facts(run),
        ("scoring", MISSING if speed is None else f"{speed:.1f} texts per second"),
        ("forwards per text and class", _count(diffusion.get("forwards_per_text_per_class"))),
        *_draw_facts(diffusion.get("draws")),
        *_calibration_facts(diffusion.get("temperature") or {}),
        *_pool_facts(run),
        ("bound of the steps that decide, own class", f"{number(diffusion.get('nats_per_token'))} nats per token"),
        ("unigram entropy", f"{number(diffusion.get('unigram_nats_per_token'))} nats per token"),
        ("evaluation, wall time", duration(run.get("wall_seconds"))),
    ]


def _verdict_facts(run: Mapping[str, Any]) -> Facts:
    """Whether the class stage was kept, where validation texts were asked."""
    verdict = ((run.get("training") or {}).get("classes") or {}).get("verdict")
    if verdict is None:
        return []
    losses = (
        f"decision loss of the validation texts {verdict['loss_before']:.3f} before it, {verdict['loss_after']:.3f}"
    )
    return [("class training", f"{'kept' if verdict['is_kept'] else 'taken back'}; {losses} after it")]


def _pool_facts(run: Mapping[str, Any]) -> Facts:
    """What class tables beside the network leave it to decide."""
    weight = (run.get("scoring") or {}).get("network_weight")
    return [] if weight is None else [("weight of the network beside its class tables", f"{weight:.2g}")]


def _calibration_facts(temperature: Mapping[str, Any]) -> Facts:
    """The temperature's law, and the rate of lapses where the calibration knows them."""
    law = f"T(L) = {temperature.get('a', 1):.3g} · L^{temperature.get('b', 0):.3g}" if temperature else MISSING
    facts = [("temperature, L in tokens", law)]
    if "lapse" in temperature:
        facts.append(("lapses, texts of which the scores say nothing", percent(temperature["lapse"], 2)))
    if temperature.get("n_texts"):
        facts.append(("held-out texts that it was fitted to", f"{temperature['n_texts']:,}"))
    return facts


def _draw_facts(draws: Mapping[str, float] | None) -> Facts:
    """What an adapted number of draws came to, and why a figure is missing."""
    if draws is None:
        return []
    numbers = f"{draws['mean']:.1f} on average, median {draws['median']:g}, at most {draws['largest']}"
    return [
        ("draws per text, adapted", numbers),
        ("undecided at the cap", percent(draws["share_open"])),
        ("accuracy against forwards", "left out: the draws of every text end where its decision is safe"),
    ]


def _count(value: float | None) -> str:
    return MISSING if value is None else str(value) if isinstance(value, int) else f"{value:.1f}"


def evaluated_data(data: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Return the name of the data set that a run was judged on, and of the one it was trained on if another."""
    trained_on = data.get("name")
    evaluated = data.get("evaluated") or trained_on
    return evaluated, trained_on if trained_on != evaluated else None


def data_facts(run: Mapping[str, Any]) -> Facts:
    """Where the texts came from and what was done to them."""
    data: Mapping[str, Any] = run.get("data") or {}
    length, side = _either(data, run, "max_length"), _either(data, run, "truncation")
    kept = {"tail": "the end is kept", "head": "the beginning is kept"}.get(str(side), str(side or ""))
    if data.get("long_texts") == "chunks":
        kept += "; longer texts are scored whole, in chunks of that length"
    told = " ".join(str(data[key]) for key in ("name", "version") if data.get(key)) or MISSING
    judged_on, trained_on = evaluated_data(data)
    left_out = data.get("n_left_out")
    return [
        *([("judged on", f"{judged_on}; what follows is of the data set of the training")] if trained_on else []),
        *([("left out of it, as the run was trained on them", f"{left_out:,} texts")] if left_out else []),
        ("data set", told),
        ("source", str(data.get("source") or MISSING)),
        ("fingerprint", str(data.get("fingerprint") or MISSING)[:16]),
        ("length limit", f"{length} tokens, {kept}" if length else MISSING),
        ("texts cut", percent(_either(data, run, "share_cut"))),
        *_unlabelled_facts(run),
    ]


def _unlabelled_facts(run: Mapping[str, Any]) -> Facts:
    """How many texts trained the classes without a label, and which baselines saw them."""
    counts: Sequence[int] = (run.get("training") or {}).get("unlabelled") or ()
    baselines: Mapping[str, Mapping[str, Any]] = run.get("baselines") or {}
    names = [model_title(name) for name, record in baselines.items() if record.get("self_trained")]
    others = f"; with classes of their own for them: {', '.join(names)}" if names else ", and no other baseline"
    told = f"{sum(counts):,}, which train the model and its count tables{others}"
    return [("texts without labels", told)] if counts else []


def run_facts(run: Mapping[str, Any]) -> Facts:
    """What is needed to run it again."""
    versions = ", ".join(f"{name} {v}" for name, v in (run.get("versions") or {}).items() if v)
    device = str(run.get("device") or MISSING)
    cores = f", {run['n_cores']} cores" if run.get("n_cores") else ""
    keys = ("time", "commit", "seed", "python")
    facts = [(key, str(run[key])) for key in keys if run.get(key) is not None]
    return [*facts, ("device", device + cores), ("versions", versions or MISSING)]


def _model_row(title: str, row: Mapping[str, Any], mark: str = "") -> tuple[Cell, ...]:
    texts = (
        title,
        _with_interval(row, "accuracy", *accuracy_interval(row)),
        number(row.get("nll")),
        number(row.get("brier")),
        _with_interval(row, "ece", row.get("ece_low"), row.get("ece_high")),
        _with_interval(row, "ece_null", row.get("ece_null_low"), row.get("ece_null_high")),
        percent(row.get("smece")),
        p_value(row.get("mcnemar_p")),
    )
    return tuple(Cell(text, mark) for text in texts)


def _with_interval(row: Mapping[str, Any], key: str, low: float | None, high: float | None) -> str:
    return f"{percent(row.get(key))} [{number(_hundred(low), 1)}, {number(_hundred(high), 1)}]"


def _target_row(row: Mapping[str, Any]) -> tuple[Cell, ...]:
    sign = {">=": "≥", "<=": "≤"}.get(str(row.get("direction")), "")
    met = Cell("met", "met") if row.get("met") else Cell("missed", "missed")
    value = MISSING if row.get("value") is None else f"{row['value']:.4g}"
    return (
        Cell(str(row.get("name"))),
        Cell(f"{sign} {row.get('target'):g}"),
        Cell(value),
        met,
        Cell(str(row.get("command") or "")),
    )


def _split_row(split: str, counts: Mapping[str, int], names: Sequence[str]) -> tuple[Cell, ...]:
    figures = [*(counts.get(name, 0) for name in names), sum(counts.values())]
    return (Cell(split), *(Cell(f"{figure:,}".replace(",", " ")) for figure in figures))


def _least(row: Sequence[float | None]) -> float | None:
    return min((value for value in row if value is not None), default=None)


def _hundred(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _either(first: Mapping[str, Any], second: Mapping[str, Any], key: str) -> Any:
    return first.get(key) if first.get(key) is not None else second.get(key)
