"""Frames: one picture for every step, drawn with Pillow, each token in the same place in all of them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from gencls.data.storage import write_atomic
from gencls.generation.fonts import Typeface
from gencls.generation.layout import Layout, lay_out
from gencls.generation.palette import LIGHT, Palette, fill
from gencls.generation.trajectory import Trajectory
from gencls.generation.view import (
    AlignedBy,
    Cell,
    LegendEntry,
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

MARGIN, GUTTER, PADDING = 24, 36, 5
TEXT_SIZE, SMALL_SIZE, TITLE_SIZE = 19, 14, 17
CELL_HEIGHT, LINE_HEIGHT, MASK_WIDTH = 28, 36, 26
HEAD_HEIGHT, FOOT_HEIGHT, LEGEND_HEIGHT = 46, 30, 44
STEP_GAP = 14
PANEL_WIDTH, NARROW_PANEL_WIDTH, MAX_COLUMNS = 760, 520, 2


class Panel:
    """One trajectory's part of a picture.

    Parameters
    ----------
    trajectory : Trajectory
    width : int
        Pixels.
    """

    def __init__(self, trajectory: Trajectory, width: int) -> None:
        self.trajectory = trajectory
        self.width = width
        self.cells = all_cells(trajectory)
        self.texts = widest_texts(trajectory)
        self.title = shown_line(trajectory.label)

    @cached_property
    def face(self) -> Typeface:
        """The font of the tokens."""
        shown = {cell.text or "" for cells in self.cells for cell in cells}
        return Typeface({*shown, "0123456789U+ABCDEF"}, TEXT_SIZE)

    @cached_property
    def title_face(self) -> Typeface:
        """The font of the title."""
        return Typeface({self.title, "…"}, TITLE_SIZE)

    @cached_property
    def cell_widths(self) -> list[float]:
        """Pixels for each token: those of its widest text in any step."""
        return [max(self.face.width(text) + 2 * PADDING, MASK_WIDTH) for text in self.texts]

    @cached_property
    def layout(self) -> Layout:
        """Where the tokens stand."""
        breaks = starts_word(self.trajectory), ends_line(self.trajectory)
        return lay_out(self.cell_widths, *breaks, line_width=self.width, space=8.0, joint=2.0)

    @property
    def height(self) -> int:
        """Pixels of the panel."""
        return HEAD_HEIGHT + self.layout.n_lines * LINE_HEIGHT + FOOT_HEIGHT

    def box(self, token: int) -> tuple[int, int, int, int]:
        """Return left, top, right and bottom of a token in the panel, pixels."""
        x, y = round(self.layout.x[token]), HEAD_HEIGHT + int(self.layout.line[token]) * LINE_HEIGHT
        return x, y, x + round(self.cell_widths[token]), y + CELL_HEIGHT

    def draw(self, index: int, palette: Palette) -> Image.Image:
        """Draw one step."""
        picture = Image.new("RGB", (self.width, self.height), palette.background)
        canvas, small = ImageDraw.Draw(picture), _small_face()
        self.title_face.draw(canvas, (0, 18), _cut(self.title, self.title_face, self.width), palette.ink)
        _bar(canvas, (0, 28, self.width - 1, 34), progress(self.trajectory, index), palette)
        for token, cell in enumerate(self.cells[index]):
            _draw_cell(canvas, self.box(token), cell, self.face, palette)
        small.draw(canvas, (0, self.height - 10), status(self.trajectory, index), palette.muted)
        return picture


class Sheet:
    """Several panels beside and below each other, with one legend.

    Parameters
    ----------
    trajectories : sequence of R Trajectory
    palette : Palette
    """

    def __init__(self, trajectories: Sequence[Trajectory], palette: Palette = LIGHT) -> None:
        self.columns = min(len(trajectories), MAX_COLUMNS)
        width = PANEL_WIDTH if self.columns == 1 else NARROW_PANEL_WIDTH
        self.panels = [Panel(trajectory, width) for trajectory in trajectories]
        self.palette, self.legend = palette, legend_entries(trajectories)
        rows = [self.panels[i : i + self.columns] for i in range(0, len(self.panels), self.columns)]
        self._row_heights = [max(panel.height for panel in row) for row in rows]
        self.width = 2 * MARGIN + self.columns * width + (self.columns - 1) * GUTTER
        self.height = 2 * MARGIN + sum(self._row_heights) + LEGEND_HEIGHT

    def corner(self, number: int) -> tuple[int, int]:
        """Return left and top of a panel, pixels."""
        row, column = divmod(number, self.columns)
        return MARGIN + column * (self.panels[0].width + GUTTER), MARGIN + sum(self._row_heights[:row])

    def draw(self, steps: Sequence[int]) -> Image.Image:
        """Draw one frame: a step of each trajectory."""
        picture = Image.new("RGB", (self.width, self.height), self.palette.background)
        for number, (panel, index) in enumerate(zip(self.panels, steps, strict=True)):
            picture.paste(panel.draw(index, self.palette), self.corner(number))
        _legend(ImageDraw.Draw(picture), (MARGIN, self.height - LEGEND_HEIGHT), self.legend, self.palette)
        return picture


def draw_frames(
    trajectories: Sequence[Trajectory], *, aligned_by: AlignedBy = "steps", palette: Palette = LIGHT
) -> list[Image.Image]:
    """Return the frames of an animation, all of one size.

    Parameters
    ----------
    trajectories : sequence of R Trajectory
    aligned_by : {"steps", "time"}
        See `timeline`.
    palette : Palette
    """
    frames = timeline(trajectories, aligned_by)
    sheet = Sheet(trajectories, palette)
    return [sheet.draw(steps) for steps in frames]


def draw_overview(trajectory: Trajectory, *, palette: Palette = LIGHT) -> Image.Image:
    """Draw all steps of a trajectory below each other in one picture."""
    panel = Panel(trajectory, PANEL_WIDTH)
    # the head is drawn once, above; of each step only its tokens and its line of numbers
    strip = panel.height - HEAD_HEIGHT + STEP_GAP
    n_steps = len(trajectory.steps)
    size = PANEL_WIDTH + 2 * MARGIN, 2 * MARGIN + 28 + n_steps * strip + LEGEND_HEIGHT
    picture = Image.new("RGB", size, palette.background)
    canvas = ImageDraw.Draw(picture)
    title = _cut(panel.title, panel.title_face, PANEL_WIDTH)
    panel.title_face.draw(canvas, (MARGIN, MARGIN + 14), title, palette.ink)
    for index in range(n_steps):
        part = panel.draw(index, palette).crop((0, HEAD_HEIGHT, panel.width, panel.height))
        picture.paste(part, (MARGIN, MARGIN + 28 + index * strip))
    _legend(canvas, (MARGIN, size[1] - LEGEND_HEIGHT), legend_entries([trajectory]), palette)
    return picture


def write_frames(frames: Sequence[Image.Image], folder: Path) -> Path:
    """Write frames as ``step_000.png``, ...; those of an earlier, longer animation are removed."""
    names = [f"step_{number:03d}.png" for number in range(len(frames))]
    for name, frame in zip(names, frames, strict=True):
        write_atomic(folder / name, to_png(frame))
    for old in set(folder.glob("step_[0-9][0-9][0-9].png")) - {folder / name for name in names}:
        old.unlink()
    return folder


def to_png(picture: Image.Image) -> bytes:
    """Return a picture as the bytes of a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _draw_cell(
    canvas: ImageDraw.ImageDraw, box: tuple[int, int, int, int], cell: Cell, face: Typeface, palette: Palette
) -> None:
    edge = {State.GIVEN: palette.given_edge, State.NEW: palette.new_edge}.get(cell.state)
    canvas.rounded_rectangle(box, 4, fill=fill(cell, palette), outline=edge, width=2 if cell.state == State.NEW else 1)
    if cell.state == State.REMASKED:
        _dashed_frame(canvas, box, palette.remasked_edge)
    if cell.text:
        left = (box[0] + box[2] - face.width(cell.text)) / 2
        face.draw(canvas, (round(left), box[3] - 8), cell.text, palette.ink)


def _dashed_frame(canvas: ImageDraw.ImageDraw, box: tuple[int, int, int, int], colour: str) -> None:
    left, top, right, bottom = box
    for x in range(left, right, 6):
        for y in (top, bottom - 1):
            canvas.line((x, y, min(x + 3, right), y), fill=colour, width=2)
    for y in range(top, bottom, 6):
        for x in (left, right - 1):
            canvas.line((x, y, x, min(y + 3, bottom)), fill=colour, width=2)


def _bar(canvas: ImageDraw.ImageDraw, box: tuple[int, int, int, int], share: float, palette: Palette) -> None:
    canvas.rounded_rectangle(box, 3, fill=palette.line)
    if share > 0:
        reach = box[0] + max(round(share * (box[2] - box[0])), 6)
        canvas.rounded_rectangle((box[0], box[1], reach, box[3]), 3, fill=palette.accent)


def _legend(
    canvas: ImageDraw.ImageDraw, corner: tuple[int, int], entries: Sequence[LegendEntry], palette: Palette
) -> None:
    x, y = corner
    face = _small_face()
    for entry in entries:
        for confidence in entry.confidences:
            _draw_cell(canvas, (x, y, x + 22, y + 18), Cell(None, entry.state, confidence, None), face, palette)
            x += 25
        face.draw(canvas, (x + 4, y + 14), entry.words, palette.muted)
        x += round(face.width(entry.words)) + 22


def _small_face() -> Typeface:
    return Typeface(["·"], SMALL_SIZE)  # lines and legends are Latin, which its first font has


def _cut(text: str, face: Typeface, width: float) -> str:
    """Shorten a text to a width."""
    if face.width(text) <= width:
        return text
    keep = int(np.searchsorted([face.width(text[:n] + "…") for n in range(1, len(text) + 1)], width))
    return text[:keep] + "…"
