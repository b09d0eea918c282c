"""Looking inside, computed: schedules, losses by level, layers; `inside_plots` only draws what is made here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gencls.data.errors import three_parts

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
LEVEL_KEY = "loss_level_"
STAGE_NAMES = {"adapt": "class-free model", "classes": "class models"}


@dataclass(frozen=True)
class ScheduleCurve:
    """One unmasking schedule: tokens hidden after each of S steps, the start first, and revealed by each."""

    hidden: IntArray
    revealed: IntArray


@dataclass(frozen=True)
class LevelLosses:
    """Training losses of one stage.

    Attributes
    ----------
    name : str
    steps : ndarray of shape (T,), int64
    levels : ndarray of shape (A,), float64
        Upper ends of the ranges of shares of hidden tokens, rising.
    loss : ndarray of shape (T, A), float64, nats per token
        NaN where no text of that level was seen.
    """

    name: str
    steps: IntArray
    levels: FloatArray
    loss: FloatArray


@dataclass(frozen=True)
class LayerCurves:
    """What layers know, at A levels in R layers; layer 0 is the embeddings.

    Attributes
    ----------
    levels : ndarray of shape (A,), float64
    accuracy, standard_error : ndarray of shape (A, R + 1), float64
        Share of hidden tokens that the layer's likeliest token is, and its error over texts.
    nats : ndarray of shape (A, R + 1), float64
        Nats per hidden token.
    attention : ndarray of shape (A, R), float64
        Share of a hidden token's attention that goes to visible tokens, over what even attention would give; NaN where
        nothing is visible.
    """

    levels: FloatArray
    accuracy: FloatArray
    standard_error: FloatArray
    nats: FloatArray
    attention: FloatArray


def prepare_schedules(hidden_after: Mapping[str, ArrayLike], n_tokens: int) -> dict[str, ScheduleCurve]:
    """Bundle schedules: for each name the tokens hidden after steps 1 to S, of `n_tokens`."""
    curves = {}
    for name, counts in hidden_after.items():
        hidden = np.concatenate([[n_tokens], np.asarray(counts, dtype=np.int64)])
        curves[name] = ScheduleCurve(hidden, -np.diff(hidden))
    return curves


def prepare_levels(rows: Sequence[Mapping[str, Any]]) -> list[LevelLosses]:
    """Read losses by level out of a training log, stage by stage in the order of the log.

    Parameters
    ----------
    rows : sequence of mapping
        Lines of ``training_log.jsonl``.

    Raises
    ------
    ValueError
        If no line has a loss by level.
    """
    logged = [row for row in rows if any(key.startswith(LEVEL_KEY) for key in row)]
    if not logged:
        todo = "Give the folder of a run of this version."
        raise ValueError(three_parts(f"a training log with {LEVEL_KEY}* columns", f"{len(rows)} lines without", todo))
    stages = dict.fromkeys(str(row.get("stage", "")) for row in logged)
    return [_stage(name, [row for row in logged if str(row.get("stage", "")) == name]) for name in stages]


def _stage(name: str, rows: Sequence[Mapping[str, Any]]) -> LevelLosses:
    keys = sorted({key for row in rows for key in row if key.startswith(LEVEL_KEY)}, key=_level_of)
    values = [[row.get(key) for key in keys] for row in rows]
    loss = np.array([[np.nan if value is None else value for value in row] for row in values], dtype=np.float64)
    steps = np.array([row["step"] for row in rows], dtype=np.int64)
    return LevelLosses(STAGE_NAMES.get(name, name), steps, np.array([_level_of(key) for key in keys]), loss)


def _level_of(key: str) -> float:
    return float(key.removeprefix(LEVEL_KEY))


def prepare_layers(
    levels: ArrayLike,
    n_hidden: ArrayLike,
    right: ArrayLike,
    log_prob: ArrayLike,
    attention: ArrayLike,
    visible_share: ArrayLike,
) -> LayerCurves:
    """Average what was seen inside over N texts.

    Parameters
    ----------
    levels : array-like of shape (A,)
    n_hidden : array-like of shape (N, A)
        Hidden tokens.
    right, log_prob : array-like of shape (N, A, R + 1)
        Right tokens, and summed log-probabilities in nats, by layer.
    attention : array-like of shape (N, A, R, 3)
        Shares of attention to visible, hidden and special tokens.
    visible_share : array-like of shape (N, A)
        What even attention would give to visible tokens.

    Returns
    -------
    LayerCurves
    """
    counts, hits, sums = (np.asarray(values, dtype=np.float64) for values in (n_hidden, right, log_prob))
    total = counts.sum(axis=0)[:, None]
    accuracy = hits.sum(axis=0) / total
    even = np.asarray(visible_share, dtype=np.float64).mean(axis=0)[:, None]
    to_visible = np.asarray(attention, dtype=np.float64)[..., 0].mean(axis=0)
    ratio = np.divide(to_visible, even, out=np.full_like(to_visible, np.nan), where=even > 0)
    error = _ratio_error(hits, counts[..., None], accuracy)
    return LayerCurves(np.asarray(levels, dtype=np.float64), accuracy, error, -sums.sum(axis=0) / total, ratio)


def _ratio_error(hits: FloatArray, counts: FloatArray, ratio: FloatArray) -> FloatArray:
    """Standard error of a ratio of sums over texts, which are drawn whole (Cochran 1977, eq. 6.13)."""
    n_texts = len(hits)
    if n_texts < 2:
        return np.full_like(ratio, np.nan)
    residual = hits - ratio * counts
    variance: FloatArray = (residual**2).sum(axis=0) * n_texts / (n_texts - 1)
    return np.sqrt(variance) / counts.sum(axis=0)
