"""What else decides: all of a long text or its end, and the weights of the masking levels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gencls.classifier.weighting import LevelWeighting
from gencls.likelihood.engine import Scores, TokenScorer, score_texts
from gencls.likelihood.estimators import Estimator
from gencls.likelihood.long_texts import score_long_texts
from gencls.reporting.metrics import mcnemar_p

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
QUARTILES = 4
#: Whose levels are weighted: paths, whose steps are the levels, and the bound, whose draws are.
WEIGHTED = (
    Estimator("path", 2, 4),
    Estimator("path", 4, 2),
    Estimator("path", 8, 1),
    Estimator("elbo", 1, 8),
)


def long_text_rows(
    scorer: TokenScorer,
    token_ids: Sequence[IntArray],
    labels: IntArray,
    log_prior: FloatArray,
    estimator: Estimator,
    *,
    max_length: int,
    **options: Any,
) -> list[dict[str, Any]]:
    """Measure chunks against truncation to the end, by quartile of length.

    Parameters
    ----------
    scorer : TokenScorer
    token_ids : sequence of N ndarray of shape (L,), int64
        Whole texts.
    labels : ndarray of shape (N,), int64
    log_prior : ndarray of shape (C,), float64, nats
    estimator : Estimator
    max_length : int
        Tokens of a chunk, a quarter of them overlap; and of the end.
    **options
        Of `score_texts`; `seed` is required.

    Returns
    -------
    list of dict
        For each quartile and for all texts: n_texts, shortest, longest, accuracy of ``end`` and ``chunks``, their
        standard errors and forwards, ``mcnemar_p``.
    """
    ends = score_texts(scorer, [ids[-max_length:] for ids in token_ids], estimator, **options)
    chunked = {"max_length": max_length, "overlap": max_length // 4, **options}
    whole = score_long_texts(scorer, token_ids, estimator, **chunked)
    lengths = np.array([len(ids) for ids in token_ids])
    order = np.argsort(lengths, kind="stable")
    groups = {f"quartile {number}": rows for number, rows in enumerate(np.array_split(order, QUARTILES), start=1)}
    sides = {"end": ends, "chunks": whole}
    return [
        {"texts": name, **_group_row(rows, lengths, labels, log_prior, sides)}
        for name, rows in {**groups, "all": order}.items()
        if len(rows)
    ]


def _group_row(
    rows: IntArray, lengths: IntArray, labels: IntArray, log_prior: FloatArray, sides: dict[str, Scores]
) -> dict[str, Any]:
    correct = {name: decided(scores.mean()[rows], log_prior) == labels[rows] for name, scores in sides.items()}
    facts = {"n_texts": len(rows), "shortest": int(lengths[rows].min()), "longest": int(lengths[rows].max())}
    figures = {
        name: {**accuracy_row(correct[name]), "forwards": float(scores.n_forwards[rows].mean())}
        for name, scores in sides.items()
    }
    return {**facts, **figures, "mcnemar_p": mcnemar_p(correct["end"], correct["chunks"])}


def weighting_rows(
    scorer: TokenScorer,
    texts: tuple[Sequence[IntArray], IntArray],
    calibration: tuple[Sequence[IntArray], IntArray],
    log_prior: FloatArray,
    *,
    seed: int,
    **options: Any,
) -> list[dict[str, Any]]:
    """Measure decisions by other weights of the levels than the bound's.

    Parameters
    ----------
    scorer : TokenScorer
    texts, calibration : tuple of N arrays of token ids and labels (N,)
        What is decided, and what the weights are learned from.
    log_prior : ndarray of shape (C,), float64, nats
    seed : int
    **options
        Of `score_texts`.

    Returns
    -------
    list of dict
        estimator, steps, draws, weighting, coefficients (None but for "learned"), accuracy, accuracy_se, mcnemar_p
        (against the bound).
    """
    rows = []
    for estimator in WEIGHTED:
        scores, held = (
            score_texts(scorer, ids, estimator, seed=seed, by_step=True, **options) for ids, _ in (texts, calibration)
        )
        learned = LevelWeighting.fit(held.steps, calibration[1], held.n_tokens, log_prior)
        weights = np.stack([estimator.plan(ids, seed=seed).weights for ids in texts[0]])
        correct = {
            weighting.name: _evident(weighting, scores, weights, log_prior) == texts[1]
            for weighting in (LevelWeighting("bound"), LevelWeighting("uniform"), learned)
        }
        facts = {"estimator": estimator.name, "steps": estimator.n_steps, "draws": estimator.n_mc_samples}
        rows += [
            {
                **facts,
                "weighting": name,
                "coefficients": list(learned.coefficients or ()) if name == "learned" else None,
                **accuracy_row(right),
                "mcnemar_p": mcnemar_p(right, correct["bound"]),
            }
            for name, right in correct.items()
        ]
    return rows


def _evident(weighting: LevelWeighting, scores: Scores, weights: FloatArray, log_prior: FloatArray) -> IntArray:
    assert scores.steps is not None
    return decided(weighting.evidence(scores.steps, weights).mean(axis=2), log_prior)


def decided(scores: FloatArray, log_prior: FloatArray) -> IntArray:
    """Return the class with the largest joint score, shape (N,)."""
    return np.asarray((scores + log_prior).argmax(axis=1), dtype=np.int64)


def accuracy_row(correct: NDArray[np.bool_]) -> dict[str, float]:
    """Return an accuracy and its standard error."""
    share = float(correct.mean())
    return {"accuracy": share, "accuracy_se": float(np.sqrt(share * (1 - share) / len(correct)))}
