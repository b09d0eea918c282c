"""Isotonic maps: hand examples, what they cannot harm, new priors, and scores of thousands of nats."""

import json
from functools import partial

import numpy as np
import pytest

from gencls.classifier.bayes import log_posterior
from gencls.classifier.calibration import fit_temperature
from gencls.classifier.isotonic import IsotonicCalibration, fit_isotonic
from gencls.classifier.temperature import LengthTemperature

UNIFORM = np.log([0.5, 0.5])


def simulate(n, n_classes, seed=0):
    """Scores whose posterior is right: y is drawn from it."""
    rng = np.random.default_rng(seed)
    scores, log_prior = rng.normal(0, 2, (n, n_classes)), np.full(n_classes, -np.log(n_classes))
    cumulative = np.exp(log_posterior(scores, log_prior)).cumsum(axis=1)
    y = (rng.random((n, 1)) > cumulative).sum(axis=1)
    return scores, y, np.full(n, 50), log_prior


def test_pools_violators_as_by_hand():
    """Log-odds -2, 0, 2, 4 with the labels 0, 1, 0, 1: the two in the middle share one half."""
    scores, lengths = np.array([[0.0, -2], [0, 0], [0, 2], [0, 4]]), np.full(4, 9)
    fitted = fit_isotonic(scores, [0, 1, 0, 1], lengths, UNIFORM)
    proba = np.exp(fitted.log_proba(scores, lengths, UNIFORM))[:, 1]
    np.testing.assert_allclose(proba, [1 / 6, 0.5, 0.5, 5 / 6])
    between = np.exp(fitted.log_proba([[0.0, -1.0], [0.0, 3.0], [0.0, -99.0], [0.0, 99.0]], lengths, UNIFORM))[:, 1]
    np.testing.assert_allclose(between, [1 / 3, 2 / 3, 1 / 6, 5 / 6])


@pytest.mark.parametrize("n_classes", [2, 4])
def test_right_probabilities_stay(n_classes):
    scores, y, lengths, log_prior = simulate(20_000, n_classes)
    fitted = fit_isotonic(scores, y, lengths, log_prior)
    fresh, _, _, _ = simulate(500, n_classes, seed=1)
    found = np.exp(fitted.log_proba(fresh, lengths[:500], log_prior))
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    error = np.abs(found - np.exp(log_posterior(fresh, log_prior)))
    assert error.mean() < 0.02  # the steps hold some 500 texts each: 0.5 / sqrt(500)


def test_a_bent_scale_is_straightened_where_a_temperature_cannot(mean_nll):
    """Evidence that is cubed: overconfident when large and underconfident when small."""
    scores, y, lengths, _ = simulate(8000, 2)
    evidence = scores[:, 1] - scores[:, 0]
    bent = np.stack([np.zeros_like(evidence), evidence**3], axis=1)
    train, test = slice(0, 6000), slice(6000, None)
    fits = {"temperature": partial(fit_temperature, lapses=False), "isotonic": fit_isotonic}
    loss = {
        name: mean_nll(
            fit(bent[train], y[train], lengths[train], UNIFORM).log_proba(bent[test], lengths[test], UNIFORM), y[test]
        )
        for name, fit in fits.items()
    }
    best = mean_nll(log_posterior(scores[test], UNIFORM), y[test])
    assert best <= loss["isotonic"] < best + 0.02 < loss["temperature"]


@pytest.mark.parametrize("n_classes", [2, 3])
def test_any_rising_change_of_two_classes_and_any_shift_changes_nothing(n_classes):
    scores, y, lengths, log_prior = simulate(300, n_classes)
    shifted = scores - 900 * np.random.default_rng(2).random((300, 1))
    one, other = (fit_isotonic(s, y, lengths, log_prior).log_proba(s, lengths, log_prior) for s in (scores, shifted))
    np.testing.assert_allclose(one, other, atol=1e-9)
    if n_classes == 2:
        scaled = 1000 * scores
        thousand = fit_isotonic(scaled, y, lengths, log_prior).log_proba(scaled, lengths, log_prior)
        np.testing.assert_allclose(one, thousand, atol=1e-9)


def test_new_priors_are_exact():
    """Odds move by the ratio of the priors, and back again."""
    scores, y, lengths, log_prior = simulate(400, 3)
    fitted, new = fit_isotonic(scores, y, lengths, log_prior), np.log([0.7, 0.2, 0.1])
    before, after = (fitted.log_proba(scores, lengths, prior) for prior in (log_prior, new))
    expected = before + new - log_prior
    np.testing.assert_allclose(after, expected - np.log(np.exp(expected).sum(axis=1, keepdims=True)), atol=1e-12)


def test_certainty_is_bounded_and_an_absent_class_gets_the_floor(caplog):
    scores, y = np.array([[0.0, -1e5, -2e5], [-1e5, 0.0, -2e5]] * 4), np.array([0, 1] * 4)
    log_prior = np.full(3, -np.log(3))
    proba = np.exp(fit_isotonic(scores, y, np.full(8, 9), log_prior).log_proba(scores, np.full(8, 9), log_prior))
    rest = 1 / 10
    np.testing.assert_allclose(proba[0], [1 - rest, rest / 2, rest / 2])
    (told,) = caplog.messages
    assert "no held-out text of the classes [2]" in told
    caplog.clear()
    fit_isotonic(scores, np.array([0, 1, 2, 1] * 2), np.full(8, 9), log_prior)
    assert not caplog.messages


def test_many_classes_take_no_more_from_a_sure_decision_than_two():
    n_classes, n_texts = 52, 520
    y, lengths = np.arange(n_texts) % n_classes, np.full(n_texts, 9)
    scores, log_prior = np.where(np.eye(n_classes)[y] > 0, 0.0, -1e4), np.full(n_classes, -np.log(n_classes))
    proba = np.exp(fit_isotonic(scores, y, lengths, log_prior).log_proba(scores, lengths, log_prior))
    np.testing.assert_allclose(proba[np.arange(n_texts), y], 1 - 1 / (n_texts + 2))


def test_temperature_has_the_same_interface():
    scores, _, lengths, log_prior = simulate(20, 3)
    law = LengthTemperature(2.0, 0.3)
    expected = log_posterior(scores, log_prior, law.temperature(lengths))
    np.testing.assert_allclose(law.log_proba(scores, lengths, log_prior), expected, atol=1e-12)


def test_round_trip_through_json_and_bad_input():
    scores, y, lengths, log_prior = simulate(60, 3)
    fitted = fit_isotonic(scores, y, lengths, log_prior)
    again = IsotonicCalibration.from_dict(json.loads(json.dumps(fitted.as_dict())))
    assert np.array_equal(again.log_proba(scores, lengths, log_prior), fitted.log_proba(scores, lengths, log_prior))
    with pytest.raises(ValueError, match="at least two classes"):
        fit_isotonic(scores, np.zeros(60, int), lengths, log_prior)
    with pytest.raises(ValueError, match="NaN or infinity"):
        fit_isotonic(np.full((60, 3), np.nan), y, lengths, log_prior)
