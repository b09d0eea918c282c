"""Class parts between the class-free network and what their training made of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.conditioning import ConditioningConfig
from gencls.diffusion.denoiser import Denoiser
from gencls.diffusion.shrinkage import credibility, shrink_classes
from gencls.likelihood.engine import score_texts
from gencls.likelihood.estimators import Estimator

C = 3
TEXTS = [np.arange(5, 12), np.arange(30, 33), np.arange(60, 80)]


@pytest.fixture(params=["conditional", "adapter"])
def denoiser(request):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = Denoiser(load_backbone("tiny-random"), C, ConditioningConfig(request.param, rank=2)).eval()
        with torch.no_grad():
            for value in made.parameters():
                value.add_(0.1 * torch.randn_like(value))
    return made


def log_likelihoods(denoiser):
    return score_texts(denoiser, TEXTS, Estimator("path", 2, 1), seed=0, precision="float32").samples[:, :, 0]


def test_a_class_keeps_half_of_its_part_at_k_texts():
    shares = credibility(torch.tensor([1, 10, 90]), 10.0)
    assert shares.tolist() == pytest.approx([1 / 11, 1 / 2, 9 / 10])
    assert credibility(torch.tensor([1, 10, 90]), 0.0).tolist() == [1.0, 1.0, 1.0]


def test_nothing_left_is_the_class_free_network(denoiser):
    before = log_likelihoods(denoiser)
    assert np.ptp(before, axis=1).min() > 0.1, "the classes differ"
    shrink_classes(denoiser.network, torch.zeros(C))
    after = log_likelihoods(denoiser)  # what scoring had derived from the old weights is made anew
    assert after == pytest.approx(np.broadcast_to(after[:, :1], after.shape), abs=1e-4)
    free = denoiser.network.n_classes
    assert not np.allclose(before[:, 0], after[:, 0])
    ids = torch.tensor([[2, *TEXTS[0].tolist(), 3]])
    every = torch.ones_like(ids)
    with torch.no_grad():
        own, none = (denoiser.network(ids, every, every.bool(), torch.tensor([index]))[1] for index in (1, free))
    assert torch.allclose(own, none, atol=1e-6)


def test_all_kept_are_the_same_bits(denoiser):
    before = log_likelihoods(denoiser)
    shrink_classes(denoiser.network, torch.ones(C))
    assert np.array_equal(log_likelihoods(denoiser), before)


def test_only_the_classes_asked_for_are_shrunk(denoiser):
    before = log_likelihoods(denoiser)
    shrink_classes(denoiser.network, torch.tensor([1.0, 0.5, 1.0]))
    after = log_likelihoods(denoiser)
    assert after[:, [0, 2]] == pytest.approx(before[:, [0, 2]], abs=1e-4)
    assert np.abs(after[:, 1] - before[:, 1]).min() > 1e-3


def test_what_a_class_map_adds_is_shrunk_in_proportion():
    with torch.no_grad():
        network = Denoiser(load_backbone("tiny-random"), C, ConditioningConfig("conditional", rank=2)).network
        for name in network.class_parameter_names():
            getattr(network, name).normal_(generator=torch.Generator().manual_seed(1))
        hidden = torch.randn(5, network.embedding.shape[1], generator=torch.Generator().manual_seed(2))
        classes = torch.tensor([0, 1, 2, 1, C])
        shared = network.head(hidden)
        added = network.class_features(hidden, classes) - shared
        shares = torch.tensor([0.25, 0.5, 0.0])
        shrink_classes(network, shares)
        wanted = added * torch.tensor([0.25, 0.5, 0.0, 0.5, 1.0])[:, None]
        assert torch.allclose(network.class_features(hidden, classes) - shared, wanted, atol=1e-5)


@pytest.mark.parametrize("mode", ["prompt", "independent"])
def test_what_does_not_add_to_a_class_free_network_is_refused(mode):
    network = Denoiser(load_backbone("tiny-random"), C, ConditioningConfig(mode)).network
    with pytest.raises(TypeError, match=f"got {type(network).__name__}"):
        shrink_classes(network, torch.ones(C))
