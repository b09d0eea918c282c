"""The scorer's logits are the denoiser's, for every mode, class and precision."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.batches import frame_rows
from gencls.diffusion.conditioning import ConditioningConfig
from gencls.diffusion.denoiser import Denoiser
from gencls.generation.scorers import guided, guiding_classes, scorer_of


@pytest.fixture(scope="module", params=["conditional", "independent", "adapter", "prompt"])
def denoiser(request):
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        made = Denoiser(load_backbone("tiny-random"), 2, ConditioningConfig(request.param, rank=2, n_prompt_tokens=2))
        for value in made.parameters():
            value.add_(0.1 * torch.randn_like(value))
        made.class_bias[:-1].normal_()
        size = made.vocab_size
        keys = torch.arange(20) * 4 * size + torch.arange(20) * 3 + 5
        made.pairs.set_table(keys, torch.randn(2, 20))
    return made.eval()


def test_logits_are_the_denoisers(denoiser):
    generator = np.random.default_rng(0)
    truth = generator.integers(5, 99, size=(3, 70))
    hidden = generator.random((3, 70)) < 0.8  # more hidden places than a chunk
    shown = np.where(hidden, denoiser.frame.mask, truth)
    with scorer_of(denoiser, "float32") as scorer:
        logits = torch.cat(list(scorer.logits(shown, hidden, [1, 2, 0])), dim=1)
    batch = frame_rows(list(truth), list(hidden), list(hidden), denoiser.frame)
    targets = torch.from_numpy(truth[hidden])
    for values, index in zip(logits, (1, 2, 0), strict=True):
        own = values.log_softmax(dim=1).gather(1, targets[:, None])[:, 0]
        with torch.no_grad():
            expected = denoiser(batch, torch.full((3,), index))
        torch.testing.assert_close(own, expected, atol=2e-5, rtol=1e-5)


def logits_at(denoiser, shown, place):
    """The logits under all classes and under none, (C + 1, V)."""
    with scorer_of(denoiser, "float32") as scorer:
        (logits,) = scorer.logits(shown[None], np.arange(len(shown))[None] == place, range(denoiser.n_classes + 1))
    return logits[:, 0].double().numpy()


def test_tables_beside_the_network_write_each_deviation_once(denoiser):
    beside = copy.deepcopy(denoiser)
    beside.close_gate()
    bare = copy.deepcopy(beside)
    bare.class_bias.zero_()
    bare.pairs.values.zero_()
    pairs = [(int(key) // beside.vocab_size, int(key) % beside.vocab_size) for key in beside.pairs.keys[2:8]]
    truth = np.array([token for pair in pairs for token in pair])
    shown = np.full_like(truth, beside.frame.mask)
    added = np.zeros(3)
    for place in np.random.default_rng(0).permutation(len(truth)):  # the text comes up in a random order
        added += (logits_at(beside, shown, place) - logits_at(bare, shown, place))[:, truth[place]]
        shown[place] = truth[place]
    expected = beside.count_scores([truth])[0]
    only_tokens = beside.class_bias[:2, torch.from_numpy(truth)].sum(dim=1).numpy()
    assert np.abs(expected - only_tokens).min() > 0.1, "pairs play a part"
    np.testing.assert_allclose(added, [*expected, 0.0], atol=1e-4)


def test_bfloat16_is_near(denoiser):
    shown = np.full((2, 9), denoiser.frame.mask)
    shown[:, ::3] = 20
    hidden = shown == denoiser.frame.mask
    parts = []
    for precision in ("float32", "bfloat16"):
        with scorer_of(denoiser, precision) as scorer:
            parts.append(torch.cat(list(scorer.logits(shown, hidden, [0])), dim=1)[0].log_softmax(dim=1))
    assert parts[1].dtype == torch.float32
    assert float((parts[0] - parts[1]).abs().max()) < 0.1


def test_forwards_are_counted(denoiser):
    shown = np.full((2, 9), denoiser.frame.mask)
    with scorer_of(denoiser, "float32") as scorer:
        list(scorer.logits(shown, shown > 0, [0, 2]))
        assert scorer.n_forwards == (1 if denoiser.network.shares_hidden else 2)


def test_guidance_by_hand():
    logits = torch.tensor([[[1.0, 0.0]], [[0.0, 2.0]]])
    assert guided(logits, 2.0).tolist() == [[2.0, -2.0]]
    assert guided(logits[:1], 2.0).tolist() == [[1.0, 0.0]]
    assert guiding_classes(0, 2, 3.0) == [0, 2]
    assert guiding_classes(0, 2, 1.0) == [0]
    assert guiding_classes(0, 2, 0.0) == guiding_classes(2, 2, 1.0) == [2]
