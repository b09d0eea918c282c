"""Which tokens of a poem are hidden: pure functions of the poem and a seed, the same for every model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gencls.data.fingerprint import digest_of
from gencls.data.poems import LINE_BREAK

BoolArray = NDArray[np.bool_]
#: Share of the lines that `lines` hides.
LINES_SHARE = 0.3
STRUCTURES = ("lines", "rhymes", "last_line", "first_line")


def mask_of(text: str, kind: str, level: float, *, seed: int, free: BoolArray | None = None) -> BoolArray:
    """Return what is hidden of a poem whose tokens are its characters.

    Parameters
    ----------
    text : str
        L characters, lines joined by `LINE_BREAK`.
    kind : {"tokens", "lines", "rhymes", "last_line", "first_line"}
        Random tokens, whole lines, the last letter of every line, or one line.
    level : float
        Share of the tokens, for "tokens"; of the lines, for "lines".
    seed : int
        The draw depends on it, the text and the kind: the same in every process.
    free : ndarray of shape (L,), bool, optional
        Tokens that may be hidden; all, if not given.

    Returns
    -------
    ndarray of shape (L,), bool
        All False where the kind finds nothing, as in a poem of one line whose first line would be all of it.
    """
    free = np.ones(len(text), dtype=bool) if free is None else free
    generator = np.random.default_rng(int.from_bytes(digest_of(seed, f"{kind} {text}"), "big"))
    if kind == "tokens":
        places = generator.permutation(np.flatnonzero(free))
        hidden = np.zeros(len(text), dtype=bool)
        hidden[places[: max(1, round(level * len(places)))]] = True
        return hidden
    return _of_lines(text, kind, level, generator) & free


def _of_lines(text: str, kind: str, level: float, generator: np.random.Generator) -> BoolArray:
    line = np.cumsum([sign == LINE_BREAK for sign in text])
    n_lines, is_break = int(line.max(initial=0)) + 1, np.array([sign == LINE_BREAK for sign in text], dtype=bool)
    if n_lines == 1 or not len(text):
        return np.zeros(len(text), dtype=bool)
    if kind == "rhymes":
        return _last_letters(text, line)
    if kind == "lines":
        chosen = generator.permutation(n_lines)[: max(1, round(level * n_lines))]
    else:
        chosen = np.array([0 if kind == "first_line" else n_lines - 1])
    return np.isin(line, chosen) & ~is_break


def _last_letters(text: str, line: NDArray[np.integer]) -> BoolArray:
    hidden = np.zeros(len(text), dtype=bool)
    for number in range(int(line.max()) + 1):
        letters = [place for place in np.flatnonzero(line == number) if text[place].isalnum()]
        hidden[letters[-1:]] = True
    return hidden
