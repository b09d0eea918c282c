"""Forward process: distributions by chi-square against the uniform one, and what must hold in every draw."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gencls.diffusion.masking import (
    bernoulli_mask,
    draw_generator,
    exact_count,
    order_blocks,
    random_mask,
    random_order,
    spaced_blocks,
    spread_level,
    text_generator,
    text_key,
)

#: A correct sampler fails a chi-square test at this level once in ten thousand seeds; the seeds are fixed.
ALPHA = 1e-4
RNG = np.random.default_rng
#: The same examples in every run, and no deadline: a busy machine is no failure.
steady = settings(deadline=None, derandomize=True, database=None, max_examples=60)


def uniform_over(outcomes, n_outcomes):
    """Whether a list of outcomes (hashable) is a sample of a uniform distribution on `n_outcomes` of them."""
    observed = np.unique([str(outcome) for outcome in outcomes], return_counts=True)[1]
    assert len(observed) == n_outcomes
    return stats.chisquare(observed).pvalue > ALPHA


@pytest.mark.parametrize("n_tokens", [1, 2, 7, 10])
def test_every_count_has_an_equal_share_of_the_levels(n_tokens):
    """A rounded grid would give the end counts half the weight of the others."""
    n_levels = 1000 * n_tokens
    counts = [exact_count(n_tokens, (place + 0.5) / n_levels) for place in range(n_levels)]
    np.testing.assert_array_equal(np.bincount(counts)[1:], 1000)
    assert min(counts) == exact_count(n_tokens, 0.0) == 1
    assert max(counts) == exact_count(n_tokens, math.nextafter(1.0, 0.0)) == n_tokens


def test_no_token_has_the_count_zero():
    assert exact_count(0, 0.0) == exact_count(0, 0.99) == 0


@pytest.mark.parametrize("draw", [0, 1, 5])
def test_the_level_of_every_draw_is_uniform_over_texts(draw):
    """The spread must not be tied to the number of the draw: each alone is uniform."""
    levels = [spread_level(text_key(np.array([text]), seed=2), draw) for text in range(3000)]
    assert 0 <= min(levels) <= max(levels) < 1
    assert stats.kstest(levels, "uniform").pvalue > ALPHA


@pytest.mark.parametrize("n_draws", [1, 2, 8, 32])
def test_the_first_levels_lie_in_strata_of_their_own(n_draws):
    """A power of two of them: exactly one in each stratum, for every text."""
    for text in range(30):
        key = text_key(np.array([text]), seed=0)
        levels = [spread_level(key, draw) for draw in range(n_draws)]
        assert sorted(int(level * n_draws) for level in levels) == list(range(n_draws))


@pytest.mark.parametrize("n_draws", [3, 6, 11, 100])
def test_any_first_levels_are_spread_evenly(n_draws):
    """No gap is wider than twice the one of the next power of two below, on the circle."""
    for text in range(30):
        key = text_key(np.array([text]), seed=0)
        levels = np.sort([spread_level(key, draw) for draw in range(n_draws)])
        gaps = np.diff([*levels, levels[0] + 1])
        assert gaps.max() <= 1 / 2 ** (n_draws.bit_length() - 1) + 1e-12
        assert gaps.min() >= 1 / 2 ** n_draws.bit_length() - 1e-12


def test_the_level_says_nothing_about_the_mask_of_its_draw():
    """The mask of draw k and the offset of the levels come from streams of their own."""
    keys = [text_key(np.array([text]), seed=1) for text in range(4000)]
    levels = [spread_level(key, 0) for key in keys]
    firsts = [draw_generator(key, 0).random() for key in keys]
    assert stats.pearsonr(levels, firsts).pvalue > ALPHA
    cells = [(int(4 * level), int(4 * first)) for level, first in zip(levels, firsts, strict=True)]
    assert uniform_over(cells, 16)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_sets_of_a_size_are_uniform(size):
    generator = RNG(2)
    masks = [random_mask(5, size, generator=generator) for _ in range(5000)]
    assert all(mask.sum() == size for mask in masks)
    assert uniform_over([mask.astype(int) for mask in masks], math.comb(5, size))


@steady
@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 2**32))
def test_masks_have_the_asked_size_and_type(n_tokens, n_hidden, seed):
    mask = random_mask(n_tokens, min(n_hidden, n_tokens), generator=RNG(seed))
    assert mask.shape == (n_tokens,)
    assert mask.dtype == np.bool_
    assert mask.sum() == min(n_hidden, n_tokens)


def test_no_token_gives_empty_arrays():
    generator = RNG(0)
    assert random_mask(0, 0, generator=generator).shape == (0,)
    assert random_order(0, generator=generator).shape == (0,)
    assert order_blocks(random_order(0, generator=generator), 2).shape == (0,)
    assert spaced_blocks(0, 3, generator=generator).shape == (0,)
    mask, weight = bernoulli_mask(0, generator=generator)
    assert mask.shape == (0,)
    assert math.isfinite(weight)


def test_orders_are_uniform_permutations():
    generator = RNG(3)
    orders = [tuple(random_order(4, generator=generator).tolist()) for _ in range(6_000)]
    assert all(sorted(order) == [0, 1, 2, 3] for order in orders)
    assert uniform_over(orders, 24)


@steady
@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 2**32))
def test_blocks_partition_the_tokens_in_order_and_evenly(n_tokens, n_steps, seed):
    ranks = random_order(n_tokens, generator=RNG(seed))
    blocks = order_blocks(ranks, n_steps)
    assert blocks.min() >= 0
    assert blocks.max() < n_steps
    assert (np.diff(blocks[np.argsort(ranks)]) >= 0).all()  # a later rank is never in an earlier block
    sizes = np.bincount(blocks, minlength=n_steps)
    assert sizes.sum() == n_tokens
    assert np.ptp(sizes) <= 1
    assert blocks[ranks == 0] == 0  # the first step always has a token


def test_one_step_is_one_block_and_L_steps_are_single_tokens():
    ranks = np.stack([random_order(9, generator=RNG(seed)) for seed in range(3)])
    assert (order_blocks(ranks, 1) == 0).all()
    np.testing.assert_array_equal(order_blocks(ranks, 9), ranks)


@steady
@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 2**32))
def test_every_window_of_spaced_blocks_has_every_step_once(n_tokens, n_steps, seed):
    blocks = spaced_blocks(n_tokens, n_steps, generator=RNG(seed))
    assert blocks.shape == (n_tokens,)
    for start in range(0, n_tokens, n_steps):
        window = blocks[start : start + n_steps].tolist()
        assert len(set(window)) == len(window)
        assert set(window) <= set(range(n_steps))
    sizes = np.bincount(blocks, minlength=n_steps)
    assert np.ptp(sizes) <= 1


def test_spaced_blocks_are_uniform_over_what_they_may_be():
    """Windows are independent: 3! for each whole one, 3 for the single token behind them."""
    generator = RNG(4)
    blocks = [tuple(spaced_blocks(7, 3, generator=generator).tolist()) for _ in range(10_000)]
    assert uniform_over(blocks, 6 * 6 * 3)


def test_spaced_blocks_of_one_window_are_a_uniform_order():
    generator = RNG(5)
    assert uniform_over([tuple(spaced_blocks(4, 4, generator=generator).tolist()) for _ in range(6000)], 24)


def test_bernoulli_weights_are_inverse_levels():
    """The share hidden grows with the level 1 / weight: regression of mean on level is the identity."""
    generator = RNG(6)
    draws = [bernoulli_mask(50, generator=generator) for _ in range(20_000)]
    shares, levels = np.array([mask.mean() for mask, _ in draws]), np.array([1 / weight for _, weight in draws])
    assert stats.kstest(levels, "uniform").pvalue > ALPHA
    z = (shares - levels) / np.sqrt(levels * (1 - levels) / 50 + 1e-12)
    assert abs(z.mean()) * np.sqrt(len(z)) < 4
    assert stats.pearsonr(shares, levels).statistic > 0.97
    assert all(math.isfinite(weight) and weight >= 1 for _, weight in draws)


def test_bernoulli_tokens_are_independent_given_the_level():
    """Of two tokens hidden in one mask: P = E[t²] = 1/3, both visible 1/3, one of each 1/6."""
    generator = RNG(7)
    masks = np.array([bernoulli_mask(2, generator=generator)[0] for _ in range(6000)])
    observed = np.bincount(masks @ [1, 2], minlength=4)
    assert stats.chisquare(observed, 6000 * np.array([2, 1, 1, 2]) / 6).pvalue > ALPHA


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
            ([5, 6, 7, 3], 0),  # the seed is no further token
            ([], 3),
        ]
    ]
    assert len({tuple(draw) for draw in [draws[0], *others]}) == 8


def test_a_draw_has_a_stream_of_its_own():
    """Other draws, earlier or later, long or short, change nothing; and no two streams have a number in common."""
    key = text_key(np.array([1, 2, 3]), seed=0)
    streams = [draw_generator(key, draw).integers(2**63, size=500) for draw in (0, 1, 2, 1023, 10**6)]
    for first, second in itertools.combinations(streams, 2):
        assert not np.intersect1d(first, second).size
    np.testing.assert_array_equal(draw_generator(key, 1).integers(2**63, size=500), streams[1])
    same = text_generator(np.array([1, 2, 3]), seed=0, draw=2).integers(2**63, size=500)
    np.testing.assert_array_equal(same, streams[2])


def test_two_draws_of_a_text_are_independent():
    keys = [text_key(np.array([text]), seed=5) for text in range(4000)]
    pairs = [tuple(tuple(random_order(3, generator=draw_generator(key, k)).tolist()) for k in (0, 1)) for key in keys]
    assert uniform_over(pairs, 36)


def test_generator_is_the_same_in_another_process():
    """Python's own hash of a string or bytes differs between processes; a digest does not."""
    code = (
        "import numpy as np; from gencls.diffusion.masking import text_generator as g;"
        "print(g(np.arange(5), seed=1, draw=3).integers(2**40))"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "77"}
    )
    assert int(other.stdout) == text_generator(np.arange(5), seed=1, draw=3).integers(2**40)


def test_maths_leaves_the_global_generator_alone():
    np.random.seed(0)  # the global stream is what is watched
    expected = np.random.random()
    np.random.seed(0)
    random_mask(9, 4, generator=RNG(0))
    bernoulli_mask(9, generator=RNG(0))
    spaced_blocks(9, 2, generator=RNG(0))
    spread_level(text_key(np.arange(9), seed=0), 3)
    assert np.random.random() == expected
