"""The axis of the draws: their mean, and the error of a difference of two classes.

Texts may have different numbers of draws: NaN fills up behind the last one of a text. Nothing of what is computed here
for a text depends on how many draws the others have, not even in the last bit. No torch here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.integer]


def mean_over_draws(samples: ArrayLike) -> FloatArray:
    """Mean over the draws that each text has.

    Parameters
    ----------
    samples : array (N, C, K), nats
        NaN behind the last draw of a text that has fewer than K.

    Returns
    -------
    array (N, C) of float64, nats
        The same bits however many draws the other texts have.
    """
    return _mean(check_samples(samples))


def paired_standard_error(samples: ArrayLike, first: IntArray, second: IntArray) -> FloatArray:
    """Standard error of the mean difference between two classes of each text, over the draws that they share.

    Parameters
    ----------
    samples : array (N, C, K), nats
        NaN behind the last draw of a text.
    first, second : arrays (N,) of int
        The two classes of each text.

    Returns
    -------
    array (N,) of float64, nats
        NaN for a text with one draw.
    """
    draws = check_samples(samples)
    rows = np.arange(len(draws))
    difference = draws[rows, first] - draws[rows, second]
    n_draws = (~np.isnan(difference)).sum(axis=1)
    squares = (difference - _mean(difference)[:, None]) ** 2
    unknown = np.full(len(draws), np.nan)
    return np.sqrt(np.divide(_mean(squares), n_draws - 1, out=unknown, where=n_draws > 1))


def _mean(values: FloatArray) -> FloatArray:
    """Mean over the last axis without its NaN; summed one after the other, so that what fills up changes no bit."""
    drawn = ~np.isnan(values)
    return np.asarray(np.cumsum(np.where(drawn, values, 0.0), axis=-1)[..., -1] / drawn.sum(axis=-1))


def check_samples(samples: ArrayLike) -> FloatArray:
    """Return samples (N, C, K) as float64; ValueError on another shape, or NaN that fills up nothing."""
    draws = np.asarray(samples, dtype=np.float64)
    if draws.ndim != 3 or draws.shape[1] < 2 or draws.shape[2] < 1:
        raise ValueError(
            f"samples: expected an array (N texts, C >= 2 classes, K >= 1 draws), got shape {draws.shape}. "
            "Add a last axis of length one to scores without draws."
        )
    missing = np.isnan(draws)
    if missing[..., 0].any() or (missing[..., 1:] < missing[..., :-1]).any() or (missing != missing[:, :1]).any():
        raise ValueError(
            "samples: expected NaN only behind the last draw of a text, and for all its classes, got others. "
            "Look for NaN in the scores."
        )
    return draws
