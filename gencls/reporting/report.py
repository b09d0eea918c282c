"""The report of a run: reads what the run wrote, draws the figures, assembles `report.md` and `report.html`.

Nothing here is typed by hand and nothing is measured: every number comes from `metrics.json` and every curve
from `scores.npz`, so `build_report` can be called again at any time, without the model.
"""

from __future__ import annotations

import base64
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from tqdm import tqdm

from gencls.data.storage import read_json, write_atomic
from gencls.reporting import plots, tables
from gencls.reporting.evaluation import evaluation_metrics, load_scores
from gencls.reporting.figures import OPTIONAL_FIGURES, FigureEntry, report_figures
from gencls.reporting.metrics import accuracy_interval
from gencls.reporting.summary import summary

__all__ = ["build_report", "evaluation_metrics", "load_scores"]

INPUTS = ("run.json", "metrics.json", "scores.npz")


@dataclass(frozen=True)
class DrawnFigure:
    """A figure drawn in both themes, with its entry."""

    entry: FigureEntry
    light: bytes
    dark: bytes

    @property
    def display_width(self) -> int:
        """CSS pixels at 100 per inch: a PNG stores its width big-endian in bytes 16 to 20."""
        return int.from_bytes(self.light[16:20], "big") * 100 // plots.DPI

    @property
    def light_uri(self) -> str:
        """The light figure as a data URI."""
        return _data_uri(self.light)

    @property
    def dark_uri(self) -> str:
        """The dark figure as a data URI."""
        return _data_uri(self.dark)


def build_report(folder: Path | str, *, progress: bool = False) -> Path:
    """Write the figures (PNG), `report.md` and `report.html` into a folder with the results of an evaluation.

    Parameters
    ----------
    folder : path
        Holds run.json, metrics.json, scores.npz and, if there were targets, targets.json.
    progress : bool, default False
        Show a progress bar over the figures.

    Returns
    -------
    pathlib.Path
        `report.html`: one file, no other resource.

    Raises
    ------
    FileNotFoundError, ValueError
        An input is missing or damaged.
    """
    place = Path(folder)
    run, metrics, scores, targets = _read(place)
    entries = report_figures(scores, metrics)
    figures = [_draw(entry) for entry in tqdm(entries, "figures", disable=not progress)]
    for name in OPTIONAL_FIGURES:
        (place / f"{name}.png").unlink(missing_ok=True)  # of an earlier evaluation
    for figure in figures:
        write_atomic(place / f"{figure.entry.name}.png", figure.light)
    content = _content(place, run, metrics, targets, [str(name) for name in scores["class_names"]])
    templates = _templates()
    for name in ("report.md", "report.html"):
        page = templates.get_template(f"{name}.j2").render(**content, figures=figures)
        write_atomic(place / name, page)
    return place / "report.html"


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Any], Mapping[str, Any], list[dict[str, Any]]]:
    missing = [name for name in INPUTS if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder}: expected {', '.join(INPUTS)}, got no {', '.join(missing)}. "
            f"Run `gencls evaluate RUN --output {folder}` first."
        )
    run, metrics = read_json(folder / "run.json"), read_json(folder / "metrics.json")
    if "diffusion" not in metrics:
        raise ValueError(
            f"{folder / 'metrics.json'}: expected an entry 'diffusion', got {sorted(metrics)}. "
            "Run `gencls evaluate` again."
        )
    targets = folder / "targets.json"
    return run, metrics, load_scores(folder / "scores.npz"), read_json(targets) if targets.is_file() else []


def _draw(entry: FigureEntry) -> DrawnFigure:
    with warnings.catch_warnings():
        # A class name in a script that no installed font has is drawn as boxes; the tables spell it out.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        light, dark = (plots.to_png(entry.draw(theme)) for theme in (plots.LIGHT, plots.DARK))
    return DrawnFigure(entry, light, dark)


def _content(
    folder: Path,
    run: Mapping[str, Any],
    metrics: Mapping[str, Any],
    targets: list[dict[str, Any]],
    class_names: list[str],
) -> dict[str, Any]:
    diffusion = metrics["diffusion"]
    data = run.get("data") or {}
    return {
        "title": tables.evaluated_data(data)[0] or folder.resolve().name,
        "run_name": folder.resolve().name,
        "command": run.get("command") or "",
        "summary": summary(metrics, run, targets),
        "highlights": _highlights(metrics),
        "models": tables.model_table(metrics),
        "targets": tables.target_table(targets) if targets else None,
        "bits": tables.bits_table(diffusion.get("bits_per_token") or [], class_names),
        "counts": tables.counts_table(data),
        "costs": tables.cost_facts(diffusion, run),
        "data": tables.data_facts(run),
        "record": tables.run_facts(run),
    }


def _highlights(metrics: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Value, name and small print of the figures that a reader looks for first."""
    row = metrics["diffusion"]
    low, high = accuracy_interval(row)
    tiles = [("accuracy", tables.percent(row["accuracy"]), f"{100 * low:.1f} to {tables.percent(high)} (95\u00a0%)")]
    if "naive_bayes" in metrics:
        gain = 100 * (row["accuracy"] - metrics["naive_bayes"]["accuracy"])
        p = tables.p_value(metrics["naive_bayes"].get("mcnemar_p"))
        tiles.append(("over naive Bayes", f"{gain:+.1f} points", f"same texts, McNemar p {p}"))
    null = f"{100 * row['ece_null_low']:.1f} to {tables.percent(row['ece_null_high'])} if calibrated"
    tiles.append(("calibration error", tables.percent(row["ece"]), null))
    tiles.append(("NLL", f"{tables.number(row['nll'])} nats", f"Brier {tables.number(row['brier'])}"))
    return tiles


def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("gencls.reporting"),
        autoescape=select_autoescape(enabled_extensions=("html.j2",), default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = _markdown_cell
    return environment


def _markdown_cell(text: str) -> str:
    """Text that cannot break a Markdown table or smuggle HTML into it."""
    one_line = re.sub(r"[ \t\r\n]+", " ", str(text))  # no-break spaces stay
    return one_line.strip().replace("|", "\\|").replace("<", "&lt;")


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
