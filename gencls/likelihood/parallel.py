"""Texts on several threads, processes and machines: joblib's workers on processors, Accelerate's processes on devices.

Which worker scores a text changes nothing about its score, so all that is done here is to divide and to collect.

On a processor every thread runs its own rows, and every kernel on one thread. Compared with one row of kernels on all
threads nothing waits for the serial parts between two matrix products (a tenth of the time on two cores), and no
number depends on how a kernel divides its work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from joblib import Parallel, delayed
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
Result = TypeVar("Result")
#: Python runs one thread at a time between kernels: more threads than this wait for each other.
MAX_THREADS = 16
#: Spans for each thread: one with slow texts leaves some to the others. Not shorter than `MIN_SPAN` texts, because
#: the last micro-batch of each is not full.
SPANS_PER_THREAD = 4
MIN_SPAN = 32
#: Called with the number of texts that are finished.
OnDone = Callable[[int], Any]


class SpanScorer(Protocol[Result]):
    """What scores a span of texts; can be pickled."""

    @property
    def takes_threads(self) -> bool:
        """Whether several threads may call it at once."""
        ...

    def prepare(self) -> None:
        """Work out what all spans need; called once in each process."""
        ...

    def __call__(self, rows: IntArray, on_done: OnDone) -> list[Result]:
        """Score the texts of some rows, and report finished ones."""
        ...


def run_spans(score: SpanScorer[Result], order: IntArray, *, n_jobs: int, on_done: OnDone) -> list[Result]:
    """Score texts in spans.

    Parameters
    ----------
    score : SpanScorer
    order : ndarray of shape (N,), int64
        Rows of the texts, similar ones next to each other.
    n_jobs : int
        Worker processes.
    on_done : callable
        Called in this process.

    Returns
    -------
    list
        What `score` returned for all texts, in some order.
    """
    rank, world = world_of()
    mine = order[rank::world]
    if n_jobs == 1:
        results = _on_threads(score, mine, on_done)
    else:
        results = _on_processes(score, [mine[start::n_jobs] for start in range(n_jobs)], on_done)
    return _gathered(results) if world > 1 else results


def world_of() -> tuple[int, int]:
    """Return rank and number of the processes that `accelerate launch` started; (0, 1) without it."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def _on_processes(score: SpanScorer[Result], parts: list[IntArray], on_done: OnDone) -> list[Result]:
    n_threads = max(1, torch.get_num_threads() // len(parts))
    tasks = [delayed(_in_process)(score, part, n_threads) for part in parts if len(part)]
    results: list[Result] = []
    for found in Parallel(n_jobs=len(parts), return_as="generator_unordered")(tasks):
        results += found
        on_done(len(found))
    return results


def _in_process(score: SpanScorer[Result], rows: IntArray, n_threads: int) -> list[Result]:
    torch.set_num_threads(n_threads)
    return _on_threads(score, rows, _nobody)


def _nobody(_: int) -> None:
    """For workers, whose progress nobody sees."""


def _on_threads(score: SpanScorer[Result], rows: IntArray, on_done: OnDone) -> list[Result]:
    score.prepare()
    if not score.takes_threads:
        return score(rows, on_done)
    n_most = max(1, len(rows) // MIN_SPAN)
    n_threads = min(torch.get_num_threads(), MAX_THREADS, n_most)
    spans = np.array_split(rows, min(n_threads * SPANS_PER_THREAD, n_most))
    stopped = Event()

    def go_on(n_texts: int) -> None:
        if stopped.is_set():
            raise RuntimeError("stopped, because another thread failed or the user asked for it")
        on_done(n_texts)

    with _single_threaded_kernels(n_threads) as pool:
        # the last rows are the longest: what is long must not come last
        running = [pool.submit(score, span, go_on) for span in reversed(spans)]
        try:
            return [result for future in running for result in future.result()]
        except BaseException:
            stopped.set()  # the other threads end at their next report, not with their span
            pool.shutdown(cancel_futures=True)
            raise


@contextmanager
def _single_threaded_kernels(n_threads: int) -> Iterator[ThreadPoolExecutor]:
    """Threads whose kernels run on one thread each; torch's own number of threads is put back."""
    n_before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(n_threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(n_before)


def _gathered(results: list[Result]) -> list[Result]:
    from accelerate.utils import gather_object

    gathered: list[Result] = gather_object(results)
    return gathered
