"""Plans against the enumeration of a joint table: expectation, variance, normalisation, and the seed."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import special

from gencls.diffusion import exact
from gencls.likelihood.estimators import MAX_CHAIN_TOKENS, Estimator
from gencls.likelihood.work import TextWork

V, L = 3, 4
TEXTS = list(exact.all_texts(V, L))
RNG = np.random.default_rng
NAMES = ["path", "importance_path", "elbo", "complementary_elbo", "bernoulli", "chain"]
PATHS = ["path", "importance_path", "chain"]
ORDERS = ["spaced", "uniform", "left_to_right"]
ALL = [Estimator(name, 3, 4, n_importance=2) for name in NAMES]
ALL += [Estimator(name, 3, 4, order, 2) for name in PATHS for order in ORDERS[1:]]
UNIGRAM_TEXT = np.array([0, 1, 2, 0, 1, 0, 3])
UNIGRAM = np.log(np.array([0.5, 0.3, 0.15, 0.05]))[UNIGRAM_TEXT]


def label(value):
    if isinstance(value, Estimator):
        return f"{value.name}-{value.n_steps}-{value.n_mc_samples}-{value.order}"
    return None


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
    """Evaluate a plan: draws (K,) from a function (hidden positions) -> log-probs (L,)."""
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


def draws_over_seeds(estimator, log_probs, text, n_seeds):
    """Draws of the plan for many seeds, (n_seeds, K): rows are independent, also where the K draws share strata."""
    return np.array([samples(estimator.plan(np.array(text), seed=seed), log_probs) for seed in range(n_seeds)])


def assert_mean(values, expected):
    """z < 4 in the values' own error."""
    assert abs(values.mean() - expected) < 4 * values.std(ddof=1) / math.sqrt(len(values)) + 1e-12


def spaced_paths(n_tokens, n_steps):
    """All ways to cut a text in spaced blocks, equally likely where `n_steps` divides `n_tokens`."""
    windows = itertools.product(itertools.permutations(range(n_steps)), repeat=n_tokens // n_steps)
    for blocks in (np.ravel(window) for window in windows):
        yield [np.flatnonzero(blocks == step).tolist() for step in range(n_steps)]


def uniform_paths(n_tokens, n_steps):
    return (exact.cut_order(order, n_steps) for order in itertools.permutations(range(n_tokens)))


# Expectations


@pytest.mark.parametrize("text", [(0, 1, 2, 0), (2, 2, 1, 1)])
@pytest.mark.parametrize(
    "estimator",
    [
        Estimator("elbo", n_mc_samples=1),
        Estimator("elbo", n_mc_samples=3),
        Estimator("complementary_elbo", n_mc_samples=1),
        Estimator("complementary_elbo", n_mc_samples=3),
    ],
    ids=label,
)
def test_bounds_expect_the_enumerated_bound(wrong, estimator, text):
    """A wrong denoiser, as with the right one weights could cancel."""
    means = draws_over_seeds(estimator, table_of(wrong, text), text, 1500).mean(axis=1)
    assert_mean(means, exact.enumerated_elbo(wrong, text))


@pytest.mark.parametrize("draw", [0, 1, 2])
@pytest.mark.parametrize("name", ["elbo", "complementary_elbo"])
def test_every_single_draw_is_unbiased(wrong, name, draw):
    """Draws are spread over the levels, but each has all levels in its reach."""
    text = (0, 1, 2, 0)
    values = draws_over_seeds(Estimator(name, n_mc_samples=3), table_of(wrong, text), text, 1500)[:, draw]
    assert_mean(values, exact.enumerated_elbo(wrong, text))


@pytest.mark.parametrize("text", [(0, 1, 2, 0), (2, 2, 1, 1)])
def test_bernoulli_expects_the_same_bound(wrong, text):
    r"""Levels of at least a only: the whole has no variance. The rest of the expectation is an incomplete beta.

    E = \sum_M \sum_{i in M} D(i | M) \int_a^1 t^{n-1} (1-t)^{L-n} dt, which for a = 0 is the exact-count bound.
    """
    log_probs, lowest = table_of(wrong, text), 0.01

    def expected(start):
        total = 0.0
        for masked in exact.all_masks(L):
            beta = len(masked), L - len(masked) + 1
            total += special.beta(*beta) * special.betaincc(*beta, start) * np.nansum(log_probs(masked))
        return total

    assert expected(0.0) == pytest.approx(exact.enumerated_elbo(wrong, text), abs=1e-12)
    values = []
    for seed in range(3000):
        plan = Estimator("bernoulli", n_mc_samples=2).plan(np.array(text), seed=seed)
        values.append(np.where(plan.weights[:, 0] <= 1 / lowest, samples(plan, log_probs), 0.0).mean())
    assert_mean(np.array(values), expected(lowest))


@pytest.mark.parametrize("text", [(0, 1, 2, 0), (2, 2, 1, 1)])
@pytest.mark.parametrize("n_steps", [1, 2, 3, 4])
def test_uniform_paths_expect_the_enumeration(wrong, n_steps, text):
    estimator = Estimator("path", n_steps=n_steps, n_mc_samples=2, order="uniform")
    means = draws_over_seeds(estimator, table_of(wrong, text), text, 1000).mean(axis=1)
    assert_mean(means, exact.enumerated_path_score(wrong, text, n_steps))


@pytest.mark.parametrize("text", [(0, 1, 2, 0), (2, 2, 1, 1)])
@pytest.mark.parametrize("n_steps", [1, 2, 4])
def test_spaced_paths_expect_the_enumeration(wrong, n_steps, text):
    means = draws_over_seeds(Estimator("path", n_steps, 2), table_of(wrong, text), text, 1000).mean(axis=1)
    expected = np.mean([exact.path_score(wrong, text, blocks) for blocks in spaced_paths(L, n_steps)])
    assert_mean(means, expected)


@pytest.mark.parametrize(("order", "paths"), [("uniform", uniform_paths), ("spaced", spaced_paths)])
def test_importance_paths_expect_the_probability_of_the_mixture(wrong, order, paths):
    """exp of a sample is unbiased for the mean of exp(path) over the orders, a distribution over texts."""
    text = (0, 1, 2, 0)
    estimator = Estimator("importance_path", 2, 1, order, n_importance=4)
    plan_draws = draws_over_seeds(estimator, table_of(wrong, text), text, 1500)
    values = np.exp(estimator.combine(plan_draws[:, None])).ravel()
    assert_mean(values, np.mean([np.exp(exact.path_score(wrong, text, blocks)) for blocks in paths(L, 2)]))


# What is exact


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", PATHS)
def test_full_paths_of_the_exact_conditionals_are_log_p_in_every_draw(joint, right, name, order):
    estimator = Estimator(name, L, 3, order, n_importance=2)
    for text in TEXTS[::8]:
        draws = samples(estimator.plan(np.array(text), seed=0), table_of(right, text))
        values = estimator.combine(draws[None, None])
        assert values.shape == (1, 1, 3)
        np.testing.assert_allclose(values, exact.log_probability(joint, text), atol=1e-12)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("name", "n_steps"), [("chain", 1), *(("path", n_steps) for n_steps in (1, 2, 3, 4, 9))])
def test_path_scores_of_one_order_sum_to_one_over_all_texts(wrong, name, n_steps, order):
    """One plan (one order) for all texts: exp(score) is a distribution, though no conditional is right."""
    plan = Estimator(name, n_steps, 2, order).plan(np.arange(L), seed=5)
    totals = sum(np.exp(samples(plan, table_of(wrong, text))) for text in TEXTS)
    np.testing.assert_allclose(totals, 1.0, atol=1e-12)


def test_an_importance_path_sums_to_one_too(wrong):
    estimator = Estimator("importance_path", 2, 1, n_importance=4)
    plan = estimator.plan(np.arange(L), seed=5)
    values = [estimator.combine(samples(plan, table_of(wrong, text))[None, None]) for text in TEXTS]
    assert np.exp(values).sum() == pytest.approx(1.0, abs=1e-12)


def test_importance_samples_are_between_the_mean_and_the_largest(wrong):
    estimator = Estimator("importance_path", 3, 2, n_importance=5)
    draws = np.array([samples(estimator.plan(np.array(text), seed=1), table_of(wrong, text)) for text in TEXTS])
    groups = draws.reshape(len(TEXTS), 1, 2, 5)
    values = estimator.combine(draws[:, None])
    assert (values >= groups.mean(axis=-1) - 1e-12).all()
    assert (values <= groups.max(axis=-1) + 1e-12).all()
    np.testing.assert_allclose(np.exp(values), np.exp(groups).mean(axis=-1), rtol=1e-12)
    low = estimator.combine(draws[:, None] - 1e5)  # texts of this log-likelihood exist
    np.testing.assert_allclose(low, values - 1e5, rtol=1e-12)


def test_other_estimators_are_linear_and_left_alone():
    values = RNG(0).normal(size=(2, 3, 5))
    for name in NAMES:
        estimator = Estimator(name, n_mc_samples=5, n_importance=5)
        assert estimator.is_linear == (name != "importance_path")
        if estimator.is_linear:
            np.testing.assert_array_equal(estimator.combine(values), values)
            assert estimator.n_plan_draws == 5
    assert Estimator("importance_path", n_mc_samples=5, n_importance=3).n_plan_draws == 15


# Variances


@pytest.mark.parametrize("n_draws", [1, 4])
def test_elbo_variance_of_a_unigram_is_the_closed_form(n_draws):
    """Var of the mean of K draws = L (H_L - 1) s² / K; the variance's own error from the fourth moment."""
    means = draws_over_seeds(Estimator("elbo", n_mc_samples=n_draws), lambda _: UNIGRAM, UNIGRAM_TEXT, 6000).mean(
        axis=1
    )
    squares = (means - UNIGRAM.sum()) ** 2
    expected = exact.unigram_elbo_variance(UNIGRAM) / n_draws
    assert_mean(squares, expected)
    # the error is small enough to tell ddof=1 from ddof=0 or H_L from H_L - 1
    assert 4 * squares.std(ddof=1) / math.sqrt(len(squares)) < expected / len(UNIGRAM_TEXT)


def complementary_unigram_variance(log_probs):
    """With m the mean of the n hidden: draw = const + (L-1)/2 (L-2n)/(L-n) m, Var m = s²/n (1 - n/L); n is uniform."""
    size, spread = len(log_probs), np.var(log_probs, ddof=1)
    n = np.arange(1, size)
    return np.mean(((size - 1) / 2 * (size - 2 * n) / (size - n)) ** 2 * spread / n * (1 - n / size))


def test_complementary_variance_of_a_unigram_is_the_closed_form_and_smaller():
    values = draws_over_seeds(Estimator("complementary_elbo", n_mc_samples=1), lambda _: UNIGRAM, UNIGRAM_TEXT, 4000)
    assert_mean((values[:, 0] - UNIGRAM.sum()) ** 2, complementary_unigram_variance(UNIGRAM))
    # also at equal forwards: the three of one draw against the mean of three draws
    assert complementary_unigram_variance(UNIGRAM) < exact.unigram_elbo_variance(UNIGRAM) / 3


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("n_steps", [1, 2, 5, 7, 20])
def test_path_has_no_variance_for_a_unigram(n_steps, order):
    plan = Estimator("path", n_steps, 6, order).plan(UNIGRAM_TEXT, seed=1)
    np.testing.assert_allclose(samples(plan, lambda _: UNIGRAM), UNIGRAM.sum(), rtol=1e-13)


def markov_joint(n_tokens):
    """Two tokens that like to stay the same: what spaced orders are made for."""
    stay = np.array([[0.9, 0.1], [0.2, 0.8]])
    joint = np.full((2,) * n_tokens, 0.5)
    for text in exact.all_texts(2, n_tokens):
        joint[text] *= math.prod(stay[pair] for pair in itertools.pairwise(text))
    return joint


def test_spaced_orders_tighten_the_bound_and_take_away_noise():
    """Over the whole distribution of a Markov chain, enumerated: expected score, and variance given the text."""
    joint = markov_joint(6)
    conditionals = exact.exact_conditionals(joint)
    spaced, uniform = (
        np.array([[exact.path_score(conditionals, text, blocks) for blocks in paths] for text in exact.all_texts(2, 6)])
        for paths in (
            list(spaced_paths(6, 2)),
            [[*map(list, (half, set(range(6)) - set(half)))] for half in itertools.combinations(range(6), 3)],
        )
    )
    weights = joint.ravel()
    entropy = weights @ np.log(weights)
    assert weights @ uniform.mean(axis=1) < weights @ spaced.mean(axis=1) < entropy
    assert weights @ spaced.var(axis=1) < 0.6 * (weights @ uniform.var(axis=1))


def test_shared_plans_cut_the_noise_of_a_ratio(right):
    """Two denoisers that nearly agree, one plan: the difference varies less than with plans of their own."""
    near = exact.perturbed_conditionals(right, 0.05, generator=RNG(13))
    text, estimator = (0, 2, 1, 0), Estimator("elbo", n_mc_samples=1)
    first, second = (draws_over_seeds(estimator, table_of(table, text), text, 800)[:, 0] for table in (right, near))
    shared = np.var(first - second)
    assert shared < 0.2 * np.var(first - np.roll(second, 1))


# The shape of plans


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("name", "n_steps"), [("chain", 1), *(("path", n_steps) for n_steps in (1, 2, 3, 7, 11))])
def test_path_scores_every_token_once_and_hides_what_is_not_yet_known(name, n_steps, order):
    plan = Estimator(name, n_steps, 5, order).plan(np.arange(7), seed=2)
    n_passes = 7 if name == "chain" else n_steps
    assert plan.masked.shape == plan.scored.shape == (5, n_passes, 7)
    assert plan.weights.shape == (5, n_passes)
    np.testing.assert_array_equal(plan.scored.sum(axis=1), 1)
    known = np.cumsum(plan.scored, axis=1) - plan.scored > 0
    np.testing.assert_array_equal(plan.masked, ~known)
    assert (plan.weights == 1).all()
    assert plan.masked[:, 0].all()


def steps_of(plan):
    """Step of each token, (K, L)."""
    return plan.scored.argmax(axis=1)


@pytest.mark.parametrize("n_steps", [1, 2, 3, 4, 6])
def test_spaced_windows_have_all_steps_once(n_steps):
    steps = steps_of(Estimator("path", n_steps, 6).plan(np.arange(24), seed=4))
    windows = np.sort(steps.reshape(6, -1, n_steps), axis=-1)
    np.testing.assert_array_equal(windows, np.broadcast_to(np.arange(n_steps), windows.shape))
    if n_steps > 1:
        assert len({tuple(window) for window in steps.reshape(-1, n_steps).tolist()}) > 1  # and not in one order


def test_left_to_right_is_left_to_right():
    steps = steps_of(Estimator("path", 3, 2, "left_to_right").plan(np.arange(9), seed=4))
    np.testing.assert_array_equal(steps, [[0, 0, 0, 1, 1, 1, 2, 2, 2]] * 2)
    steps = steps_of(Estimator("chain", order="left_to_right", n_mc_samples=1).plan(np.arange(9), seed=4))
    np.testing.assert_array_equal(steps, [np.arange(9)])


def test_uniform_and_spaced_draws_differ():
    for order in ORDERS[:2]:
        steps = steps_of(Estimator("path", 2, 8, order).plan(np.arange(40), seed=4))
        assert len(np.unique(steps, axis=0)) == 8


def test_elbo_weights_are_length_over_count():
    plan = Estimator("elbo", n_mc_samples=8).plan(np.arange(8), seed=3)
    np.testing.assert_array_equal(plan.masked, plan.scored)
    np.testing.assert_allclose(plan.weights[:, 0], 8 / plan.masked[:, 0].sum(axis=1))
    assert sorted(plan.masked[:, 0].sum(axis=1)) == [1, 2, 3, 4, 5, 6, 7, 8]  # K = L strata: every count once


def test_complementary_draws_hide_everything_then_a_set_then_the_rest():
    plan = Estimator("complementary_elbo", n_mc_samples=8).plan(np.arange(9), seed=3)
    np.testing.assert_array_equal(plan.masked, plan.scored)
    assert plan.masked[:, 0].all()
    np.testing.assert_array_equal(plan.masked[:, 1], ~plan.masked[:, 2])
    sizes = plan.masked[:, 1:].sum(axis=-1)
    assert sorted(sizes[:, 0]) == [1, 2, 3, 4, 5, 6, 7, 8]
    np.testing.assert_allclose(plan.weights[:, 0], 1 / 9)
    np.testing.assert_allclose(plan.weights[:, 1:], 8 / (2 * sizes))
    # where all tokens have one log-probability, no draw differs from the sum
    np.testing.assert_allclose(samples(plan, lambda _: np.full(9, -2.0)), -18.0)


def test_bernoulli_weights_are_inverse_levels():
    plan = Estimator("bernoulli", n_mc_samples=500).plan(np.arange(400), seed=0)
    shares = plan.masked[:, 0].mean(axis=1)
    errors = np.sqrt(shares * (1 - shares) / 400) + 1e-2
    assert (np.abs(shares - 1 / plan.weights[:, 0]) < 5 * errors).all()


# The seed


def assert_same(first, second, draws=slice(None)):
    for name in ("masked", "scored", "weights"):
        np.testing.assert_array_equal(getattr(first, name)[draws], getattr(second, name))


@pytest.mark.parametrize("estimator", ALL, ids=label)
def test_a_plan_depends_on_the_text_and_the_seed_only(estimator):
    ids = np.array([3, 1, 4, 1, 5, 9, 2, 6])
    first = estimator.plan(ids, seed=0)
    for other_text in ([2], [7, 7, 7]):  # other texts in between change nothing
        estimator.plan(np.array(other_text), seed=0)
    assert_same(first, estimator.plan(ids.astype(np.int32), seed=0))
    other_seed, other_ids = estimator.plan(ids, seed=1), estimator.plan(ids[::-1], seed=0)
    if estimator.order == "left_to_right":
        assert_same(first, other_seed)
        assert_same(first, other_ids)
    else:
        assert (first.masked != other_seed.masked).any()
        assert (first.masked != other_ids.masked).any()


@pytest.mark.parametrize("n_tokens", [0, 1, 9])
@pytest.mark.parametrize("estimator", ALL, ids=label)
def test_a_draw_depends_on_its_number_only(estimator, n_tokens):
    """The first draws of a longer plan are those of a shorter one, and any others can be had alone."""
    ids = np.arange(n_tokens)
    many = Estimator(estimator.name, 3, 16, estimator.order, 2).plan(ids, seed=0)
    n_few = estimator.n_plan_draws
    assert_same(many, estimator.plan(ids, seed=0), slice(n_few))
    assert_same(many, estimator.plan(ids, seed=0, first_draw=5, n_draws=6), slice(5, 11))
    assert_same(many, estimator.plan(ids, seed=0, n_draws=16), slice(16))
    assert estimator.plan(ids, seed=0, first_draw=5000, n_draws=1).weights.shape[0] == 1


# Short texts


@pytest.mark.parametrize("estimator", ALL, ids=label)
def test_empty_texts_score_zero(estimator):
    plan = estimator.plan(np.arange(0), seed=0)
    assert plan.masked.shape == plan.scored.shape == (estimator.n_plan_draws, plan.weights.shape[1], 0)
    assert np.isfinite(plan.weights).all()
    draws = samples(plan, lambda _: np.zeros(0))
    np.testing.assert_array_equal(estimator.combine(draws[None, None]), np.zeros((1, 1, 4)))


@pytest.mark.parametrize("estimator", ALL, ids=label)
def test_one_token_is_scored_as_it_is(estimator):
    """The bound is its log-probability in every draw; with independent masks, on average."""
    plan = estimator.plan(np.arange(1), seed=0)
    assert np.isfinite(plan.weights).all()
    values = samples(plan, lambda _: np.array([-2.5]))
    if estimator.name == "bernoulli":
        np.testing.assert_allclose(values, -2.5 * plan.weights[:, 0] * plan.masked[:, 0, 0])
    else:
        np.testing.assert_allclose(estimator.combine(values[None, None]), -2.5, rtol=1e-14)


@pytest.mark.parametrize("n_tokens", [2, 3])
@pytest.mark.parametrize("estimator", ALL, ids=label)
def test_fewer_tokens_than_steps_are_no_trouble(estimator, n_tokens):
    plan = estimator.plan(np.arange(n_tokens), seed=0)
    assert np.isfinite(plan.weights).all()
    if estimator.name in PATHS:
        np.testing.assert_array_equal(plan.scored.sum(axis=1), 1)
    assert (plan.scored.any(axis=-1) <= plan.masked.any(axis=-1)).all()


# Counts


def n_distinct(plan):
    """Masks under which anything is asked."""
    used = plan.scored.any(axis=-1)
    return len({mask.tobytes() for mask in plan.masked[used]})


@pytest.mark.parametrize("n_draws", [1, 2, 7])
@pytest.mark.parametrize("n_steps", [1, 2, 5])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", NAMES)
def test_forwards_are_the_distinct_masks_of_the_plan(name, order, n_steps, n_draws):
    """Of a text so long that no two draws meet by chance."""
    estimator, ids = Estimator(name, n_steps, 3, order, n_importance=2), np.arange(60)
    plan = estimator.plan(ids, seed=6, n_draws=n_draws)
    assert estimator.n_forwards(n_draws, n_tokens=60) == n_distinct(plan)
    assert TextWork.start(0, ids, 0, plan, 1).n_forwards == n_distinct(plan)


def test_forward_counts():
    assert Estimator("path", 3, 5).n_forwards() == 1 + 5 * 2
    assert Estimator("path", 3, 5, "left_to_right").n_forwards() == 3
    assert Estimator("path", 1, 5).n_forwards() == 1
    assert Estimator("importance_path", 3, 5, n_importance=4).n_forwards() == 1 + 20 * 2
    assert Estimator("elbo", 3, 5).n_forwards() == 5
    assert Estimator("complementary_elbo", 3, 5).n_forwards() == 11
    assert Estimator("bernoulli", 3, 5).n_forwards(9) == 9
    assert Estimator("chain", 3, 2).n_forwards(n_tokens=30) == 1 + 2 * 29
    assert Estimator("chain", 3, 2).n_forwards(n_tokens=1) == 1


# Errors

THREE_PARTS = r"^Expected .+; got .+\. \S"


@pytest.mark.parametrize(
    "options",
    [
        {"name": "iwae"},
        {"name": "confidence"},
        {"order": "right_to_left"},
        {"n_steps": 0},
        {"n_mc_samples": 0},
        {"n_mc_samples": -2},
        {"n_importance": 0},
    ],
)
def test_bad_options_are_refused(options):
    with pytest.raises(ValueError, match=THREE_PARTS):
        Estimator(**options)


def test_the_chain_refuses_long_texts_and_wants_a_length():
    chain = Estimator("chain", n_mc_samples=1)
    assert chain.plan(np.arange(MAX_CHAIN_TOKENS), seed=0).masked.shape == (1, MAX_CHAIN_TOKENS, MAX_CHAIN_TOKENS)
    with pytest.raises(ValueError, match=THREE_PARTS):
        chain.plan(np.arange(MAX_CHAIN_TOKENS + 1), seed=0)
    with pytest.raises(ValueError, match=THREE_PARTS):
        chain.n_forwards()


def test_parts_of_an_importance_sample_are_refused():
    with pytest.raises(ValueError, match=THREE_PARTS):
        Estimator("importance_path", n_importance=4).combine(np.zeros((1, 2, 6)))
