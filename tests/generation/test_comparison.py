"""Timing in turns."""

from __future__ import annotations

import numpy as np
import pytest

from gencls.generation.comparison import Timed, take_turns, titled


@pytest.fixture
def writers(toy_trajectory):
    """Two ways of writing whose runs take given times, and the order in which they were called."""
    calls: list[str] = []

    def make(name: str, seconds: list[float]):
        times = iter(seconds)

        def write():
            calls.append(name)
            return toy_trajectory((" a", " bc", " d"), n_given=1, per_step=1, remasks=False, seconds=next(times) / 2)

        return write

    return {"one": make("one", [99.0, 3.0, 1.0, 2.0]), "two": make("two", [99.0, 5.0, 9.0, 7.0])}, calls


def test_both_are_warm_and_take_turns(writers):
    named, calls = writers
    timed = take_turns(named, n_repeats=3)
    assert calls == ["one", "two", "one", "two", "two", "one", "one", "two"]
    assert timed["one"].seconds.tolist() == [3.0, 1.0, 2.0]  # the first call, 99 seconds, does not count
    assert timed["two"].trajectory.steps[-1].seconds == 7.0  # the run with the median time is shown


def test_facts_are_those_of_the_run_that_is_shown(writers):
    facts = take_turns(writers[0], n_repeats=3)["one"].facts()
    assert facts == {
        "n_tokens": 2,
        "n_forwards": 2,
        "seconds": 2.0,
        "fastest_seconds": 1.0,
        "slowest_seconds": 3.0,
        "tokens_per_second": 1.0,
        "characters_per_second": 2.5,
    }


def test_the_title_has_the_numbers(toy_trajectory):
    shown = titled("ours", Timed(toy_trajectory(), np.array([1.5])))
    assert shown.label == "ours: 7 tokens/s, 3 forwards, 1.50 s"
    assert shown.extras["n_tokens"] == 10 and "class_proba" in shown.extras


@pytest.mark.parametrize("n_repeats", [0, 2, -1])
def test_the_median_needs_an_odd_number(writers, n_repeats):
    with pytest.raises(ValueError, match="an odd number"):
        take_turns(writers[0], n_repeats=n_repeats)
    assert writers[1] == []
