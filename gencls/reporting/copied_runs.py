"""Longest run of tokens of a text that stands in a training text as it is: exact, found by hashes of short runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
#: Odd multiplier of the polynomial hash modulo 2^64.
BASE = np.uint64(0x9E3779B97F4A7C15)
#: Lengths of the short runs that are looked up, longest first; from there on, tokens are compared.
ANCHORS = (4, 2, 1)


class TrainingRuns:
    """The runs of tokens of some training texts.

    A run never goes from one text into the next. What a hash finds is compared token by token, so a collision of
    hashes counts as no copy.

    Parameters
    ----------
    texts : sequence of N int arrays of shape (L,)
        Token ids.
    """

    def __init__(self, texts: Sequence[NDArray[np.integer]]) -> None:
        sizes = np.array([len(text) for text in texts], dtype=np.int64)
        self.tokens = np.concatenate([np.zeros(0, np.int64), *texts]).astype(np.int64)
        self.ends = np.repeat(np.cumsum(sizes), sizes)  # of each token: where its text ends
        self._tables: dict[int, tuple[NDArray[np.uint64], IntArray]] = {}

    def longest(self, text: NDArray[np.integer]) -> int:
        """Return the number of tokens of the text's longest run that a training text has; 0 if there is none."""
        ids = np.asarray(text, dtype=np.int64)
        for anchor in ANCHORS:
            if found := self._longest_from(ids, anchor):
                return found
        return 0

    def _longest_from(self, text: IntArray, anchor: int) -> int:
        """The longest run of at least `anchor` tokens; 0 if there is none."""
        hashes, starts = self._table(anchor)
        wanted, best = rolling_hashes(text, anchor), anchor - 1
        first, last = (np.searchsorted(hashes, wanted, side=side) for side in ("left", "right"))
        for place in np.flatnonzero(last > first).tolist():
            best = max(best, self._extended(text[place:], starts[first[place] : last[place]]))
        return best if best >= anchor else 0

    def _extended(self, text: IntArray, starts: IntArray) -> int:
        """How many tokens from the text's first on stand at one of the starts at least."""
        for offset, token in enumerate(text.tolist()):
            starts = starts[starts + offset < self.ends[starts]]
            starts = starts[self.tokens[starts + offset] == token]
            if not len(starts):
                return offset
        return len(text)

    def _table(self, n: int) -> tuple[NDArray[np.uint64], IntArray]:
        """Sorted hashes of all runs of n tokens and where each begins; made once for each n."""
        if n not in self._tables:
            hashes = rolling_hashes(self.tokens, n)
            inside = np.flatnonzero(np.arange(len(hashes)) + n <= self.ends[: len(hashes)])
            order = np.argsort(hashes[inside], kind="stable")
            self._tables[n] = (hashes[inside][order], inside[order])
        return self._tables[n]


def rolling_hashes(tokens: NDArray[np.integer], n: int) -> NDArray[np.uint64]:
    """Return a hash modulo 2^64 of every run of n tokens, shape (max(0, L - n + 1),): the same for equal runs."""
    count = max(0, len(tokens) - n + 1)
    hashes = np.zeros(count, dtype=np.uint64)
    values = np.asarray(tokens).astype(np.uint64) + np.uint64(1)
    for offset in range(n):  # wraps around, as it is meant to
        hashes = hashes * BASE + values[offset : offset + count]
    return hashes
