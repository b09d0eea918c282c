"""Checks of what is asked of a scorer: before any work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from gencls.data.errors import three_parts
from gencls.likelihood.precision import Precision

IntArray = NDArray[np.int64]


def checked_ids(ids: NDArray[np.integer]) -> IntArray:
    """Return the token ids of a text as int64; ValueError if they are no one-dimensional integers."""
    array = np.asarray(ids)
    if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
        raise ValueError(
            three_parts(
                "token ids as one-dimensional integer arrays",
                f"shape {array.shape} of {array.dtype}",
                "Tokenize the texts first (gencls.diffusion.tokens.tokenize).",
            )
        )
    return array.astype(np.int64)


def checked_contexts(n_context: Sequence[int] | None, texts: Sequence[IntArray]) -> list[int]:
    """Return the number of context tokens of each text; ValueError if a text is shorter or one is missing."""
    if n_context is None:
        return [0] * len(texts)
    counts = [int(count) for count in n_context]
    if len(counts) != len(texts) or any(not 0 <= c <= len(ids) for c, ids in zip(counts, texts, strict=False)):
        raise ValueError(
            three_parts(
                f"n_context as {len(texts)} numbers between 0 and each text's length",
                f"{len(counts)} numbers, {min(counts, default=0)} to {max(counts, default=0)}",
                "Use `gencls.diffusion.tokens.chunks`.",
            )
        )
    return counts


def check_classes(classes: Sequence[int], n_classes: int) -> None:
    """Refuse class indices that a scorer does not have."""
    if not classes or not all(0 <= index <= n_classes for index in classes):
        raise ValueError(
            three_parts(
                f"class indices in 0..{n_classes} ({n_classes} is 'no class')",
                str(list(classes)),
                "Leave `classes` out to score all of them.",
            )
        )


def check_precision(precision: str) -> None:
    """Refuse an unknown precision."""
    if precision not in get_args(Precision):
        known = get_args(Precision)
        raise ValueError(three_parts(f"a precision out of {known}", repr(precision), "Use 'auto'."))


def check_counts(n_jobs: int, draws: tuple[int, int]) -> None:
    """Refuse numbers of processes and draws that make no sense."""
    if n_jobs < 1:
        raise ValueError(three_parts("n_jobs >= 1", str(n_jobs), "The default is 1."))
    if draws[0] < 0 or draws[1] < 1:
        raise ValueError(
            three_parts("first_draw >= 0 and n_draws >= 1", f"{draws[0]} and {draws[1]}", "Leave them out.")
        )
