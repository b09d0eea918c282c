"""Training levels: the bound's own distribution by default, the asked range otherwise."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from gencls.diffusion.schedule import LevelSchedule, hidden_after, hidden_share


def counts(schedule, n_tokens, n_draws=5_000):
    rng = np.random.default_rng(0)
    return np.array([schedule.draw_count(n_tokens, generator=rng) for _ in range(n_draws)])


def test_default_counts_are_uniform_on_1_to_L():
    observed = np.bincount(counts(LevelSchedule(), 6), minlength=7)
    assert observed[0] == 0
    assert len(observed) == 7
    assert stats.chisquare(observed[1:]).pvalue > 1e-4


@pytest.mark.parametrize(("low", "high"), [(0.3, 1.0), (0.0, 0.25), (0.5, 0.75)])
def test_counts_stay_in_the_asked_range(low, high):
    shares = counts(LevelSchedule(low, high), 200) / 200
    assert shares.min() >= low
    assert shares.max() <= high + 1 / 200
    middle = (low + high) / 2 + 0.5 / 200
    error = (high - low) / np.sqrt(12 * len(shares))
    assert abs(shares.mean() - middle) < 4 * error


@pytest.mark.parametrize("schedule", [LevelSchedule(), LevelSchedule(0.9, 1.0), LevelSchedule(0.0, 0.01)])
def test_a_single_token_is_always_hidden(schedule):
    assert set(counts(schedule, 1, 100)) == {1}


@pytest.mark.parametrize(("low", "high"), [(0.5, 0.5), (0.7, 0.3), (-0.1, 1.0), (0.0, 1.1), (float("nan"), 1.0)])
def test_bad_ranges_are_refused_in_three_parts(low, high):
    with pytest.raises(ValueError, match=r"expected .* got .*; "):
        LevelSchedule(low, high)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "exponential"])
def test_every_unmasking_schedule_falls_by_at_least_one_and_ends_with_no_mask(schedule):
    for n_hidden in (0, 1, 2, 7, 64):
        for n_steps in (1, 2, 3, 10, 64, 1000):
            counts = [n_hidden, *hidden_after(n_hidden, n_steps, schedule).tolist()]
            assert len(counts) == min(n_hidden, n_steps) + 1
            assert counts[-1] == 0
            assert all(before > after for before, after in itertools.pairwise(counts))


def test_unmasking_schedules_by_hand():
    assert hidden_after(10, 5, "linear").tolist() == [8, 6, 4, 2, 0]
    assert hidden_after(100, 4, "cosine").tolist() == [92, 70, 38, 0]
    assert hidden_after(100, 4, "exponential").tolist() == [44, 18, 5, 0]
    for schedule in ("linear", "cosine", "exponential"):
        ends = hidden_share(np.array([0.0, 1.0]), schedule)
        np.testing.assert_allclose(ends, [1.0, 0.0], atol=1e-12)
