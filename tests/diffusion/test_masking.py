"""Forward process: distributions by chi-square against the uniform one, and what must hold in every draw."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gencls.diffusion.masking import (
    bernoulli_masks,
    exact_count_masks,
    order_blocks,
    random_orders,
    stratified_levels,
    text_generator,
)

#: A correct sampler fails a chi-square test at this level once in ten thousand seeds; the seeds are fixed.
ALPHA = 1e-4
#: The same examples in every run, and no deadline: a busy machine is no failure.
steady = settings(deadline=None, derandomize=True, database=None, max_examples=60)


@pytest.mark.parametrize(("n_tokens", "n_draws"), [(5, 1), (5, 4), (7, 3), (2, 16)])
def test_counts_are_uniform_on_1_to_L(n_tokens, n_draws):
    """Also when K does not divide L: the end counts are where a rounded grid would lose half its weight."""
    rng = np.random.default_rng(0)
    masks = np.concatenate([exact_count_masks(n_tokens, n_draws, generator=rng) for _ in range(2000)])
    observed = np.bincount(masks.sum(axis=1), minlength=n_tokens + 1)
    assert observed[0] == 0
    assert stats.chisquare(observed[1:]).pvalue > ALPHA


def test_every_draw_of_a_request_has_the_same_distribution_of_counts():
    """The strata must not be tied to the place of the draw: draw 0 alone is uniform too."""
    rng = np.random.default_rng(1)
    first = [int(exact_count_masks(4, 4, generator=rng)[0].sum()) for _ in range(3000)]
    assert stats.chisquare(np.bincount(first, minlength=5)[1:]).pvalue > ALPHA


def test_sets_of_a_size_are_uniform():
    rng = np.random.default_rng(2)
    masks = exact_count_masks(5, 20_000, generator=rng)
    for size in range(1, 5):
        codes = masks[masks.sum(axis=1) == size] @ (1 << np.arange(5))
        observed = np.unique(codes, return_counts=True)[1]
        assert len(observed) == len(list(itertools.combinations(range(5), size)))
        assert stats.chisquare(observed).pvalue > ALPHA


@pytest.mark.parametrize("n_draws", [1, 3, 8])
def test_strata_lie_within_the_request(n_draws):
    for seed in range(50):
        levels = stratified_levels(n_draws, generator=np.random.default_rng(seed))
        assert sorted(np.floor(levels * n_draws).astype(int)) == list(range(n_draws))


def test_with_as_many_draws_as_tokens_every_count_comes_once():
    for seed in range(50):
        masks = exact_count_masks(6, 6, generator=np.random.default_rng(seed))
        assert sorted(masks.sum(axis=1)) == [1, 2, 3, 4, 5, 6]


@steady
@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 2**32))
def test_masks_are_never_empty_and_bool(n_tokens, n_draws, seed):
    masks = exact_count_masks(n_tokens, n_draws, generator=np.random.default_rng(seed))
    assert masks.shape == (n_draws, n_tokens)
    assert masks.dtype == np.bool_
    assert masks.any(axis=1).all()


def test_one_token_is_always_hidden_and_no_token_gives_empty_rows():
    rng = np.random.default_rng(0)
    assert exact_count_masks(1, 7, generator=rng).all()
    assert exact_count_masks(0, 7, generator=rng).shape == (7, 0)
    assert random_orders(0, 3, generator=rng).shape == (3, 0)
    assert order_blocks(random_orders(0, 3, generator=rng), 2).shape == (3, 0)
    assert bernoulli_masks(0, 3, generator=rng)[0].shape == (3, 0)


def test_orders_are_uniform_permutations():
    orders = random_orders(4, 6_000, generator=np.random.default_rng(3))
    assert (np.sort(orders, axis=1) == np.arange(4)).all()
    observed = np.unique(orders, axis=0, return_counts=True)[1]
    assert len(observed) == 24
    assert stats.chisquare(observed).pvalue > ALPHA


def test_orders_have_the_prefix_property():
    many = random_orders(11, 20, generator=np.random.default_rng(4))
    few = random_orders(11, 6, generator=np.random.default_rng(4))
    np.testing.assert_array_equal(many[:6], few)


@steady
@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 2**32))
def test_blocks_partition_the_tokens_in_order_and_evenly(n_tokens, n_steps, seed):
    ranks = random_orders(n_tokens, 2, generator=np.random.default_rng(seed))
    blocks = order_blocks(ranks, n_steps)
    assert blocks.min() >= 0
    assert blocks.max() < n_steps
    for rank, block in zip(ranks, blocks, strict=True):
        assert (np.diff(block[np.argsort(rank)]) >= 0).all()  # a later rank is never in an earlier block
        sizes = np.bincount(block, minlength=n_steps)
        assert sizes.sum() == n_tokens
        assert np.ptp(sizes) <= 1
        assert block[rank == 0] == 0  # the first step always has a token


def test_one_step_is_one_block_and_L_steps_are_single_tokens():
    ranks = random_orders(9, 3, generator=np.random.default_rng(5))
    assert (order_blocks(ranks, 1) == 0).all()
    np.testing.assert_array_equal(order_blocks(ranks, 9), ranks)


def test_bernoulli_weights_are_inverse_levels():
    """The share hidden grows with the level 1 / weight: regression of mean on level is the identity."""
    masks, weights = bernoulli_masks(50, 20_000, generator=np.random.default_rng(6))
    levels = 1 / weights
    assert stats.kstest(levels, "uniform").pvalue > ALPHA
    error = masks.mean(axis=1) - levels
    z = error / np.sqrt(levels * (1 - levels) / 50 + 1e-12)
    assert abs(z.mean()) * np.sqrt(len(z)) < 4
    assert stats.pearsonr(masks.mean(axis=1), levels).statistic > 0.97
    assert np.isfinite(weights).all()


def test_generator_depends_on_ids_and_seed_only():
    ids = np.array([5, 6, 7])
    draws = [
        text_generator(same, seed=3).random(4).tolist()
        for same in (ids, ids.astype(np.int32), ids.astype(">i8"), np.array([5, 0, 6, 0, 7])[::2])
    ]
    assert all(draw == draws[0] for draw in draws)
    others = [
        text_generator(np.array(other), seed=seed).random(4).tolist()
        for other, seed in [
            ([5, 6, 7], 4),
            ([5, 6, 7], -3),
            ([7, 6, 5], 3),
            ([5, 6], 3),
            ([5, 6, 7, 0], 3),
            ([], 3),
        ]
    ]
    assert len({tuple(draw) for draw in [draws[0], *others]}) == 7


def test_generator_is_the_same_in_another_process():
    """Python's own hash of a string or bytes differs between processes; a digest does not."""
    code = (
        "import numpy as np; from gencls.diffusion.masking import text_generator as g;"
        "print(g(np.arange(5), seed=1).integers(2**40))"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "77"}
    )
    assert int(other.stdout) == text_generator(np.arange(5), seed=1).integers(2**40)


def test_maths_leaves_the_global_generator_alone():
    np.random.seed(0)  # the global stream is what is watched
    expected = np.random.random()
    np.random.seed(0)
    exact_count_masks(9, 9, generator=np.random.default_rng(0))
    bernoulli_masks(9, 9, generator=np.random.default_rng(0))
    assert np.random.random() == expected
