"""The position-by-position loop samples the same distribution as the sampler, one pass a token."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.rivals.position_loop import write
from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.language_model import LanguageModel, class_free_denoiser


@pytest.fixture(scope="module")
def model():
    backbone = load_backbone("tiny-random")
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        denoiser = class_free_denoiser(backbone)
        denoiser.network.head.weight.normal_(0, 3)
    return LanguageModel(denoiser.eval(), backbone)


@pytest.mark.parametrize("order", ["random", "confidence"])
def test_given_tokens_stay_and_no_mask_is_left(model, order):
    mask = model.denoiser.frame.mask
    start = np.array([10, mask, mask, 11, mask])
    written = write(model, start, order=order, seed=1, precision="float32")
    assert written[[0, 3]].tolist() == [10, 11]
    assert not np.isin(written, model.tokenizer.all_special_ids).any()
    assert (start == mask).sum() == 3, "the start is not written to"
    assert (write(model, start, order=order, seed=1, precision="float32") == written).all()


def test_one_token_has_the_models_distribution(model):
    """At a temperature, against the sampler's logits."""
    from gencls.generation.scorers import scorer_of

    mask = model.denoiser.frame.mask
    start = np.array([10, mask, 12])
    drawn = np.array([write(model, start, temperature=0.2, seed=seed, precision="float32")[1] for seed in range(300)])
    with scorer_of(model.denoiser, "float32") as scorer:
        logits = next(scorer.logits(start[None], start[None] == mask, [0]))[0, 0] / 0.2
    logits[model.tokenizer.all_special_ids] = -torch.inf
    proba = logits.softmax(dim=0).double().numpy()
    top = int(proba.argmax())
    z = ((drawn == top).mean() - proba[top]) / np.sqrt(proba[top] * (1 - proba[top]) / 300)
    assert abs(z) < 4
    assert 0.05 < proba[top] < 0.95
