"""As many draws for a text as its decision needs: the rule is in `stopping`, its variances in `variance`.

After each of the rule's looks the texts that are not decided get more draws, in one call for all of them. A decided
text is never scored again. Draw k of a text is the same whoever asks for it, so what is decided about a text, and
when, does not depend on the other texts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gencls.data.errors import three_parts
from gencls.likelihood.engine import Scores
from gencls.likelihood.stopping import LOOKS, REFERENCE_DRAWS, StoppingRule, fit_stopping_rule
from gencls.likelihood.variance import VariancePrior, fit_variance_prior

__all__ = [
    "LOOKS",
    "REFERENCE_DRAWS",
    "AdaptiveScores",
    "StoppingRule",
    "VariancePrior",
    "fit_stopping_rule",
    "fit_variance_prior",
    "score_adaptively",
]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
#: (rows, first_draw, n_draws) -> scores of these draws of these texts.
ScoreDraws = Callable[[IntArray, int, int], Scores]


@dataclass(frozen=True)
class AdaptiveScores(Scores):
    """Scores with as many draws for each text as it needed; `n_draws` is given, NaN fills `samples` up.

    Attributes
    ----------
    standard_errors : ndarray of shape (N, C), float64, nats
        Of the mean log-odds of every class against the best, 0 for the best; moderated, so that one draw has one too.
    is_open : ndarray of shape (N,), bool
        True where the cap was reached without a decision: the mean decides, with a less certain outcome.
    """

    standard_errors: FloatArray = field(kw_only=True)
    is_open: BoolArray = field(kw_only=True)


def score_adaptively(
    score: ScoreDraws, n_texts: int, *, log_prior: ArrayLike, rule: StoppingRule, shared_forwards: int = 0
) -> AdaptiveScores:
    """Score texts until each is decided, or at the rule's cap.

    Parameters
    ----------
    score : callable
        ``score(rows, first_draw, n_draws)`` gives these draws of some texts; called once for each look, with the texts
        that are open. Draw k of a text must not depend on the call.
    n_texts : int
        N.
    log_prior : array (C,) or (N, C), nats
        As beside the untempered scores of a decision.
    rule : StoppingRule
    shared_forwards : int
        Forward passes of every later call that the first call made already and that were not made again (the blank pass
        of a path, if a store keeps it). `n_forwards` is what the calls report, less these; by default all of it.

    Returns
    -------
    AdaptiveScores

    Raises
    ------
    ValueError
        Of a prior or of scores with other shapes, or scores that are not finite.
    """
    prior = _checked_prior(log_prior, n_texts)
    ledger = _Ledger.start(prior.shape, rule.looks[0])
    rows = np.arange(n_texts, dtype=np.int64)
    for first, upto in pairwise((0, *rule.looks)):
        if not len(rows):
            break
        ledger.add(rows, first, upto, score(rows, first, upto - first), shared_forwards if first else 0)
        verdict = rule.assess(ledger.samples[rows, :, :upto], ledger.n_tokens[rows], prior[rows])
        ledger.standard_errors[rows] = verdict.standard_errors
        rows = rows[~verdict.is_decided]
    return ledger.scores(is_open=np.isin(np.arange(n_texts), rows))


@dataclass
class _Ledger:
    """What is known of all texts so far; see `AdaptiveScores`."""

    samples: FloatArray
    n_tokens: IntArray
    n_forwards: IntArray
    n_draws: IntArray
    standard_errors: FloatArray

    @classmethod
    def start(cls, shape: tuple[int, ...], n_draws: int) -> _Ledger:
        n_tokens, n_forwards, drawn = np.zeros((3, shape[0]), dtype=np.int64)
        return cls(np.full((*shape, n_draws), np.nan), n_tokens, n_forwards, drawn, np.zeros(shape))

    def add(self, rows: IntArray, first: int, upto: int, scores: Scores, shared_forwards: int) -> None:
        """Write draws `first` to `upto` of some texts."""
        n_new = upto - self.samples.shape[2]
        if n_new > 0:
            self.samples = np.pad(self.samples, ((0, 0), (0, 0), (0, n_new)), constant_values=np.nan)
        expected = (len(rows), self.samples.shape[1], upto - first)
        self.samples[rows, :, first:upto] = _checked_samples(scores.samples, expected)
        self.n_tokens[rows] = scores.n_tokens
        self.n_forwards[rows] += np.maximum(scores.n_forwards - shared_forwards, 0)
        self.n_draws[rows] = upto

    def scores(self, is_open: BoolArray) -> AdaptiveScores:
        return AdaptiveScores(
            self.samples,
            self.n_tokens,
            self.n_forwards,
            n_draws=self.n_draws,
            standard_errors=self.standard_errors,
            is_open=is_open,
        )


def _checked_prior(log_prior: ArrayLike, n_texts: int) -> FloatArray:
    prior = np.asarray(log_prior, dtype=np.float64)
    shape = prior.shape if prior.ndim == 2 else (n_texts, *prior.shape)
    if len(shape) != 2 or shape[0] != n_texts or shape[1] < 2 or not np.isfinite(prior).all():
        expected = f"a finite log_prior of shape (C,) or ({n_texts}, C) with C >= 2"
        todo = "Give one log-probability for each class."
        raise ValueError(three_parts(expected, f"shape {prior.shape}", todo))
    return np.broadcast_to(prior, shape)


def _checked_samples(samples: FloatArray, shape: tuple[int, int, int]) -> FloatArray:
    if samples.shape != shape or not np.isfinite(samples).all():
        got = f"shape {samples.shape}, {np.count_nonzero(~np.isfinite(samples))} of them not finite"
        todo = "Score each draw of the plan as it is (no `importance_path`), under all classes."
        raise ValueError(three_parts(f"finite scores of shape {shape}", got, todo))
    return samples
