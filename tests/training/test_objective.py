"""The loss: hand computation, unbiased subsets, equality with scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.metrics import log_loss

from gencls.diffusion.collator import DiffusionCollator, Example
from gencls.diffusion.objective import LevelLosses, negative_elbo_per_token, posterior_cross_entropy
from gencls.diffusion.schedule import LevelSchedule
from gencls.diffusion.tokens import TokenFrame

FRAME = TokenFrame(2, 3, 0, 4)


def test_loss_by_hand():
    log_probs = torch.tensor([-1.0, -3.0, -5.0, -0.5, -0.7, -0.3])
    rows = torch.tensor([0, 0, 1, 2, 2, 2])
    torch.testing.assert_close(negative_elbo_per_token(log_probs, rows, 3), torch.tensor([2.0, 5.0, 0.5]))


def test_gradient_is_spread_evenly_over_texts_of_any_length():
    log_probs = torch.zeros(4, requires_grad=True)
    negative_elbo_per_token(log_probs, torch.tensor([0, 0, 0, 1]), 2).mean().backward()
    torch.testing.assert_close(log_probs.grad, -torch.tensor([1 / 6, 1 / 6, 1 / 6, 1 / 2]))


@pytest.mark.parametrize("n_scored", [1, 3])
def test_scoring_a_subset_is_unbiased(n_scored):
    """A text with a log-probability that depends on token and level: the mean over a subset against that over all."""
    n_tokens, n_draws = 7, 3000
    value = np.random.default_rng(0).normal(size=(n_tokens, n_tokens + 1)) * 3
    differences = []
    for seed in range(n_draws):
        example = Example(np.arange(5, 5 + n_tokens), 0, 0, 0, seed)
        few = DiffusionCollator(FRAME, LevelSchedule(), n_scored)([example])["batch"].scored[0, 1:-1].numpy()
        everything = DiffusionCollator(FRAME, LevelSchedule(), 99)([example])["batch"].scored[0, 1:-1].numpy()
        assert not (few & ~everything).any()
        level = value[:, everything.sum()]
        differences.append(level[few].mean() - level[everything].mean())
    z = np.mean(differences) / (np.std(differences, ddof=1) / n_draws**0.5)
    assert np.std(differences) > 0.1
    assert abs(z) < 4


def test_loss_with_all_levels_is_the_bound_per_token():
    """For independent tokens every bound is exact: the loss's expectation is the entropy per token."""
    n_tokens, n_draws = 6, 4000
    value = np.random.default_rng(1).normal(size=n_tokens)
    losses = []
    for seed in range(n_draws):
        batch = DiffusionCollator(FRAME, LevelSchedule(), 2)([Example(np.arange(5, 11), 0, 0, 0, seed)])["batch"]
        places = batch.scored[0, 1:-1].nonzero()[:, 0]
        rows = torch.zeros(len(places), dtype=torch.long)
        losses.append(negative_elbo_per_token(torch.from_numpy(value)[places], rows, 1).item())
    z = (np.mean(losses) + value.mean()) / (np.std(losses, ddof=1) / n_draws**0.5)
    assert abs(z) < 4


def test_decision_loss_equals_scikit_learn():
    generator = np.random.default_rng(2)
    rows = np.repeat(np.arange(5), [1, 3, 2, 4, 2])
    by_class, weights = generator.normal(size=(3, 12)), generator.uniform(1, 3, size=5)
    labels = np.array([0, 2, 1, 1, 0])
    joint = np.stack([np.bincount(rows, values) * weights for values in by_class], axis=1)
    found = posterior_cross_entropy(*(torch.from_numpy(a) for a in (by_class, rows, weights, labels)))
    assert found.shape == (5,)
    np.testing.assert_allclose(found.mean().item(), log_loss(labels, softmax(joint, axis=1)), rtol=1e-9)


def test_classes_that_stand_for_others_count_as_many():
    """A class that stands for two is one that is there twice."""
    generator = np.random.default_rng(3)
    rows, weights, labels = torch.arange(4), torch.ones(4), torch.zeros(4, dtype=torch.long)
    by_class = torch.from_numpy(generator.normal(size=(3, 4)))
    found = posterior_cross_entropy(by_class, rows, weights, labels, torch.tensor([0.0, 0.0, np.log(2.0)]))
    twice = posterior_cross_entropy(by_class[[0, 1, 2, 2]], rows, weights, labels)
    torch.testing.assert_close(found, twice)


def test_losses_by_level_by_hand():
    levels = LevelLosses.empty()
    levels.add(torch.tensor([1.0, 3.0, 5.0, 7.0]), torch.tensor([0.1, 0.05, 0.11, 1.0]))
    levels.add(torch.tensor([9.0]), torch.tensor([0.95]))
    assert levels.pop() == {"loss_level_0.1": 2.0, "loss_level_0.2": 5.0, "loss_level_1.0": 8.0}
    assert levels.pop() == {}
