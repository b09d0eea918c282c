"""Token choice: by hand, and against the distribution it stands for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from gencls.generation.choice import choose, draw_from, penalise, truncated
from gencls.generation.config import GenerationConfig


def kept(values, token_ids):
    return [ids[value > -torch.inf].tolist() for value, ids in zip(values, token_ids, strict=True)]


def test_the_nucleus_keeps_the_token_that_crosses_it():
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    assert kept(*truncated(logits, None, 0.6)) == [[0, 1]]
    assert kept(*truncated(logits, None, 0.49)) == [[0]]
    assert kept(*truncated(logits, None, 0.81)) == [[0, 1, 2]]
    assert kept(*truncated(logits, None, 1.0)) == [[0, 1, 2, 3]]
    assert kept(*truncated(logits, None, 1e-9)) == [[0]], "one token is always kept"


def test_a_nucleus_of_the_likeliest_k_is_a_share_of_what_they_have():
    logits = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).log()
    assert kept(*truncated(logits, 2, None)) == [[0, 1]]
    assert kept(*truncated(logits, 2, 0.57)) == [[0]], "0.4 of 0.7 is 0.571"
    assert kept(*truncated(logits, None, 0.57)) == [[0, 1]]


def test_a_nucleus_of_more_tokens_than_are_looked_at_first():
    logits = torch.zeros(2, 1000)
    logits[1, 7] = 20.0
    sizes = [len(ids) for ids in kept(*truncated(logits, None, 0.9))]
    assert 900 <= sizes[0] <= 901  # a sum of rounded numbers
    assert sizes[1] == 1


@pytest.mark.parametrize("size", [3, 128, 300])
def test_draws_follow_the_distribution(size):
    generator = np.random.default_rng(size)
    logits = torch.from_numpy(generator.normal(0, 1, size))
    logits[1] = -torch.inf
    uniforms = torch.from_numpy((np.arange(20_000) + 0.5) / 20_000)  # as even as can be: no noise but rounding
    drawn = draw_from(logits.expand(20_000, -1), uniforms)
    expected = 20_000 * logits.softmax(dim=0).numpy()
    counts = np.bincount(drawn.numpy(), minlength=size)
    assert np.abs(counts - expected).max() <= 1.0 + 1e-6
    assert counts[1] == 0


def test_the_ends_of_the_unit_interval_never_draw_a_banned_token():
    logits = torch.full((2, 400), -torch.inf)
    logits[:, 100] = logits[:, 200] = 0.0
    drawn = draw_from(logits, torch.tensor([0.0, np.nextafter(1.0, 0.0)], dtype=torch.float64))
    assert drawn.tolist() == [100, 200]


def test_greedy_temperature_and_top_k_one():
    logits = torch.tensor([[0.1, 2.0, 1.0]])
    uniforms = torch.tensor([0.99])
    for config in (GenerationConfig(temperature=0), GenerationConfig(top_k=1), GenerationConfig(temperature=1e-4)):
        choice = choose(logits.clone(), uniforms, config)
        assert choice.token_ids.tolist() == [1]
        # of the model, not of what temperature and truncation leave
        assert choice.probability[0] == pytest.approx(float(logits.softmax(dim=1)[0, 1]), rel=1e-6)


def test_truncated_draws_are_renormalised():
    proba = np.array([0.4, 0.3, 0.2, 0.1])
    uniforms = torch.from_numpy(np.random.default_rng(0).random(4000))
    choice = choose(torch.from_numpy(proba).log().repeat(4000, 1), uniforms, GenerationConfig(top_p=0.6))
    counts = np.bincount(choice.token_ids.numpy(), minlength=4)
    assert counts[2:].sum() == 0
    assert chisquare(counts[:2], 4000 * proba[:2] / 0.7).pvalue > 1e-4


@pytest.mark.parametrize(("order", "expected"), [("confidence", 0.6), ("margin", 0.3), ("entropy", -0.898)])
def test_sureness_by_hand(order, expected):
    logits = torch.tensor([[0.6, 0.3, 0.1]], dtype=torch.float64).log()
    choice = choose(logits, torch.tensor([0.0]), GenerationConfig(order=order, temperature=0))
    assert float(choice.sureness[0]) == pytest.approx(expected, abs=1e-3)


def test_entropy_of_banned_tokens_is_no_nan():
    logits = torch.tensor([[0.0, 0.0, -torch.inf]])
    choice = choose(logits, torch.tensor([0.0]), GenerationConfig(order="entropy"))
    assert float(choice.sureness[0]) == pytest.approx(-np.log(2), rel=1e-6)


def test_the_penalty_multiplies_log_probabilities_whatever_the_zero_of_the_logits():
    proba = torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64)
    for shift in (0.0, 7.0):
        logits = proba.log() + shift
        penalise(logits, [torch.tensor([0])], 2.0)
        assert logits.softmax(dim=1)[0].tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3])
