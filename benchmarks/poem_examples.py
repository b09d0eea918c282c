"""Examples of the poem report: poems chosen by seed, as text and as a picture whose font has the characters."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from benchmarks.poem_study import Task
from benchmarks.poem_tables import way_title
from gencls.data.archive import extract
from gencls.data.artefacts import cache_dir
from gencls.data.errors import ArtefactError
from gencls.generation.fonts import covering_fonts

if TYPE_CHECKING:
    from benchmarks.poem_completion import Study

NUMBERS = (0, 1, 2, 3)
LEVEL = 0.3
FONT = ("cvttf-notosanscjk-regular", "cvttf_NotoSansCJK_Regular/NotoSansCJKtc-Regular.otf")
#: Of the picture: pixels of a character, characters of a row, colours of visible, right and wrong ones.
SIZE, COLUMNS = 30, 34
INK, RIGHT, WRONG, MUTED = "#1d2430", "#00795a", "#b34700", "#687386"
HOLE, UNKNOWN = "\u25a1", "\uff1f"


@dataclass(frozen=True, eq=False)
class Example:
    """One poem with its holes filled in some ways.

    Attributes
    ----------
    title, author, text : str
        The beginning of a test poem.
    hidden : ndarray of shape (L,), bool
    filled : dict from str to str
        The text as each way fills it.
    """

    title: str
    author: str
    text: str
    hidden: NDArray[np.bool_]
    filled: dict[str, str]

    @property
    def shown(self) -> str:
        """The text with a box for every hidden character."""
        return "".join(HOLE if hole else sign for sign, hole in zip(self.text, self.hidden, strict=True))


def examples(study: Study, size: str, names: Sequence[str], numbers: Sequence[int] = NUMBERS) -> list[Example]:
    """Return one test poem for each number in a random order of seed 0, as it comes, and how some ways fill it."""
    task = Task("test", "tokens", LEVEL)
    holes = study.answers.holes(task)
    bounds = np.cumsum([int(hole.sum()) for hole in holes.hidden])[:-1]
    answers = {name: np.split(study.best(size, name, task)[:, 0], bounds) for name in names}
    tokens = study.material.tokenizer.convert_ids_to_tokens(list(range(study.material.vocab_size)))
    found = []
    rows = np.random.default_rng(0).permutation(len(holes.texts))
    for number in numbers[: len(rows)]:
        row = int(rows[number])
        place, hidden = holes.places[row], holes.hidden[row]
        poem, text = study.material.splits.test[place], study.material.text("test", place)
        filled = {name: _with(text, hidden, [tokens[index] for index in parts[row]]) for name, parts in answers.items()}
        found.append(Example(poem.title, poem.author, text, hidden, filled))
    return found


def _with(text: str, hidden: NDArray[np.bool_], signs: Sequence[str]) -> str:
    left = iter(sign if len(sign) == 1 else UNKNOWN for sign in signs)
    return "".join(next(left) if hole else sign for sign, hole in zip(text, hidden, strict=True))


def chinese_font(characters: str, *, cache: Path | None = None) -> Path:
    """Return a font with these characters: one of the system, else Noto Sans CJK from the package index.

    Raises
    ------
    ArtefactError
        Neither the system nor the package index has one.
    """
    paths, missing = covering_fonts(characters)
    if not missing and len(paths) <= 2:
        return Path(paths[-1])
    name, member = FONT
    return extract(name, [member], to=(cache or cache_dir()) / "fonts", cache=cache)[0]


def draw_examples(found: Sequence[Example]) -> bytes | None:
    """Return a PNG of the examples, right characters green and wrong ones red; None where no font can be had."""
    try:
        path = chinese_font("".join(sorted({sign for one in found for sign in one.text if sign.isalnum()})))
    except ArtefactError as error:
        warnings.warn(f"no picture of the examples: {error}", UserWarning, stacklevel=2)
        return None
    font = ImageFont.truetype(str(path), SIZE)
    rows = [row for one in found for row in _rows(one)]
    picture = Image.new("RGB", (COLUMNS * SIZE + 2 * SIZE, len(rows) * (SIZE * 3 // 2) + SIZE), "#ffffff")
    canvas = ImageDraw.Draw(picture)
    for number, row in enumerate(rows):
        x, y = float(SIZE), SIZE // 2 + number * (SIZE * 3 // 2)
        for sign, colour in row:
            canvas.text((x, y), sign, fill=colour, font=font)
            x += font.getlength(sign)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def _rows(one: Example) -> list[list[tuple[str, str]]]:
    """The rows of one example: title, the poem with its holes, and each filling; cut to the width."""
    rows = [[(sign, MUTED) for sign in f"{one.title}  {one.author}"[:COLUMNS]]]
    rows += _cut([(sign, INK) for sign in one.shown])
    for name, text in one.filled.items():
        rows.append([(sign, MUTED) for sign in way_title(name)])
        rows += _cut([(sign, _colour(*where)) for sign, *where in zip(text, one.text, one.hidden, text, strict=True)])
    return [*rows, []]


def _colour(truth: str, hole: bool, sign: str) -> str:
    return INK if not hole else RIGHT if sign == truth else WRONG


def _cut(signs: list[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    return [signs[start : start + COLUMNS] for start in range(0, len(signs), COLUMNS)]
