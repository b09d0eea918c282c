from unittest import SkipTest

import numpy as np
import pandas as pd
import pytest
from scipy.special import log_softmax, logsumexp
from sklearn.base import BaseEstimator, DensityMixin, clone
from sklearn.naive_bayes import GaussianNB
from sklearn.utils.estimator_checks import estimator_checks_generator
from sklearn.utils.validation import check_is_fitted, validate_data

from gencls.classifier.bayes import (
    BayesClassifier,
    joint_log_proba,
    log_odds,
    log_odds_standard_error,
    log_posterior,
    resolve_priors,
)


class DiagonalGaussian(DensityMixin, BaseEstimator):
    """GaussianNB's density of one class; its variance floor depends on all classes, so it is a parameter."""

    def __init__(self, floor=1e-9):
        self.floor = floor

    def fit(self, X, y=None):
        X = validate_data(self, X)
        self.mean_, self.variance_ = X.mean(axis=0), X.var(axis=0) + self.floor
        return self

    def score_samples(self, X):
        check_is_fitted(self)
        z = (validate_data(self, X, reset=False) - self.mean_) ** 2 / self.variance_
        return -0.5 * (z + np.log(2 * np.pi * self.variance_)).sum(axis=1)


class LengthDensity(BaseEstimator):
    """A density over texts: a geometric law of their length."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.string = False, True
        return tags

    def fit(self, X, y=None):
        self.rate_ = 1 / (1 + np.mean([len(text) for text in X]))
        return self

    def score_samples(self, X):
        return np.array([np.log(self.rate_) + len(text) * np.log1p(-self.rate_) for text in X])


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_posterior_at_temperature_one_is_softmax_of_the_joint(rng):
    samples, log_prior = rng.normal(size=(50, 3, 4)) * 20, np.log([0.2, 0.3, 0.5])
    joint = joint_log_proba(samples, log_prior)
    np.testing.assert_allclose(log_posterior(samples.mean(2), log_prior), log_softmax(joint, axis=1), atol=1e-12)


def test_draws_are_averaged_in_log_space(rng):
    samples = rng.normal(size=(20, 2, 8)) * 10
    joint = joint_log_proba(samples, np.zeros(2))
    np.testing.assert_allclose(joint, samples.mean(axis=2), atol=1e-12)
    assert np.abs(joint - (logsumexp(samples, axis=2) - np.log(8))).min() > 1


def test_scores_without_evidence_give_the_prior_at_every_temperature():
    log_prior = np.log([0.1, 0.9])
    for temperature in (1.0, 7.0, np.array([0.5, 3.0, 90.0])):
        result = log_posterior(np.full((3, 2), -1234.5), log_prior, temperature)
        np.testing.assert_allclose(result, np.tile(log_prior, (3, 1)), atol=1e-12)


def test_huge_scores_stay_finite_and_exact():
    scores = np.array([[-1e5, -1e5 - 1.0], [-1e5, -2e5]])
    result = log_posterior(scores, np.log([0.5, 0.5]))
    assert np.isfinite(result).all()
    np.testing.assert_allclose(result[0], log_softmax([0.0, -1.0]), atol=1e-10)
    assert result[1, 1] == pytest.approx(-1e5)


def test_posterior_ignores_what_classes_share_and_follows_their_order(rng):
    scores, log_prior = rng.normal(size=(9, 3)) * 30, np.log([0.2, 0.3, 0.5])
    base = log_posterior(scores, log_prior, 4.0)
    np.testing.assert_allclose(log_posterior(scores + 777, log_prior, 4.0), base, atol=1e-10)
    order = [2, 0, 1]
    np.testing.assert_allclose(log_posterior(scores[:, order], log_prior[order], 4.0), base[:, order])


def test_uniform_prior_makes_both_readings_of_temperature_agree(rng):
    scores, log_prior = rng.normal(size=(9, 3)) * 30, np.full(3, -np.log(3))
    expected = log_softmax((scores + log_prior) / 5, axis=1)
    np.testing.assert_allclose(log_posterior(scores, log_prior, 5.0), expected, atol=1e-12)


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan])
def test_temperature_must_be_positive(temperature):
    with pytest.raises(ValueError, match="expected positive"):
        log_posterior([[0.0, 1.0]], [0.0, 0.0], temperature)


def test_log_odds_compare_the_best_two():
    np.testing.assert_array_equal(log_odds([[-1.0, -4.0, -2.5], [0.0, 0.0, -9.0]]), [1.5, 0.0])


def test_standard_error_is_paired_hand_example():
    noise = np.array([0.0, 100.0, -50.0])  # shared by the classes: cancels
    samples = np.stack([noise + np.arange(1, 4), noise, noise - 99])[None]
    assert log_odds_standard_error(samples)[0] == pytest.approx(1 / np.sqrt(3))
    assert np.isnan(log_odds_standard_error(samples[:, :, :1])).all()


def test_standard_error_predicts_the_scatter_of_the_log_odds(rng):
    samples = rng.normal(size=(4000, 2, 5)) * 2 + np.array([30.0, 0.0])[:, None]
    predicted = (log_odds_standard_error(samples) ** 2).mean()
    observed = log_odds(samples.mean(2)).var(ddof=1)
    # Relative errors: sqrt(2 / n) of a variance over n texts, sqrt(2 / (4 n)) of the mean of n estimates.
    z = (observed / predicted - 1) / np.sqrt(2 / 4000 + 2 / 16000)
    assert abs(z) < 4


def test_prior_moves_the_choice_of_the_two_best_classes():
    samples = np.array([[[5.0, 5.0], [4.0, 6.0], [3.0, 7.0]]])
    assert log_odds_standard_error(samples, np.log([1e-9, 0.5, 0.5]))[0] == pytest.approx(1.0)


def test_priors_resolve():
    np.testing.assert_allclose(resolve_priors("uniform", 4), 0.25)
    np.testing.assert_allclose(resolve_priors("empirical", [1, 3]), [0.25, 0.75])
    np.testing.assert_allclose(resolve_priors([0.4, 0.6], 2), [0.4, 0.6])


@pytest.mark.parametrize(
    ("priors", "counts"),
    [
        ("flat", 2),
        ("empirical", 2),
        ("empirical", [5, 0]),
        ([0.5], 2),
        ([0.5, 0.6], 2),
        ([0.0, 1.0], 2),
        ([np.nan, 1.0], 2),
        ({"left": 0.5, "right": 0.5}, 2),
        (["a half", "a half"], 2),
    ],
)
def test_bad_priors_are_refused(priors, counts):
    with pytest.raises(ValueError, match=r"priors: expected .* got .*\."):
        resolve_priors(priors, counts)


def test_samples_without_draws_are_refused():
    with pytest.raises(ValueError, match="K >= 1 draws"):
        joint_log_proba(np.zeros((3, 2)), np.zeros(2))


@pytest.mark.parametrize("priors", ["empirical", [0.2, 0.3, 0.5]])
def test_bayes_classifier_equals_gaussian_nb(rng, priors):
    y = rng.choice(["a", "b", "c"], size=300, p=[0.2, 0.3, 0.5])
    X = rng.normal(size=(300, 4)) * (1 + (y == "c"))[:, None] + (y == "a")[:, None]
    ours = BayesClassifier(DiagonalGaussian(1e-9 * X.var(axis=0).max()), priors=priors).fit(X, y)
    reference = GaussianNB(priors=None if priors == "empirical" else priors).fit(X, y)
    np.testing.assert_array_equal(ours.predict(X), reference.predict(X))
    for name in ("predict_joint_log_proba", "predict_log_proba", "predict_proba"):
        np.testing.assert_allclose(getattr(ours, name)(X), getattr(reference, name)(X), atol=1e-9)


def test_sklearn_checks_all_run_and_pass():
    ran, skipped = 0, []
    for estimator, check in estimator_checks_generator(BayesClassifier(DiagonalGaussian(1e-3))):
        try:
            check(estimator)
            ran += 1
        except SkipTest as reason:  # uncaught, it would skip this whole test and pytest would stay green
            skipped.append(str(reason))
    assert ran >= 40  # a classifier over tables has about fifty; over texts sklearn would run one
    assert len(skipped) <= 2, skipped


def test_texts_pass_through_to_the_density():
    model = BayesClassifier(LengthDensity(), priors="uniform").fit(["ab", "abc", "x" * 50, "x" * 60], [0, 0, 1, 1])
    np.testing.assert_array_equal(model.predict(["a", "", "y" * 70]), [0, 0, 1])
    np.testing.assert_allclose(model.predict_proba(["", "q" * 9]).sum(axis=1), 1)
    clone(model)


@pytest.mark.parametrize("kind", [tuple, np.array, pd.Series, lambda texts: pd.Series(texts, index=[3, 2, 1, 0])])
def test_texts_of_a_class_are_taken_by_their_place(kind):
    """A shuffled or filtered column has labels of its own: with [3, 2, 1, 0] each class would get the other's texts."""
    texts, y = ["ab", "abc", "x" * 50, "x" * 60], [0, 0, 1, 1]
    expected = BayesClassifier(LengthDensity()).fit(texts, y).log_likelihood(texts)
    found = BayesClassifier(LengthDensity()).fit(kind(texts), y).log_likelihood(texts)
    np.testing.assert_array_equal(found, expected)


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="at least two classes"):
        BayesClassifier(DiagonalGaussian()).fit([[0.0], [1.0]], [1, 1])


class Refusing(DiagonalGaussian):
    """A density that no rows suit."""

    def fit(self, X, y=None):
        raise ValueError("no density of these rows")


@pytest.mark.parametrize("change", [{"density": Refusing()}, {"priors": [0.5, 0.5]}], ids=["density", "priors"])
def test_a_second_fit_that_fails_leaves_the_first_one_whole(change):
    X, y = [[0.0], [0.5], [9.0], [9.5]], ["low", "low", "high", "high"]
    model = BayesClassifier(DiagonalGaussian(1e-3)).fit(X, y)
    before = {name: value for name, value in vars(model).items() if name.endswith("_")}
    with pytest.raises(ValueError, match=r"no density|priors"):
        model.set_params(**change).fit(X, ["a", "b", "c", "c"])
    assert all(getattr(model, name) is value for name, value in before.items())
    assert model.predict(X).tolist() == y
