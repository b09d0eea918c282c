"""Plans against the enumeration of a joint table: expectation, variance, normalisation, and the seed."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from gencls.diffusion import exact
from gencls.likelihood.estimators import Estimator

V, L = 3, 4
TEXTS = list(exact.all_texts(V, L))
RNG = np.random.default_rng


@pytest.fixture(scope="module")
def joint():
    return exact.random_joint(V, L, generator=RNG(11))


@pytest.fixture(scope="module")
def right(joint):
    return exact.exact_conditionals(joint)


@pytest.fixture(scope="module")
def wrong(right):
    return exact.perturbed_conditionals(right, 0.5, generator=RNG(12))


def samples(plan, log_probs):
    """Evaluate a plan: samples (K,) from a function (hidden positions) -> log-probs (L,)."""
    n_draws, n_forwards, _ = plan.masked.shape
    values = np.zeros(n_draws)
    for draw, forward in itertools.product(range(n_draws), range(n_forwards)):
        scored = plan.scored[draw, forward]
        assert not (scored & ~plan.masked[draw, forward]).any()  # never score what the network sees
        if scored.any():
            hidden = tuple(np.flatnonzero(plan.masked[draw, forward]).tolist())
            values[draw] += plan.weights[draw, forward] * log_probs(hidden)[scored].sum()
    return values


def table_of(conditionals, text):
    """All D(. | M) of a text, computed once."""
    table = {masked: exact.denoiser_log_probs(conditionals, text, masked) for masked in exact.all_masks(len(text))}
    return table.__getitem__


def means_over_seeds(estimator, conditionals, text, n_seeds):
    """Mean of the K draws for many seeds: independent, also where the K draws share strata."""
    log_probs = table_of(conditionals, text)
    return np.array([samples(estimator.plan(np.array(text), seed=seed), log_probs).mean() for seed in range(n_seeds)])


@pytest.mark.parametrize("text", [(0, 1, 2, 0), (2, 2, 1, 1)])
@pytest.mark.parametrize(
    "estimator",
    [
        Estimator("elbo", n_mc_samples=1),
        Estimator("elbo", n_mc_samples=3),
        Estimator("bernoulli", n_mc_samples=2),
        Estimator("path", n_steps=1, n_mc_samples=1),
        Estimator("path", n_steps=2, n_mc_samples=2),
        Estimator("path", n_steps=3, n_mc_samples=1),
        Estimator("path", n_steps=4, n_mc_samples=1),
    ],
    ids=lambda value: f"{value.name}-{value.n_steps}-{value.n_mc_samples}" if isinstance(value, Estimator) else None,
)
def test_expectation_is_the_enumeration(wrong, estimator, text):
    """z < 4 in the estimator's own error; a wrong denoiser, as with the right one weights could cancel."""
    means = means_over_seeds(estimator, wrong, text, 1500)
    if estimator.name == "path":
        expected = exact.enumerated_path_score(wrong, text, estimator.n_steps)
    else:
        expected = exact.enumerated_elbo(wrong, text)
    error = means.std(ddof=1) / math.sqrt(len(means))
    assert abs(means.mean() - expected) < 4 * error + 1e-12


def test_full_path_of_the_exact_conditionals_is_log_p_in_every_draw(joint, right):
    for text in TEXTS[::4]:
        plan = Estimator("path", n_steps=L, n_mc_samples=3).plan(np.array(text), seed=0)
        np.testing.assert_allclose(samples(plan, table_of(right, text)), exact.log_probability(joint, text), atol=1e-12)


@pytest.mark.parametrize("n_steps", [1, 2, 3, 4, 9])
def test_path_scores_of_one_order_sum_to_one_over_all_texts(wrong, n_steps):
    """One plan (one order) for all texts: exp(score) is a distribution, though no conditional is right."""
    plan = Estimator("path", n_steps=n_steps, n_mc_samples=2).plan(np.arange(L), seed=5)
    totals = sum(np.exp(samples(plan, table_of(wrong, text))) for text in TEXTS)
    np.testing.assert_allclose(totals, 1.0, atol=1e-12)


@pytest.mark.parametrize("n_draws", [1, 4])
def test_elbo_variance_of_a_unigram_is_the_closed_form(n_draws):
    """Var of the mean of K draws = L (H_L - 1) s² / K; the variance's own error from the fourth moment."""
    text = np.array([0, 1, 2, 0, 1, 0, 3])
    log_probs = np.log(np.array([0.5, 0.3, 0.15, 0.05]))[text]
    estimator = Estimator("elbo", n_mc_samples=n_draws)
    means = np.array([samples(estimator.plan(text, seed=s), lambda _: log_probs).mean() for s in range(6000)])
    squares = (means - log_probs.sum()) ** 2
    expected = exact.unigram_elbo_variance(log_probs) / n_draws
    assert abs(squares.mean() - expected) < 4 * squares.std(ddof=1) / math.sqrt(len(squares))
    # the error is small enough to tell ddof=1 from ddof=0 or H_L from H_L - 1
    assert 4 * squares.std(ddof=1) / math.sqrt(len(squares)) < expected / len(text)


@pytest.mark.parametrize("n_steps", [1, 2, 5, 7, 20])
def test_path_has_no_variance_for_a_unigram(n_steps):
    text = np.array([0, 1, 2, 0, 1, 0, 3])
    log_probs = np.log(np.array([0.5, 0.3, 0.15, 0.05]))[text]
    plan = Estimator("path", n_steps=n_steps, n_mc_samples=6).plan(text, seed=1)
    np.testing.assert_allclose(samples(plan, lambda _: log_probs), log_probs.sum(), rtol=1e-13)


@pytest.mark.parametrize("n_steps", [1, 2, 3, 7, 11])
def test_path_scores_every_token_once_and_hides_what_is_not_yet_known(n_steps):
    plan = Estimator("path", n_steps=n_steps, n_mc_samples=5).plan(np.arange(7), seed=2)
    assert plan.masked.shape == plan.scored.shape == (5, n_steps, 7)
    assert plan.weights.shape == (5, n_steps)
    np.testing.assert_array_equal(plan.scored.sum(axis=1), 1)
    known = np.cumsum(plan.scored, axis=1) - plan.scored > 0
    np.testing.assert_array_equal(plan.masked, ~known)
    assert (plan.weights == 1).all()
    assert plan.masked[:, 0].all()


def test_elbo_weights_are_length_over_count():
    plan = Estimator("elbo", n_mc_samples=6).plan(np.arange(6), seed=3)
    np.testing.assert_array_equal(plan.masked, plan.scored)
    np.testing.assert_allclose(plan.weights[:, 0], 6 / plan.masked[:, 0].sum(axis=1))
    assert sorted(plan.masked[:, 0].sum(axis=1)) == [1, 2, 3, 4, 5, 6]  # K = L strata: every count once


@pytest.mark.parametrize("name", ["path", "elbo", "bernoulli"])
def test_a_plan_depends_on_the_text_and_the_seed_only(name):
    estimator = Estimator(name, n_steps=3, n_mc_samples=4)
    ids = np.array([3, 1, 4, 1, 5, 9, 2, 6])
    first = estimator.plan(ids, seed=0)
    for other_text in ([2], [7, 7, 7]):  # other texts in between change nothing
        estimator.plan(np.array(other_text), seed=0)
    again = estimator.plan(ids.astype(np.int32), seed=0)
    np.testing.assert_array_equal(first.masked, again.masked)
    np.testing.assert_array_equal(first.scored, again.scored)
    np.testing.assert_array_equal(first.weights, again.weights)
    other_seed, other_ids = estimator.plan(ids, seed=1), estimator.plan(ids[::-1], seed=0)
    assert (first.masked != other_seed.masked).any()
    assert (first.masked != other_ids.masked).any()


def test_more_draws_of_the_path_keep_the_first_ones():
    """A sweep over K reads the draws of one run."""
    ids = np.arange(9)
    few, many = (Estimator("path", n_steps=2, n_mc_samples=k).plan(ids, seed=0) for k in (3, 8))
    np.testing.assert_array_equal(many.scored[:3], few.scored)


@pytest.mark.parametrize("name", ["path", "elbo", "bernoulli"])
@pytest.mark.parametrize("n_tokens", [0, 1])
def test_texts_of_no_token_and_of_one(name, n_tokens):
    estimator = Estimator(name, n_steps=3, n_mc_samples=4)
    plan = estimator.plan(np.arange(n_tokens), seed=0)
    assert plan.masked.shape == plan.scored.shape == (4, estimator.forwards_per_draw, n_tokens)
    assert plan.weights.shape == (4, estimator.forwards_per_draw)
    assert np.isfinite(plan.weights).all()
    values = samples(plan, lambda _: np.array([-2.5]))
    if n_tokens == 0:
        np.testing.assert_array_equal(values, 0.0)
    elif name != "bernoulli":
        np.testing.assert_array_equal(values, -2.5)  # one token: the bound is its log-probability in every draw


def test_shared_plans_cut_the_noise_of_a_ratio(right, wrong):
    """Two denoisers that nearly agree, one plan: the difference varies less than with plans of their own."""
    near = exact.perturbed_conditionals(right, 0.05, generator=RNG(13))
    text, estimator = (0, 2, 1, 0), Estimator("elbo", n_mc_samples=1)
    first, second = (means_over_seeds(estimator, table, text, 800) for table in (right, near))
    shared = np.var(first - second)
    assert shared < 0.2 * np.var(first - np.roll(second, 1))


@pytest.mark.parametrize("options", [{"name": "iwae"}, {"n_steps": 0}, {"n_mc_samples": 0}, {"n_mc_samples": -2}])
def test_bad_options_are_refused_in_three_parts(options):
    with pytest.raises(ValueError, match=r"expected .* got .*; "):
        Estimator(**options)


def test_forward_counts():
    assert Estimator("path", n_steps=3, n_mc_samples=5).n_forwards == 15
    assert Estimator("elbo", n_steps=3, n_mc_samples=5).n_forwards == 5
    assert Estimator("bernoulli", n_steps=3, n_mc_samples=5).forwards_per_draw == 1
