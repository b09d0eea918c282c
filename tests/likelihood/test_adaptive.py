"""Adaptive draws: wrong stops within their level, flips within the target, few draws; what a text depends on."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import polygamma, psi
from scipy.stats import norm
from scipy.stats import t as student_t

from gencls.likelihood.adaptive import (
    LOOKS,
    REFERENCE_DRAWS,
    AdaptiveScores,
    StoppingRule,
    VariancePrior,
    fit_stopping_rule,
    fit_variance_prior,
    score_adaptively,
)
from gencls.likelihood.engine import Scores
from gencls.likelihood.stopping import CAPS, expected_flips

THREE_PARTS = r"Expected .*; got .*\. \w+"
UNIFORM = np.log([0.5, 0.5])
#: Of the reports' classifier: variance of a draw, nats squared; spread of log-odds whose density at 0 is 0.03 / nat.
VARIANCE, SPREAD = 1.07, 13.3


def noise(generator, kind, shape):
    """Draws of variance 1."""
    if kind == "normal":
        return generator.normal(size=shape)
    return generator.standard_t(5, size=shape) / np.sqrt(5 / 3)


def as_samples(log_odds):
    """Samples of two classes whose differences are given, (N, K) -> (N, 2, K)."""
    shared = np.random.default_rng(99).normal(size=log_odds.shape) * 20 - 700
    return np.stack([shared + log_odds, shared], axis=1)


class Texts:
    """Stands for an engine: draws that are known beforehand, and a record of what was asked."""

    def __init__(self, samples, n_tokens=128):
        self.samples = samples
        self.n_tokens = np.broadcast_to(n_tokens, len(samples)).astype(np.int64)
        self.calls = []

    def __call__(self, rows, first_draw, n_draws):
        self.calls.append((rows.tolist(), first_draw, n_draws))
        part = self.samples[rows, :, first_draw : first_draw + n_draws]
        return Scores(part, self.n_tokens[rows], np.full(len(rows), n_draws + 1))

    def score(self, rule, log_prior=UNIFORM, **options):
        return score_adaptively(self, len(self.samples), log_prior=log_prior, rule=rule, **options)


def population(generator, n_texts, n_draws, *, kind="normal", degrees=np.inf):
    """Log-odds draws (N, K) of texts as in the reports."""
    variance = np.full(n_texts, VARIANCE)
    if np.isfinite(degrees):
        variance = variance * degrees / generator.chisquare(degrees, size=n_texts)
    truth = generator.normal(size=n_texts) * SPREAD
    return truth[:, None] + np.sqrt(variance)[:, None] * noise(generator, kind, (n_texts, n_draws))


def naive_peeking(log_odds, level):
    """Textbook t-test at `level` after every draw from the second on: the sign at the first success, 0 if none."""
    counts = np.arange(2, log_odds.shape[1] + 1)
    mean = np.cumsum(log_odds, axis=1)[:, 1:] / counts
    squares = np.cumsum(log_odds**2, axis=1)[:, 1:] - counts * mean**2
    error = np.sqrt(squares / (counts - 1) / counts)
    success = np.abs(mean) > student_t.isf(level, counts - 1) * error
    first = success.argmax(axis=1)
    return np.where(success.any(axis=1), np.sign(mean[np.arange(len(mean)), first]), 0)


def fitted_prior(generator, kind):
    held = as_samples(population(generator, 1000, 4, kind=kind))
    return fit_variance_prior(held, np.full(1000, 128))


# what a text is promised


@pytest.mark.parametrize("effect", [0.25, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("kind", ["normal", "t5"])
def test_no_text_stops_wrongly_more_often_than_its_level(kind, effect):
    """The reference's log-odds are `effect` standard errors of 16 draws; the leader of few draws is often wrong."""
    generator = np.random.default_rng(int(effect * 4))
    n_texts, target = 4000, 0.1
    rule = StoppingRule(target, fitted_prior(generator, kind))
    draws = noise(generator, kind, (n_texts, REFERENCE_DRAWS))
    draws += effect / 4 - draws.mean(axis=1, keepdims=True)
    scores = Texts(as_samples(draws * np.sqrt(VARIANCE))).score(rule)
    assert not scores.is_open.any()  # at the last look the reference is known
    wrong = np.sum(scores.mean().argmax(axis=1) == 1)
    level = rule.stop_share * target
    scale = np.sqrt(n_texts * level * (1 - level))
    assert (wrong - n_texts * level) / scale < 3
    naive = np.sum(naive_peeking(draws, level) < 0)
    if effect < 1:
        assert (naive - n_texts * level) / scale > 5  # so this test can fail


def test_a_correct_rule_without_a_prior_keeps_its_level_too():
    generator = np.random.default_rng(0)
    n_texts, rule = 4000, StoppingRule(0.1)
    draws = noise(generator, "normal", (n_texts, REFERENCE_DRAWS))
    draws += 0.1 - draws.mean(axis=1, keepdims=True)
    scores = Texts(as_samples(draws)).score(rule)
    assert scores.n_draws.min() >= 2
    assert np.sum(scores.mean().argmax(axis=1) == 1) < n_texts * 0.02 + 3 * np.sqrt(n_texts * 0.02)


def test_several_classes_share_the_level():
    generator = np.random.default_rng(1)
    n_texts, n_classes, target = 4000, 4, 0.1
    rule = StoppingRule(target, VariancePrior(2.0, 0.0, 50.0))  # differences of two independent classes
    draws = generator.normal(size=(n_texts, n_classes, REFERENCE_DRAWS))
    draws -= draws.mean(axis=2, keepdims=True)
    draws[:, 0] += 0.1
    scores = Texts(draws).score(rule, np.zeros(n_classes))
    level = rule.stop_share * target
    wrong = np.sum(scores.mean().argmax(axis=1) != 0)
    assert (wrong - n_texts * level) / np.sqrt(n_texts * level) < 3
    assert rule.level(n_classes) * 3 * len(rule.looks) == pytest.approx(level)


# what a set of texts is promised


@pytest.mark.parametrize("degrees", [np.inf, 8.0])
@pytest.mark.parametrize("kind", ["normal", "t5"])
def test_few_draws_and_flips_within_the_target(kind, degrees):
    generator = np.random.default_rng(7)
    target, n_texts = 0.01, 6000
    held = as_samples(population(generator, 1000, 4, kind=kind, degrees=degrees))
    rule = fit_stopping_rule(held, np.full(1000, 128), UNIFORM, target)
    texts = Texts(as_samples(population(generator, n_texts, REFERENCE_DRAWS, kind=kind, degrees=degrees)))
    scores = texts.score(rule)
    flips = np.sum(scores.mean().argmax(axis=1) != texts.samples.mean(axis=2).argmax(axis=1))
    assert (flips - n_texts * target) / np.sqrt(n_texts * target) < 3
    forwards = 1 + scores.n_draws  # of a path of two steps, whose blank pass is shared
    assert forwards.mean() < (4.0 if np.isinf(degrees) else 4.5)
    assert scores.n_draws.max() == rule.max_draws
    assert 0.01 < scores.is_open.mean() < 0.15


def test_the_cap_is_the_first_one_within_its_budget():
    generator = np.random.default_rng(8)
    held, n_tokens = as_samples(population(generator, 800, 4)), np.full(800, 128)
    prior = fit_variance_prior(held, n_tokens)
    flips = [expected_flips(held, n_tokens, UNIFORM, prior, cap) for cap in CAPS]
    assert all(more > fewer for more, fewer in pairwise(flips))
    assert flips[-1] == 0
    for target in (0.3, 0.02, 0.01, 0.004, 0.001):
        rule = fit_stopping_rule(held, n_tokens, UNIFORM, target)
        assert rule.max_draws == next(k for k, share in zip(CAPS, flips, strict=True) if share <= 0.8 * target)
        assert rule.variance_prior == prior
        assert rule.looks == (*(look for look in LOOKS if look < rule.max_draws), rule.max_draws)
        assert len(rule.looks) <= 8


def test_expected_flips_are_those_of_the_density():
    """Flat density f: f * integral of Phi(-|x| / sigma) dx = f * sigma * sqrt(2 / pi)."""
    generator = np.random.default_rng(9)
    log_odds = generator.uniform(-20, 20, size=6000)
    held = as_samples(log_odds[:, None] + np.sqrt(VARIANCE) * generator.normal(size=(6000, 4)))
    n_tokens = np.full(6000, 128)
    prior = VariancePrior(VARIANCE, 0.0, np.inf)
    for n_draws in (1, 16, 64):
        sigma = np.sqrt(VARIANCE * (1 / n_draws - 1 / REFERENCE_DRAWS))
        expected = sigma * np.sqrt(2 / np.pi) / 40
        assert expected_flips(held, n_tokens, UNIFORM, prior, n_draws) == pytest.approx(expected, rel=0.1)


def test_one_text_of_known_log_odds_flips_as_the_normal_says():
    """One text has no kernel width, and 1023 draws leave no doubt: Owen's T is the normal's tail."""
    draws = np.random.default_rng(10).normal(size=(1, REFERENCE_DRAWS))
    draws += 0.3 - draws.mean()
    prior = VariancePrior(2.0, 0.0, np.inf)
    for n_draws in (1, 4, 64):
        expected = norm.cdf(-0.3 / np.sqrt(2.0 * (1 / n_draws - 1 / REFERENCE_DRAWS)))
        found = expected_flips(as_samples(draws), [5], UNIFORM, prior, n_draws)
        assert found == pytest.approx(expected, rel=1e-9)


def test_expected_flips_equal_a_simulation():
    """Both the reference and the mean of few draws are uncertain: Owen's T against random numbers."""
    generator = np.random.default_rng(11)
    draws = generator.normal(size=(1, 4))
    draws += 0.4 - draws.mean()
    known, drawn = 2.0 * (1 / 4 - 1 / REFERENCE_DRAWS), 2.0 * (1 / 8 - 1 / REFERENCE_DRAWS)
    reference = 0.4 + np.sqrt(known) * generator.normal(size=200_000)
    flips = np.sign(reference) != np.sign(reference + np.sqrt(drawn) * generator.normal(size=200_000))
    found = expected_flips(as_samples(draws), [5], UNIFORM, VariancePrior(2.0, 0.0, np.inf), 8)
    assert abs(flips.mean() - found) / (flips.std() / np.sqrt(200_000)) < 4


# the variance


def test_moderated_variance_is_the_weighted_mean():
    prior = VariancePrior(scale=0.5, power=1.0, degrees=6.0)
    variances, degrees = prior.moderated(np.array([[0.0, 8.0]]), 3, np.array([4]))
    assert degrees == 9.0
    np.testing.assert_allclose(variances, [[12 / 9, (6 * 2 + 3 * 8) / 9]])
    variances, degrees = VariancePrior(0.5, 1.0, np.inf).moderated(np.array([[0.0, 8.0]]), 3, np.array([4]))
    assert np.isinf(degrees)
    np.testing.assert_array_equal(variances, [[2.0, 2.0]])


def with_variances(variances):
    """Two draws of log-odds whose sample variances are given."""
    half = np.sqrt(np.asarray(variances) / 2)
    return as_samples(np.stack([5 - half, 5 + half], axis=1))


def test_the_fit_is_smyths():
    """Equations of his section 6.2, the trigamma inverted by bisection."""
    variances = np.exp(np.random.default_rng(2).normal(size=60) * 3)
    centred = np.log(variances) - psi(0.5) + np.log(0.5)
    half = brentq(lambda y: polygamma(1, y) - (centred.var(ddof=1) - polygamma(1, 0.5)), 1e-3, 1e3)
    prior = fit_variance_prior(with_variances(variances), np.full(60, 50))
    assert prior.degrees == pytest.approx(2 * half, rel=1e-6)
    assert prior.scale == pytest.approx(np.exp(centred.mean() + psi(half) - np.log(half)), rel=1e-6)
    assert prior.power == 0.0


def test_the_population_is_recovered():
    generator = np.random.default_rng(3)
    n_tokens = generator.integers(5, 400, size=8000)
    variance = 0.02 * n_tokens * 6 / generator.chisquare(6, size=8000)
    draws = 3 + np.sqrt(variance)[:, None] * generator.normal(size=(8000, 4))
    prior = fit_variance_prior(as_samples(draws), n_tokens)
    assert prior.power == pytest.approx(1.0, abs=0.06)
    assert prior.degrees == pytest.approx(6, rel=0.15)
    assert prior.expected([100])[0] == pytest.approx(2.0, rel=0.06)


def test_equal_variances_pool_all_degrees():
    prior = fit_variance_prior(with_variances(np.full(40, 3.0)), np.arange(40) + 1)
    assert prior.degrees == 40  # of infinity: all texts together have so many
    assert prior.power == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("n_zero", [1, 30, 40])
def test_zero_variances_are_left_out(n_zero):
    variances = np.exp(np.random.default_rng(4).normal(size=40))
    variances[:n_zero] = 0
    prior = fit_variance_prior(with_variances(variances), np.full(40, 20))
    if n_zero == 40:
        assert prior == VariancePrior(0.0, 0.0, np.inf)
    else:
        assert prior == fit_variance_prior(with_variances(variances[n_zero:]), np.full(40 - n_zero, 20))


# what a text's draws depend on


@pytest.fixture
def mixed():
    """Texts of three classes and all degrees of difficulty, some of them empty or of one token."""
    generator = np.random.default_rng(5)
    n_tokens = generator.integers(0, 60, size=200)
    truth = generator.normal(size=(200, 3)) * 4 * np.sqrt(n_tokens)[:, None] / 5
    samples = truth[..., None] + generator.normal(size=(200, 3, 64)) * np.sqrt(n_tokens / 60)[:, None, None]
    samples[n_tokens <= 1] = samples[n_tokens <= 1][..., :1]
    return Texts(samples, n_tokens)


RULE = StoppingRule(0.01, VariancePrior(0.03, 1.0, 8.0), max_draws=64)


def test_a_text_does_not_see_the_others(mixed):
    generator = np.random.default_rng(6)
    prior = np.log(generator.dirichlet(np.ones(3), size=200))
    together = mixed.score(RULE, prior)
    assert len(np.unique(together.n_draws)) > 3
    for rows in (generator.permutation(200)[:17], *np.arange(200)[::40, None]):
        alone = Texts(mixed.samples[rows], mixed.n_tokens[rows]).score(RULE, prior[rows])
        most = alone.samples.shape[2]
        np.testing.assert_array_equal(alone.samples, together.samples[rows][..., :most])
        for name in ("n_draws", "n_tokens", "n_forwards", "standard_errors", "is_open"):
            np.testing.assert_array_equal(getattr(alone, name), getattr(together, name)[rows], err_msg=name)


def test_open_texts_only_are_scored_once_a_look(mixed):
    scores = mixed.score(RULE, np.zeros(3))
    assert [(first, n_draws) for _, first, n_draws in mixed.calls] == [(0, 1), (1, 1), (2, 2), (4, 4), (8, 8), (16, 48)]
    for (rows, first, _), look in zip(mixed.calls, RULE.looks, strict=True):
        assert rows == np.flatnonzero(scores.n_draws >= look).tolist()
        assert first < look
    assert isinstance(scores, AdaptiveScores)
    drawn = np.arange(64) < scores.n_draws[:, None]
    np.testing.assert_array_equal(np.isnan(scores.samples), np.broadcast_to(~drawn[:, None], scores.samples.shape))
    assert (scores.n_draws[scores.is_open] == 64).all()
    np.testing.assert_array_equal(mixed.n_tokens, scores.n_tokens)


def test_no_look_is_made_when_all_are_decided():
    texts = Texts(as_samples(np.full((3, 1), 500.0)))
    assert texts.score(RULE).samples.shape == (3, 2, 1)
    assert len(texts.calls) == 1
    none = Texts(np.zeros((0, 2, 1)))
    assert none.score(RULE).samples.shape == (0, 2, 1)
    assert none.score(RULE).mean().shape == (0, 2)


def test_forward_passes_are_summed(mixed):
    scores = mixed.score(RULE, np.zeros(3))
    n_calls = 1 + np.searchsorted(RULE.looks, scores.n_draws)
    np.testing.assert_array_equal(scores.n_forwards, scores.n_draws + n_calls)
    shared = mixed.score(RULE, np.zeros(3), shared_forwards=1)
    np.testing.assert_array_equal(shared.n_forwards, shared.n_draws + 1)


def test_standard_errors_are_moderated_for_all_classes(mixed):
    scores = mixed.score(RULE, np.zeros(3))
    best = scores.mean().argmax(axis=1)
    for row in range(200):
        k, n_tokens = scores.n_draws[row], scores.n_tokens[row]
        lead = scores.samples[row, best[row], :k] - scores.samples[row, :, :k]
        variance = lead.var(axis=1, ddof=1) if k > 1 else np.zeros(3)
        expected = np.sqrt((8 * 0.03 * n_tokens + (k - 1) * variance) / (8 + k - 1) / k)
        expected[best[row]] = 0
        if n_tokens <= 1:
            expected[:] = 0
        np.testing.assert_allclose(scores.standard_errors[row], expected, rtol=1e-9)


def test_texts_of_one_mask_are_decided_at_once(mixed):
    exact = mixed.n_tokens <= 1
    assert exact.sum() > 2
    for rule in (RULE, StoppingRule(0.01, max_draws=64)):
        scores = mixed.score(rule, np.zeros(3))
        assert (scores.n_draws[exact] == rule.looks[0]).all()
        assert not scores.is_open[exact].any()
        assert (scores.standard_errors[exact] == 0).all()


def test_draws_that_agree_by_chance_decide_nothing_without_a_prior():
    draws = np.full((1, 64), 0.5)
    draws[:, 4:] = -0.5
    draws[:, 8:] = np.random.default_rng(0).normal(size=56) - 0.3
    scores = Texts(as_samples(draws)).score(StoppingRule(0.01, max_draws=64))
    assert scores.n_draws[0] > 4
    same = Texts(as_samples(np.full((1, 64), 0.5)) - 1e-11).score(StoppingRule(0.01, max_draws=64))
    assert same.n_draws[0] == 8
    assert not same.is_open[0]


def test_an_estimator_without_noise_takes_one_draw():
    held = np.repeat(np.random.default_rng(1).normal(size=(50, 2, 1)) * 9, 4, axis=2)
    rule = fit_stopping_rule(held, np.full(50, 30), UNIFORM, 0.01)
    assert rule.variance_prior == VariancePrior(0.0, 0.0, np.inf)
    assert rule.max_draws == 1
    assert not Texts(held).score(rule).is_open.any()


def test_the_prior_decides_too():
    texts = Texts(as_samples(np.full((1, 64), 3.0) + np.random.default_rng(2).normal(size=(1, 64))))
    assert texts.score(RULE).n_draws[0] > texts.score(RULE, np.log([0.999999, 1e-6])).n_draws[0]
    against = texts.score(RULE, np.array([0.0, 40.0]))
    assert against.n_draws[0] == 1
    assert against.standard_errors[0, 1] == 0  # the best is the prior's


def test_few_held_out_texts_give_a_steady_cap():
    """The kernel width: 40 texts have about one near zero, or none; their density says more than that one."""
    generator, prior = np.random.default_rng(12), VariancePrior(VARIANCE, 0.0, np.inf)
    found, plain = [], []
    for _ in range(300):
        draws = population(generator, 40, 4)
        found.append(expected_flips(as_samples(draws), np.full(40, 30), UNIFORM, prior, 16))
        sigma = np.sqrt(VARIANCE * (1 / 16 - 1 / REFERENCE_DRAWS))
        plain.append(norm.cdf(-np.abs(draws.mean(axis=1)) / sigma).mean())
    expected = 0.03 * sigma * np.sqrt(2 / np.pi)
    assert np.mean(found) == pytest.approx(expected, rel=0.1)
    assert np.std(found) < 0.5 * np.std(plain)


# parameters


def test_looks():
    assert StoppingRule(variance_prior=VariancePrior(1, 0, 4)).looks == LOOKS
    assert StoppingRule().looks == LOOKS[1:]
    assert StoppingRule(max_draws=100).looks == (2, 4, 8, 16, 64, 100)
    assert len(LOOKS) <= 8
    assert LOOKS[-1] == REFERENCE_DRAWS


@pytest.mark.parametrize("degrees", [4.5, np.inf])
def test_round_trip(degrees):
    rule = StoppingRule(0.02, VariancePrior(0.3, 1.1, degrees), 64, 0.3)
    assert StoppingRule.from_dict(json.loads(json.dumps(rule.as_dict(), allow_nan=False))) == rule
    assert StoppingRule.from_dict(StoppingRule().as_dict()) == StoppingRule()


BAD_RULES = [{"target_flip_rate": 0}, {"target_flip_rate": 0.5}, {"stop_share": 1.0}, {"max_draws": 1}]
BAD_RULES += [{"max_draws": 1024}, {"max_draws": 2.5}, {"target_flip_rate": float("nan")}]


@pytest.mark.parametrize("parameters", BAD_RULES, ids=str)
def test_bad_rules(parameters):
    with pytest.raises(ValueError, match=THREE_PARTS):
        StoppingRule(**parameters)


@pytest.mark.parametrize("values", [(-1, 0, 1), (1, np.nan, 1), (1, 0, 0), (np.inf, 0, 1), (1, 0, np.nan)], ids=str)
def test_bad_priors(values):
    with pytest.raises(ValueError, match=THREE_PARTS):
        VariancePrior(*values)


@pytest.mark.parametrize("kind", [StoppingRule, VariancePrior])
def test_missing_keys(kind):
    with pytest.raises(ValueError, match=THREE_PARTS):
        kind.from_dict({"scale": 1.0})


BAD_HELD_OUT = [
    np.zeros((5, 2, 1)),
    np.zeros((5, 1, 4)),
    np.zeros((4, 2, 4)),
    np.zeros((5, 2)),
    np.full((5, 2, 4), np.nan),
]


@pytest.mark.parametrize("samples", BAD_HELD_OUT, ids=lambda s: str(s.shape))
def test_bad_held_out_scores(samples):
    with pytest.raises(ValueError, match=THREE_PARTS):
        fit_stopping_rule(samples, np.full(5, 9), UNIFORM, 0.01)
    with pytest.raises(ValueError, match=THREE_PARTS):
        fit_variance_prior(np.zeros((0, 2, 4)), [])


@pytest.mark.parametrize("prior", [np.zeros(1), np.zeros((2, 2)), np.array([0, -np.inf]), np.zeros((3, 2, 1))], ids=str)
def test_bad_log_priors(prior):
    with pytest.raises(ValueError, match=THREE_PARTS):
        Texts(np.zeros((3, 2, 64))).score(RULE, prior)


@pytest.mark.parametrize("samples", [np.full((3, 2, 64), -np.inf), np.zeros((3, 3, 64)), np.zeros((3, 2, 0))], ids=str)
def test_bad_scores(samples):
    with pytest.raises(ValueError, match=THREE_PARTS):
        Texts(samples).score(RULE)
