"""Lapses: texts of which the scores say nothing, and which must neither set the temperature nor cost without bound."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from gencls.classifier.bayes import log_posterior
from gencls.classifier.calibration import _objective, fit_temperature
from gencls.classifier.temperature import LengthTemperature, with_lapses

PRIOR = np.log([0.5, 0.3, 0.2])


def simulate(n, lapse, *, t=5.0, seed=0):
    """Scores whose posterior is right at T = t, and a share of texts whose label has nothing to do with them."""
    rng = np.random.default_rng(seed)
    joint = rng.normal(size=(n, 3)) * 4 + PRIOR
    y = np.array([rng.choice(3, p=row) for row in np.exp(log_posterior(joint, 0.0))])
    is_lapse = rng.random(n) < lapse
    y = np.where(is_lapse, rng.integers(3, size=n), y)
    lengths = rng.integers(20, 200, size=n)
    return joint * t - PRIOR, y, lengths


@pytest.mark.parametrize("lapse", [0.02, 0.1])
def test_the_rate_is_found_and_the_temperature_is_that_of_the_others(lapse):
    drawn = [simulate(3000, lapse, seed=seed) for seed in range(6)]
    found, plain = ([fit_temperature(*one, PRIOR, lapses=flag) for one in drawn] for flag in (True, False))
    assert np.mean([fit.lapse for fit in found]) == pytest.approx(lapse, abs=0.01)
    assert np.mean([fit.temperature(80) for fit in found]) == pytest.approx(5.0, rel=0.04)
    assert all(fit.lapse == 0 for fit in plain)
    assert np.mean([fit.temperature(80) for fit in plain]) > 5.3


def test_no_lapses_are_found_where_there_are_none():
    rates = [fit_temperature(*simulate(400, 0.0, seed=seed), PRIOR).lapse for seed in range(10)]
    assert np.mean(rates) < 0.004
    assert max(rates) < 0.02


def test_unseen_lapses_cost_little_and_the_rest_gains(mean_nll):
    held, test = simulate(500, 0.03, seed=1), simulate(4000, 0.03, seed=2)
    nll = {}
    for flag in (True, False):
        found = fit_temperature(*held, PRIOR, lapses=flag)
        nll[flag] = mean_nll(found.log_proba(test[0], test[2], PRIOR), test[1])
    assert nll[True] < nll[False] - 0.01


def test_the_fit_is_no_worse_on_its_own_texts_than_the_one_without_lapses(mean_nll):
    for seed in range(8):
        scores, y, lengths = simulate(60, 0.1 * (seed % 2), seed=seed)
        with_rate, without = (fit_temperature(scores, y, lengths, PRIOR, lapses=flag) for flag in (True, False))
        ridge = 1e-3  # of log T and b, which both pay
        after, before = (mean_nll(fit.log_proba(scores, lengths, PRIOR), y) for fit in (with_rate, without))
        assert after <= before + ridge


def test_no_decision_is_moved_under_the_prior_of_the_fit():
    scores, y, lengths = simulate(1000, 0.1)
    found = fit_temperature(scores, y, lengths, PRIOR)
    assert found.lapse > 0.05
    np.testing.assert_array_equal(
        found.log_proba(scores, lengths, PRIOR).argmax(axis=1), (scores + PRIOR).argmax(axis=1)
    )


def test_posterior_by_hand_and_its_floor():
    temperature = LengthTemperature(a=2.0, log_prior=tuple(PRIOR), lapse=0.06)
    scores = np.array([[0.0, -1.0, -900.0]])
    tempered = np.exp((scores + PRIOR) / 2)
    expected = 0.94 * tempered / tempered.sum() + 0.02
    np.testing.assert_allclose(np.exp(temperature.log_proba(scores, [10], PRIOR)), expected, atol=1e-12)


def test_another_prior_is_bayes_rule_on_the_posterior_with_lapses():
    temperature = LengthTemperature(a=3.0, b=0.2, log_prior=tuple(PRIOR), lapse=0.03)
    scores, _, lengths = simulate(50, 0.0)
    other = np.log([0.1, 0.1, 0.8])
    expected = log_posterior(temperature.log_proba(scores, lengths, PRIOR), other - PRIOR)
    np.testing.assert_allclose(temperature.log_proba(scores, lengths, other), expected, atol=1e-10)


def test_a_text_without_tokens_gets_the_prior():
    temperature = LengthTemperature(a=3.0, log_prior=tuple(PRIOR), lapse=0.2)
    other = np.log([0.7, 0.2, 0.1])
    np.testing.assert_allclose(temperature.log_proba(np.zeros((1, 3)), [0], other), other[None], atol=1e-12)


@pytest.mark.parametrize("lapse", [0.0, 0.05])
@pytest.mark.parametrize("theta", [[1.0, 0.3, -4.0], [3.0, -0.2, -1.0], [0.0, 0.0, -13.0], [2.0, 0.1]])
def test_gradient_of_the_fit(theta, lapse):
    scores, y, lengths = simulate(80, lapse)
    centred = np.log(lengths) - np.log(lengths).mean()
    objective = _objective(scores + PRIOR, y, centred, np.linspace(0.5, 1.5, 80))
    numeric = approx_fprime(np.array(theta), lambda point: objective(point)[0], 1e-6)
    np.testing.assert_allclose(objective(np.array(theta))[1], numeric, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("lapse", [0.0, 0.04])
def test_slope_of_the_log_odds_is_their_derivative(lapse):
    """What one of the best two gains the other loses, and the third keeps its share."""
    temperature = LengthTemperature(a=1.0, log_prior=(0.0, 0.0, 0.0), lapse=lapse)
    for gap in (0.5, 3.0, 9.0):
        p = np.exp(log_posterior(np.array([[gap, 0.0, -2.0]]), 0.0))[0]
        step = 1e-5
        share = np.exp(gap + step) / (1 + np.exp(gap + step)) * (p[0] + p[1])
        moved = np.log([share, p[0] + p[1] - share, p[2]])
        odds = [temperature.log_proba(row[None], [9], np.zeros(3))[0] for row in (np.log(p), moved)]
        numeric = ((odds[1][0] - odds[1][1]) - (odds[0][0] - odds[0][1])) / step
        slope = temperature.log_odds_slope(np.log(p)[None], [9], np.zeros(3))[0]
        assert slope == pytest.approx(numeric, abs=1e-4)
    assert lapse or slope == pytest.approx(1.0, abs=1e-12)


def test_slope_is_finite_where_a_class_is_out_of_reach():
    scores = np.array([[0.0, -1e5, -2e5]])
    assert LengthTemperature().log_odds_slope(scores, [5], np.zeros(3)) == pytest.approx(1.0)
    slope = LengthTemperature(lapse=0.01).log_odds_slope(scores, [5], np.zeros(3))
    assert slope == pytest.approx(0.0, abs=1e-12)


def test_it_is_saved_and_older_files_have_none():
    made = LengthTemperature(a=2.0, b=0.5, shortest=3.0, log_prior=(-0.7, -0.7), lapse=0.01)
    assert LengthTemperature.from_dict(made.as_dict()) == made
    older = {name: value for name, value in made.as_dict().items() if name != "lapse"}
    assert LengthTemperature.from_dict(older).lapse == 0.0


def test_a_rate_that_is_no_share_is_refused():
    with pytest.raises(ValueError, match="0 <= lapse < 1"):
        LengthTemperature(lapse=1.0)


def test_zero_lapses_change_no_bit():
    log_post = np.log([[0.2, 0.8], [1e-300, 1.0]])
    np.testing.assert_array_equal(with_lapses(log_post, 0.0, 2), log_post)
