"""Counts of neighbouring tokens, two or three in a row, by fold and class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class NgramCounts:
    """Counts of runs of `order` tokens.

    Attributes
    ----------
    keys : ndarray of shape (P,), int64
        The tokens of each kept run as the digits of a number in base V, the first one the highest; ascending.
    counts : ndarray of shape (F, C, P), float64
        By fold and class.
    vocab_size : int
        V.
    order : int
    """

    keys: IntArray
    counts: FloatArray
    vocab_size: int
    order: int = 2


def ngram_keys(ids: NDArray[np.integer], vocab_size: int, order: int) -> IntArray:
    """Return the keys of all runs of a text (L,), shape (max(L - order + 1, 0),)."""
    n_runs = max(len(ids) - order + 1, 0)
    keys = np.zeros(n_runs, dtype=np.int64)
    for place in range(order):
        keys = keys * vocab_size + ids[place : place + n_runs]
    return keys


def count_ngrams(
    token_ids: Sequence[NDArray[np.integer]],
    labels: NDArray[np.integer],
    folds: NDArray[np.integer],
    n_classes: int,
    vocab_size: int,
    *,
    order: int = 2,
    min_count: int = 3,
    weights: FloatArray | None = None,
) -> NgramCounts:
    """Count the runs of neighbouring tokens of training texts.

    Parameters
    ----------
    token_ids : sequence of N ndarray of shape (L,)
    labels, folds : ndarray of shape (N,), integer
    n_classes, vocab_size : int
    order : int
        Tokens of a run.
    min_count : int
        Runs seen less often in all texts together are left out.
    weights : ndarray of shape (N,), optional
        What each run of a text counts; 1 by default. Those that are left out are so by how often they are seen.

    Returns
    -------
    NgramCounts
    """
    n_folds = int(folds.max()) + 1
    keys = [ngram_keys(ids, vocab_size, order) for ids in token_ids]
    n_runs = [len(key) for key in keys]
    group = np.repeat(folds * n_classes + labels, n_runs)
    kept, place, total = np.unique(np.concatenate(keys), return_inverse=True, return_counts=True)
    frequent = total >= min_count
    n_kept, new_place = int(frequent.sum()), np.cumsum(frequent) - 1
    counted = frequent[place]  # filtered before the table is made: most runs are rare
    cells = group[counted] * n_kept + new_place[place[counted]]
    each = None if weights is None else np.repeat(weights, n_runs)[counted]
    counts = np.bincount(cells, each, minlength=n_folds * n_classes * n_kept).astype(np.float64)
    return NgramCounts(kept[frequent], counts.reshape(n_folds, n_classes, n_kept), vocab_size, order)


def ngram_scores(known: NgramCounts, deviations: FloatArray, token_ids: Sequence[NDArray[np.integer]]) -> FloatArray:
    """Return the summed deviations (C, P) of all kept runs of texts, shape (N, C), nats."""
    scores = np.zeros((len(token_ids), len(deviations)))
    if not len(known.keys):
        return scores
    for row, ids in enumerate(token_ids):
        scores[row] = deviations[:, ngram_places(known, ids)].sum(axis=1)
    return scores


def ngram_places(known: NgramCounts, ids: NDArray[np.integer]) -> IntArray:
    """Return where the kept ones of a text's runs stand in the table, (n,); ids of shape (L,)."""
    place, is_kept = found_in(known.keys, ngram_keys(ids, known.vocab_size, known.order))
    return np.asarray(place[is_kept])


def found_in(keys: IntArray, wanted: IntArray) -> tuple[IntArray, NDArray[np.bool_]]:
    """Return where wanted keys (n,) stand among ascending ones, any place if they do not, and whether they do."""
    if not len(keys):
        return np.zeros(len(wanted), dtype=np.int64), np.zeros(len(wanted), dtype=bool)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.asarray(place, dtype=np.int64), np.asarray(keys[place] == wanted)
