r"""How much the class tables are smoothed: as loses least on texts that took no part in them.

Every training text is scored with the tables of the texts outside its fold (cross-fitting), so that all of them choose,
and not a validation split alone, which is too small to tell the candidates apart. Judged is the decision's loss at the
best temperature, which the classifier sets later anyway: counts are far too sure of themselves, and plain losses would
punish that, not the mistakes.

.. math:: \min_T \; -\sum_i \log \mathrm{softmax}_c \frac{\log P(c) + s_{ic}}{T} \Big|_{c = y_i}
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from gencls.diffusion.cross_fitting import CrossFittedTexts
from gencls.diffusion.statistics import ClassStatistics, Smoothing

FloatArray = NDArray[np.float64]
#: Additive smoothing and discount of the tokens.
_Counts = tuple[float, float | None]
#: Of log T.
_TEMPERATURES = (-3.0, 7.0)


def choose_smoothing(
    statistics: ClassStatistics,
    token_ids: Sequence[NDArray[np.integer]],
    labels: NDArray[np.integer],
    folds: NDArray[np.integer],
    *,
    unigram: Sequence[float],
    pair: Sequence[float],
    triple: Sequence[float] = (),
    discount: Sequence[float] = (),
    interpolation: Sequence[float] = (),
    log_prior: FloatArray | float = 0.0,
) -> tuple[Smoothing, float]:
    """Choose the smoothing of the tokens, of the pairs and of the triples, each where the others stand.

    In rounds, for as long as they lower the loss; that of the tokens is chosen first, without pairs, that of the pairs
    without triples. Tokens that stand alone have to tell the classes by themselves, and are smoothed too little or too
    much for tables of pairs that back off to them: the rounds lower the loss by 1.5 per cent on IMDB, by 4.5 on R52.

    Parameters
    ----------
    statistics : ClassStatistics
    token_ids : sequence of N ndarray of shape (L,)
    labels : ndarray of shape (N,), integer
    folds : ndarray of shape (N,), integer
        See `CrossFittedTexts`.
    unigram, pair, triple, discount, interpolation : sequence of float
        Candidates; discounts go with the weakest of the additive smoothings. Equals go to the stronger smoothing, and
        to the additive one. Triples, and the class-free unigram in `interpolation`, are left out where that loses no
        more: few texts have too few of them.
    log_prior : ndarray of shape (C,), nats, optional
        Class priors of the decision; equal ones by default.

    Returns
    -------
    smoothing : Smoothing
    loss : float
        Its loss, nats, by which tables of other counts can be compared.
    """
    texts = CrossFittedTexts(statistics, token_ids, labels, folds)

    @cache
    def loss(choice: _Choice) -> float:
        return tempered_loss(texts.scores(choice.smoothing) + log_prior, texts.labels)

    counts: list[_Counts] = [(strength, None) for strength in sorted(unigram, reverse=True)]
    counts += [(min(unigram), rate) for rate in sorted(discount, reverse=True)]
    candidates: dict[str, Sequence[Any]] = {
        "counts": counts,
        "interpolation": [0.0, *sorted(interpolation)],
        "pair": sorted(pair, reverse=True) or [None],
        "triple": [None, *sorted(triple, reverse=True)],
    }
    chosen, least = _Choice(counts[0]), np.inf
    while True:
        for name, values in candidates.items():
            chosen = min((chosen._replace(**{name: value}) for value in values), key=loss)
        if loss(chosen) >= least:
            return chosen.smoothing, float(least)
        least = loss(chosen)


class _Choice(NamedTuple):
    """What is smoothed apart from the others: additive smoothing and discount of the tokens, and so on."""

    counts: _Counts
    interpolation: float = 0.0
    pair: float | None = None
    triple: float | None = None

    @property
    def smoothing(self) -> Smoothing:
        unigram, discount = self.counts
        return {
            "unigram": unigram,
            "discount": discount,
            "interpolation": self.interpolation,
            "pair": self.pair,
            "triple": self.triple,
        }


def tempered_loss(joint: FloatArray, labels: NDArray[np.integer]) -> float:
    """Return the mean loss, nats, of softmax(joint / T) at the best T for log joints (N, C); 0 without a text."""
    return float(np.mean(tempered_losses(joint, labels))) if len(labels) else 0.0


def tempered_losses(joint: FloatArray, labels: NDArray[np.integer]) -> FloatArray:
    """Return the loss of each text, (N,), nats, of softmax(joint / T) at the T of the lowest mean."""
    rows = np.arange(len(labels))

    def losses(log_temperature: float) -> FloatArray:
        scaled = joint / np.exp(log_temperature)
        return np.asarray(logsumexp(scaled, axis=1) - scaled[rows, labels])

    best = minimize_scalar(lambda value: float(losses(value).mean()), bounds=_TEMPERATURES, method="bounded").x
    return losses(float(best))
