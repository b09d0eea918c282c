"""The starting point of a head that was not pretrained."""

from __future__ import annotations

import numpy as np
import torch

from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.collator import DiffusionCollator, Example
from gencls.diffusion.conditioning import ConditioningConfig
from gencls.diffusion.denoiser import Denoiser
from gencls.diffusion.schedule import LevelSchedule
from gencls.training.head import _collect, fit_linear_head


def one_letter_texts(n_texts, seed):
    """Every text repeats one letter: what is visible tells what is hidden."""
    generator = np.random.default_rng(seed)
    return [np.full(16, generator.integers(40, 46)) for _ in range(n_texts)]


def make():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        denoiser = Denoiser(load_backbone("tiny-random"), 2, ConditioningConfig("conditional", rank=2))
    counts = np.full(denoiser.vocab_size, 0.01)
    counts[40:46] = 1.0
    log_frequencies = torch.from_numpy(np.log(counts / counts.sum())).float()
    denoiser.set_unigram(log_frequencies, torch.zeros(2, denoiser.vocab_size))
    return denoiser.eval()


@torch.no_grad()
def held_out_loss(denoiser):
    texts = one_letter_texts(80, seed=9)
    collate = DiffusionCollator(denoiser.frame, LevelSchedule(0.1, 0.9), n_scored=8)
    batch = collate([Example(ids, 0, 0, 0, row) for row, ids in enumerate(texts)])["batch"]
    return -denoiser(batch, torch.full((80,), denoiser.n_classes)).mean().item()


def test_head_beats_the_unigram_on_other_texts():
    denoiser = make()
    before = held_out_loss(denoiser)
    gain = fit_linear_head(denoiser, one_letter_texts(300, seed=0), generator=np.random.default_rng(0))
    after = held_out_loss(denoiser)
    assert abs(before - np.log(6)) < 0.2
    assert gain > 0.02
    assert before - after > 0.02


def test_nothing_is_fitted_where_context_says_nothing():
    denoiser = make()
    generator = np.random.default_rng(3)
    noise = [generator.integers(40, 46, size=16) for _ in range(120)]
    before = held_out_loss(denoiser)
    gain = fit_linear_head(denoiser, noise, generator=np.random.default_rng(0))
    assert 0 <= gain < 0.05
    assert abs(held_out_loss(denoiser) - before) < 0.5


def test_same_generator_same_head():
    heads = []
    for _ in range(2):
        denoiser = make()
        fit_linear_head(denoiser, one_letter_texts(60, seed=0), generator=np.random.default_rng(4))
        heads.append(denoiser.network.head.weight.clone())
    assert torch.equal(*heads)


def test_the_batches_change_nothing():
    """They hold texts of about equal length; what is fitted and what is held out goes by the texts' own order."""
    generator = np.random.default_rng(1)
    lengths, letters = generator.integers(2, 20, size=90), generator.integers(40, 46, size=90)
    texts = [np.full(length, letter) for length, letter in zip(lengths, letters, strict=True)]
    texts[0] = np.full(20, 45)
    denoiser = make()
    one, many = (_collect(denoiser, texts, np.random.default_rng(4), size, None) for size in (1, 32))
    assert torch.equal(one[1], many[1])
    torch.testing.assert_close(one[0], many[0], rtol=1e-4, atol=1e-5)
    # the letters in the texts' order, each at least once
    runs = torch.unique_consecutive(many[1]).tolist()
    assert runs == torch.unique_consecutive(torch.tensor([text[0] for text in texts])).tolist()


def test_a_pretrained_head_is_left_alone():
    denoiser = make()
    denoiser.network.head = torch.nn.Identity()
    assert fit_linear_head(denoiser, one_letter_texts(9, seed=0), generator=np.random.default_rng(0)) == 0.0
