r"""The diffusion model's candidates, scored again by a visible neighbour: what `gencls.baselines.rescoring` does for a
causal model.

A trained network's conditionals do not fit together exactly, so Bayes' rule gives further estimates of the same
posterior. For a hole at place i with a visible neighbour at place j, and V the visible tokens,

.. math:: p(a \mid x_V) \propto p(a \mid x_{V \setminus j})\, p(x_j \mid x_{V \setminus j}, a),

where both factors are asked of the network with the neighbour hidden, over its likeliest candidates a. The candidates'
log-posteriors, direct and through each neighbour, are averaged: a product of experts (Hinton 2002).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks.poem_fillers import exact_scorer, fill_in_batches, filled_by, hole_log_probs
from gencls.baselines.filling import N_BEST, Filled
from gencls.diffusion.denoiser import Denoiser
from gencls.generation.scorers import DenoiserScorer

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]
#: Rows of one forward pass.
ROWS_PER_BATCH = 128
N_CANDIDATES = 8
#: Holes of one row are at least so far apart, so that hiding the neighbour of one takes little from the other.
SPACING = 6


@dataclass(frozen=True, eq=False)
class _Group:
    """Holes of a text that share rows.

    Attributes
    ----------
    text : int
    places, neighbours : ndarray of shape (n,), int64
        In the text.
    rows : ndarray of shape (n,), int64
        Of the holes among those of all texts.
    """

    text: int
    places: IntArray
    neighbours: IntArray
    rows: IntArray


def fill_by_rescored_diffusion(
    denoiser: Denoiser, texts: Sequence[IntArray], hidden: Sequence[BoolArray], *, weight: float = 0.5
) -> list[Filled]:
    """Fill every hole at once, its likeliest tokens scored again by its visible neighbours.

    Parameters
    ----------
    denoiser : Denoiser
        Class-free.
    texts : sequence of N ndarray of shape (L,), int64
    hidden : sequence of N ndarray of shape (L,), bool
    weight : float
        Of the direct log-posterior; what the neighbours say has the rest.
    """
    return fill_in_batches(partial(_fill_batch, exact_scorer(denoiser), weight=weight), texts, hidden)


def _fill_batch(
    scorer: DenoiserScorer, texts: Sequence[IntArray], hidden: Sequence[BoolArray], weight: float
) -> list[Filled]:
    shown = [np.where(hole, scorer.mask_id, ids) for ids, hole in zip(texts, hidden, strict=True)]
    log_probs = _log_probs(scorer, shown, hidden)
    candidates = np.argsort(-log_probs, axis=1, kind="stable")[:, :N_CANDIDATES]
    direct = _normalised(np.take_along_axis(log_probs, candidates, axis=1))
    sums, counts = np.zeros_like(direct), np.zeros((len(direct), 1))
    for offset in (1, -1):
        groups = list(_groups(hidden, offset))
        for rows, found in _through_neighbours(scorer, shown, groups, candidates):
            sums[rows] += _normalised(found)
            counts[rows] += 1
    scores = np.where(counts > 0, weight * direct + (1 - weight) * sums / np.maximum(counts, 1), direct)
    best = np.take_along_axis(candidates, np.argsort(-scores, axis=1, kind="stable")[:, :N_BEST], axis=1)
    bounds = np.cumsum([hole.sum() for hole in hidden])[:-1]
    return [filled_by(*one) for one in zip(texts, hidden, np.split(best, bounds), strict=True)]


def _groups(hidden: Sequence[BoolArray], offset: int) -> Iterator[_Group]:
    """Share the holes with a visible neighbour at an offset out to rows, `SPACING` apart."""
    first = 0
    for text, hole in enumerate(hidden):
        places = np.flatnonzero(hole)
        beside = places + offset
        inside = (beside >= 0) & (beside < len(hole))
        chosen = np.flatnonzero(inside & ~hole[np.where(inside, beside, places)])
        ends: list[list[int]] = []
        for number in chosen.tolist():
            free = (group for group in ends if places[number] - places[group[-1]] >= SPACING)
            group = next(free, None)
            if group is None:
                ends.append([number])
            else:
                group.append(number)
        for group in ends:
            yield _Group(text, places[group], beside[group], first + np.array(group))
        first += len(places)


def _through_neighbours(
    scorer: DenoiserScorer, shown: Sequence[IntArray], groups: Sequence[_Group], candidates: IntArray
) -> Iterator[tuple[IntArray, FloatArray]]:
    """Give the rows of the holes and log p(a | without the neighbour) + log p(neighbour | a), (n, k), unnormalised."""
    size = max(1, ROWS_PER_BATCH // (N_CANDIDATES + 1))
    for start in range(0, len(groups), size):
        part = groups[start : start + size]
        tokens, asked = [], []
        for group in part:
            without = shown[group.text].copy()
            without[group.neighbours] = scorer.mask_id
            tokens.append(without)
            asked.append(_at(group.places, len(without)))
            for column in range(N_CANDIDATES):
                placed = without.copy()
                placed[group.places] = candidates[group.rows, column]
                tokens.append(placed)
                asked.append(_at(group.neighbours, len(without)))
        log_probs, first = _log_probs(scorer, tokens, asked), 0
        for group in part:
            n = len(group.places)
            own = log_probs[first : first + n]
            prior = np.take_along_axis(own, candidates[group.rows], axis=1)
            behind = log_probs[first + n : first + n * (N_CANDIDATES + 1)].reshape(N_CANDIDATES, n, -1)
            truth = shown[group.text][group.neighbours]
            yield group.rows, prior + behind[:, np.arange(n), truth].T
            first += n * (N_CANDIDATES + 1)


def _at(places: IntArray, length: int) -> BoolArray:
    asked = np.zeros(length, dtype=bool)
    asked[places] = True
    return asked


def _log_probs(scorer: DenoiserScorer, tokens: Sequence[IntArray], asked: Sequence[BoolArray]) -> FloatArray:
    return np.concatenate([part.numpy() for part in hole_log_probs(scorer, tokens, asked)])


def _normalised(log_probs: FloatArray) -> FloatArray:
    values = log_probs.astype(np.float64)
    return np.asarray(values - np.logaddexp.reduce(values, axis=1, keepdims=True))
