"""The viewer: one HTML page that plays trajectories, with all it needs in the file.

What comes from a text reaches the page in one place, as JSON whose ``<``, ``>``, ``&`` and ``'`` are escaped; the
script puts it there as text and never as markup. The page's own policy forbids to load anything.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from gencls.data.storage import plain
from gencls.generation.palette import DARK, LIGHT
from gencls.generation.trajectory import Trajectory
from gencls.generation.view import (
    STATE_NAMES,
    AlignedBy,
    Cell,
    State,
    all_cells,
    ends_line,
    legend_entries,
    progress,
    shown_line,
    starts_word,
    status,
    timeline,
    widest_texts,
)


def to_html(
    trajectories: Sequence[Trajectory],
    *,
    ms_per_frame: int = 800,
    aligned_by: AlignedBy = "steps",
    title: str = "Text out of masks",
) -> str:
    """Return the viewer's page.

    Parameters
    ----------
    trajectories : sequence of R Trajectory
        Shown side by side.
    ms_per_frame : int
        Milliseconds of a frame at normal speed.
    aligned_by : {"steps", "time"}
        See `timeline`.
    title : str

    Returns
    -------
    str
        HTML without any other resource.
    """
    frames = timeline(trajectories, aligned_by)
    panels = [_panel(trajectory) for trajectory in trajectories]
    data = {"panels": panels, "frames": frames, "ms_per_frame": ms_per_frame}
    environment = Environment(
        loader=PackageLoader("gencls.generation"),
        autoescape=select_autoescape(enabled_extensions=("html.j2",), default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("viewer.html.j2").render(
        title=title,
        data=plain(data),
        panels=panels,
        n_frames=len(frames),
        light=asdict(LIGHT),
        dark=asdict(DARK),
        legend=legend_entries(trajectories),
    )


def _panel(trajectory: Trajectory) -> dict[str, Any]:
    """What the page needs of a trajectory."""
    return {
        "label": shown_line(trajectory.label) or "text",
        "text": shown_line(trajectory.text, keep=" \n"),
        "facts": [[str(name), _fact(value)] for name, value in trajectory.extras.items()],
        "widest": widest_texts(trajectory),
        "starts_word": starts_word(trajectory),
        "ends_line": ends_line(trajectory),
        "state_names": {state.name.lower(): name for state, name in STATE_NAMES.items()},
        "steps": [
            {
                "cells": [_cell(cell) for cell in cells],
                "status": status(trajectory, index),
                "progress": round(progress(trajectory, index), 4),
            }
            for index, cells in enumerate(all_cells(trajectory))
        ],
    }


def _cell(cell: Cell) -> list[Any]:
    """A cell as a short list: text, name of its state, confidence, step."""
    confidence = None if cell.confidence is None else round(cell.confidence, 4)
    return [cell.text, State(cell.state).name.lower(), confidence, cell.since]


def _fact(value: Any) -> str:
    """A value of `extras` in one line."""
    value = plain(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_fact(inner)}" for key, inner in value.items())
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
