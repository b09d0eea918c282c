"""Drawn tokens: what they are right in on average, and that a seed decides."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.poem_original import draw_by_diffusion, draw_left_to_right
from gencls.baselines.causal import new_causal
from gencls.baselines.infilling import NeighbourCausal
from gencls.baselines.infilling_rows import Specials, collate, plain_row
from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.batches import frame_rows
from gencls.diffusion.language_model import class_free_denoiser

V = 99
SPECIALS = Specials(start=2, separator=3, mask=4)


def material(n_texts: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    generator = np.random.default_rng(0)
    texts = [generator.integers(5, 8, size=length) for length in generator.integers(4, 12, size=n_texts)]
    return texts, [generator.permutation(len(ids)) < max(1, len(ids) // 2) for ids in texts]


def favoured() -> torch.Tensor:
    """A bias to three tokens, so that draws are right often enough to be counted."""
    return torch.full((V,), -3.0).index_fill(0, torch.arange(5, 8), 3.0)


@pytest.fixture(scope="module")
def ways() -> dict[str, Any]:
    denoiser = class_free_denoiser(load_backbone("tiny-random"))
    network = NeighbourCausal(new_causal(V, width=32, n_layers=1, n_heads=2, n_positions=32, seed=0))
    with torch.no_grad():
        denoiser.bias.copy_(favoured())
        network.bias.copy_(favoured())
    denoiser.eval()
    network.eval()
    return {
        "diffusion": lambda texts, hidden, seed=0: draw_by_diffusion(denoiser, texts, hidden, seed=seed),
        "causal": lambda texts, hidden, seed=0: draw_left_to_right(network, SPECIALS, texts, hidden, seed=seed),
        "denoiser": denoiser,
        "network": network,
    }


@pytest.mark.parametrize("side", ["diffusion", "causal"])
def test_the_mean_probability_is_the_expected_accuracy(ways: dict[str, Any], side: str) -> None:
    right, proba = ways[side](*material(300)).T
    assert set(np.unique(right)) == {0.0, 1.0} and 0.1 < proba.mean() < 0.9
    # each hole's surprise has mean zero given what was drawn before
    z = (right - proba).sum() / np.sqrt((proba * (1 - proba)).sum())
    assert abs(z) < 4


@pytest.mark.parametrize("side", ["diffusion", "causal"])
def test_a_seed_decides(ways: dict[str, Any], side: str) -> None:
    texts, hidden = material(40)
    first, again, other = (ways[side](texts, hidden, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first[:, 0] != other[:, 0]).any()


def test_the_probability_is_that_of_the_right_token(ways: dict[str, Any]) -> None:
    """The first hole of each text, which no drawn token precedes; in the order of the texts."""
    texts, hidden = material(8)
    hidden = [np.arange(len(ids)) == np.argmax(hole) for ids, hole in zip(texts, hidden, strict=True)]
    denoiser, network = ways["denoiser"], ways["network"]
    batch = frame_rows(texts, hidden, hidden, denoiser.frame)
    with torch.no_grad():
        log_probs = denoiser(batch, torch.zeros(len(texts), dtype=torch.int64)).numpy()
    # the denoiser may say that a hole is a hole, which is no answer
    np.testing.assert_allclose(ways["diffusion"](texts, hidden)[:, 1], np.exp(log_probs), rtol=1e-2)
    rows = collate([plain_row(ids, SPECIALS) for ids in texts])
    targets = rows.pop("targets")
    with torch.no_grad():
        chosen = network.log_probs(**rows).gather(1, targets[:, None])[:, 0].exp().numpy()
    np.testing.assert_allclose(ways["causal"](texts, hidden)[:, 1], chosen[np.concatenate(hidden)], rtol=1e-5)
