"""Dividing texts between threads and processes: every row once, and nothing of torch's state is left changed."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from gencls.likelihood.parallel import run_spans, world_of


@dataclass(frozen=True)
class Spans:
    """Gives each row back with its thread, torch's number of threads there, and the size of its span."""

    takes_threads: bool
    fails_at: int | None = None

    def prepare(self):
        time.sleep(0)

    def __call__(self, rows, on_done):
        if self.fails_at in rows.tolist():
            raise ArithmeticError(f"row {self.fails_at}")
        time.sleep(0.01)  # time for the other threads to take a span
        on_done(len(rows))
        return [(row, threading.get_ident(), torch.get_num_threads(), len(rows)) for row in rows.tolist()]


@pytest.fixture(params=[1, 2, 3])
def n_threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def threads_of_torch():
    """Here, and in a thread that begins now."""
    with ThreadPoolExecutor(1) as pool:
        return torch.get_num_threads(), pool.submit(torch.get_num_threads).result()


def run(scorer, order, n_jobs=1):
    done = []
    results = run_spans(scorer, np.asarray(order, dtype=np.int64), n_jobs=n_jobs, on_done=done.append)
    return results, sum(done)


@pytest.mark.parametrize("n_rows", [0, 1, 31, 64, 500])
@pytest.mark.parametrize("takes_threads", [True, False])
def test_every_row_once(n_threads, takes_threads, n_rows):
    order = np.random.default_rng(0).permutation(n_rows)
    results, n_done = run(Spans(takes_threads), order)
    assert sorted(row for row, *_ in results) == list(range(n_rows))
    assert n_done == n_rows
    assert threads_of_torch() == (n_threads, n_threads)


def test_threads_have_kernels_of_one_thread_each(n_threads):
    results, _ = run(Spans(True), range(500))
    assert {inside for _, _, inside, _ in results} == {1}
    assert len({thread for _, thread, _, _ in results}) == n_threads
    assert min(size for *_, size in results) >= 32
    assert threads_of_torch() == (n_threads, n_threads)


def test_without_threads_the_kernels_keep_theirs(n_threads):
    results, _ = run(Spans(False), range(500))
    assert {result[1:] for result in results} == {(threading.get_ident(), n_threads, 500)}


def test_the_last_rows_begin_first():
    """They are the longest."""
    started = []

    class Recorder(Spans):
        def __call__(self, rows, on_done):
            started.append(int(rows[0]))
            return super().__call__(rows, on_done)

    run(Recorder(True), range(500))
    assert len(started) > 1
    assert started[0] == max(started)


@pytest.mark.parametrize("takes_threads", [True, False])
@pytest.mark.parametrize("fails_at", [0, 250, 499])
def test_an_exception_gets_out_and_the_number_of_threads_is_put_back(n_threads, takes_threads, fails_at):
    n_alive = threading.active_count()
    with pytest.raises(ArithmeticError, match=f"row {fails_at}"):
        run(Spans(takes_threads, fails_at), range(500))
    assert threads_of_torch() == (n_threads, n_threads)
    assert threading.active_count() == n_alive
    assert len(run(Spans(takes_threads), range(500))[0]) == 500


def test_preparation_comes_before_any_thread():
    events = []

    class Prepared(Spans):
        def prepare(self):
            events.append(threading.get_ident())

        def __call__(self, rows, on_done):
            events.append("rows")
            return super().__call__(rows, on_done)

    run(Prepared(True), range(200))
    assert events[0] == threading.get_ident()
    assert events.count(threading.get_ident()) == 1


@pytest.mark.parametrize("takes_threads", [True, False])
def test_two_processes(takes_threads):
    order = np.random.default_rng(0).permutation(101)
    before = torch.get_num_threads()
    results, n_done = run(Spans(takes_threads), order, n_jobs=2)
    assert sorted(row for row, *_ in results) == list(range(101))
    assert n_done == 101
    assert torch.get_num_threads() == before
    assert run(Spans(takes_threads), [], n_jobs=2) == ([], 0)
    assert [row for row, *_ in run(Spans(takes_threads), [7], n_jobs=2)[0]] == [7]


def test_an_exception_gets_out_of_a_process():
    with pytest.raises(ArithmeticError, match="row 60"):
        run(Spans(True, 60), range(101), n_jobs=2)


def test_processes_of_a_launcher_each_take_their_share(monkeypatch):
    """Without a launcher here: rank and gathering are replaced."""
    assert world_of() == (0, 1)
    found = []
    monkeypatch.setattr("gencls.likelihood.parallel._gathered", lambda results: results)
    for rank in range(3):
        monkeypatch.setattr("gencls.likelihood.parallel.world_of", lambda rank=rank: (rank, 3))
        found += run(Spans(True), range(100))[0]
    assert sorted(row for row, *_ in found) == list(range(100))
