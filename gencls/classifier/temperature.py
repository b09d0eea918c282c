"""A calibrated posterior: tempered evidence and prior, and a rate of lapses. `calibration` says why, and fits it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gencls.classifier.bayes import log_posterior

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class LengthTemperature:
    """T(L) = a * L^b with L the number of scored tokens.

    Parameters
    ----------
    a : float
        Positive; the temperature of a text of one token.
    b : float
        0 is ordinary temperature scaling; 1 would make the classifier trust the mean over tokens instead of
        the sum.
    shortest : float
        Texts of fewer tokens get the temperature of this length. Held-out texts say nothing of lengths that they do not
        have, and a power law drawn on to a handful of tokens makes a short text absurdly sure.
    log_prior : tuple of C float, nats, optional
        Prior of the fit, which is tempered with the evidence. Without it no prior is tempered.
    lapse : float
        Share of texts of which the scores say nothing: their class is any, under the prior of the fit.
    n_texts : int
        Held-out texts that it was fitted to; 0 where it was not, or is of a version that did not count them.
    """

    a: float = 1.0
    b: float = 0.0
    shortest: float = 1.0
    log_prior: tuple[float, ...] | None = None
    lapse: float = 0.0
    n_texts: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.lapse < 1:
            raise ValueError(
                f"LengthTemperature: expected 0 <= lapse < 1, got {self.lapse}. Fit it with fit_temperature."
            )
        if not (np.isfinite(self.a) and np.isfinite(self.b) and self.a > 0):
            raise ValueError(
                f"LengthTemperature: expected a finite a > 0 and a finite b, got a={self.a}, b={self.b}. "
                "Fit them with fit_temperature."
            )

    def temperature(self, lengths: ArrayLike) -> FloatArray:
        """T of each text.

        Parameters
        ----------
        lengths : array (N,), tokens
            A text of no tokens counts as one token: its score is zero for all classes, and its prior is not tempered.

        Returns
        -------
        array (N,) of float64, positive

        Examples
        --------
        >>> LengthTemperature(a=0.5, b=0.5).temperature([0, 4, 100])
        array([0.5, 1. , 5. ])
        """
        return self.a * np.maximum(np.asarray(lengths, dtype=np.float64), self.shortest) ** self.b

    def log_proba(self, log_likelihood: ArrayLike, lengths: ArrayLike, log_prior: ArrayLike) -> FloatArray:
        """Calibrated log posterior, (N, C) in nats, of scores (N, C), lengths (N,) and a log prior (C,)."""
        return self._shifted(self._tempered(log_likelihood, lengths), lengths, log_prior)

    def log_odds_slope(self, log_likelihood: ArrayLike, lengths: ArrayLike, log_prior: ArrayLike) -> FloatArray:
        """How much the log-odds of the best class against the second follow the tempered ones, (N,) from 0 to 1.

        Parameters as `log_proba`. One where there are no lapses; near zero where only a lapse could be wrong.
        """
        tempered, lapses = self._tempered(log_likelihood, lengths), self._lapses(lengths)
        places = np.argsort(self._shifted(tempered, lengths, log_prior), axis=1)[:, -2:]
        two = np.take_along_axis(tempered, places, axis=1)
        # d log m / d log p of each of the two, where what one gains the other loses
        share = np.exp(np.log1p(-lapses) + two - with_lapses(two, lapses, tempered.shape[1]))
        other = np.exp(two[:, ::-1] - np.logaddexp(two[:, :1], two[:, 1:]))
        return np.asarray((share * other).sum(axis=1))

    def _tempered(self, log_likelihood: ArrayLike, lengths: ArrayLike) -> FloatArray:
        """Log posterior (N, C) under the prior of the fit, without lapses."""
        t = self.temperature(lengths)
        return log_posterior(log_likelihood, self._own_prior(lengths) / t[:, None], t)

    def _shifted(self, tempered: FloatArray, lengths: ArrayLike, log_prior: ArrayLike) -> FloatArray:
        """Log posterior (N, C) with lapses, moved by Bayes' rule from the prior of the fit to another one (C,)."""
        mixed = with_lapses(tempered, self._lapses(lengths), tempered.shape[1])
        return log_posterior(mixed, np.asarray(log_prior, dtype=np.float64) - self._own_prior(lengths))

    def _own_prior(self, lengths: ArrayLike) -> FloatArray:
        """Prior of the fit beside each text, (N, C) or (N, 1) in nats: none of a text without tokens."""
        return np.where(np.asarray(lengths)[:, None] > 0, 0.0 if self.log_prior is None else self.log_prior, 0.0)

    def _lapses(self, lengths: ArrayLike) -> FloatArray:
        """Lapse rate of each text, (N, 1): a text without tokens gets the prior, and no decision could lapse."""
        return np.where(np.asarray(lengths)[:, None] > 0, self.lapse, 0.0)

    def tempered_prior(self, lengths: ArrayLike, log_prior: ArrayLike) -> FloatArray:
        """Log prior (N, C) beside tempered scores, nats: the fit's over T, and what another one (C,) differs by."""
        prior = np.asarray(log_prior, dtype=np.float64)
        return np.asarray(prior + (1 / self.temperature(lengths)[:, None] - 1) * self._own_prior(lengths))

    def untempered_prior(self, lengths: ArrayLike, log_prior: ArrayLike) -> FloatArray:
        """Log prior (N, C) beside scores as they are, nats, that decides as `log_proba` does with `log_prior` (C,).

        Under another prior than the fit's, lapses can move a decision that is a close one; this prior has none.
        """
        return np.asarray(self.temperature(lengths)[:, None] * self.tempered_prior(lengths, log_prior))

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON."""
        numbers = {name: float(getattr(self, name)) for name in ("a", "b", "shortest", "lapse")}
        prior = None if self.log_prior is None else list(self.log_prior)
        return {**numbers, "log_prior": prior, "n_texts": self.n_texts}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LengthTemperature:
        """Inverse of `as_dict`; one of before priors were tempered leaves them as they are, and knows no lapses."""
        if not {"a", "b"} <= set(values):
            raise ValueError(
                f"LengthTemperature: expected the keys a and b, got {sorted(values)}. "
                "Fit it again with fit_temperature."
            )
        prior = values.get("log_prior")
        numbers = float(values["a"]), float(values["b"]), float(values.get("shortest", 1.0))
        lapse, n_texts = float(values.get("lapse", 0.0)), int(values.get("n_texts", 0))
        return cls(*numbers, None if prior is None else tuple(map(float, prior)), lapse, n_texts)


def with_lapses(log_post: FloatArray, lapse: float | FloatArray, n_classes: int) -> FloatArray:
    """Log of (1 - e) p + e / C, nats, of log posteriors: where a share e of the texts has any class."""
    with np.errstate(divide="ignore"):  # log 0: no lapses
        return np.asarray(np.logaddexp(np.log1p(-np.asarray(lapse)) + log_post, np.log(lapse) - np.log(n_classes)))
