"""Reference decisions, replay and rules on simulated draws, whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.agreement import (
    Judge,
    KeptDraws,
    decisions_at,
    forwards_at_agreement,
    is_open,
    naive_t_decisions,
    proportion,
    reference_decisions,
)
from gencls.likelihood.adaptive import StoppingRule, fit_stopping_rule, score_adaptively
from gencls.likelihood.engine import Scores, score_texts
from gencls.likelihood.estimators import Estimator

PATH = Estimator("path", 2, 1)
PRIOR = np.log([0.5, 0.5])
N_TEXTS = 400


class Draws:
    """Normal log-odds around a text's own; draw k of a text is the same whenever it is asked for."""

    def __init__(self, n_texts=N_TEXTS, spread=8.0, noise=1.0, seed=0):
        generator = np.random.default_rng(seed)
        self.odds = generator.normal(0, spread, n_texts)
        self.table = np.zeros((n_texts, 2, 1023))
        self.table[:, 1] = self.odds[:, None] + noise * generator.standard_normal((n_texts, 1023))
        self.table += generator.normal(-500, 50, (n_texts, 1, 1023))  # noise that the classes share
        self.asked = []

    def __call__(self, rows, first_draw, n_draws):
        self.asked += [(row, draw) for row in rows.tolist() for draw in range(first_draw, first_draw + n_draws)]
        samples = self.table[rows, :, first_draw : first_draw + n_draws]
        return Scores(samples, np.full(len(rows), 9), np.full(len(rows), 1 + n_draws))


@pytest.fixture(scope="module")
def judged():
    draws = Draws()
    kept = KeptDraws(draws, N_TEXTS, PATH)
    reference = reference_decisions(kept, PRIOR)
    return draws, Judge(reference, (draws.odds > 0).astype(int), kept, PRIOR)


def test_the_reference_is_that_of_all_draws(judged):
    draws, judge = judged
    np.testing.assert_array_equal(judge.reference.decisions, draws.table.mean(axis=2).argmax(axis=1))
    counts = judge.reference.counts()
    assert set(counts) == {16, 64, 256, 1023}
    assert sum(counts.values()) == N_TEXTS
    assert counts[16] > N_TEXTS / 2


def test_no_draw_is_made_twice(judged):
    draws, judge = judged
    judge.adaptive(StoppingRule(0.01))
    judge.naive(0.01)
    assert len(draws.asked) == len(set(draws.asked))


def test_texts_are_settled_where_the_lead_is_sure():
    samples = np.zeros((3, 2, 4))
    samples[:, 0] = [[1, 1, 1, 1], [1, -1, 1, -1], [9, 11, 9, 11]]
    # no noise at all; a lead of 0; a lead of 10 with a standard error of 0.577
    assert is_open(samples, PRIOR, 8.0).tolist() == [False, True, False]
    assert is_open(samples, PRIOR, 18.0).tolist() == [False, True, True]
    # a prior of 10 nats takes the lead away
    assert is_open(samples, np.array([-10.0, 0.0]), 8.0).tolist() == [False, False, True]


def test_any_rival_keeps_a_text_open():
    generator = np.random.default_rng(0)
    samples = generator.normal([[[0.0], [-0.1], [-99.0]]], 1.0, (5, 3, 16))
    assert is_open(samples, np.zeros(3), 8.0).all()


def test_replay_decides_what_scoring_anew_decides(judged):
    draws, judge = judged
    rule = fit_stopping_rule(draws.table[:, :, :4], np.full(N_TEXTS, 9), PRIOR, 0.01)
    row, decisions = judge.adaptive(rule)
    fresh = score_adaptively(Draws(), N_TEXTS, log_prior=PRIOR, rule=rule)
    np.testing.assert_array_equal(decisions, (fresh.mean() + PRIOR).argmax(axis=1))
    assert row["forwards"] == pytest.approx(1 + fresh.n_draws.mean())
    assert row["open"] == fresh.is_open.mean()


def test_replay_of_a_real_scorer_has_its_bits(denoiser, texts):
    """Draws of the engine in two parts, from the kept ones and anew."""
    long = [ids for ids in texts if len(ids) > 1]

    def score(rows, first_draw, n_draws):
        options = {"first_draw": first_draw, "n_draws": n_draws, "precision": "float32"}
        return score_texts(denoiser, [long[row] for row in rows], PATH, seed=4, **options)

    kept = KeptDraws(score, len(long), PATH)
    kept.need(np.array([0, 2]), 3)
    kept.need(np.arange(len(long)), 8)
    whole = score_texts(denoiser, long, Estimator("path", 2, 8), seed=4, precision="float32")
    np.testing.assert_array_equal(kept.samples, whole.samples)
    part = kept.score(np.array([2, 1]), 2, 3)
    np.testing.assert_array_equal(part.samples, whole.samples[[2, 1], :, 2:5])
    assert kept.n_forwards(np.array([1, 8])).tolist() == [2, 9]
    np.testing.assert_array_equal(kept.n_tokens, whole.n_tokens)


def test_decisions_at_take_the_first_draws_there_are():
    samples = np.array([[[0.0, 0.0, 0.0], [1.0, 1.0, -9.0]], [[0.0, 0.0, np.nan], [-1.0, 2.0, np.nan]]])
    assert decisions_at(samples, 1, PRIOR).tolist() == [1, 0]
    assert decisions_at(samples, 3, PRIOR).tolist() == [0, 1]


def test_the_naive_test_by_hand():
    """Log-odds 3 and 1 after two draws: t = 2; after three, mean 2 and sd 1: t = 3.46, p = 0.074."""
    samples = np.zeros((1, 2, 4))
    samples[0, 1] = [3.0, 1.0, 2.0, 2.0]
    assert naive_t_decisions(samples, PRIOR, 0.08)[1].tolist() == [3]
    assert naive_t_decisions(samples, PRIOR, 0.07)[1].tolist() == [4]
    short = np.where(np.arange(4) < 2, samples, np.nan)
    decisions, n_draws = naive_t_decisions(short, PRIOR, 0.08)
    assert (decisions.tolist(), n_draws.tolist()) == ([1], [2])


def judge_of(draws, n_texts):
    kept = KeptDraws(draws, n_texts, PATH)
    return Judge(reference_decisions(kept, PRIOR), (draws.odds > 0).astype(int), kept, PRIOR)


def test_peeking_flips_more_than_its_level():
    """Texts with hardly any signal are where a wrong stop costs most."""
    target, n_texts = 0.05, 600
    row = judge_of(Draws(n_texts, spread=0.1, seed=1), n_texts).naive(target)
    assert row["flip_rate"] > target + 4 * np.sqrt(target * (1 - target) / n_texts)
    assert row["low"] <= row["flip_rate"] <= row["high"]


@pytest.mark.parametrize("target", [0.01, 0.05])
def test_the_rule_keeps_its_target(target):
    """Fitted on other texts than it is judged on, with a spread as texts have it."""
    n_texts, lengths = 800, np.full(800, 9)
    rule = fit_stopping_rule(Draws(n_texts, spread=2.0, seed=2).table[:, :, :4], lengths, PRIOR, target)
    row, _ = judge_of(Draws(n_texts, spread=2.0, seed=1), n_texts).adaptive(rule)
    assert row["flip_rate"] < target + 3 * np.sqrt(target * (1 - target) / n_texts)
    assert row["forwards"] < 65


def test_fixed_rows_count_the_blank_pass(judged):
    _, judge = judged
    rows = [judge.fixed(number) for number in (1, 4, 64)]
    assert [row["forwards"] for row in rows] == [2, 5, 65]
    assert rows[0]["flip_rate"] >= rows[2]["flip_rate"]
    assert rows[2]["agreement"] == 1 - rows[2]["flip_rate"]


def test_an_exact_interval_of_a_rate():
    """Clopper and Pearson of 0 of n end at 1 - (alpha/2)^(1/n)."""
    row = proportion(0, 100)
    assert row["low"] == 0
    assert row["high"] == pytest.approx(1 - 0.025 ** (1 / 100))


def test_the_forwards_at_an_agreement():
    fixed = [{"rule": "fixed", "agreement": a, "forwards": f} for a, f in ((0.98, 2.0), (0.992, 5.0), (1.0, 9.0))]
    adaptive = {"rule": "adaptive", "target": 0.01, "agreement": 0.991, "forwards": 3.0}
    loose = {"rule": "adaptive", "target": 0.05, "agreement": 0.995, "forwards": 2.5}
    naive = {"rule": "naive", "target": 0.01, "agreement": 1.0, "forwards": 1.0}
    assert forwards_at_agreement([*fixed, adaptive, loose, naive]) == 3
    # no other row stands in for a rule that misses its own target
    assert np.isnan(forwards_at_agreement([*fixed, {**adaptive, "agreement": 0.98}, loose, naive]))
    assert np.isnan(forwards_at_agreement([fixed[0], naive]))
