"""Frames, on the pixels that carry the meaning; GIFs; fonts."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
from PIL import Image

from gencls.generation import fonts
from gencls.generation.fonts import Typeface, covering_fonts
from gencls.generation.frames import MARGIN, Sheet, draw_frames, draw_overview, to_png, write_frames
from gencls.generation.gif import LAST_FRAME_FACTOR, to_gif
from gencls.generation.layout import lay_out
from gencls.generation.palette import DARK, LIGHT

LATIN = (" the", " film", " was", " un", "believ", "able", ".", " </script><b>", " never", "\n", " more", " so")


@pytest.fixture(scope="module")
def trajectory(toy_trajectory):
    return toy_trajectory(LATIN)


def corner_colour(sheet: Sheet, picture: Image.Image, token: int, panel: int = 0) -> str:
    """The colour inside a token's frame, left of its letters."""
    x0, y0 = sheet.corner(panel)
    left, top, _, bottom = sheet.panels[panel].box(token)
    return "#" + bytes(picture.getpixel((x0 + left + 3, y0 + (top + bottom) // 2))).hex()


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_each_state_has_its_colour(trajectory, palette):
    sheet = Sheet([trajectory], palette)
    frames = [sheet.draw([index]) for index in range(4)]
    assert corner_colour(sheet, frames[0], 0) == palette.given
    assert corner_colour(sheet, frames[0], 8) == palette.hidden
    assert corner_colour(sheet, frames[1], 8) == palette.new
    assert corner_colour(sheet, frames[2], 8) == palette.sure  # revealed with probability one
    assert corner_colour(sheet, frames[2], 11) == palette.hidden
    assert frames[0].getpixel((1, 1)) == tuple(bytes.fromhex(palette.background[1:]))


def test_a_hidden_token_shows_nothing_and_a_revealed_one_its_letters(trajectory):
    sheet = Sheet([trajectory])
    x0, y0 = sheet.corner(0)
    box = np.add(sheet.panels[0].box(8), (x0 + 4, y0 + 4, x0 - 4, y0 - 4))
    inside = [np.asarray(sheet.draw([index]).crop(tuple(box))).reshape(-1, 3) for index in (0, 1)]
    assert len(np.unique(inside[0], axis=0)) == 1
    assert tuple(bytes.fromhex(LIGHT.ink[1:])) in {tuple(row) for row in inside[1]}


def test_only_what_changed_changes(trajectory):
    """The places are the same in all frames: between two frames nothing moves."""
    before, after = (np.asarray(frame) for frame in draw_frames([trajectory])[:2])
    panel = Sheet([trajectory]).panels[0]
    changed = np.zeros(before.shape[:2], dtype=bool)
    for token in (8, 9, 10, 11):
        left, top, right, bottom = np.array(panel.box(token)) + MARGIN
        changed[top : bottom + 1, left : right + 1] = True
    first, last = MARGIN + panel.box(0)[1], MARGIN + panel.box(11)[3] + 1
    differs = (before != after).any(axis=2)[first:last]
    assert differs.any() and not (differs & ~changed[first:last]).any()


def test_the_bar_grows_with_the_tokens(trajectory):
    sheet, accent = Sheet([trajectory]), list(bytes.fromhex(LIGHT.accent[1:]))
    rows = [np.asarray(frame)[MARGIN + 31, MARGIN:-MARGIN] for frame in draw_frames([trajectory])]
    shares = [(row == accent).all(axis=1).mean() for row in rows]
    assert shares == pytest.approx([0.0, 0.4, 0.7, 1.0], abs=0.01)
    assert sheet.width == draw_frames([trajectory])[0].width


def test_several_stand_side_by_side(trajectory):
    sheet = Sheet([trajectory, trajectory, trajectory])
    picture = sheet.draw([0, 1, 2])
    assert sheet.corner(0)[1] == sheet.corner(1)[1] < sheet.corner(2)[1]
    assert [corner_colour(sheet, picture, 8, panel) for panel in range(3)] == [LIGHT.hidden, LIGHT.new, LIGHT.sure]


def test_overview_has_every_step(trajectory):
    picture = np.asarray(draw_overview(trajectory))
    orange = (picture == list(bytes.fromhex(LIGHT.new_edge[1:]))).all(axis=2).any(axis=1)
    runs = np.flatnonzero(np.diff(np.concatenate([[0], orange.astype(int)])) == 1)
    # the last two tokens stand in a second line, where steps 1 and 3 have new tokens too; and the legend
    assert len(runs) == 2 + 1 + 2 + 1


def test_frames_on_disk(trajectory, tmp_path):
    frames = draw_frames([trajectory])
    write_frames([*frames, *frames], tmp_path)
    (tmp_path / "step_notes.png").touch()
    write_frames(frames, tmp_path)
    names = [f"step_00{number}.png" for number in range(4)]
    assert sorted(path.name for path in tmp_path.iterdir()) == [*names, "step_notes.png"]
    assert (tmp_path / names[2]).read_bytes() == to_png(frames[2])


def test_gif_keeps_frames_durations_and_colours(trajectory):
    frames = draw_frames([trajectory])
    gif = Image.open(io.BytesIO(to_gif(frames, ms_per_frame=120)))
    assert gif.n_frames == 4
    assert gif.info["loop"] == 0
    sheet, durations = Sheet([trajectory]), []
    for index, colour in enumerate((LIGHT.hidden, LIGHT.new, LIGHT.sure, LIGHT.sure)):
        gif.seek(index)
        durations.append(gif.info["duration"])
        assert corner_colour(sheet, gif.convert("RGB"), 8) == colour
        assert gif.convert("RGB").getpixel((1, 1)) == (255, 255, 255)
    assert durations == [120, 120, 120, 120 * LAST_FRAME_FACTOR]


def test_a_character_without_a_font_is_written_as_its_code_point_and_said(monkeypatch):
    monkeypatch.setattr(fonts, "_system_fonts", lambda: ())
    with pytest.warns(UserWarning, match=r"got none for 诗 \(U\+8BD7\)"):
        face = Typeface(["a诗", "U+8BD7"], 20)
    assert face.missing == {"诗"}
    assert face.width("a诗") == pytest.approx(face.width("a") + face.width("U+8BD7"))


def test_fonts_of_the_system_fill_the_gaps():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        paths, missing = covering_fonts("aé→诗")
    assert "DejaVuSans" in paths[0]
    assert missing <= {"诗"} and len(paths) == 1 + (not missing)


def test_long_words_are_cut_and_others_kept_whole():
    no = np.zeros(5, dtype=bool)
    starts = np.array([True, False, False, False, False])
    layout = lay_out([30.0] * 5, starts, no, line_width=70, space=5, joint=0)
    assert layout.line.tolist() == [0, 0, 1, 1, 2]
    starts = np.array([True, True, False, True, True])
    layout = lay_out([30.0] * 5, starts, np.array([False, False, False, True, False]), line_width=70, space=5)
    assert layout.line.tolist() == [0, 1, 1, 2, 3]
    assert lay_out([], no[:0], no[:0], line_width=70, space=5).n_lines == 1
