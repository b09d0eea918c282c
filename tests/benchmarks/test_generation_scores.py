"""The judge's arithmetic on a tiny random causal model, and scores of texts by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.generation_scores import Judgement, Sample, judge, paired_difference, perplexity, score
from gencls.baselines.causal import CausalLM, new_causal
from gencls.diffusion.backbones import load_backbone
from gencls.reporting.copied_runs import TrainingRuns


@pytest.fixture(scope="module")
def judge_model():
    tokenizer = load_backbone("tiny-random").tokenizer
    model = new_causal(len(tokenizer), width=16, n_layers=1, n_heads=2, n_positions=64, seed=0)
    return CausalLM(model, tokenizer, int(tokenizer.cls_token_id), "random weights")


def _sample(prefix, continuation, ids=(1, 2, 3), *, kept=True):
    return Sample(prefix, continuation, list(ids), kept, 0.5)


def test_the_judge_scores_the_continuation_given_the_prefix(judge_model):
    sample = _sample("the film", " was good")
    judged = judge(judge_model, [sample])
    tokenizer = judge_model.tokenizer
    before = tokenizer(sample.prefix, add_special_tokens=False)["input_ids"]
    ids = tokenizer(sample.prefix + sample.continuation, add_special_tokens=False)["input_ids"]
    assert ids[: len(before)] == before
    row = torch.tensor([[judge_model.start_id, *ids]])
    with torch.inference_mode():
        log_probs = judge_model.model(row).logits[0].log_softmax(dim=1)
    expected = sum(float(log_probs[place, ids[place]]) for place in range(len(before), len(ids)))
    assert judged.nats[0] == pytest.approx(-expected, rel=1e-4)
    assert judged.n_tokens[0] == len(ids) - len(before)
    assert judged.n_characters[0] == len(" was good")


def test_a_judgement_depends_on_its_text_alone(judge_model):
    one, other = _sample("the film", " was good"), _sample("a", " b c d e f g")
    alone, together = judge(judge_model, [one]), judge(judge_model, [other, one])
    assert together.nats[1] == pytest.approx(alone.nats[0], rel=1e-4)
    np.testing.assert_allclose(together.features[1], alone.features[0], rtol=1e-4)


def test_perplexity_is_of_all_tokens_together():
    judged = Judgement(np.array([2.0, 9.0]), np.array([2, 3]), np.array([5, 6]), np.zeros((2, 1)))
    found = perplexity(judged, seed=0)
    assert found["perplexity"] == pytest.approx(np.exp(11 / 5))
    assert found["nats_per_character"] == pytest.approx(1)
    # the two texts alone are the extremes of the bootstrap
    assert found["perplexity_interval"] == pytest.approx((np.exp(1), np.exp(3)))


def test_scores_by_hand():
    samples = [_sample("p", "a b c d e", (1, 2, 3)), _sample("p", "A b x", (7, 8), kept=False)]
    generator = np.random.default_rng(0)
    judged = Judgement(np.ones(2), np.array([5, 3]), np.array([9, 5]), generator.normal(size=(2, 4)))
    runs = TrainingRuns([np.array([2, 3, 4])])
    found = score(samples, judged, generator.normal(size=(4, 4)), runs, n_clusters=2, seed=0)
    assert found["distinct_1"] == 6 / 8
    assert found["copied_tokens"] == 1  # 2 3 of the first, nothing of the second
    assert found["long_copies"] == 0
    assert found["prefix_respected"] == 0.5
    assert 0 <= found["divergence"] <= 1


def test_a_paired_difference_takes_out_what_the_pairs_share():
    generator = np.random.default_rng(0)
    shared = generator.normal(0, 10, size=200)
    found = paired_difference(shared - 1 + generator.normal(0, 0.1, size=200), shared, seed=0)
    assert found["value"] == pytest.approx(-1, abs=0.03)
    assert -1.05 < found["interval"][0] < found["interval"][1] < -0.95
