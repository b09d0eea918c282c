"""Wall time for the decision of 1 024 forwards: ours against two rivals, on the same model and the same texts.

Time and agreement are measured apart, because agreement needs many texts and the rivals are slow.

* Time: in pairs. A pair times our scorer on all texts and each rival's own `score`, one text after the other, on a
  few that stand for all lengths; who begins alternates. The ratio of a pair is of seconds per text, and the median
  over pairs is reported. Nothing is read from a store.
* Agreement and accuracy: on all texts, with the same masks that the rivals draw, but run in our engine's batches.

A rival's time grows with its draws in proportion, and its agreement grows with them, up to where its own estimator
stops: so for every rival there is a list of draws, and the fewest that agree as often as ours do are what it is charged
with. If none does, the ratio at the most draws at which it clearly agrees less is a *lower bound*, and is named so.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.agreement import proportion
from benchmarks.rivals import earlier_scorer, llada
from benchmarks.rivals.independent import batched_scores
from gencls.likelihood.engine import TokenScorer, score_texts
from gencls.likelihood.estimators import Estimator
from gencls.reporting.metrics import mcnemar_p

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
EARLIER, LLADA, LLADA_SHARED = "earlier scorer", "LLaDA", "LLaDA, shared masks"
#: Draws that are published, and timed.
PUBLISHED = {EARLIER: earlier_scorer.DRAWS, LLADA: llada.DRAWS}


@dataclass(frozen=True)
class SpeedTexts:
    """Texts with what is known of them.

    Attributes
    ----------
    token_ids : list of N ndarray of shape (L,), int64
    labels, reference, ours : ndarray of shape (N,), int64
        The truth, the decisions of 1 024 forwards, and our decisions.
    """

    token_ids: list[IntArray]
    labels: IntArray
    reference: IntArray
    ours: IntArray

    def first(self, n_texts: int) -> SpeedTexts:
        """Return some of the texts."""
        part = slice(0, n_texts)
        return SpeedTexts(self.token_ids[part], self.labels[part], self.reference[part], self.ours[part])

    def row(self, name: str, decisions: IntArray, **facts: Any) -> dict[str, Any]:
        """Return how often decisions agree with the reference and the truth."""
        figures = proportion(int((decisions != self.reference).sum()), len(decisions))
        correct, our_correct = decisions == self.labels, self.ours == self.labels
        return {
            "name": name,
            "n_texts": len(decisions),
            "agreement": 1 - figures["flip_rate"],
            "agreement_low": 1 - figures["high"],
            "agreement_high": 1 - figures["low"],
            "our_agreement": float((self.ours == self.reference).mean()),
            "accuracy": float(correct.mean()),
            "our_accuracy": float(our_correct.mean()),
            "mcnemar_p": mcnemar_p(correct, our_correct),
            **facts,
        }


def rival_rows(
    scorer: TokenScorer,
    texts: SpeedTexts,
    draws: Mapping[str, Sequence[int]],
    *,
    seed: int,
    **options: Any,
) -> list[dict[str, Any]]:
    """Measure the agreement of each rival at some numbers of draws.

    Parameters
    ----------
    scorer : TokenScorer
    texts : SpeedTexts
    draws : mapping from name to sequence of int
    seed : int
    **options
        Of `score_texts`.

    Returns
    -------
    list of dict
        `SpeedTexts.row` with ``draws``.
    """
    rows = []
    for name, numbers in draws.items():
        samples = _rival_samples(name, scorer, texts.token_ids, max(numbers), seed=seed, **options)
        for number in sorted(numbers):
            # no prior: neither of them has one
            decisions = np.asarray(samples[:, :, :number].mean(axis=2).argmax(axis=1), dtype=np.int64)
            rows.append(texts.row(name, decisions, draws=number))
    return rows


def _rival_samples(
    name: str, scorer: TokenScorer, token_ids: Sequence[IntArray], n_draws: int, *, seed: int, **options: Any
) -> FloatArray:
    estimator: Estimator = earlier_scorer.FixedShare() if name == EARLIER else llada.LladaEstimator()
    estimator = replace(estimator, n_mc_samples=n_draws)
    if name == LLADA_SHARED:
        return score_texts(scorer, token_ids, estimator, seed=seed, **options).samples
    return batched_scores(scorer, token_ids, estimator, seed=seed, **options)


def rival_timers(scorer: Any, token_ids: Sequence[IntArray], *, seed: int, precision: Any) -> dict[str, Any]:
    """Return for each rival a function that scores the texts of some rows as it does, at its published draws."""
    scores: dict[str, Callable[..., Any]] = {EARLIER: earlier_scorer.score, LLADA: llada.score}

    def timer(score: Callable[..., Any]) -> Callable[[IntArray], Any]:
        return lambda rows: score(scorer, [token_ids[row] for row in rows], seed=seed, precision=precision)

    return {name: timer(score) for name, score in scores.items()}


def timed_pairs(
    ours: Callable[[], Any],
    rivals: Mapping[str, Callable[[IntArray], Any]],
    lengths: IntArray,
    *,
    n_pairs: int,
    n_rival_texts: int,
    clock: Callable[[], float] = time.perf_counter,
) -> list[dict[str, float]]:
    """Time our scorer and the rivals by turns.

    Parameters
    ----------
    ours : callable
        Scores all texts.
    rivals : mapping from name to callable
        Scores the texts of some rows.
    lengths : ndarray of shape (N,), int64
    n_pairs, n_rival_texts : int
    clock : callable

    Returns
    -------
    list of dict
        For each pair the seconds per text of ``ours`` and of every rival.
    """
    sides = {"ours": lambda rows: ours(), **rivals}
    sizes = {name: len(lengths) if name == "ours" else n_rival_texts for name in sides}
    for name, score in sides.items():  # what is made once, is made before the clock runs
        if name != "ours":
            score(spread_rows(lengths, 1, 0))
    ours()
    pairs = []
    for number in range(n_pairs):
        rows = spread_rows(lengths, n_rival_texts, number)
        pair = {}
        for name in list(sides) if number % 2 == 0 else list(reversed(sides)):
            start = clock()
            sides[name](rows)
            pair[name] = (clock() - start) / sizes[name]
        pairs.append(pair)
    return pairs


class OtherLoad:
    """How busy other processes keep the machine: they slow one side more than the other, which nobody must believe.

    Kernels on several threads wait for the slowest of them at every step. So beside one other process a rival that runs
    its rows one by one on all cores may take ten times as long, and we twice as long.
    """

    def __init__(self, stat: Path = Path("/proc/stat")) -> None:
        self._stat = stat
        self._start = time.monotonic(), self._busy(), _own_seconds()

    def share(self) -> float | None:
        """Return the share of all cores' time since the start that other processes took; None where it is not told."""
        wall, busy, own = self._start
        now = self._busy()
        if busy is None or now is None:
            return None
        cores = (time.monotonic() - wall) * (os.cpu_count() or 1)
        return max(now - busy - (_own_seconds() - own), 0.0) / cores

    def _busy(self) -> float | None:
        """Seconds of work of all cores since the system started: user, nice and system."""
        try:
            ticks = self._stat.read_text(encoding="ascii").split(maxsplit=4)[1:4]
        except OSError:
            return None
        return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def spread_rows(lengths: IntArray, n_rows: int, shift: int) -> IntArray:
    """Return rows at equal distances in the order of lengths: few texts that are as long as all of them."""
    order, n_texts = np.argsort(lengths, kind="stable"), len(lengths)
    middle = n_texts // (2 * n_rows)
    return np.asarray(order[(np.arange(n_rows) * n_texts // n_rows + middle + shift) % n_texts], dtype=np.int64)


def draws_needed(
    rows: Sequence[dict[str, Any]], name: str, *, ours: float, most: int | None = None
) -> tuple[int, bool]:
    """Return the fewest draws of a rival that agree as often as we do on the same texts, and whether any do.

    Parameters
    ----------
    rows : sequence of dict
        Of `rival_rows`.
    name : str
    ours : float
        Lower end of the interval of our agreement, on all texts.
    most : int, optional
        Draws beyond this are not charged.

    Returns
    -------
    tuple of int and bool
        If none agree as often, False, and the most draws whose interval lies below ours (the fewest, if none does):
        more were tried on few texts, which cannot tell.
    """
    own = [row for row in rows if row["name"] == name and (most is None or row["draws"] <= most)]
    reaching = [row["draws"] for row in own if row["agreement"] >= row["our_agreement"]]
    if reaching:
        return min(reaching), True
    clear = [row["draws"] for row in own if row["agreement_high"] < ours]
    return max(clear, default=min(row["draws"] for row in own)), False


def speedup(
    pairs: Sequence[Mapping[str, float]],
    rows: Sequence[dict[str, Any]],
    name: str,
    *,
    ours: float,
    most: int | None = None,
) -> dict[str, Any]:
    """Return the median ratio of seconds per text at equal agreement; parameters as in `draws_needed`.

    Returns
    -------
    dict
        draws, reaches (False: the ratio is a lower bound), ratio (median), ratios, seconds (per text, median),
        published_ratio (at the published draws).
    """
    draws, reaches = draws_needed(rows, name, ours=ours, most=most)
    factor = draws / PUBLISHED[name]
    published = np.array([pair[name] / pair["ours"] for pair in pairs])
    return {
        "draws": draws,
        "reaches": reaches,
        "ratio": float(np.median(published * factor)),
        "ratios": (published * factor).tolist(),
        "seconds": float(np.median([pair[name] * factor for pair in pairs])),
        "published_draws": PUBLISHED[name],
        "published_ratio": float(np.median(published)),
    }
