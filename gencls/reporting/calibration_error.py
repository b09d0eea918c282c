"""Calibration error of the top label: is a classifier that says 80 % right 80 % of the time?

Every function takes the confidence in the predicted class, and whether it was right. Two estimates:

* `ece`: 15 bins of equal mass, mean over texts of |accuracy - confidence| of their bin;
* `smooth_ece`: no bins, a kernel whose width is set by the error itself (Blasiok & Nakkiran 2023).

No estimate is zero on finite data: within a bin the accuracy of a perfect model scatters around its
confidence. So `ece_null` tells what a perfectly calibrated model with these confidences would show at this n.
Read the two together.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.fft import dct, idct
from scipy.optimize import brentq
from scipy.stats import rankdata

FloatArray = NDArray[np.float64]

N_BINS = 15
SMOOTH_GRID = 4096
SMALLEST_BANDWIDTH = 1e-3


class Interval(NamedTuple):
    """A mean with the 2.5 % and 97.5 % quantiles around it."""

    mean: float
    low: float
    high: float


def equal_mass_bins(confidence: ArrayLike, *, n_bins: int = N_BINS) -> NDArray[np.int64]:
    """Bin of each text, 0 to n_bins - 1, by the rank of its confidence.

    Equal confidences share a bin (they share their mean rank), so the result does not depend on the order of
    rows, and confidences of exactly 0 or 1 are ordinary members of the first and last bins. With many ties
    some bins are empty.

    Parameters
    ----------
    confidence : array (N,)
    n_bins : int

    Returns
    -------
    array (N,) of int64
    """
    ranks = rankdata(confidence, method="average")
    return ((ranks - 0.5) * n_bins / ranks.size).astype(np.int64)


def ece(confidence: ArrayLike, correct: ArrayLike, *, n_bins: int = N_BINS) -> float:
    """Expected calibration error over equal-mass bins.

    Parameters
    ----------
    confidence : array (N,), in [0, 1]
    correct : array (N,) of bool

    Returns
    -------
    float, in [0, 1]

    Examples
    --------
    >>> round(ece([0.6, 0.6, 1.0, 1.0], [True, False, True, True], n_bins=2), 12)
    0.05
    """
    sure = np.asarray(confidence, dtype=np.float64)
    residual = np.asarray(correct, dtype=np.float64) - sure
    return _binned_error(residual, equal_mass_bins(sure, n_bins=n_bins), n_bins)


def ece_interval(
    confidence: ArrayLike, correct: ArrayLike, *, generator: np.random.Generator, n_bootstrap: int = 1000
) -> Interval:
    """Bootstrap mean and 95 % percentile interval of `ece`.

    Resampling adds its own scatter on top of that of the data, and |.| turns scatter into error, so the
    interval sits *above* the estimate and may even leave it out. It shows how uncertain the figure is; for
    "is it calibrated?" compare the estimate with `ece_null`.

    Parameters
    ----------
    confidence : array (N,)
    correct : array (N,) of bool
    generator : numpy.random.Generator
    n_bootstrap : int
    """
    sure, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=bool)
    rows = (generator.integers(sure.size, size=sure.size) for _ in range(n_bootstrap))
    return _interval(np.array([ece(sure[i], right[i]) for i in rows]))


def ece_null(confidence: ArrayLike, *, generator: np.random.Generator, n_simulations: int = 1000) -> Interval:
    """What `ece` shows when the confidences are exactly true: right ~ Bernoulli(confidence), simulated.

    Parameters
    ----------
    confidence : array (N,)
    generator : numpy.random.Generator
    n_simulations : int

    Returns
    -------
    Interval
        Mean and 95 % interval of ECE under perfect calibration at this n.
    """
    sure = np.asarray(confidence, dtype=np.float64)
    bins = equal_mass_bins(sure)
    draws = (generator.random(sure.size) < sure for _ in range(n_simulations))
    return _interval(np.array([_binned_error(right - sure, bins, N_BINS) for right in draws]))


def smooth_ece(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Smooth ECE of Blasiok & Nakkiran 2023 ("Smooth ECE", definition 3): the fixed point sigma* =
    smECE_sigma*.

    smECE_sigma = integral over [0, 1] of |mean_i K_sigma(t, f_i) (right_i - f_i)| with the Gaussian kernel
    reflected at 0 and 1. It falls as sigma grows, so the fixed point is unique. The cosines are the
    eigenfunctions of the reflected kernel, so a DCT on a grid applies it exactly, whatever n is. Under a
    bandwidth of 0.001 the value at 0.001 is given.

    Parameters
    ----------
    confidence : array (N,), in [0, 1]
    correct : array (N,) of bool

    Returns
    -------
    float, in [0, 1]
    """
    sure = np.asarray(confidence, dtype=np.float64)
    residual = np.asarray(correct, dtype=np.float64) - sure
    cells = np.minimum((sure * SMOOTH_GRID).astype(np.int64), SMOOTH_GRID - 1)
    spectrum = dct(np.bincount(cells, weights=residual, minlength=SMOOTH_GRID) / sure.size, type=2)
    at_smallest = _smoothed_error(spectrum, SMALLEST_BANDWIDTH)
    if at_smallest <= SMALLEST_BANDWIDTH:
        return at_smallest
    return float(brentq(lambda s: _smoothed_error(spectrum, s) - s, SMALLEST_BANDWIDTH, 1.0, xtol=1e-6))


def _smoothed_error(spectrum: FloatArray, sigma: float) -> float:
    """smECE_sigma from the DCT of the residuals; exp(-(pi k sigma)^2 / 2) is the heat kernel's multiplier."""
    decay = np.exp(-0.5 * (np.pi * sigma * np.arange(spectrum.size)) ** 2)
    return float(np.abs(idct(spectrum * decay, type=2)).sum())


def _binned_error(residual: FloatArray, bins: NDArray[np.int64], n_bins: int) -> float:
    return float(np.abs(np.bincount(bins, weights=residual, minlength=n_bins)).sum() / residual.size)


def _interval(values: FloatArray) -> Interval:
    low, high = np.quantile(values, [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))
