"""What one step of a trajectory looks like: a cell for each token, the same for pictures, pages and terminals."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gencls.data.errors import three_parts
from gencls.generation.trajectory import Trajectory

#: How the steps of several trajectories meet in one frame: number by number, or by the clock.
AlignedBy = Literal["steps", "time"]
#: Stands for a character that would break a line, steer a terminal or turn the reading direction.
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
VISIBLE_CONTROLS = {"\n": "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}", "\t": "\N{RIGHTWARDS ARROW TO BAR}"}
BIDI_CONTROLS = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class State(IntEnum):
    """What a token is in one step."""

    GIVEN = 0
    HIDDEN = 1
    REMASKED = 2
    NEW = 3
    SHOWN = 4


STATE_NAMES = {
    State.GIVEN: "given",
    State.HIDDEN: "hidden",
    State.REMASKED: "hidden again",
    State.NEW: "new in this step",
    State.SHOWN: "revealed",
}


@dataclass(frozen=True)
class LegendEntry:
    """What one look of a cell means: its state, the confidences to be shown of it, the words."""

    state: State
    confidences: tuple[float | None, ...]
    words: str


@dataclass(frozen=True)
class Cell:
    """One token in one step.

    Attributes
    ----------
    text : str or None
        How it reads, without the space in front; None where hidden.
    state : State
    confidence : float or None
        Probability of the token when it was revealed last.
    since : int or None
        The step in which it was revealed last.
    """

    text: str | None
    state: State
    confidence: float | None
    since: int | None


def states(trajectory: Trajectory) -> NDArray[np.int64]:
    """Return the `State` of every token in every step, shape (steps, L), int64."""
    rows = []
    for step in trajectory.steps:
        hidden = np.where(step.remasked, State.REMASKED, State.HIDDEN)
        seen = np.where(step.revealed, State.NEW, State.SHOWN)
        rows.append(
            np.where(trajectory.given, State.GIVEN, np.where(step.token_ids == trajectory.mask_id, hidden, seen))
        )
    return np.stack(rows).astype(np.int64)


def revealed_at(trajectory: Trajectory) -> NDArray[np.int64]:
    """Return the step in which every token was revealed last, shape (steps, L), int64; -1 where hidden or given."""
    revealed = np.stack([step.revealed for step in trajectory.steps])
    numbers = np.where(revealed, np.arange(len(revealed))[:, None], -1)
    visible = np.isin(states(trajectory), (State.NEW, State.SHOWN))
    return np.where(visible, np.maximum.accumulate(numbers, axis=0), -1).astype(np.int64)


def all_cells(trajectory: Trajectory) -> list[list[Cell]]:
    """Return the cells of every step, a list of L for each."""
    return [
        [
            Cell(
                None if piece is None else shown_text(piece),
                State(state),
                None if np.isnan(confidence) else float(confidence),
                None if since < 0 else int(since),
            )
            for piece, state, confidence, since in zip(
                trajectory.pieces(step), row, step.confidence.tolist(), numbers, strict=True
            )
        ]
        for step, row, numbers in zip(
            trajectory.steps, states(trajectory).tolist(), revealed_at(trajectory).tolist(), strict=True
        )
    ]


def legend_entries(trajectories: Sequence[Trajectory]) -> list[LegendEntry]:
    """Return what a reader must know to read some trajectories: the states that occur, the given first."""
    cells = [cell for trajectory in trajectories for row in all_cells(trajectory) for cell in row]
    is_sure = any(cell.confidence is not None for cell in cells)
    shown = ((0.0, 0.5, 1.0), "revealed, unsure to sure") if is_sure else ((None,), "visible")
    return [
        LegendEntry(state, *(shown if state == State.SHOWN else ((None,), STATE_NAMES[state])))
        for state in sorted({cell.state for cell in cells})
    ]


def shown_text(piece: str) -> str:
    """Return a token as it can be shown in one line, without the space in front of it.

    Examples
    --------
    >>> shown_text(" hello"), shown_text("\\n"), shown_text("\\x1b[2J"), shown_text(" ")
    ('hello', '↵', '�[2J', '␣')
    """
    body = piece[1:] if piece.startswith(" ") and piece != " " else piece
    if body and not body.strip(" "):
        return "\N{OPEN BOX}" * len(body)
    return "".join(VISIBLE_CONTROLS.get(char) or (REPLACEMENT if _is_unsafe(char) else char) for char in body)


def shown_line(text: str, *, keep: str = " ") -> str:
    """Return a title or a whole text as it can be shown; the characters of `keep` stay as they are.

    Examples
    --------
    >>> shown_line("a title\\n"), shown_line("two\\nlines\\x07", keep=" \\n")
    ('a title↵', 'two\\nlines�')
    """
    return "".join(char if char in keep else shown_text(char) for char in text)


def _is_unsafe(char: str) -> bool:
    """Whether a character steers the device that shows it: control characters, lone surrogates, reading direction."""
    return unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") or char in BIDI_CONTROLS


def last_pieces(trajectory: Trajectory) -> list[str | None]:
    """Return how each token reads in the last step that shows it; None where no step does."""
    ids = np.stack([step.token_ids for step in trajectory.steps])
    visible = ids != trajectory.mask_id
    last = len(ids) - 1 - visible[::-1].argmax(axis=0)
    chosen = ids[last, np.arange(ids.shape[1])]
    return [None if index == trajectory.mask_id else trajectory.tokens[index] for index in chosen.tolist()]


def starts_word(trajectory: Trajectory) -> NDArray[np.bool_]:
    """Return in front of which tokens a space stands, shape (L,), bool: the same in every step."""
    return np.array([piece is None or piece.startswith(" ") for piece in last_pieces(trajectory)], dtype=bool)


def ends_line(trajectory: Trajectory) -> NDArray[np.bool_]:
    """Return behind which tokens a line ends, shape (L,), bool."""
    return np.array([piece is not None and "\n" in piece for piece in last_pieces(trajectory)], dtype=bool)


def widest_texts(trajectory: Trajectory) -> list[str]:
    """Return for each token the widest text that it shows in any step: room kept for it, so that nothing jumps."""
    columns = zip(*([cell.text or "" for cell in cells] for cells in all_cells(trajectory)), strict=True)
    return [max(texts, key=n_columns) for texts in columns]


def n_columns(text: str) -> int:
    """Return how many columns of a terminal a text takes: two for a wide (Chinese) character, none for an accent.

    Examples
    --------
    >>> n_columns("ab"), n_columns("诗")
    (2, 2)
    """
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(unicodedata.combining(char) > 0 for char in text)


def status(trajectory: Trajectory, index: int) -> str:
    """Return one line on a step: its number, tokens visible, forwards, seconds; of a text that was masked, how much."""
    step = trajectory.steps[index]
    free = ~trajectory.given
    n_visible, n_free = int((step.token_ids != trajectory.mask_id)[free].sum()), int(free.sum())
    if not trajectory.steps[-1].n_forwards:
        return f"{100 * (1 - n_visible / max(n_free, 1)):.0f} % hidden · {n_visible} of {n_free} tokens visible"
    forwards = f"{step.n_forwards} forward{'' if step.n_forwards == 1 else 's'}"
    number = f"step {index} of {len(trajectory.steps) - 1}"
    return f"{number} · {n_visible} of {n_free} tokens · {forwards} · {step.seconds:.2f} s"


def progress(trajectory: Trajectory, index: int) -> float:
    """Return the share of the tokens to be found that are visible in a step."""
    free = ~trajectory.given
    visible = trajectory.steps[index].token_ids != trajectory.mask_id
    return float(visible[free].mean()) if free.any() else 1.0


def timeline(trajectories: Sequence[Trajectory], aligned_by: AlignedBy = "steps") -> list[tuple[int, ...]]:
    """Return the frames in which several trajectories are shown: for each frame the step of each trajectory.

    Parameters
    ----------
    trajectories : sequence of R Trajectory
    aligned_by : {"steps", "time"}
        By steps, frame k shows step k of each, or its last. By time, there is a frame at every moment at which any of
        them took a step, and each shows the last step that it had taken by then: a race.

    Returns
    -------
    list of tuple of R int

    Raises
    ------
    ValueError
        If there is no trajectory, one has no step, or `aligned_by` is unknown.
    """
    if not trajectories or not all(trajectory.steps for trajectory in trajectories):
        raise ValueError(three_parts("at least one trajectory with steps", "none", "Generate a text first."))
    if aligned_by == "time":
        times = [np.array([step.seconds for step in trajectory.steps]) for trajectory in trajectories]
        moments = np.unique(np.concatenate(times))
        rows = [(np.searchsorted(own, moments, side="right") - 1).clip(0).tolist() for own in times]
        return list(zip(*rows, strict=True))
    if aligned_by != "steps":
        raise ValueError(three_parts("aligned_by 'steps' or 'time'", repr(aligned_by), "Choose one of them."))
    last = [len(trajectory.steps) - 1 for trajectory in trajectories]
    return [tuple(min(k, end) for end in last) for k in range(max(last) + 1)]
