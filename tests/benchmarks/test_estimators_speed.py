"""Times by a clock that is told what to say, and what a rival is charged with."""

from __future__ import annotations

import os

import numpy as np
import pytest

from benchmarks.estimators_speed import (
    EARLIER,
    LLADA,
    LLADA_SHARED,
    OtherLoad,
    SpeedTexts,
    draws_needed,
    rival_rows,
    rival_timers,
    speedup,
    spread_rows,
    timed_pairs,
)
from benchmarks.rivals import llada


def row(draws, agreement, ours=0.99, name=EARLIER):
    return {"name": name, "draws": draws, "agreement": agreement, "agreement_high": agreement, "our_agreement": ours}


def test_a_pair_is_seconds_per_text_of_both_sides():
    now, calls = [0.0], []

    def side(name, seconds):
        def run(*rows):
            calls.append((name, len(rows[0]) if rows else None))
            now[0] += seconds

        return run

    rivals = {"rival": side("rival", 6.0)}
    options = {"n_pairs": 3, "n_rival_texts": 2, "clock": lambda: now[0]}
    pairs = timed_pairs(side("ours", 1.0), rivals, np.arange(10), **options)
    assert pairs == [{"ours": 0.1, "rival": 3.0}] * 3
    # both once before the clock runs, then by turns with another one first
    names = [name for name, _ in calls]
    assert names == ["rival", "ours", "ours", "rival", "rival", "ours", "ours", "rival"]


def test_few_texts_are_as_long_as_all():
    lengths = np.random.default_rng(0).integers(1, 500, 120)
    assert lengths[spread_rows(lengths, 12, 0)].mean() == pytest.approx(lengths.mean(), rel=0.05)
    assert len(set(spread_rows(lengths, 12, 3))) == 12
    assert set(spread_rows(lengths, 12, 0)).isdisjoint(spread_rows(lengths, 12, 1))
    assert sorted(spread_rows(np.arange(3), 3, 1)) == [0, 1, 2]


def test_a_rival_is_charged_with_the_fewest_draws_that_agree():
    rows = [row(5, 0.7), row(20, 0.99), row(80, 0.995), row(80, 0.5, name=LLADA)]
    assert draws_needed(rows, EARLIER, ours=0.98) == (20, True)
    assert draws_needed(rows[:1], EARLIER, ours=0.98) == (5, False)
    assert draws_needed(rows, EARLIER, ours=0.98, most=5) == (5, False)


def test_a_rival_that_few_texts_cannot_tell_from_us_is_not_charged_with_their_draws():
    rows = [row(5, 0.7), {**row(20, 0.9), "agreement_high": 0.97}, {**row(80, 0.93), "agreement_high": 0.99}]
    assert draws_needed(rows, EARLIER, ours=0.98) == (20, False)
    assert draws_needed(rows[2:], EARLIER, ours=0.98) == (80, False)


def test_the_speedup_is_the_median_ratio_in_proportion_to_the_draws():
    pairs = [{"ours": 0.1, EARLIER: seconds} for seconds in (1.0, 2.0, 9.0)]
    found = speedup(pairs, [row(5, 0.7), row(20, 0.8)], EARLIER, ours=0.98)
    assert (found["draws"], found["reaches"]) == (20, False)
    assert found["ratio"] == pytest.approx(20 * 4)
    assert found["published_ratio"] == pytest.approx(20)
    assert found["seconds"] == pytest.approx(8)


@pytest.fixture
def speed_texts(texts):
    long = [ids for ids in texts if len(ids) > 1]
    labels = np.array([0, 1, 0])
    return SpeedTexts(long, labels, reference=np.array([0, 1, 1]), ours=np.array([0, 1, 1]))


def test_rivals_are_compared_with_us_on_the_same_texts(denoiser, speed_texts):
    draws = {EARLIER: (1, 3), LLADA: (32,), LLADA_SHARED: (32,)}
    rows = rival_rows(denoiser, speed_texts, draws, seed=2, precision="float32")
    assert [(found["name"], found["draws"]) for found in rows] == [
        (EARLIER, 1), (EARLIER, 3), (LLADA, 32), (LLADA_SHARED, 32),
    ]  # fmt: skip
    for name, shared in ((LLADA, False), (LLADA_SHARED, True)):
        samples = llada.score(denoiser, speed_texts.token_ids, seed=2, n_draws=32, shared=shared, precision="float32")
        decisions = samples.mean(axis=2).argmax(axis=1)
        found = next(found for found in rows if found["name"] == name)
        assert found["agreement"] == pytest.approx((decisions == speed_texts.reference).mean())
        assert found["accuracy"] == pytest.approx((decisions == speed_texts.labels).mean())
        assert found["our_agreement"] == 1
        assert found["our_accuracy"] == pytest.approx(2 / 3)
    assert speed_texts.first(2).row("x", np.array([0, 0]))["agreement"] == 0.5


def test_what_is_timed_is_the_rivals_own_loop(denoiser, speed_texts):
    timers = rival_timers(denoiser, speed_texts.token_ids, seed=2, precision="float32")
    assert timers[EARLIER](np.array([1])).shape == (1, 2, 5)
    assert timers[LLADA](np.array([2, 0])).shape == (2, 2, 128)


def test_the_load_of_others_is_what_is_not_ours(tmp_path, monkeypatch):
    """Ten seconds on two cores: 12 of the 20 seconds were work, 8 of them ours."""
    stat, now = tmp_path / "stat", {"wall": 0.0, "own": 5.0}
    monkeypatch.setattr("benchmarks.estimators_speed.time.monotonic", lambda: now["wall"])
    monkeypatch.setattr("benchmarks.estimators_speed._own_seconds", lambda: now["own"])
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    ticks = os.sysconf("SC_CLK_TCK")
    stat.write_text(f"cpu  {100 * ticks} {10 * ticks} {20 * ticks} 999 1 0 0 0\n")
    load = OtherLoad(stat)
    now.update(wall=10.0, own=13.0)
    stat.write_text(f"cpu  {108 * ticks} {12 * ticks} {22 * ticks} 1999 1 0 0 0\n")
    assert load.share() == pytest.approx(4 / 20)
    assert OtherLoad(tmp_path / "none").share() is None
