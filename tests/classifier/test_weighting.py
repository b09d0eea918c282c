"""Weights of the levels: the bound stays the bound, known coefficients are found, sklearn agrees."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from gencls.classifier.calibration import fit_temperature, prior_weights
from gencls.classifier.temperature import LengthTemperature
from gencls.classifier.weighting import PRIOR_SD, LevelWeighting, _objective
from gencls.likelihood.estimators import Estimator

THREE_PARTS = r"Expected .*; got .*\. \w+"


def labelled(generator, n_texts, n_classes, beta, *, log_prior=None, n_draws=1, scale=1.0, level=-400.0):
    """Steps (N, C, K, R) and labels of the prior: a conditional logistic model of these coefficients.

    A normal mean that the true class has moved by beta times its variance has the log-ratio beta @ mean + constant.
    """
    prior = None if log_prior is None else np.exp(log_prior)
    y = generator.choice(n_classes, size=n_texts, p=prior)
    steps = generator.normal(size=(n_texts, n_classes, n_draws, len(beta))) * scale + level
    steps[np.arange(n_texts), y] += np.asarray(beta) * scale**2 / n_draws
    return steps, y


def in_units_of_the_bound(weighting, steps, y, n_tokens, log_prior):
    """Coefficients of the untempered steps: what was fitted, divided by T(L)."""
    temperature = fit_temperature(steps.mean(axis=2).sum(axis=-1), y, n_tokens, log_prior)
    return np.array(weighting.coefficients) / temperature.temperature(n_tokens[:1])


# bound and uniform


def test_the_bound_is_the_bound():
    steps = np.random.default_rng(0).normal(size=(7, 3, 4, 5)) * 100 - 500
    weighting = LevelWeighting("bound")
    np.testing.assert_allclose(weighting.evidence(steps), steps.sum(axis=-1), rtol=1e-13)
    np.testing.assert_array_equal(LevelWeighting("learned", (1.0,) * 5).evidence(steps), weighting.evidence(steps))
    np.testing.assert_array_equal(LevelWeighting("uniform").evidence(steps), weighting.evidence(steps))
    ones = np.ones((7, 4, 5))
    np.testing.assert_allclose(LevelWeighting("uniform").evidence(steps, ones), weighting.evidence(steps), rtol=1e-14)
    assert [LevelWeighting(name).needs_steps for name in ("bound", "uniform")] == [False, True]


def test_learned_evidence_is_the_weighted_sum_of_each_text_alone():
    steps = np.random.default_rng(1).normal(size=(7, 3, 4, 3))
    weighting = LevelWeighting("learned", (0.5, 0.0, 2.0))
    evidence = weighting.evidence(steps)
    np.testing.assert_allclose(evidence, steps @ np.array([0.5, 0, 2]), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(weighting.evidence(steps[2:3, :, :2]), evidence[2:3, :, :2])


@pytest.mark.parametrize("name", ["elbo", "bernoulli"])
def test_uniform_counts_every_scored_token_the_same(name):
    """Plans of the ELBO, and log-probabilities of each token: the evidence is the plain sum, times one number."""
    generator = np.random.default_rng(2)
    plan = Estimator(name, n_mc_samples=16).plan(np.arange(30), seed=0)
    log_probs = generator.normal(size=(2, 16, 1, 30))
    plain = (log_probs * plan.scored).sum(axis=-1)
    evidence = LevelWeighting("uniform").evidence((plain * plan.weights)[None], plan.weights[None])[0]
    np.testing.assert_allclose(evidence, plain[..., 0] * (16 / np.sum(1 / plan.weights)), rtol=1e-12)


def test_uniform_keeps_the_scale_of_the_elbo():
    """A log-ratio of 0.1 nat for every token is 3 nats over 30 tokens, with either weights."""
    plan = Estimator("elbo", n_mc_samples=16).plan(np.arange(30), seed=0)
    steps = (0.1 * plan.scored.sum(axis=-1) * plan.weights)[None, None]
    np.testing.assert_allclose(LevelWeighting("bound").evidence(steps), 3.0)
    uniform = LevelWeighting("uniform").evidence(steps, plan.weights[None])
    assert uniform.mean() == pytest.approx(3.0)
    assert uniform.std() > 1  # drawn with few tokens: little evidence


def test_uniform_of_an_empty_text_is_zero():
    plan = Estimator("elbo", n_mc_samples=3).plan(np.arange(0), seed=0)
    evidence = LevelWeighting("uniform").evidence(np.zeros((1, 2, 3, 1)), plan.weights[None])
    np.testing.assert_array_equal(evidence, np.zeros((1, 2, 3)))


# learned


def test_coefficients_are_found():
    generator = np.random.default_rng(3)
    truth, log_prior = np.array([0.2, 0.9, 0.5]), np.log([0.2, 0.3, 0.5])
    steps, y = labelled(generator, 6000, 3, truth, log_prior=log_prior, scale=2.0)
    n_tokens = np.full(6000, 100)
    weighting = LevelWeighting.fit(steps, y, n_tokens, log_prior, prior_sd=100.0)
    found = in_units_of_the_bound(weighting, steps, y, n_tokens, log_prior)
    # the information of the conditional logistic model at the truth
    means = steps.mean(axis=2)
    logits = means @ truth + log_prior
    proba = np.exp(logits - logits.max(axis=1, keepdims=True))
    proba /= proba.sum(axis=1, keepdims=True)
    centred = means - np.einsum("nc,ncr->nr", proba, means)[:, None]
    errors = np.sqrt(np.diag(np.linalg.inv(np.einsum("nc,ncr,ncs->rs", proba, centred, centred))))
    assert (np.abs(found - truth) / errors < 3.5).all()
    assert weighting.needs_steps


def test_two_classes_equal_sklearn():
    """Two classes and a uniform prior: logistic regression on the difference of the steps, without an intercept."""
    generator = np.random.default_rng(4)
    steps, y = labelled(generator, 800, 2, [0.3, 0.8, 0.5], n_draws=3, scale=1.5)
    n_tokens, log_prior = np.full(800, 50), np.log([0.5, 0.5])
    weighting = LevelWeighting.fit(steps, y, n_tokens, log_prior, prior_sd=1e4)
    difference = (steps[:, 1] - steps[:, 0]).mean(axis=1)
    reference = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10, max_iter=1000)
    reference.fit(difference, y, sample_weight=prior_weights(y, log_prior))
    assert (reference.coef_ > 0).all()
    found = in_units_of_the_bound(weighting, steps, y, n_tokens, log_prior)
    np.testing.assert_allclose(found, reference.coef_[0], rtol=1e-4)


def test_the_gradient_is_the_derivative():
    generator = np.random.default_rng(5)
    steps, y = labelled(generator, 50, 3, [0.5, 1.5], level=-1e4)
    weights = generator.uniform(0.5, 2.0, size=50)
    objective = _objective(steps.mean(axis=2), y, np.tile(np.log([0.2, 0.3, 0.5]), (50, 1)), weights, 0.5)
    beta = np.array([0.7, 1.2])
    value, gradient = objective(beta)
    for index, step in enumerate(np.eye(2) * 1e-5):
        slope = (objective(beta + step)[0] - objective(beta - step)[0]) / 2e-5
        assert gradient[index] == pytest.approx(slope, rel=1e-5)
    assert np.isfinite(value)


def test_steps_of_equal_worth_keep_the_weights_of_the_bound():
    """The bound may overstate itself tenfold: that is the temperature's business."""
    generator = np.random.default_rng(6)
    steps, y = labelled(generator, 4000, 3, [0.1, 0.1, 0.1, 0.1], scale=10.0)
    coefficients = LevelWeighting.fit(steps, y, np.full(4000, 80), np.log(np.ones(3) / 3)).coefficients
    np.testing.assert_allclose(coefficients, 1.0, atol=0.15)


def test_few_texts_leave_the_bound():
    generator = np.random.default_rng(7)
    steps, y = labelled(generator, 2000, 2, [0.0, 1.0])
    few, many = (
        LevelWeighting.fit(steps[:n], y[:n], np.full(n, 20), np.log([0.5, 0.5])).coefficients for n in (12, 2000)
    )
    assert max(abs(value - 1) for value in few) < PRIOR_SD
    assert many[0] < 0.3
    assert many[1] > 1.3


def test_no_step_counts_against_itself():
    """The first step is noise that the second has too: unbounded, its coefficient is negative."""
    generator = np.random.default_rng(8)
    steps, y = labelled(generator, 3000, 2, [-0.8, 1.5])
    log_prior, n_tokens = np.log([0.5, 0.5]), np.full(3000, 20)
    weighting = LevelWeighting.fit(steps, y, n_tokens, log_prior, prior_sd=100.0)
    assert weighting.coefficients[0] == 0.0
    assert weighting.coefficients[1] > 0
    temperature = fit_temperature(steps.mean(axis=2).sum(axis=-1), y, n_tokens, log_prior)
    tempered = steps.mean(axis=2) / temperature.temperature(n_tokens)[:, None, None]
    prior = temperature.tempered_prior(n_tokens, log_prior)
    free = minimize(
        _objective(tempered, y, prior, prior_weights(y, log_prior), 100.0), np.ones(2), jac=True, method="BFGS"
    )
    assert free.x[0] < 0


def test_held_out_texts_stand_for_the_population():
    """A class that the held-out texts have ten times too often counts as much as its prior says."""
    generator = np.random.default_rng(10)
    log_prior, n_tokens = np.log([0.6, 0.4]), np.full(3000, 40)
    steps, y = labelled(generator, 3000, 2, [0.1, 0.6], log_prior=log_prior)
    steps[y == 1, 1] += [0.5, -0.5]  # of this class the first step tells as much
    values = steps, y, n_tokens
    sampled = tuple(np.repeat(array, np.where(y == 1, 10, 1), axis=0) for array in values)
    plain, often = (LevelWeighting.fit(*found, log_prior, prior_sd=100.0).coefficients for found in (values, sampled))
    np.testing.assert_allclose(often, plain, rtol=1e-3)


def test_texts_of_no_tokens_take_no_part():
    generator = np.random.default_rng(11)
    log_prior, n_tokens = np.log([0.3, 0.7]), np.full(600, 30)
    steps, y = labelled(generator, 600, 2, [0.2, 0.9], log_prior=log_prior)
    with_empty = np.concatenate([steps, np.zeros((200, *steps.shape[1:]))])
    found = LevelWeighting.fit(steps, y, n_tokens, log_prior)
    empty = LevelWeighting.fit(with_empty, np.append(y, [0] * 200), np.append(n_tokens, [0] * 200), log_prior)
    assert empty == found
    nothing = LevelWeighting.fit(np.zeros((4, 2, 1, 2)), [0, 1, 0, 1], np.zeros(4), log_prior)
    assert nothing.coefficients == (1.0, 1.0)


def test_the_fit_does_not_see_what_the_classes_share():
    generator = np.random.default_rng(9)
    steps, y = labelled(generator, 500, 3, [0.4, 0.8])
    log_prior, n_tokens = np.log([0.2, 0.3, 0.5]), np.random.default_rng(1).integers(5, 300, size=500)
    shared = generator.normal(size=(500, 1, 1, 2)) * 1000
    plain, moved = (LevelWeighting.fit(values, y, n_tokens, log_prior) for values in (steps, steps + shared))
    np.testing.assert_allclose(plain.coefficients, moved.coefficients, rtol=1e-4)


def test_labels_are_better_explained_than_by_the_bound():
    """Held-out negative log-likelihood after the temperature that each of them gets."""
    generator = np.random.default_rng(10)
    steps, y = labelled(generator, 6000, 3, [0.1, 1.0, 0.2], scale=2.0)
    log_prior, n_tokens = np.log(np.ones(3) / 3), np.full(6000, 60)
    weighting = LevelWeighting.fit(steps[:3000], y[:3000], n_tokens[:3000], log_prior)

    def nll(kind):
        evidence = kind.evidence(steps).mean(axis=2)
        fitted = fit_temperature(evidence[:3000], y[:3000], n_tokens[:3000], log_prior)
        assert isinstance(fitted, LengthTemperature)
        logits = evidence[3000:] / fitted.temperature(n_tokens[3000:])[:, None]
        shifted = logits - logits.max(axis=1, keepdims=True)
        return (np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(3000), y[3000:]]).mean()

    assert nll(weighting) < nll(LevelWeighting("bound")) - 0.05


# parameters


def test_round_trip():
    for weighting in (LevelWeighting("bound"), LevelWeighting("uniform"), LevelWeighting("learned", (0.1, 1.0 / 3))):
        assert LevelWeighting.from_dict(json.loads(json.dumps(weighting.as_dict(), allow_nan=False))) == weighting
    with pytest.raises(ValueError, match=THREE_PARTS):
        LevelWeighting.from_dict({"name": "bound"})


BAD = [("best", None), ("learned", None), ("bound", (1.0,)), ("learned", ()), ("learned", (-1.0,))]
BAD += [("learned", (np.nan,)), ("uniform", (1.0,))]


@pytest.mark.parametrize("arguments", BAD, ids=str)
def test_bad_weightings(arguments):
    with pytest.raises(ValueError, match=THREE_PARTS):
        LevelWeighting(*arguments)


def test_bad_steps():
    steps = np.zeros((4, 2, 3, 2))
    for name, values, weights in (
        ("bound", steps[0], None),
        ("uniform", steps, np.ones((4, 3))),
        ("uniform", steps, -np.ones((4, 3, 2))),
        ("uniform", steps[..., :0], None),
    ):
        with pytest.raises(ValueError, match=THREE_PARTS):
            LevelWeighting(name).evidence(values, weights)
    with pytest.raises(ValueError, match=r"Expected 3 steps.*; got 2\. Calibrate again"):
        LevelWeighting("learned", (1.0, 1.0, 1.0)).evidence(steps)


def test_bad_fits():
    steps, y, n_tokens, log_prior = np.zeros((4, 2, 3, 2)), np.array([0, 1, 0, 1]), np.full(4, 9), np.log([0.5, 0.5])
    with pytest.raises(ValueError, match=r"Expected steps .*; got none\. Score with by_step=True"):
        LevelWeighting.fit(None, y, n_tokens, log_prior)
    with pytest.raises(ValueError, match=THREE_PARTS):
        LevelWeighting.fit(steps, y, n_tokens, log_prior, prior_sd=0.0)
    with pytest.raises(ValueError, match="expected at least two classes"):
        LevelWeighting.fit(steps, y * 0, n_tokens, log_prior)
    with pytest.raises(ValueError, match="expected finite scores"):
        LevelWeighting.fit(steps - np.inf, y, n_tokens, log_prior)
