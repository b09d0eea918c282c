"""Spans of texts on several processes: joblib's workers on a CPU, Accelerate's processes on several devices.

Which process scores a text changes nothing about its score, so all that is done here is to divide and to collect.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
#: Spans for each worker: a worker with slow texts leaves some to the others.
SPANS_PER_WORKER = 4


def run_spans(
    score: Callable[..., Any], order: IntArray, *, n_jobs: int, on_done: Callable[[int], Any]
) -> list[tuple[IntArray, Any]]:
    """Score texts in spans.

    Parameters
    ----------
    score : callable
        Takes the rows of a span and a function to report finished texts to, or None in a worker; can be pickled.
    order : ndarray of shape (N,), int64
        Rows of the texts, similar ones next to each other.
    n_jobs : int
    on_done : callable
        Called in this process with the number of texts that were finished.

    Returns
    -------
    list of (ndarray of rows, what `score` returned)
    """
    rank, world = world_of()
    mine = _spans(order, world * n_jobs)[rank::world]
    results = [(span, score(span, on_done)) for span in mine] if n_jobs == 1 else _worked(score, mine, n_jobs, on_done)
    return _gathered(results) if world > 1 else results


def world_of() -> tuple[int, int]:
    """Return rank and number of the processes that `accelerate launch` started; (0, 1) without it."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def _spans(order: IntArray, n_workers: int) -> list[IntArray]:
    n_spans = 1 if n_workers == 1 else min(n_workers * SPANS_PER_WORKER, max(len(order), 1))
    return [span for span in np.array_split(order, n_spans) if len(span)]


def _worked(
    score: Callable[..., Any], spans: list[IntArray], n_jobs: int, on_done: Callable[[int], Any]
) -> list[tuple[IntArray, Any]]:
    n_threads = max(1, torch.get_num_threads() // n_jobs)
    parallel = Parallel(n_jobs=n_jobs, return_as="generator")
    results = []
    for span, result in zip(
        spans, parallel(delayed(_with_threads)(score, span, n_threads) for span in spans), strict=True
    ):
        results.append((span, result))
        on_done(len(span))
    return results


def _with_threads(score: Callable[..., Any], span: IntArray, n_threads: int) -> Any:
    torch.set_num_threads(n_threads)
    return score(span, None)


def _gathered(results: list[tuple[IntArray, Any]]) -> list[tuple[IntArray, Any]]:
    from accelerate.utils import gather_object

    gathered: list[tuple[IntArray, Any]] = gather_object(results)
    return gathered
