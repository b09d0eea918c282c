"""Long texts: the chunks' sums by hand, the same bits as `score_texts` where a text fits and in any company."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.conditioning import ConditioningConfig
from gencls.diffusion.denoiser import Denoiser
from gencls.diffusion.tokens import TokenFrame, chunks
from gencls.likelihood.engine import score_texts
from gencls.likelihood.estimators import Estimator
from gencls.likelihood.long_texts import score_long_texts

FRAME = TokenFrame(bos=97, eos=98, pad=99, mask=100)
SIZE = {"max_length": 16, "overlap": 4}
OPTIONS = {"seed": 3, "precision": "float32"}
LENGTHS = (0, 1, 15, 16, 17, 40, 100)


class CountingScorer(nn.Module):
    """log p = -(token + 1) (class + 1) - visible tokens of the row / 8: exact in binary, so that sums are exact."""

    def __init__(self) -> None:
        super().__init__()
        self.frame, self.n_classes = FRAME, 2

    def forward(self, batch, class_ids):
        visible = (batch.attention_mask.bool() & (batch.input_ids < FRAME.bos)).sum(dim=1)
        values = -(batch.target_ids + 1.0) * (class_ids[:, None] + 1) - visible[:, None] / 8
        return values.double()[batch.scored]


def random_texts(lengths=LENGTHS, *, low=5, high=90, seed=0):
    generator = np.random.default_rng(seed)
    return [generator.integers(low, high, size=length) for length in lengths]


@pytest.fixture(scope="module")
def denoiser():
    model = Denoiser(load_backbone("tiny-random"), 2, ConditioningConfig("conditional", rank=4))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.randn(value.shape, generator=generator) * 0.2)
    return model


def test_sum_by_hand():
    """One step hides all that is scored: a token then sees exactly the context of its chunk."""
    texts = random_texts()
    scores = score_long_texts(CountingScorer(), texts, Estimator("path", 1, 2), **SIZE, **OPTIONS)
    for row, ids in enumerate(texts):
        # the first chunk has no context, every other one has all four tokens of it
        n_seen = 4 * (len(ids) - len(chunks(ids, **SIZE)[0].token_ids))
        expected = [-(ids + 1).sum() * (c + 1) - n_seen / 8 for c in range(2)]
        assert scores.samples[row].tolist() == [[value] * 2 for value in expected]
    assert scores.n_tokens.tolist() == list(LENGTHS)
    assert scores.n_forwards.tolist() == [0, 1, 1, 1, 2, 3, 8]


@pytest.mark.parametrize("estimator", [Estimator("path", 2, 3), Estimator("elbo", 2, 3)], ids=str)
def test_draws_and_steps_are_summed_over_the_chunks(denoiser, estimator):
    ids = random_texts([90])[0]
    scores = score_long_texts(denoiser, [ids], estimator, **SIZE, **OPTIONS, by_step=True)
    parts = [
        score_texts(denoiser, [part.token_ids], estimator, n_context=[part.n_context], **OPTIONS, by_step=True)
        for part in chunks(ids, **SIZE)
    ]
    assert len(parts) > 3
    np.testing.assert_array_equal(scores.samples[0], sum(part.samples[0] for part in parts))
    np.testing.assert_array_equal(scores.steps[0], sum(part.steps[0] for part in parts))
    np.testing.assert_allclose(scores.steps.sum(axis=-1), scores.samples, rtol=1e-12)
    assert scores.n_forwards.tolist() == [sum(int(part.n_forwards[0]) for part in parts)]


@pytest.mark.parametrize("by_step", [False, True])
def test_texts_that_fit_get_the_bits_of_score_texts(denoiser, by_step):
    texts = random_texts([0, 1, 7, 15, 16, 16, 2])
    estimator = Estimator("path", 2, 3)
    long = score_long_texts(denoiser, texts, estimator, **SIZE, **OPTIONS, by_step=by_step)
    short = score_texts(denoiser, texts, estimator, **OPTIONS, by_step=by_step)
    for name in ("samples", "n_tokens", "n_forwards", *(["steps"] if by_step else [])):
        np.testing.assert_array_equal(getattr(long, name), getattr(short, name))
    assert (long.steps is None) is not by_step


def test_same_bits_in_another_order_and_subset_and_with_more_draws(denoiser):
    texts = random_texts()
    reference = score_long_texts(denoiser, texts, Estimator("path", 2, 3), **SIZE, **OPTIONS).samples
    order = np.random.default_rng(0).permutation(len(texts))[:5]
    some = score_long_texts(denoiser, [texts[row] for row in order], Estimator("path", 2, 3), **SIZE, **OPTIONS)
    np.testing.assert_array_equal(some.samples, reference[order])
    later = score_long_texts(denoiser, texts, Estimator(), first_draw=1, n_draws=2, **SIZE, **OPTIONS).samples
    np.testing.assert_array_equal(later, reference[..., 1:])


def test_no_text_and_empty_texts(denoiser):
    none = score_long_texts(denoiser, [], Estimator(), **SIZE, **OPTIONS)
    assert none.samples.shape == (0, 2, 4)
    empty = score_long_texts(denoiser, [np.array([], dtype=int)] * 2, Estimator(), **SIZE, **OPTIONS)
    assert not empty.samples.any()
    assert empty.n_tokens.tolist() == [0, 0]


def test_longer_than_the_positions(denoiser):
    ids = np.random.default_rng(0).integers(5, 90, size=1200)
    with pytest.raises(ValueError, match="at most 510 tokens"):
        score_texts(denoiser, [ids], Estimator("path", 1, 1), **OPTIONS)
    scores = score_long_texts(denoiser, [ids], Estimator("path", 1, 1), max_length=510, overlap=128, **OPTIONS)
    assert np.isfinite(scores.samples).all()
    assert scores.n_tokens.tolist() == [1200]


@pytest.mark.parametrize("size", [{"max_length": 8, "overlap": 8}, {"max_length": 8, "overlap": -1}])
def test_an_overlap_without_room_is_refused(denoiser, size):
    with pytest.raises(ValueError, match=r"Expected an overlap .*; got .*\. "):
        score_long_texts(denoiser, random_texts(), Estimator(), **size, **OPTIONS)
