"""Where tokens stand on a page: lines of words, the same places in every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Layout:
    """Places of L tokens.

    Attributes
    ----------
    x : ndarray of shape (L,), float64
        Left edge of each, pixels.
    line : ndarray of shape (L,), int64
        The line of each, from 0.
    """

    x: NDArray[np.float64]
    line: NDArray[np.int64]

    @property
    def n_lines(self) -> int:
        """Lines in use, at least one."""
        return int(self.line[-1]) + 1 if len(self.line) else 1


def lay_out(
    widths: Sequence[float],
    starts_word: NDArray[np.bool_],
    ends_line: NDArray[np.bool_],
    *,
    line_width: float,
    space: float,
    joint: float = 1.0,
) -> Layout:
    """Fill lines with words; a word that does not fit begins a new line, and is cut only if no line could hold it.

    Parameters
    ----------
    widths : sequence of L float
    starts_word, ends_line : ndarray of shape (L,), bool
        Before which tokens there is a space, and behind which a line ends.
    line_width, space, joint : float
        Width of a line, and the gaps between words and within a word, in the unit of `widths`.

    Examples
    --------
    >>> starts, ends = np.array([True, True, False, True]), np.zeros(4, bool)
    >>> layout = lay_out([40, 30, 30, 10], starts, ends, line_width=80, space=5, joint=0)
    >>> layout.line.tolist(), layout.x.tolist()
    ([0, 1, 1, 1], [0.0, 0.0, 30.0, 65.0])
    """
    needed = _word_widths(widths, starts_word, joint)
    xs, lines = np.zeros(len(widths)), np.zeros(len(widths), dtype=np.int64)
    x, line = 0.0, 0
    for i, width in enumerate(widths):
        after_break = i > 0 and bool(ends_line[i - 1])
        gap = 0.0 if x == 0 else space if starts_word[i] else joint
        fits_alone = needed[i] <= line_width
        too_wide = x + gap + (needed[i] if fits_alone and starts_word[i] else width) > line_width
        if after_break or (too_wide and x > 0):
            x, line, gap = 0.0, line + 1, 0.0
        xs[i], lines[i] = x + gap, line
        x += gap + width
    return Layout(xs, lines)


def _word_widths(widths: Sequence[float], starts_word: NDArray[np.bool_], joint: float) -> list[float]:
    """For each token, the width from it to the end of its word."""
    needed: list[float] = []
    for i in reversed(range(len(widths))):
        ends_word = i + 1 == len(widths) or starts_word[i + 1]
        needed.append(widths[i] + (0.0 if ends_word else joint + needed[-1]))
    return needed[::-1]
