"""Fonts for pictures: DejaVu Sans, and where it lacks a character, a font of the system that has it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from functools import lru_cache
from itertools import groupby
from pathlib import Path

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font
from PIL import ImageDraw, ImageFont

#: Looked at first, before all other fonts of the system: complete for Chinese, and plain.
CJK_NAMES = ("NotoSansCJK", "SourceHanSans", "NotoSansSC", "wqy", "PingFang", "msyh", "simhei", "DroidSansFallback")
#: Drawn by nothing: joins and selectors of the character before it.
INVISIBLE = frozenset("\u200b\u200c\u200d\ufe0e\ufe0f\u00ad")


class Typeface:
    """A font for given texts, in one size.

    A character that no font of the system has is written as its code point and never as an empty box.

    Parameters
    ----------
    texts : iterable of str
        All that will be drawn.
    size : int
        Pixels of an em.

    Warns
    -----
    UserWarning
        If no font has some of the characters.
    """

    def __init__(self, texts: Iterable[str], size: int) -> None:
        wanted = frozenset(char for text in texts for char in text) - INVISIBLE
        paths, missing = covering_fonts(wanted)
        self.fonts = [ImageFont.truetype(path, size) for path in paths]
        self.missing = missing
        owners = [(index, _characters(path)) for index, path in enumerate(paths)]
        self._font_of = {char: next((i for i, has in owners if char in has), 0) for char in wanted}
        self.ascent, self.descent = self.fonts[0].getmetrics()
        if missing:
            warnings.warn(_missing_message(missing), UserWarning, stacklevel=2)

    def width(self, text: str) -> float:
        """Return the width of a text in pixels."""
        return sum(font.getlength(part) for font, part in self._runs(text))

    def draw(self, canvas: ImageDraw.ImageDraw, place: tuple[float, float], text: str, colour: str) -> None:
        """Draw a text; `place` is the left end of its baseline."""
        x, y = place
        for font, part in self._runs(text):
            canvas.text((x, y), part, fill=colour, font=font, anchor="ls")
            x += font.getlength(part)

    def _runs(self, text: str) -> list[tuple[ImageFont.FreeTypeFont, str]]:
        """Cut a text where its font changes."""
        written = [f"U+{ord(char):04X}" if char in self.missing else char for char in text if char not in INVISIBLE]
        pairs = [(self._font_of.get(part, 0), part) for part in written]
        return [
            (self.fonts[index], "".join(part for _, part in group))
            for index, group in groupby(pairs, key=lambda pair: pair[0])
        ]


def covering_fonts(characters: Iterable[str]) -> tuple[list[str], frozenset[str]]:
    """Return the files of as few fonts as needed, DejaVu Sans first, and the characters that none of them has."""
    chosen = [str(font_manager.findfont("DejaVu Sans"))]
    missing = frozenset(characters) - _characters(chosen[0])
    for path in _system_fonts() if missing else ():
        found = missing & _characters(path)
        if found:
            chosen.append(path)
            missing -= found
        if not missing:
            break
    return chosen, missing


@lru_cache(maxsize=1)
def _system_fonts() -> tuple[str, ...]:
    """All font files of the system, the known Chinese ones first, then upright ones by name."""

    def rank(path: str) -> tuple[int, bool, str]:
        name = Path(path).name.lower()
        known = [index for index, start in enumerate(CJK_NAMES) if name.startswith(start.lower())]
        slanted = any(word in name for word in ("bold", "italic", "oblique", "black", "thin", "light"))
        return (known[0] if known else len(CJK_NAMES)), slanted, name

    return tuple(sorted(font_manager.findSystemFonts(), key=rank))


@lru_cache(maxsize=256)
def _characters(path: str) -> frozenset[str]:
    """The characters of a font; none of one that cannot be read or scaled."""
    try:
        font = FT2Font(path)
        return frozenset(map(chr, font.get_charmap())) if font.scalable else frozenset()
    except (OSError, RuntimeError):
        return frozenset()


def _missing_message(missing: frozenset[str]) -> str:
    shown = ", ".join(f"{char} (U+{ord(char):04X})" for char in sorted(missing)[:5])
    rest = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
    return (
        f"Expected a font that has every character; got none for {shown}{rest}: they are written as code points. "
        "Install one, such as fonts-noto-cjk for Chinese."
    )
