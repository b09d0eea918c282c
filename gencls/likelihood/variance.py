r"""The variance between draws of a text's log-odds, from few draws: moderated by what held-out texts say.

Two or four draws say little about their own variance, and a text whose draws agree by chance looks sure. So the
variance of a text of L tokens is taken as a draw from a population,

.. math:: \sigma^2 = \mathrm{scale} \cdot L^{\mathrm{power}} \cdot d_0 / \chi^2_{d_0},

and estimated by the weighted mean of what the population and the text's own k draws say (Smyth 2004, Statistical
Applications in Genetics and Molecular Biology 3, equation 1):

.. math:: \tilde s^2 = (d_0 s_0^2(L) + (k - 1) s^2) / (d_0 + k - 1).

For normal draws the standardised mean then has Student's t with d0 + k - 1 degrees of freedom (his section 4). With
d0 > 0 that holds for one draw as well, whose variance is all from the population.

Only numpy and scipy here. Nothing that is computed for a text depends on which other texts there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import polygamma, psi

from gencls.data.errors import three_parts

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
#: Draws that differ by less are the same, nats: what is left is rounding.
SAME = 1e-9
#: Standard deviation of log L below which the lengths say nothing about the power.
LEAST_SPREAD = 0.1
#: A text's tokens add noise (1), all of it shared at most (2); longer texts do not have less (0).
POWER_RANGE = (0.0, 2.0)
#: Variances below this share of the median count as this share: they are log-transformed.
LEAST_SHARE = 1e-5


@dataclass(frozen=True)
class VariancePrior:
    """Population of the variances between draws.

    Parameters
    ----------
    scale : float
        Variance of a text of one token, nats squared; 0 where no held-out text had any.
    power : float
        Of the number of tokens.
    degrees : float
        d0 > 0, how many degrees of freedom of a text's own the population is worth; infinite if all texts are alike.
    """

    scale: float
    power: float
    degrees: float

    def __post_init__(self) -> None:
        values = (self.scale, self.power, self.degrees)
        is_usable = np.isfinite(values[:2]).all() and self.scale >= 0 and self.degrees > 0
        if not is_usable:
            expected = "a finite scale >= 0, a finite power and degrees > 0"
            raise ValueError(three_parts(expected, str(values), "Fit them with fit_variance_prior."))

    def expected(self, n_tokens: ArrayLike) -> FloatArray:
        """Return s0^2 of texts with so many tokens, shape (N,), nats squared; no token counts as one.

        >>> VariancePrior(0.5, 1.0, 4.0).expected([0, 1, 10])
        array([0.5, 0.5, 5. ])
        """
        return np.asarray(self.scale * np.maximum(np.asarray(n_tokens, dtype=np.float64), 1.0) ** self.power)

    def moderated(self, variances: FloatArray, degrees: int, n_tokens: ArrayLike) -> tuple[FloatArray, float]:
        """Return moderated variances and their degrees of freedom.

        Parameters
        ----------
        variances : ndarray of shape (N, C), float64, nats squared
            Sample variances.
        degrees : int
            Draws minus one.
        n_tokens : array (N,)
        """
        expected = self.expected(n_tokens)[:, None]
        total = self.degrees + degrees
        if np.isinf(total):
            return np.broadcast_to(expected, variances.shape).copy(), total
        return (self.degrees * expected + degrees * variances) / total, total

    def as_dict(self) -> dict[str, float | None]:
        """Return plain numbers for JSON, which has no infinity: None stands for it."""
        degrees = None if np.isinf(self.degrees) else float(self.degrees)
        return {"scale": float(self.scale), "power": float(self.power), "degrees": degrees}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> VariancePrior:
        """Inverse of `as_dict`; ValueError if a key is missing."""
        if not {"scale", "power", "degrees"} <= set(values):
            todo = "Fit it again with fit_variance_prior."
            raise ValueError(three_parts("the keys scale, power and degrees", str(sorted(values)), todo))
        degrees = values["degrees"]
        return cls(float(values["scale"]), float(values["power"]), np.inf if degrees is None else float(degrees))


@dataclass(frozen=True)
class Lead:
    """How far ahead the leading class of each text is.

    Attributes
    ----------
    best : ndarray of shape (N,), int64
        The leading class.
    margins : ndarray of shape (N, C), float64, nats
        Mean log-odds of it against every class, prior included; 0 against itself.
    variances : ndarray of shape (N, C), float64, nats squared
        Of these log-odds between the draws; exactly 0 where all draws are the same, and for one draw.
    """

    best: IntArray
    margins: FloatArray
    variances: FloatArray


def compare(samples: FloatArray, log_prior: FloatArray | float) -> Lead:
    """Compare the leading class of each text with every class, over the draws that they share.

    Parameters
    ----------
    samples : ndarray of shape (N, C, K), float64, nats
    log_prior : ndarray of shape (C,) or (N, C), float64, nats
    """
    joint = _mean(samples) + log_prior
    rows, best = np.arange(len(joint)), joint.argmax(axis=1)
    draws = samples[rows, best][:, None] - samples
    squares = (draws - _mean(draws)[..., None]) ** 2
    variances = _mean(squares) * (samples.shape[2] / max(samples.shape[2] - 1, 1))
    is_same = np.ptp(draws, axis=2) < SAME
    return Lead(best, joint[rows, best][:, None] - joint, np.where(is_same, 0.0, variances))


def fit_variance_prior(samples: ArrayLike, n_tokens: ArrayLike, log_prior: ArrayLike = 0.0) -> VariancePrior:
    """Fit the population by the moments of log variances (Smyth 2004, section 6.2), after their line in log L.

    The log-odds of the leader against *all* rivals are pooled, because each of them is tested. Those of one text
    depend on each other, which makes the moments less precise but not biased; rivals of unequal variance widen
    the spread, and so lower the degrees of freedom, which is the safe side.

    Zero variances (texts of one token, above all) are left out, and tiny ones raised: their logarithm would decide.
    All zero give scale 0. Where log variances spread no more than chi-squared alone explains, d0 would be infinite;
    as no text can know more than all of them together, it is at most the pooled degrees of freedom.

    Parameters
    ----------
    samples : array (N, C, K >= 2), nats
        Held-out scores.
    n_tokens : array (N,)
    log_prior : array (C,) or (N, C), nats
        Only for the choice of the leader; uniform if not given.

    Returns
    -------
    VariancePrior

    Raises
    ------
    ValueError
        Other shapes, one draw, or scores that are not finite.
    """
    draws, lengths = check_held_out(samples, n_tokens)
    variances = compare(draws, np.asarray(log_prior, dtype=np.float64)).variances
    is_positive = np.nonzero(variances)
    text = is_positive[0]
    if not len(text):
        return VariancePrior(0.0, 0.0, np.inf)
    positive, log_length = variances[is_positive], np.log(np.maximum(lengths[text], 1))
    centre, degrees = log_length.mean(), draws.shape[2] - 1
    raised = np.maximum(positive, LEAST_SHARE * np.median(positive))
    unbiased = np.log(raised) - psi(degrees / 2) + np.log(degrees / 2)  # of log sigma^2, if d0 is infinite
    power = _slope(log_length, unbiased)
    level, prior_degrees = _level_and_degrees(unbiased - power * (log_length - centre), degrees)
    return VariancePrior(float(np.exp(level - power * centre)), power, min(prior_degrees, float(degrees * len(text))))


def check_held_out(samples: ArrayLike, n_tokens: ArrayLike) -> tuple[FloatArray, IntArray]:
    """Return samples (N, C, K) and lengths (N,) as arrays; ValueError if nothing can be fitted to them."""
    draws, lengths = np.asarray(samples, dtype=np.float64), np.asarray(n_tokens, dtype=np.int64)
    is_usable = draws.ndim == 3 and draws.shape[1] >= 2 and draws.shape[2] >= 2 and lengths.shape == draws.shape[:1]
    if not is_usable or not len(draws):
        got = f"shapes {draws.shape} and {lengths.shape}"
        todo = "Score held-out texts with n_mc_samples >= 2."
        raise ValueError(three_parts("samples (N, C >= 2, K >= 2) and lengths (N,), N >= 1", got, todo))
    if not np.isfinite(draws).all():
        todo = "Look at the texts whose scores are not finite."
        raise ValueError(three_parts("finite scores, the same draws for all texts", "NaN or infinity", todo))
    return draws, lengths


def _mean(values: FloatArray) -> FloatArray:
    """Mean over the last axis, summed one after the other: the same bits whatever other texts there are."""
    return np.asarray(np.cumsum(values, axis=-1)[..., -1] / values.shape[-1])


def _slope(x: FloatArray, y: FloatArray) -> float:
    """Slope of the regression line within `POWER_RANGE`, 0 if the x hardly differ."""
    if x.std() < LEAST_SPREAD:
        return 0.0
    centred = x - x.mean()
    return float(np.clip((centred @ y) / (centred @ centred), *POWER_RANGE))


def _level_and_degrees(values: FloatArray, degrees: int) -> tuple[float, float]:
    """Return log s0^2 and d0 from unbiased log variances (Smyth 2004, section 6.2)."""
    excess = (values.var(ddof=1) if len(values) > 1 else 0.0) - float(polygamma(1, degrees / 2))
    if excess <= 0:
        return float(values.mean()), np.inf
    prior_degrees = 2.0 * _inverse_trigamma(float(excess))
    half = prior_degrees / 2
    return float(values.mean() + psi(half) - np.log(half)), prior_degrees


def _inverse_trigamma(value: float) -> float:
    """Solve trigamma(y) = value by Newton's method, which converges from below for any value (Smyth 2004, appendix)."""
    y = 0.5 + 1.0 / value
    for _ in range(50):
        found = float(polygamma(1, y))
        step = found * (1.0 - found / value) / float(polygamma(2, y))
        y += step
        if abs(step) < 1e-12 * y:
            break
    return y
