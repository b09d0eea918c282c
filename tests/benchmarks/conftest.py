"""Scorers and texts that need no training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gencls.diffusion.tokens import TokenFrame


class UnigramScorer:
    """A class unigram that sees no context: every path has the same score, whatever its order."""

    frame = TokenFrame(bos=None, eos=None, pad=10, mask=11)
    n_classes = 2
    log_p = np.log(np.random.default_rng(0).dirichlet(np.ones(10), size=2))

    def __init__(self):
        self.n_calls = 0

    def __call__(self, batch, class_ids):
        self.n_calls += 1
        table = torch.from_numpy(np.pad(self.log_p, ((0, 0), (0, 2))))
        return table[class_ids[:, None], batch.target_ids][batch.scored]


@pytest.fixture
def unigram():
    return UnigramScorer


@pytest.fixture
def sample():
    """Texts drawn from the two unigrams, with their labels."""
    generator = np.random.default_rng(1)
    labels = np.arange(20) % 2
    token_ids = [generator.choice(10, size=15 + i, p=np.exp(UnigramScorer.log_p[c])) for i, c in enumerate(labels)]
    return token_ids, labels


@pytest.fixture(scope="session")
def denoiser():
    """A tiny network whose classes differ, and that sees its context."""
    from gencls.diffusion.backbones import load_backbone
    from gencls.diffusion.conditioning import ConditioningConfig
    from gencls.diffusion.denoiser import Denoiser

    model = Denoiser(load_backbone("tiny-random"), 2, ConditioningConfig("conditional", rank=4))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
        model.class_bias[:-1] += torch.randn(2, model.vocab_size, generator=generator)
    return model.eval()


@pytest.fixture(scope="session")
def texts(denoiser):
    """Token ids of some lengths, an empty text and one of a single token among them."""
    generator = np.random.default_rng(2)
    return [generator.integers(6, denoiser.vocab_size, size=size) for size in (12, 7, 1, 0, 20)]


@pytest.fixture
def held():
    """Evidence (400, 3) that is far too sure, its labels, lengths and log prior."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 400)
    evidence = generator.normal(size=(400, 3)) * 20
    evidence[np.arange(400), labels] += 15
    return evidence, labels, generator.integers(1, 90, 400), np.log([0.3, 0.3, 0.4])
