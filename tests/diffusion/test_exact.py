"""The oracles against identities that no code of theirs shares: they must be right before they judge."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from gencls.diffusion import exact

V, L = 3, 4
TEXTS = list(exact.all_texts(V, L))


@pytest.fixture(scope="module")
def joint():
    return exact.random_joint(V, L, generator=np.random.default_rng(7))


@pytest.fixture(scope="module")
def right(joint):
    return exact.exact_conditionals(joint)


@pytest.fixture(scope="module")
def wrong(right):
    return exact.perturbed_conditionals(right, 0.7, generator=np.random.default_rng(8))


def test_enumeration_is_complete():
    assert len(set(TEXTS)) == V**L
    masks = list(exact.all_masks(L))
    assert len(set(masks)) == len(masks) == 2**L - 1
    assert exact.hide((5, 6, 7), [0, 2]) == (exact.HIDDEN, 6, exact.HIDDEN)


def test_joint_is_a_distribution_with_dependent_tokens(joint):
    assert joint.sum() == pytest.approx(1.0, abs=1e-14)
    assert joint.min() > 0
    first, second = joint.sum(axis=(1, 2, 3)), joint.sum(axis=(0, 2, 3))
    assert np.abs(joint.sum(axis=(2, 3)) - np.outer(first, second)).max() > 1e-3


@pytest.mark.parametrize("masked", [(0,), (1, 3), (0, 1, 2, 3)])
def test_conditionals_are_ratios_of_sums_of_the_joint(joint, right, masked):
    """Brute force: the sum over texts that agree, by a loop and a comparison."""
    for text in TEXTS[::7]:
        agrees = [y for y in TEXTS if all(y[i] == text[i] for i in range(L) if i not in masked)]
        values = exact.denoiser_log_probs(right, text, masked)
        for place in masked:
            share = sum(joint[y] for y in agrees if y[place] == text[place]) / sum(joint[y] for y in agrees)
            assert values[place] == pytest.approx(math.log(share), abs=1e-12)
        assert np.isnan(values[[i for i in range(L) if i not in masked]]).all()


def test_every_conditional_is_there_and_normalised(right, wrong):
    n_keys = L * (V + 1) ** (L - 1)
    for table in (right, wrong):
        assert len(table) == n_keys
        assert max(abs(mass.sum() - 1) for mass in table.values()) < 1e-14


def test_elbo_of_exact_conditionals_is_log_p(joint, right):
    errors = [exact.enumerated_elbo(right, x) - exact.log_probability(joint, x) for x in TEXTS]
    assert np.abs(errors).max() < 1e-12


def test_every_full_chain_of_exact_conditionals_is_log_p(joint, right):
    for text in TEXTS[::5]:
        for order in itertools.permutations(range(L)):
            score = exact.path_score(right, text, [[place] for place in order])
            assert score == pytest.approx(exact.log_probability(joint, text), abs=1e-12)


def test_full_path_average_is_the_elbo_for_any_denoiser(wrong):
    for text in TEXTS[::5]:
        path = exact.enumerated_path_score(wrong, text, L)
        assert path == pytest.approx(exact.enumerated_elbo(wrong, text), abs=1e-12)


@pytest.mark.parametrize("blocks", [[[2, 0, 1, 3]], [[3, 1], [0, 2]], [[1], [0, 3], [2]], [[3], [2], [0], [1]]])
def test_path_scores_of_a_wrong_denoiser_are_a_distribution(wrong, blocks):
    total = sum(math.exp(exact.path_score(wrong, text, blocks)) for text in TEXTS)
    assert total == pytest.approx(1.0, abs=1e-12)


def test_elbo_of_a_wrong_denoiser_is_below_the_log_mean_of_its_chains(wrong):
    """Jensen: the ELBO bounds the mixture of all orders; strictly, as the orders disagree."""
    for text in TEXTS[::5]:
        chains = [
            exact.path_score(wrong, text, [[place] for place in order]) for order in itertools.permutations(range(L))
        ]
        assert exact.enumerated_elbo(wrong, text) < math.log(np.mean(np.exp(chains)))
        assert np.ptp(chains) > 1e-3


def test_more_steps_never_hurt_on_average(joint, right):
    """Cutting blocks finer loses less: the mean S-step bound rises with S and ends at -entropy."""
    means = [
        sum(joint[text] * exact.enumerated_path_score(right, text, steps) for text in TEXTS) for steps in (1, 2, 4)
    ]
    assert means[0] < means[1] < means[2]
    assert means[2] == pytest.approx(float((joint * np.log(joint)).sum()), abs=1e-12)


def test_one_step_is_the_sum_of_the_marginals(joint, right):
    marginals = [joint.sum(axis=tuple(a for a in range(L) if a != i)) for i in range(L)]
    for text in TEXTS[::11]:
        by_hand = sum(math.log(marginals[i][text[i]]) for i in range(L))
        assert exact.enumerated_path_score(right, text, 1) == pytest.approx(by_hand, abs=1e-12)


def test_cut_order_keeps_order_and_every_position():
    assert exact.cut_order([3, 0, 2, 1], 2) == [[3, 0], [2, 1]]
    assert exact.cut_order([3, 0, 2, 1], 3) == [[3, 0], [2], [1]]
    assert exact.cut_order([1, 0], 4) == [[1], [0], [], []]


@pytest.mark.parametrize("length", [1, 2, 3, 6])
def test_unigram_variance_equals_the_enumerated_second_moment(length):
    """Every count and set of a text of independent tokens, against L (H_L - 1) s² with ddof=1."""
    frequencies = np.array([0.6, 0.3, 0.1])
    text = np.arange(length) % 3
    log_probs = np.log(frequencies)[text]
    second = 0.0
    for masked in exact.all_masks(length):
        weight = 1 / (length * math.comb(length, len(masked)))
        second += weight * (length / len(masked) * log_probs[list(masked)].sum() - log_probs.sum()) ** 2
    assert exact.unigram_elbo_variance(log_probs) == pytest.approx(second, rel=1e-12, abs=1e-15)


def test_unigram_joint_has_context_free_conditionals():
    frequencies = np.array([0.6, 0.3, 0.1])
    table = exact.exact_conditionals(exact.unigram_joint(frequencies, 3))
    assert max(np.abs(mass - frequencies).max() for mass in table.values()) < 1e-14
