"""Which texts were right, in few characters: so a report can be compared with later runs, text by text."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def packed(correct: ArrayLike) -> str:
    """Return zeros and ones as hexadecimal digits, four in each.

    >>> packed([1, 0, 1, 1, 1])
    'b8'
    """
    return np.packbits(np.asarray(correct, dtype=bool)).tobytes().hex()


def unpacked(digits: str, n_texts: int) -> NDArray[np.bool_]:
    """Return what `packed` was given, shape (N,)."""
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(digits), dtype=np.uint8), count=n_texts)
    return bits.astype(bool)
