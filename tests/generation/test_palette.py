"""Every text is readable on every colour that may be behind it."""

from __future__ import annotations

import numpy as np
import pytest

from gencls.generation.palette import DARK, LIGHT, fill, shade
from gencls.generation.view import Cell, State


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    channels = np.array(list(bytes.fromhex(colour[1:]))) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_contrast(palette):
    behind = [palette.background, palette.given, palette.new, *(shade(p / 10, palette) for p in range(11))]
    assert min(contrast(palette.ink, colour) for colour in behind) >= 4.5
    assert contrast(palette.muted, palette.background) >= 4.5
    edges = [(palette.given_edge, palette.given), (palette.new_edge, palette.new)]
    edges += [(palette.remasked_edge, palette.hidden), (palette.accent, palette.background)]
    assert min(contrast(edge, colour) for edge, colour in edges) >= 3.0  # WCAG 1.4.11: not text


def test_the_surer_the_stronger():
    colours = [fill(Cell("a", State.SHOWN, p, 1), LIGHT) for p in (0.0, 0.3, 0.9, 1.0)]
    distances = [contrast(colour, LIGHT.background) for colour in colours]
    assert distances == sorted(distances) and len(set(colours)) == 4
    assert fill(Cell("a", State.SHOWN, None, 1), LIGHT) == LIGHT.unsure
