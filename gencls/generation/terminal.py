"""The animation in a terminal, drawn by rich: the same cells and colours as everywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rich.columns import Columns
from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.style import Style
from rich.text import Text

from gencls.generation.palette import LIGHT, Palette, fill
from gencls.generation.trajectory import Trajectory
from gencls.generation.view import (
    AlignedBy,
    Cell,
    State,
    all_cells,
    ends_line,
    legend_entries,
    n_columns,
    progress,
    shown_line,
    starts_word,
    status,
    timeline,
    widest_texts,
)

#: Two trajectories stand side by side where the terminal has this many columns, below each other where not.
SIDE_BY_SIDE = 100
SIGNS = {State.HIDDEN: "░", State.REMASKED: "▒"}


def play(
    trajectories: Sequence[Trajectory],
    console: Console,
    *,
    ms_per_frame: int = 800,
    aligned_by: AlignedBy = "steps",
    palette: Palette = LIGHT,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Play trajectories in a terminal; where the output is none, only the result is written.

    Parameters
    ----------
    trajectories : sequence of R Trajectory
    console : rich.console.Console
    ms_per_frame : int
        Milliseconds of a frame.
    aligned_by : {"steps", "time"}
        See `timeline`.
    palette : Palette
        The background and the ink are the palette's in every cell, whatever the terminal's are.
    sleep : callable
        Waits for some seconds.
    """
    frames = timeline(trajectories, aligned_by)
    if not console.is_terminal:
        console.print(draw(trajectories, frames[-1], console.width, palette))
        return
    with Live(console=console, auto_refresh=False) as live:
        for number, steps in enumerate(frames):
            live.update(draw(trajectories, steps, console.width, palette), refresh=True)
            if number + 1 < len(frames):
                sleep(ms_per_frame / 1000)


def show_steps(trajectory: Trajectory, console: Console, *, palette: Palette = LIGHT) -> None:
    """Write all steps of a trajectory below each other, and the legend."""
    for index in range(len(trajectory.steps)):
        console.print(Text(status(trajectory, index)))
        console.print(tokens_text(trajectory, index, palette))
        console.print()
    console.print(legend([trajectory], palette))


def draw(trajectories: Sequence[Trajectory], steps: Sequence[int], width: int, palette: Palette = LIGHT) -> Group:
    """Return one frame: a step of each trajectory, and the legend."""
    beside = len(trajectories) > 1 and width >= SIDE_BY_SIDE
    room = (width - 4) // 2 if beside else width
    panels = [_panel(trajectory, index, room, palette) for trajectory, index in zip(trajectories, steps, strict=True)]
    body = Columns(panels, width=room, padding=(0, 2)) if beside else Group(*panels)
    return Group(body, legend(trajectories, palette))


def tokens_text(trajectory: Trajectory, index: int, palette: Palette = LIGHT) -> Text:
    """Return the tokens of one step as rich text; what tokens say is never read as rich's markup."""
    text = Text()
    columns = zip(all_cells(trajectory)[index], widest_texts(trajectory), strict=True)
    starts, ends = starts_word(trajectory), ends_line(trajectory)
    for token, (cell, widest) in enumerate(columns):
        if token and starts[token] and not ends[token - 1]:
            text.append(" ")
        shown = cell.text or ""
        room = max(n_columns(widest), 1)
        filling = SIGNS.get(cell.state, " ") * (room - n_columns(shown))
        text.append(shown + filling, style(cell, palette))
        if ends[token]:
            text.append("\n")
    return text


def style(cell: Cell, palette: Palette) -> Style:
    """Return the colours of a cell; bold where new, underlined where given, so that colour is not needed."""
    ink = {State.HIDDEN: palette.muted, State.REMASKED: palette.remasked_edge}.get(cell.state, palette.ink)
    return Style(
        color=ink,
        bgcolor=fill(cell, palette),
        bold=cell.state in (State.NEW, State.REMASKED),
        underline=cell.state == State.GIVEN,
    )


def legend(trajectories: Sequence[Trajectory], palette: Palette = LIGHT) -> Text:
    """Return what the colours mean, in one line."""
    text = Text()
    for entry in legend_entries(trajectories):
        for confidence in entry.confidences:
            look = style(Cell(None, entry.state, confidence, None), palette)
            text.append(2 * SIGNS.get(entry.state, " "), look)
        text.append(f" {entry.words}  ")
    return text


def _panel(trajectory: Trajectory, index: int, width: int, palette: Palette) -> Group:
    title = Text(shown_line(trajectory.label))
    done = progress(trajectory, index)
    bar = ProgressBar(total=1.0, completed=done, width=width, complete_style=palette.accent)
    tokens = Padding(tokens_text(trajectory, index, palette), (1, 0))
    return Group(Rule(title, align="left", style="dim"), bar, tokens, Text(status(trajectory, index)), Text())
