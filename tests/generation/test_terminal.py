"""The animation in a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from gencls.generation.palette import LIGHT, shade
from gencls.generation.terminal import draw, play, tokens_text
from gencls.generation.view import n_columns


@pytest.fixture
def console():
    def make(**options):
        return Console(file=io.StringIO(), **{"width": 120, "color_system": "truecolor", **options})

    return make


def style_of(text, part: str) -> tuple[str, bool]:
    span = next(span for span in text.spans if text.plain[span.start : span.end].strip() == part)
    return span.style.bgcolor.name, bool(span.style.bold)


def test_cells_have_the_palettes_colours(toy_trajectory):
    text = tokens_text(toy_trajectory(), 2)
    assert style_of(text, "film") == (LIGHT.given, False)
    assert style_of(text, "believ") == (LIGHT.new, True)
    assert style_of(text, "[red]") == (shade(1 / 3, LIGHT), False)
    assert "░" in text.plain and "▒▒" in text.plain


def test_nothing_moves_and_nothing_is_read_as_markup(toy_trajectory):
    trajectory = toy_trajectory()
    lines = [tokens_text(trajectory, index).plain for index in range(4)]
    assert len({n_columns(line) for line in lines}) == 1
    assert "[red]" in lines[3] and "\x1b" not in lines[3]


def test_play_shows_every_frame_and_waits_between_them(toy_trajectory, console):
    waits, screen = [], console(force_terminal=True)
    play([toy_trajectory()], screen, ms_per_frame=250, sleep=waits.append)
    written = screen.file.getvalue()
    assert waits == [0.25] * 3
    assert all(f"step {index} of 3" in written for index in range(4))


def test_a_file_gets_the_result_only(toy_trajectory, console):
    plain = console(color_system=None)
    play([toy_trajectory()], plain, sleep=lambda _: pytest.fail("waits for nobody"))
    written = plain.file.getvalue()
    assert "step 3 of 3" in written and "step 0" not in written
    assert "\x1b" not in written


@pytest.mark.parametrize(("width", "beside"), [(120, True), (60, False)])
def test_two_stand_side_by_side_where_there_is_room(toy_trajectory, console, width, beside):
    screen = console(width=width, color_system=None)
    screen.print(draw([toy_trajectory(label="one"), toy_trajectory(label="two")], (1, 2), width))
    lines = screen.file.getvalue().splitlines()
    assert any("one" in line and "two" in line for line in lines) is beside
