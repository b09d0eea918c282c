"""The longest copied run, against a plain search."""

from __future__ import annotations

import numpy as np
import pytest

from gencls.reporting import copied_runs
from gencls.reporting.copied_runs import TrainingRuns, rolling_hashes


def _plain(text, training):
    runs = {tuple(one[i:j]) for one in training for i in range(len(one)) for j in range(i + 1, len(one) + 1)}
    own = [tuple(text[i:j]) for i in range(len(text)) for j in range(i + 1, len(text) + 1)]
    return max((len(run) for run in own if run in runs), default=0)


@pytest.mark.parametrize("vocab_size", [2, 5, 30])
def test_equals_a_plain_search(vocab_size):
    generator = np.random.default_rng(vocab_size)
    training = [generator.integers(vocab_size, size=size) for size in (0, 1, 9, 30, 17)]
    runs = TrainingRuns(training)
    for size in (0, 1, 3, 12, 25):
        text = generator.integers(vocab_size, size=size)
        assert runs.longest(text) == _plain(text.tolist(), [one.tolist() for one in training])


def test_no_run_goes_from_one_text_into_the_next():
    runs = TrainingRuns([np.arange(5), np.arange(5, 10)])
    assert runs.longest(np.arange(2, 8)) == 3


def test_a_text_of_the_training_is_copied_whole_and_a_strange_token_not_at_all():
    runs = TrainingRuns([np.arange(40), np.arange(20)])
    assert runs.longest(np.arange(40)) == 40
    assert runs.longest(np.array([99])) == 0
    assert TrainingRuns([]).longest(np.array([1])) == 0


def test_colliding_hashes_are_no_copies(monkeypatch):
    monkeypatch.setattr(copied_runs, "rolling_hashes", lambda tokens, n: rolling_hashes(tokens, n) * np.uint64(0))
    assert TrainingRuns([np.arange(10)]).longest(np.array([3, 4, 5, 20, 21, 22])) == 3
