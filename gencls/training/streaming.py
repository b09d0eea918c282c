"""Training texts that do not fit in memory: a stream that can be asked by number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import overload

import numpy as np
from numpy.typing import NDArray

from gencls.data.errors import three_parts

IntArray = NDArray[np.int64]
#: Texts at the front that are kept: word frequencies and the head are fitted to them.
FRONT = 4096


class StreamedTexts(Sequence[IntArray]):
    """Texts of a stream, by number, as cheap as the stream where they are asked in order.

    A resumed run asks for the same numbers and so sees the same texts, at the price of reading the stream up to there
    again. A stream that ends begins again.

    Parameters
    ----------
    open_stream : callable
        Returns an iterator over token ids (L,), int64, from the first text.
    n_texts : int
        How many there are to be asked for.

    Raises
    ------
    ValueError
        If there is no text with a token.
    """

    def __init__(self, open_stream: Callable[[], Iterator[IntArray]], n_texts: int) -> None:
        self._open = open_stream
        self._n_texts = n_texts
        self.front = list(islice((ids for ids in open_stream() if len(ids)), min(FRONT, n_texts)))
        if not self.front:
            raise ValueError(three_parts("training texts with tokens", "none", "Give another corpus."))
        self._stream: Iterator[IntArray] = iter(())
        self._next, self._current = 0, self.front[0]

    def __len__(self) -> int:
        return self._n_texts

    @overload
    def __getitem__(self, index: int) -> IntArray: ...
    @overload
    def __getitem__(self, index: slice) -> list[IntArray]: ...
    def __getitem__(self, index: int | slice) -> IntArray | list[IntArray]:
        """Return a text; going back reads the stream from its beginning."""
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        if index < len(self.front):
            return self.front[index]
        if index + 1 < self._next or self._next == 0:
            self._stream, self._next = self._endless(), 0
        while self._next <= index:
            self._current, self._next = next(self._stream), self._next + 1
        return self._current

    def _endless(self) -> Iterator[IntArray]:
        while True:
            yield from (ids for ids in self._open() if len(ids))
