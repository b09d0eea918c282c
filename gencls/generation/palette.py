"""Colours of the states of a token, one set for light and one for dark screens.

Fills keep a contrast of at least 4.5 to the ink on them (WCAG 2.2, 1.4.3), and no meaning rests on colour alone: new
tokens have a thick frame, hidden ones no text, tokens that were hidden again a dashed frame.
"""

from __future__ import annotations

from dataclasses import dataclass

from gencls.generation.view import Cell, State


@dataclass(frozen=True)
class Palette:
    """Colours as ``#rrggbb``; `unsure` and `sure` are the ends of the scale of confidence."""

    background: str
    ink: str
    muted: str
    line: str
    accent: str
    given: str
    given_edge: str
    hidden: str
    remasked_edge: str
    new: str
    new_edge: str
    unsure: str
    sure: str


LIGHT = Palette(
    background="#ffffff",
    ink="#1d2430",
    muted="#5b6577",
    line="#c9d1dc",
    accent="#0072b2",
    given="#d6e6f5",
    given_edge="#0072b2",
    hidden="#d5dae2",
    remasked_edge="#a8457f",
    new="#ffdcae",
    new_edge="#c25200",
    unsure="#f4f6f4",
    sure="#86d8b3",
)
DARK = Palette(
    background="#171b22",
    ink="#e9edf3",
    muted="#9fabbb",
    line="#3a4350",
    accent="#56b4e9",
    given="#1d3b59",
    given_edge="#56b4e9",
    hidden="#343c48",
    remasked_edge="#e39cc4",
    new="#74420f",
    new_edge="#f5a04c",
    unsure="#242a31",
    sure="#14614a",
)


def fill(cell: Cell, palette: Palette) -> str:
    """Return the colour behind a cell; for a revealed token it says how sure the model was."""
    if cell.state == State.SHOWN:
        return shade(cell.confidence or 0.0, palette)
    return {
        State.GIVEN: palette.given,
        State.HIDDEN: palette.hidden,
        State.REMASKED: palette.hidden,
        State.NEW: palette.new,
    }[cell.state]


def shade(confidence: float, palette: Palette) -> str:
    """Return the colour of a probability in [0, 1] on the scale of confidence.

    Examples
    --------
    >>> shade(0.0, LIGHT) == LIGHT.unsure, shade(1.0, LIGHT) == LIGHT.sure
    (True, True)
    """
    low, high = (tuple(bytes.fromhex(colour[1:])) for colour in (palette.unsure, palette.sure))
    share = min(max(confidence, 0.0), 1.0)
    return "#" + "".join(f"{round(a + share * (b - a)):02x}" for a, b in zip(low, high, strict=True))
