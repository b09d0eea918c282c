r"""When the draws of a text suffice: a rule with a stated share of wrong decisions.

The reference is the decision of `REFERENCE_DRAWS` draws, K. After the k draws of a look, the mean log-odds of the
leading class against a rival differ from the reference's by an error of variance

.. math:: \mathrm{SE}^2 = \tilde s^2 (1/k - 1/K), \qquad \tilde s^2 \text{ moderated, see `variance`},

and the text is decided if the leader beats *every* rival by more than the t-quantile times SE. Looking often means
many chances to be wrong; so the level of one comparison is ``stop_share * target / (looks * (classes - 1))``, and by
Bonferroni's inequality no text, whatever its log-odds, is decided wrongly with more than ``stop_share * target``.

Texts with log-odds near zero would take all K draws (a share of about 1 / sqrt(k) of the texts is still open after
k), for nothing: they are a coin's throw for the reference too. So the draws have a cap. A text that is open there is
decided by its mean, and the cap is chosen on held-out texts such that these flips stay within the rest of the target.
The first part holds for every text, the second for the average over texts like the held-out ones. Both are about the
Monte-Carlo error alone: they compare with the same classifier at K draws, not with the truth.

Only numpy and scipy here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import owens_t
from scipy.stats import t as student_t

from gencls.data.errors import three_parts
from gencls.likelihood.variance import Lead, VariancePrior, check_held_out, compare, fit_variance_prior

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
#: Draws of the decision that is to be met.
REFERENCE_DRAWS = 1023
#: Numbers of draws after which a text may be decided; few, because each costs a part of the level.
LOOKS = (1, 2, 4, 8, 16, 64, 256, REFERENCE_DRAWS)
#: What the cap is chosen from: it is a look itself, so there are never more looks than `LOOKS` has.
CAPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, REFERENCE_DRAWS)
#: Texts of so many tokens have one mask only, so draws that are the same so far stay so. (Bernoulli masks of one
#: token do differ; a single draw is believed nevertheless.)
EXACT_TOKENS = 1
#: Without a variance prior, so many draws that are all the same count as an exact score.
EQUAL_DRAWS = 8


@dataclass(frozen=True)
class Verdict:
    """What a look says.

    Attributes
    ----------
    is_decided : ndarray of shape (N,), bool
    standard_errors : ndarray of shape (N, C), float64, nats
        Of the mean log-odds of every class against the best (0 for the best): moderated, and of the distance to
        endlessly many draws rather than to the reference.
    """

    is_decided: BoolArray
    standard_errors: FloatArray


@dataclass(frozen=True)
class StoppingRule:
    """How many draws a text gets.

    Parameters
    ----------
    target_flip_rate : float
        Share of texts whose decision may be another than with `REFERENCE_DRAWS` draws.
    variance_prior : VariancePrior, optional
        Without it nothing is known of the variance of one draw, and the first look is after two.
    max_draws : int
        The cap, at most `REFERENCE_DRAWS`.
    stop_share : float
        Part of the target that wrong stops may spend; the rest is for texts that are open at the cap.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """

    target_flip_rate: float = 0.01
    variance_prior: VariancePrior | None = None
    max_draws: int = REFERENCE_DRAWS
    stop_share: float = 0.2

    def __post_init__(self) -> None:
        if not 0 < self.target_flip_rate < 0.5:
            got = repr(self.target_flip_rate)
            raise ValueError(three_parts("a target_flip_rate between 0 and 0.5", got, "The default is 0.01."))
        if not 0 < self.stop_share < 1:
            raise ValueError(three_parts("a stop_share between 0 and 1", repr(self.stop_share), "The default is 0.2."))
        draws: object = self.max_draws
        fewest = 1 if self.variance_prior is not None else 2
        if not isinstance(draws, Integral) or not fewest <= int(draws) <= REFERENCE_DRAWS:
            expected = f"max_draws as an integer in {fewest}..{REFERENCE_DRAWS}"
            todo = "Fit it with fit_stopping_rule; one draw needs a variance prior."
            raise ValueError(three_parts(expected, repr(draws), todo))

    @property
    def looks(self) -> tuple[int, ...]:
        """Numbers of draws after which texts are looked at, the last one the cap."""
        first = 1 if self.variance_prior is not None else 2
        return (*(look for look in LOOKS if first <= look < self.max_draws), self.max_draws)

    def level(self, n_classes: int) -> float:
        """Return the one-sided level of one comparison at one look.

        >>> StoppingRule(0.02, max_draws=16).level(3)  # looks at 2, 4, 8 and 16
        0.0005
        """
        return self.stop_share * self.target_flip_rate / (len(self.looks) * (n_classes - 1))

    def assess(self, samples: FloatArray, n_tokens: IntArray, log_prior: FloatArray) -> Verdict:
        """Say which texts are decided after these draws.

        Parameters
        ----------
        samples : ndarray of shape (N, C, k), float64, nats
        n_tokens : ndarray of shape (N,), int64
        log_prior : ndarray of shape (C,) or (N, C), float64, nats
        """
        n_classes, n_draws = samples.shape[1:]
        lead = compare(samples, log_prior)
        variances, degrees = _moderated(lead, n_draws, n_tokens, self.variance_prior)
        error = np.sqrt(variances * (1 / n_draws - 1 / REFERENCE_DRAWS))
        quantile = student_t.isf(self.level(n_classes), degrees)
        needed = np.multiply(quantile, error, out=np.zeros_like(error), where=error > 0)
        is_ahead = (lead.margins > needed) | (error == 0)
        if self.variance_prior is None and n_draws < EQUAL_DRAWS:  # the draws may be the same by chance
            is_ahead &= (lead.variances > 0) | ~_is_rival(lead) | _is_exact(lead, n_tokens)
        return Verdict(is_ahead.all(axis=1), np.sqrt(variances / n_draws))

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "target_flip_rate": float(self.target_flip_rate),
            "variance_prior": None if self.variance_prior is None else self.variance_prior.as_dict(),
            "max_draws": int(self.max_draws),
            "stop_share": float(self.stop_share),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> StoppingRule:
        """Inverse of `as_dict`; ValueError if a key is missing."""
        keys = {"target_flip_rate", "variance_prior", "max_draws", "stop_share"}
        if not keys <= set(values):
            todo = "Fit it again with fit_stopping_rule."
            raise ValueError(three_parts(f"the keys {sorted(keys)}", str(sorted(values)), todo))
        prior = values["variance_prior"]
        known = None if prior is None else VariancePrior.from_dict(prior)
        return cls(values["target_flip_rate"], known, values["max_draws"], values["stop_share"])


def fit_stopping_rule(
    samples: ArrayLike,
    n_tokens: ArrayLike,
    log_prior: ArrayLike,
    target_flip_rate: float = 0.01,
    *,
    stop_share: float = 0.2,
) -> StoppingRule:
    """Fit the variance prior and the cap on held-out scores; no labels are needed.

    The cap is the first of `CAPS` whose `expected_flips` are within ``(1 - stop_share) * target_flip_rate``.

    Parameters
    ----------
    samples : array (N, C, K >= 2), nats
    n_tokens : array (N,)
    log_prior : array (C,) or (N, C), nats
        As beside the scores of a decision.
    target_flip_rate, stop_share : float
        See `StoppingRule`.

    Returns
    -------
    StoppingRule

    Raises
    ------
    ValueError
        See `fit_variance_prior` and `StoppingRule`.
    """
    prior = fit_variance_prior(samples, n_tokens, log_prior)
    budget = (1 - stop_share) * target_flip_rate
    within = (expected_flips(samples, n_tokens, log_prior, prior, cap) <= budget for cap in CAPS)
    cap = next((cap for cap, is_within in zip(CAPS, within, strict=True) if is_within), REFERENCE_DRAWS)
    return StoppingRule(target_flip_rate, prior, cap, stop_share)


def expected_flips(
    samples: ArrayLike, n_tokens: ArrayLike, log_prior: ArrayLike, prior: VariancePrior, n_draws: int
) -> float:
    r"""Expected share of texts that the mean of `n_draws` draws decides otherwise than the reference.

    The reference's log-odds :math:`\mu` of a held-out text are known from K draws only, as m with variance
    :math:`\tau^2 = \tilde s^2 (1/K - 1/1023)`. To put m for :math:`\mu` would be right on average, as the density of
    log-odds is flat over so short a distance; but then a handful of texts near zero decides. Instead :math:`\mu \sim
    N(m, \tau^2 + h^2)` is integrated out, with h the usual width of a kernel estimate of that density (Silverman
    1986, equation 3.31). With :math:`\sigma^2 = \tilde s^2 (1/k - 1/1023)` the probability that :math:`\mu` and
    :math:`\mu + N(0, \sigma^2)` differ in sign is

    .. math:: 2\, T\!\left( m / \sqrt{\tau^2 + h^2 + \sigma^2},\; \sigma / \sqrt{\tau^2 + h^2} \right)

    with Owen's T (Owen 1956), for :math:`h, \tau \to 0` the plain :math:`\Phi(-|m| / \sigma)`. Rivals are summed: of
    several classes it is an upper bound.

    Parameters
    ----------
    samples, n_tokens, log_prior
        See `fit_stopping_rule`.
    prior : VariancePrior
    n_draws : int
        k.
    """
    draws, lengths = check_held_out(samples, n_tokens)
    lead = compare(draws, np.asarray(log_prior, dtype=np.float64))
    variances, _ = _moderated(lead, draws.shape[2], lengths, prior)
    known, drawn = (max(1 / k - 1 / REFERENCE_DRAWS, 0.0) for k in (draws.shape[2], n_draws))
    margins = np.where(_is_rival(lead), lead.margins, np.inf)
    spread = variances * known + _kernel_width(margins.min(axis=1)) ** 2
    total = spread + variances * drawn
    with np.errstate(divide="ignore"):  # a spread of zero: the slope of Owen's T is infinite
        slope = np.sqrt(np.divide(variances * drawn, spread, out=np.zeros_like(spread), where=variances * drawn > 0))
    scaled = np.divide(margins, np.sqrt(total), out=np.full_like(total, np.inf), where=total > 0)
    return float((2 * owens_t(scaled, slope)).sum(axis=1).clip(max=1.0).mean())


def _kernel_width(margins: FloatArray) -> float:
    """Return Silverman's width for a density of log-odds, nats."""
    quarter, three_quarters = np.quantile(margins, [0.25, 0.75])
    return float(0.9 * min(margins.std(), (three_quarters - quarter) / 1.34) * len(margins) ** -0.2)


def _moderated(lead: Lead, n_draws: int, n_tokens: IntArray, prior: VariancePrior | None) -> tuple[FloatArray, float]:
    """Return the variances (N, C) of the log-odds, 0 where they are exact, and their degrees of freedom."""
    variances, degrees = lead.variances, float(n_draws - 1)
    if prior is not None:
        variances, degrees = prior.moderated(variances, n_draws - 1, n_tokens)
    return np.where(_is_rival(lead) & ~_is_exact(lead, n_tokens), variances, 0.0), degrees


def _is_rival(lead: Lead) -> BoolArray:
    return np.asarray(np.arange(lead.margins.shape[1]) != lead.best[:, None])


def _is_exact(lead: Lead, n_tokens: IntArray) -> BoolArray:
    return np.asarray((n_tokens <= EXACT_TOKENS)[:, None] & (lead.variances == 0))
