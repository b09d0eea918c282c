"""Estimators at equal numbers of forwards: noise of the log-odds, accuracy, nats per token.

For every estimator and number of forwards the texts are scored several times with different seeds. Of the log-odds of
two classes then follow

* the Monte-Carlo variance (over seeds, mean over texts): noise of the scorer;
* the spread (over texts, mean over seeds): what the noise has to be small against.

Shared masks are what `score_texts` does. Without them every class of a text has masks of its own: class c of
repeat r is then taken from repeat r + c, and the variance of the log-odds is the sum of the classes' variances.

The estimators that take a forward pass for every token, `chain` and `confidence`, are compared with the others on a
few texts that are cut short (`short_texts`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gencls.likelihood.confidence import score_by_confidence
from gencls.likelihood.engine import Scores, TokenScorer, score_texts
from gencls.likelihood.estimators import Estimator, Order

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
MASKS = ("shared", "independent")
ORDERS: tuple[Order, ...] = ("spaced", "uniform")
#: Steps of the paths that short texts are scored with, beside the chain.
SHORT_STEPS = (1, 2, 4, 8)
#: Names under which the confidence sampler stands in the table: what it reveals at once.
TOKENS_PER_STEP = (1, 4)
ScoreWith = Callable[[int], Scores]


def cases(forwards: Sequence[int]) -> Iterator[tuple[str, Estimator]]:
    """Yield every estimator with a title, for each number of forwards that it can come near to."""
    for number in forwards:
        yield from _path_cases(number)
        if number > 2:
            yield "importance, 2 steps", Estimator("importance_path", 2, 1, n_importance=number - 1)
        yield "ELBO, exact count", Estimator("elbo", 1, number)
        if number > 2:
            yield "ELBO, complementary", Estimator("complementary_elbo", 1, (number - 1) // 2)
        yield "ELBO, Bernoulli", Estimator("bernoulli", 1, number)


def _path_cases(number: int) -> Iterator[tuple[str, Estimator]]:
    for order in ORDERS:
        yield f"path, one draw, {order}", Estimator("path", number, 1, order)
    for order in ORDERS if number > 2 else ():  # two forwards are one draw of two steps
        yield f"path, 2 steps, {order}", Estimator("path", 2, number - 1, order)


def compare(
    scorer: TokenScorer,
    token_ids: Sequence[IntArray],
    labels: IntArray,
    log_prior: FloatArray,
    *,
    forwards: Sequence[int],
    seeds: Sequence[int],
    **options: Any,
) -> list[dict[str, Any]]:
    """Measure every estimator at every number of forwards.

    Parameters
    ----------
    scorer : TokenScorer
    token_ids : sequence of N ndarray of shape (L,), int64
    labels : ndarray of shape (N,), int64
        Class indices.
    log_prior : ndarray of shape (C,), float64, nats
    forwards : sequence of int
        Under each class.
    seeds : sequence of int
        See `seeds_of`.
    **options
        Of `score_texts`.

    Returns
    -------
    list of dict
        Of `noise_row`, and ``estimator``, ``forwards``.
    """
    rows = []
    for title, estimator in cases(forwards):
        scores = [score_texts(scorer, token_ids, estimator, seed=seed, **options) for seed in seeds]
        rows.append(
            {"estimator": title, "forwards": estimator.n_forwards(), **noise_row(scores, labels, log_prior, MASKS)}
        )
    return rows


def short_texts(
    scorer: TokenScorer,
    token_ids: Sequence[IntArray],
    labels: IntArray,
    log_prior: FloatArray,
    *,
    seeds: Sequence[int],
    **options: Any,
) -> list[dict[str, Any]]:
    """Measure paths of more and more steps, the chain in three orders, and the confidence sampler; one draw each.

    Parameters
    ----------
    scorer : TokenScorer
        Also a `MarginScorer`, else the confidence sampler is left out.
    token_ids : sequence of N ndarray of shape (L,), int64
        Few and short: the chain takes L forwards.
    labels, log_prior, seeds, **options
        As `compare`.

    Returns
    -------
    list of dict
        As `compare`; the forwards are a mean over texts, the masks shared.
    """
    rows = []
    for title, score in _short_cases(scorer, token_ids, options):
        scores = [score(seed) for seed in seeds]
        mean_forwards = float(scores[0].n_forwards.mean())
        rows.append(
            {"estimator": title, "forwards": mean_forwards, **noise_row(scores, labels, log_prior, ("shared",))}
        )
    return rows


def _short_cases(
    scorer: TokenScorer, token_ids: Sequence[IntArray], options: dict[str, Any]
) -> Iterator[tuple[str, ScoreWith]]:
    paths = [
        (f"path, {steps} steps" if steps > 1 else "path, 1 step", Estimator("path", steps, 1)) for steps in SHORT_STEPS
    ]
    orders: tuple[Order, ...] = (*ORDERS, "left_to_right")
    chains = [(f"chain, {order.replace('_', ' ')}", Estimator("chain", 1, 1, order)) for order in orders]
    for title, estimator in [*paths, *chains]:
        yield title, lambda seed, estimator=estimator: score_texts(scorer, token_ids, estimator, seed=seed, **options)
    if hasattr(scorer, "log_probs_and_margins"):
        for number in TOKENS_PER_STEP:
            title = f"confidence, {number} token{'s' * (number > 1)} a step"
            scores = score_by_confidence(scorer, token_ids, tokens_per_step=number)
            yield title, lambda seed, scores=scores: scores  # it has no seed


def seeds_of(first: int, n_repeats: int, n_classes: int) -> range:
    """Return the seeds of the repeats: at least as many as classes, so that no class meets another's masks."""
    return range(first, first + max(n_repeats, n_classes, 2))


def noise_row(
    repeats: Sequence[Scores], labels: IntArray, log_prior: FloatArray, masks: Sequence[str]
) -> dict[str, Any]:
    """Return the figures of some repeats.

    Returns
    -------
    dict
        ``nats_per_token``, its ``_se``, and for each of `masks` a dict of `log_odds_figures`.
    """
    scores = np.stack([repeat.mean() for repeat in repeats])
    nats, error = nats_per_token(scores, labels, repeats[0].n_tokens)
    figures = {kind: log_odds_figures(scores, labels, log_prior, masks=kind) for kind in masks}
    return {"nats_per_token": nats, "nats_per_token_se": error, **figures}


def log_odds_figures(scores: FloatArray, labels: IntArray, log_prior: FloatArray, *, masks: str) -> dict[str, float]:
    """Accuracy, and noise and spread of the log-odds.

    The log-odds of a text are those of its two best classes (mean over repeats), the later class over the
    earlier: with two classes always the same pair.

    Parameters
    ----------
    scores : ndarray of shape (R, N, C), float64, nats
        Repeats with different seeds; the classes of a repeat share their masks.
    labels : ndarray of shape (N,), int64
    log_prior : ndarray of shape (C,), float64, nats
    masks : {"shared", "independent"}

    Returns
    -------
    dict
        accuracy, accuracy_se, mc_variance, mc_variance_se, spread (nats squared).
    """
    joint = scores + log_prior
    pair = np.sort(np.argsort(joint.mean(axis=0), axis=1)[:, -2:], axis=1)
    if masks == "independent":
        joint = _without_shared_masks(joint)
    odds = np.diff(np.take_along_axis(joint, pair[None], axis=2))[..., 0]
    # repeats without shared masks reuse each other's scores, so this variance comes from the classes' own
    own = np.take_along_axis(scores.var(axis=0, ddof=1), pair, axis=1).sum(axis=1)
    variance = odds.var(axis=0, ddof=1) if masks == "shared" else own
    correct = (joint.argmax(axis=2) == labels).mean(axis=0)
    root = np.sqrt(len(labels))
    return {
        "accuracy": float(correct.mean()),
        "accuracy_se": float(correct.std(ddof=1) / root),
        "mc_variance": float(variance.mean()),
        "mc_variance_se": float(variance.std(ddof=1) / root),
        "spread": float(odds.var(axis=1, ddof=1).mean()),
    }


def nats_per_token(scores: FloatArray, labels: IntArray, n_tokens: IntArray) -> tuple[float, float]:
    """Return the bound of the true class in nats per token, all tokens counted alike, and its standard error.

    Parameters
    ----------
    scores : ndarray of shape (R, N, C), float64, nats
    labels, n_tokens : ndarray of shape (N,), int64

    Returns
    -------
    tuple of float
    """
    nats = -scores.mean(axis=0)[np.arange(len(labels)), labels]
    ratio = nats.sum() / n_tokens.sum()
    # of a ratio of sums, by its linearisation
    residual = nats - ratio * n_tokens
    return float(ratio), float(residual.std(ddof=1) * np.sqrt(len(labels)) / n_tokens.sum())


def _without_shared_masks(joint: FloatArray) -> FloatArray:
    """Give every class of a repeat the masks of another seed: class c of repeat r is that of repeat r + c."""
    n_repeats, _, n_classes = joint.shape
    return np.stack([joint[(np.arange(n_repeats) + c) % n_repeats, :, c] for c in range(n_classes)], axis=2)
