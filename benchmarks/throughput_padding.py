"""Positions that the encoder computes for nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.throughput_counting import planned_groups
from gencls.diffusion.tokens import TokenFrame
from gencls.likelihood.engine import BLANK_TEXTS
from gencls.likelihood.rows import bucket_of

IntArray = NDArray[np.int64]


def padding_waste(
    lengths: IntArray,
    frame: TokenFrame,
    limit: int | None,
    *,
    n_draws: int = 1,
    n_spans: int = 1,
    device_type: str = "cpu",
) -> float:
    """Return the share of positions that the encoder computes for nothing: padding, and copies in the last batches.

    Parameters
    ----------
    lengths : ndarray of shape (N,), int64
        Tokens of the texts.
    frame : TokenFrame
    limit : int or None
        Most positions of a row.
    n_draws : int
        K draws of a path of two steps: a shared blank pass and K others.
    n_spans : int
        Parts in which the engine divides texts for its threads; the last batches of each are filled up.
    device_type : str
    """
    spans = np.array_split(np.sort(lengths[lengths > 0]), n_spans)
    groups = [span[group] for span in spans for group in planned_groups([1 + n_draws] * len(span))]
    real = total = 0
    for group in groups:
        rows: dict[Any, int] = {}
        for length, count in zip(*np.unique(group, return_counts=True), strict=True):
            bucket, n_rows = bucket_of(int(length), frame, limit), int(count) * n_draws + -(-int(count) // BLANK_TEXTS)
            rows[bucket] = rows.get(bucket, 0) + n_rows
            real += n_rows * (int(length) + frame.n_special)
        for bucket, n_rows in rows.items():
            size = bucket.n_rows(device_type)
            total += -(-n_rows // size) * size * bucket.length
    return 1 - real / total if total else 0.0
