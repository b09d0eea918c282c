r"""Which decisions are those of 1 024 forwards, and what reaching them costs.

The reference decision of a text is that of the mean of 1 023 draws of the two-step path: with the blank pass, which
they share, 1 024 forwards under each class. Not all of them have to be made. Draws are taken in rounds (16, 64, 256,
1 023), and a text goes to the next round only while the leading class is less than `SURE` = 8 standard errors ahead of
some other one. Beyond that the rest of the draws cannot turn it: a change of sides by 8 standard errors has a chance of
less than one in a million even with the t-distribution of 16 draws.

Draws are kept and never made twice (`KeptDraws`). A rule that stops early is judged by *replay*: it asks for draws, and
gets the kept ones. A draw depends on text, seed and its number only, so a replay decides what scoring anew would.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from scipy.stats import t as student

from gencls.classifier.draws import mean_over_draws
from gencls.likelihood.adaptive import StoppingRule, score_adaptively
from gencls.likelihood.engine import Scores
from gencls.likelihood.estimators import Estimator

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
#: Rows, first draw, number of draws -> scores of these rows; draw k of a row is the same whenever it is asked for.
Score = Callable[[IntArray, int, int], Scores]
#: Draws after which a text's reference may be settled; the last one is the reference in full.
ROUNDS = (16, 64, 256, 1023)
SURE = 8.0
FIXED_DRAWS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)


class KeptDraws:
    """Draws of some texts, made when they are first asked for.

    Parameters
    ----------
    score : callable
        See `Score`.
    n_texts : int
        N.
    estimator : Estimator
        For the number of forward passes.

    Attributes
    ----------
    samples : ndarray of shape (N, C, K), float64, nats
        NaN behind the last draw of a text; empty before the first one.
    n_draws, n_tokens : ndarray of shape (N,), int64
    """

    def __init__(self, score: Score, n_texts: int, estimator: Estimator) -> None:
        self._score, self._estimator = score, estimator
        self.samples = np.zeros((n_texts, 0, 0))
        self.n_draws = np.zeros(n_texts, dtype=np.int64)
        self.n_tokens = np.zeros(n_texts, dtype=np.int64)

    def need(self, rows: IntArray, n_draws: int) -> None:
        """Make sure that some texts have at least this many draws."""
        for known in np.unique(self.n_draws[rows]):
            short = rows[self.n_draws[rows] == known]
            if known < n_draws:
                self._take(short, int(known), n_draws)

    def score(self, rows: IntArray, first_draw: int, n_draws: int) -> Scores:
        """Return some draws of some texts: a `Score` that makes only what is not there yet."""
        self.need(rows, first_draw + n_draws)
        samples = self.samples[rows, :, first_draw : first_draw + n_draws]
        return Scores(samples, self.n_tokens[rows], self.n_forwards(np.full(len(rows), n_draws)))

    def n_forwards(self, n_draws: IntArray) -> IntArray:
        """Return the forward passes under each class of some numbers of draws, the blank one counted."""
        return np.array([self._estimator.n_forwards(count) for count in n_draws.tolist()], dtype=np.int64)

    def _take(self, rows: IntArray, start: int, end: int) -> None:
        scores = self._score(rows, start, end - start)
        n_texts, _, width = self.samples.shape
        if end > width:
            grown = np.full((n_texts, scores.samples.shape[1], end), np.nan)
            grown[:, : self.samples.shape[1], :width] = self.samples
            self.samples = grown
        self.samples[rows, :, start:end] = scores.samples
        self.n_draws[rows], self.n_tokens[rows] = end, scores.n_tokens


@dataclass(frozen=True)
class Reference:
    """What 1 024 forwards decide.

    Attributes
    ----------
    decisions : ndarray of shape (N,), int64
    n_draws : ndarray of shape (N,), int64
        Draws that were made for it: fewer than the last round where the rest cannot change it.
    """

    decisions: IntArray
    n_draws: IntArray

    def counts(self) -> dict[int, int]:
        """Return how many texts were settled after how many draws."""
        numbers, counts = np.unique(self.n_draws, return_counts=True)
        return dict(zip(numbers.tolist(), counts.tolist(), strict=True))


def reference_decisions(
    kept: KeptDraws, log_prior: FloatArray, *, rounds: Sequence[int] = ROUNDS, sure: float = SURE
) -> Reference:
    """Take the draws of the reference and decide.

    Parameters
    ----------
    kept : KeptDraws
    log_prior : ndarray of shape (C,), float64, nats
    rounds : sequence of int
        At least two draws in the first one.
    sure : float
        Standard errors of a lead that settles a text.

    Returns
    -------
    Reference
    """
    rows = np.arange(len(kept.n_draws))
    n_draws = np.zeros(len(rows), dtype=np.int64)
    for number in rounds:
        kept.need(rows, number)
        n_draws[rows] = number
        rows = rows[is_open(kept.samples[rows, :, :number], log_prior, sure)]
    decisions = decisions_at(kept.samples, n_draws, log_prior)
    return Reference(decisions, n_draws)


def is_open(samples: FloatArray, log_prior: FloatArray, sure: float) -> BoolArray:
    """Say where the leading class is less than `sure` standard errors ahead of some other one; samples (n, C, K)."""
    leader = (samples.mean(axis=2) + log_prior).argmax(axis=1)
    rows = np.arange(len(samples))
    lead = samples[rows, leader][:, None] - samples
    error = lead.std(axis=2, ddof=1) / np.sqrt(samples.shape[2])
    odds = lead.mean(axis=2) + log_prior[leader][:, None] - log_prior
    behind = odds < sure * error
    behind[rows, leader] = False
    return np.asarray(behind.any(axis=1))


def decisions_at(samples: FloatArray, n_draws: int | IntArray, log_prior: FloatArray) -> IntArray:
    """Return what the mean of the first draws decides; of all draws of a text that has fewer.

    Parameters
    ----------
    samples : ndarray of shape (N, C, K), float64, nats
        NaN behind the last draw of a text.
    n_draws : int or ndarray of shape (N,)
    log_prior : ndarray of shape (C,), float64, nats
    """
    counts = np.broadcast_to(n_draws, len(samples))
    first = np.where(np.arange(samples.shape[2]) < counts[:, None, None], samples, np.nan)
    return np.asarray((mean_over_draws(first) + log_prior).argmax(axis=1), dtype=np.int64)


def naive_t_decisions(samples: FloatArray, log_prior: FloatArray, level: float) -> tuple[IntArray, IntArray]:
    """Decide by the textbook: a two-sided t-test of the two best classes after every draw, stop when p < level.

    Nothing corrects for looking again and again, and the first looks estimate a variance from two or three draws.

    Parameters
    ----------
    samples : ndarray of shape (N, C, K), float64, nats
        NaN behind the last draw of a text, which decides if no test did.
    log_prior : ndarray of shape (C,), float64, nats
    level : float

    Returns
    -------
    decisions, n_draws : ndarray of shape (N,), int64
    """
    available = (~np.isnan(samples[:, 0])).sum(axis=1)
    n_draws, rows = available.copy(), np.arange(len(samples))
    for number in range(2, samples.shape[2] + 1):
        rows = rows[available[rows] >= number]
        stopped = _passes_t_test(samples[rows, :, :number], log_prior, level)
        n_draws[rows[stopped]] = number
        rows = rows[~stopped]
    return decisions_at(samples, n_draws, log_prior), n_draws


def _passes_t_test(samples: FloatArray, log_prior: FloatArray, level: float) -> BoolArray:
    n_draws, rows = samples.shape[2], np.arange(len(samples))
    joint = samples.mean(axis=2) + log_prior
    second, best = np.argsort(joint, axis=1, kind="stable")[:, -2:].T
    error = (samples[rows, best] - samples[rows, second]).std(axis=1, ddof=1) / np.sqrt(n_draws)
    odds = joint[rows, best] - joint[rows, second]
    return np.asarray(odds > student.ppf(1 - level / 2, n_draws - 1) * error)


@dataclass(frozen=True)
class Judge:
    """Compares decisions with the reference and the truth.

    Attributes
    ----------
    reference : Reference
    labels : ndarray of shape (N,), int64
    kept : KeptDraws
    log_prior : ndarray of shape (C,), float64, nats
    """

    reference: Reference
    labels: IntArray
    kept: KeptDraws
    log_prior: FloatArray

    def row(self, decisions: IntArray, n_draws: IntArray, **facts: Any) -> dict[str, Any]:
        """Return the figures of some decisions, one row of a table."""
        flips = int((decisions != self.reference.decisions).sum())
        return {
            **facts,
            **proportion(flips, len(decisions)),
            "agreement": 1 - flips / len(decisions),
            "forwards": float(self.kept.n_forwards(n_draws).mean()),
            "accuracy": float((decisions == self.labels).mean()),
        }

    def fixed(self, n_draws: int) -> dict[str, Any]:
        """As many draws for every text."""
        decisions = decisions_at(self.kept.samples, n_draws, self.log_prior)
        return self.row(decisions, np.full(len(decisions), n_draws), rule="fixed", draws=n_draws)

    def adaptive(self, rule: StoppingRule) -> tuple[dict[str, Any], IntArray]:
        """Return the figures of a stopping rule, and its decisions."""
        score, n_texts = self.kept.score, len(self.labels)
        scores = score_adaptively(score, n_texts, log_prior=self.log_prior, rule=rule)
        decisions = np.asarray((scores.mean() + self.log_prior).argmax(axis=1), dtype=np.int64)
        n_draws = np.full(n_texts, scores.samples.shape[2]) if scores.n_draws is None else scores.n_draws
        facts = {"target": rule.target_flip_rate, "max_draws": rule.max_draws, "open": float(scores.is_open.mean())}
        return self.row(decisions, n_draws, rule="adaptive", **facts), decisions

    def naive(self, target: float) -> dict[str, Any]:
        """The t-test with peeking."""
        samples = np.where(self._in_reference(), self.kept.samples, np.nan)
        decisions, n_draws = naive_t_decisions(samples, self.log_prior, target)
        return self.row(decisions, n_draws, rule="naive", target=target)

    def _in_reference(self) -> BoolArray:
        return np.arange(self.kept.samples.shape[2]) < self.reference.n_draws[:, None, None]


def proportion(flips: int, n_texts: int) -> dict[str, float]:
    """Return a flip rate with its exact 95 % binomial interval (Clopper and Pearson)."""
    interval = binomtest(flips, n_texts).proportion_ci(0.95, method="exact")
    return {"flips": flips, "flip_rate": flips / n_texts, "low": float(interval.low), "high": float(interval.high)}


def forwards_at_agreement(rows: Sequence[dict[str, Any]], agreement: float = 0.99) -> float:
    """Return the forwards of the adaptive rule for this agreement, if its decisions do agree as often.

    Parameters
    ----------
    rows : sequence of dict
        Of `Judge.fixed` and `Judge.adaptive`.
    agreement : float

    Returns
    -------
    float
        NaN if the rule misses it: the next best row would be one that was chosen on these texts.
    """
    own = [row for row in rows if row["rule"] == "adaptive" and np.isclose(row["target"], 1 - agreement)]
    return float(next((row["forwards"] for row in own if row["agreement"] >= agreement), np.nan))
