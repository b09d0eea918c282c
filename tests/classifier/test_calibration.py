import numpy as np
import pytest

from gencls.classifier.bayes import log_posterior
from gencls.classifier.calibration import _objective, fit_temperature, prior_weights
from gencls.classifier.isotonic import fit_isotonic
from gencls.classifier.temperature import LengthTemperature
from gencls.classifier.weighting import LevelWeighting

UNIFORM = np.log([0.5, 0.5])


def simulate(n, a, b, seed=0, prior=(0.5, 0.5)):
    """Scores whose true temperature is a * L**b: evidence is the log-likelihood ratio of two normal distributions."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(5, 400, size=n)
    y = (rng.random(n) < prior[1]).astype(int)
    ratio = rng.normal((y - 0.5) * 2.5**2, 2.5)
    evidence = np.stack([np.zeros(n), ratio], axis=1)
    shared = -6.0 * lengths + rng.normal(0, 40, n)
    joint = (evidence + np.log(prior)) * (a * lengths**b)[:, None]
    return joint - np.log(prior) + shared[:, None], y, lengths


@pytest.mark.parametrize(("a", "b"), [(1.0, 0.0), (0.4, 0.5), (2.0, 0.25), (0.05, 1.0)])
@pytest.mark.parametrize("prior", [(0.5, 0.5), (0.2, 0.8)])
def test_true_temperature_is_found(a, b, prior):
    scores, y, lengths = simulate(8000, a, b, prior=prior)
    found = fit_temperature(scores, y, lengths, np.log(prior))
    probe = np.array([20, 100, 300])
    ratio = found.temperature(probe) / (a * probe**b)
    standard_error = np.array([0.052, 0.026, 0.038])  # over seeds, at the uneven prior
    assert (np.abs(np.log(ratio)) < 4 * standard_error).all()
    assert abs(found.b - b) < 0.16


def test_never_worse_than_no_calibration_on_the_same_data():
    rng = np.random.default_rng(3)
    for trial in range(25):
        n, c = int(rng.integers(4, 60)), int(rng.integers(2, 5))
        scores = rng.normal(size=(n, c)) * 10 ** rng.uniform(-3, 4)
        y = np.concatenate([[0, 1], rng.integers(c, size=n - 2)])
        lengths, log_prior = rng.integers(1, 500, size=n), np.log(rng.dirichlet(np.ones(c)))
        found = fit_temperature(scores, y, lengths, log_prior, length_aware=bool(trial % 2))
        row = np.arange(n)
        after, before = found.log_proba(scores, lengths, log_prior)[row, y], log_posterior(scores, log_prior)[row, y]
        weights = prior_weights(y, log_prior)
        assert -(weights * after).mean() <= -(weights * before).mean() + 1e-12


def test_saturated_scores_are_brought_back(mean_nll):
    scores, y, lengths = simulate(2000, 3000.0, 0.0)
    found = fit_temperature(scores, y, lengths, UNIFORM)
    nll = mean_nll(log_posterior(scores, UNIFORM, found.temperature(lengths)), y)
    assert nll < 0.6 < 100 < mean_nll(log_posterior(scores, UNIFORM), y)


def test_separable_scores_give_a_finite_temperature():
    y = np.arange(40) % 2
    scores = np.where(np.eye(2, dtype=bool)[y], 0.0, -3.0)
    found = fit_temperature(scores, y, np.full(40, 100), UNIFORM)
    assert 1e-2 <= found.temperature(100) < 1


def test_scores_without_class_signal_keep_temperature_one():
    scores = np.tile(np.linspace(-900, -100, 10)[:, None], (1, 2))
    found = fit_temperature(scores, np.arange(10) % 2, np.arange(10), UNIFORM)
    assert (found.a, found.b) == (1.0, 0.0)


def test_equal_lengths_and_length_blind_fits_have_no_exponent():
    scores, y, lengths = simulate(500, 4.0, 0.0)
    assert fit_temperature(scores, y, np.full(500, 77), UNIFORM).b == pytest.approx(0, abs=1e-9)
    assert fit_temperature(scores, y, lengths, UNIFORM, length_aware=False).b == 0


def test_scale_of_the_scores_is_absorbed():
    scores, y, lengths = simulate(1000, 1.0, 0.3)
    one, ten = (fit_temperature(scores * s, y, lengths, UNIFORM).temperature(100) for s in (1, 10))
    assert ten / one == pytest.approx(10, rel=0.01)  # up to the weak ridge


def test_gradient_agrees_with_differences():
    scores, y, lengths = simulate(200, 2.0, 0.3)
    log_length = np.log(lengths)
    weights = np.random.default_rng(1).uniform(size=200)
    objective = _objective(scores + np.log([0.3, 0.7]), y, log_length - log_length.mean(), weights)
    theta, step = np.array([1.1, 0.2]), 1e-6
    numeric = [(objective(theta + e)[0] - objective(theta - e)[0]) / (2 * step) for e in np.eye(2) * step]
    np.testing.assert_allclose(objective(theta)[1], numeric, rtol=1e-6)


def test_round_trip_and_empty_text():
    for law in (LengthTemperature(0.7, 0.4), LengthTemperature(0.7, 0.4, 3.0, (-0.5, -1.0))):
        assert LengthTemperature.from_dict(law.as_dict()) == law
    np.testing.assert_allclose(LengthTemperature(0.7, 0.4).temperature([0, 1]), 0.7)
    assert LengthTemperature.from_dict({"a": 2.0, "b": 0.0}).log_prior is None


def test_the_temperature_moves_no_decision_under_the_prior_of_the_fit():
    """A few sure errors ask for a high temperature; beside an untempered prior the largest class would take all."""
    rng = np.random.default_rng(4)
    log_prior, y = np.log([0.9, 0.05, 0.05]), np.repeat([0, 1, 2], [90, 5, 5])
    scores = 30.0 * np.eye(3)[y] + rng.normal(size=(100, 3))
    scores[:8] = 30.0 * np.eye(3)[1] + rng.normal(size=(8, 3))
    lengths = rng.integers(1, 400, size=100)
    found = fit_temperature(scores, y, lengths, log_prior)
    assert found.temperature(200) > 5
    assert found.log_prior == tuple(log_prior)
    decisions = (scores + log_prior).argmax(axis=1)
    np.testing.assert_array_equal(found.log_proba(scores, lengths, log_prior).argmax(axis=1), decisions)
    np.testing.assert_array_equal((scores + found.untempered_prior(lengths, log_prior)).argmax(axis=1), decisions)
    assert (log_posterior(scores, log_prior, found.temperature(lengths)).argmax(axis=1) != decisions).any()


def test_another_prior_is_bayes_rule_on_the_calibrated_posterior():
    law, lengths = LengthTemperature(0.5, 0.5, 1.0, tuple(np.log([0.7, 0.2, 0.1]))), np.array([0, 9, 400])
    scores = np.random.default_rng(5).normal(size=(3, 3)) * 20
    scores[0] = 0.0
    old, new = np.log([0.7, 0.2, 0.1]), np.log([0.1, 0.1, 0.8])
    shifted = law.log_proba(scores, lengths, old) + new - old
    wanted = shifted - np.logaddexp.reduce(shifted, axis=1, keepdims=True)
    found = law.log_proba(scores, lengths, new)
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    np.testing.assert_allclose(found[0], new)  # a text without tokens gets the prior
    order = (scores + law.untempered_prior(lengths, new)).argmax(axis=1)
    np.testing.assert_array_equal(order, found.argmax(axis=1))


def test_held_out_texts_stand_for_the_population_of_the_prior():
    """A sample with ten times too many texts of the rare class has the temperature of the whole."""
    prior = np.array([0.99, 0.01])
    np.testing.assert_allclose(prior_weights(np.repeat([0, 1], [50, 50]), np.log(prior)), np.repeat(2 * prior, 50))
    rng = np.random.default_rng(6)
    evidence, lengths = rng.normal(0, 2.5, 40_000), np.full(40_000, 50)
    scores = np.stack([np.zeros(40_000), evidence], axis=1) * 3.0
    joint = (scores + np.log(prior)) / 3.0
    y = (rng.random(40_000) < 1 / (1 + np.exp(joint[:, 0] - joint[:, 1]))).astype(int)
    share = np.bincount(y) / 40_000
    whole = fit_temperature(scores, y, lengths, np.log(share), length_aware=False).a
    kept = np.flatnonzero((y == 1) | (rng.random(40_000) < 0.1))  # a sample with too many of the rare class
    drawn = fit_temperature(scores[kept], y[kept], lengths[kept], np.log(share), length_aware=False).a
    assert drawn == pytest.approx(whole, rel=0.05)


def test_texts_without_tokens_take_no_part_in_the_fit():
    scores, y, lengths = simulate(300, 2.0, 0.3, prior=(0.3, 0.7))
    empty = np.zeros((20, 2)), np.zeros(20, dtype=int), np.zeros(20, dtype=int)
    joined = [np.concatenate(pair) for pair in zip((scores, y, lengths), empty, strict=True)]
    log_prior = np.log([0.3, 0.7])
    assert fit_temperature(*joined, log_prior) == fit_temperature(scores, y, lengths, log_prior)
    nothing = fit_temperature(np.zeros((4, 2)), np.array([0, 1, 0, 1]), np.zeros(4), log_prior)
    assert (nothing.a, nothing.b) == (1.0, 0.0)


@pytest.mark.parametrize(("a", "b"), [(0.0, 0.0), (-1.0, 0.0), (np.inf, 0.0), (1.0, np.nan)])
def test_impossible_laws_are_refused(a, b):
    with pytest.raises(ValueError, match="finite a > 0"):
        LengthTemperature(a, b)


def test_bad_input_is_refused():
    good = np.zeros((4, 2)), np.array([0, 1, 0, 1]), np.full(4, 9), UNIFORM
    with pytest.raises(ValueError, match="at least two classes"):
        fit_temperature(good[0], np.zeros(4, int), good[2], UNIFORM)
    with pytest.raises(ValueError, match="expected shapes"):
        fit_temperature(good[0], good[1][:3], good[2], UNIFORM)
    with pytest.raises(ValueError, match="NaN or infinity"):
        fit_temperature(np.full((4, 2), -np.inf), *good[1:])
    for y in ([0, 1, 0, -1], [0, 1, 2, 0], [0.0, 0.5, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0], ["0", "1", "0", "1"]):
        for fit in (fit_temperature, fit_isotonic):
            with pytest.raises(ValueError, match=r"expected class indices 0\.\.1 in y, got .*\. Pass"):
                fit(good[0], np.array(y), *good[2:])
        with pytest.raises(ValueError, match="class indices"):
            LevelWeighting.fit(good[0][:, :, None, None], np.array(y), *good[2:])
    with pytest.raises(ValueError, match="keys a and b"):
        LengthTemperature.from_dict({"a": 1.0})


def test_short_texts_are_not_extrapolated_to():
    """Held-out texts of 100 to 128 tokens whose law would give a text of five tokens a temperature below one."""
    rng = np.random.default_rng(3)
    lengths = np.concatenate([np.full(600, 128), np.full(300, 100), np.full(5, 5)])
    y = rng.integers(0, 2, size=len(lengths))
    evidence = rng.normal(1.0, 2.0, size=len(lengths)) * (2 * y - 1) * lengths / 30
    found = fit_temperature(np.stack([-evidence, evidence], axis=1) / 2, y, lengths, UNIFORM)
    assert found.shortest == pytest.approx(100)
    assert found.temperature(5) == found.temperature(100)
    assert found.temperature(128) > found.temperature(100)
