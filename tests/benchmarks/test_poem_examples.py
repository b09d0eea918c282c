"""Pictures of poems: characters are drawn as themselves and not as boxes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from benchmarks import poem_examples
from benchmarks.poem_examples import Example, chinese_font, draw_examples
from gencls.data.artefacts import artefact_path
from gencls.data.errors import ArtefactError

CHARACTERS = "床前明月光疑是地上霜"


@pytest.fixture(scope="module")
def font() -> Path:
    try:
        if poem_examples.covering_fonts(CHARACTERS)[1] and not artefact_path(poem_examples.FONT[0]).exists():
            pytest.skip("no Chinese font: neither in the system nor in the cache")
        return chinese_font(CHARACTERS)
    except ArtefactError as error:
        pytest.skip(f"no Chinese font can be had: {error}")


def glyph(font: Path, sign: str) -> bytes:
    picture = Image.new("L", (64, 64))
    ImageDraw.Draw(picture).text((4, 4), sign, fill=255, font=ImageFont.truetype(str(font), 40))
    return picture.tobytes()


def test_every_character_has_a_glyph_of_its_own(font: Path) -> None:
    box = glyph(font, "\U0010fffd")  # no font has it: what a missing character looks like
    drawn = {glyph(font, sign) for sign in CHARACTERS}
    assert len(drawn) == len(CHARACTERS)
    assert box not in drawn and bytes(64 * 64) not in drawn


def test_right_and_wrong_characters_have_their_colours(font: Path) -> None:
    hidden = np.array([True, True, False])
    png = draw_examples([Example("题", "人", "明月光", hidden, {"diffusion 1": "明前光"})])
    assert png is not None
    pixels = np.array(Image.open(io.BytesIO(png)).convert("RGB")).reshape(-1, 3)
    colours = {f"#{r:02x}{g:02x}{b:02x}" for r, g, b in np.unique(pixels, axis=0)}
    assert {poem_examples.RIGHT, poem_examples.WRONG, poem_examples.INK} <= colours


def test_without_any_font_the_report_goes_without_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*args: object, **options: object) -> Path:
        raise ArtefactError("no font")

    monkeypatch.setattr(poem_examples, "chinese_font", none)
    with pytest.warns(UserWarning, match="no font"):
        assert draw_examples([Example("题", "人", "明", np.array([True]), {"diffusion 1": "明"})]) is None
