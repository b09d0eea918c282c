"""Long texts to windows that a language model is trained on: they begin, and if possible end, with a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gencls.diffusion.tokens import tokenize

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
#: Signs that end a sentence.
SENTENCE_ENDS = ".!?\u2026\u3002\uff01\uff1f"
#: Texts that are tokenised in one call.
TEXTS_PER_CALL = 256
#: A text longer than this is cut.
LONGEST_TEXT = 1_000_000


def sentence_windows(token_ids: IntArray, is_end: BoolArray, *, max_length: int) -> list[IntArray]:
    """Cut a text in windows that hold all of it.

    Parameters
    ----------
    token_ids : ndarray of shape (L,), int64
    is_end : ndarray of shape (L,), bool
        Whether a token ends a sentence.
    max_length : int
        Most tokens of a window.

    Returns
    -------
    list of ndarray
        Each but the last ends with the last sentence end that fits; where it would be less than half full, it is
        filled instead.

    Examples
    --------
    >>> ids = np.arange(8)
    >>> [window.tolist() for window in sentence_windows(ids, np.isin(ids, [2, 7]), max_length=4)]
    [[0, 1, 2], [3, 4, 5, 6], [7]]
    """
    windows, start = [], 0
    while start < len(token_ids):
        stop = start + max_length
        if stop < len(token_ids):
            ends = np.flatnonzero(is_end[start:stop])
            if len(ends) and 2 * (ends[-1] + 1) >= max_length:
                stop = start + int(ends[-1]) + 1
        windows.append(token_ids[start:stop])
        start = stop
    return windows


def sentence_end_ids(tokenizer: Any) -> BoolArray:
    """Tell the tokens that end a sentence, shape (V,)."""
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    return np.array([bool(token) and token[-1] in SENTENCE_ENDS for token in tokens], dtype=bool)


def text_windows(texts: Iterable[str], tokenizer: Any, *, max_length: int) -> Iterator[IntArray]:
    """Tokenise texts on the fly and cut them in windows of at most `max_length` tokens."""
    is_end = sentence_end_ids(tokenizer)
    stream = iter(texts)
    while part := list(islice(stream, TEXTS_PER_CALL)):
        for token_ids in tokenize(part, tokenizer, max_length=LONGEST_TEXT, truncation="head").ids:
            yield from sentence_windows(token_ids, is_end[token_ids], max_length=max_length)
