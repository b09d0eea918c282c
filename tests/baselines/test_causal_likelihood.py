"""Exact log-likelihoods: equal to transformers' own logits, whatever the batch, and normalised."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from gencls.baselines import causal_likelihood
from gencls.baselines.causal import new_causal
from gencls.baselines.causal_likelihood import collate, log_likelihood, target_log_probs, token_log_likelihood

START = 1


@pytest.fixture(scope="module")
def texts():
    generator = np.random.default_rng(0)
    return [generator.integers(24, size=length) for length in (7, 0, 1, 12, 3, 12)]


def by_logits(model, ids, context):
    row = torch.tensor([*context, *ids])
    with torch.inference_mode():
        log_probs = model(row[None]).logits[0].double().log_softmax(-1)
    return [log_probs[place - 1, row[place]].item() for place in range(len(context), len(row))]


@pytest.mark.parametrize("context", [(START,), (START, 5, 0, 9)])
def test_equals_the_logits_one_text_at_a_time(tiny_causal, texts, context):
    found = token_log_likelihood(tiny_causal, texts, context=context, batch_tokens=30)
    for ids, part in zip(texts, found, strict=True):
        np.testing.assert_allclose(part, by_logits(tiny_causal, ids, context), atol=1e-5)
    total = log_likelihood(tiny_causal, texts, context=context)
    assert total.dtype == np.float64
    np.testing.assert_allclose(total, [part.sum() for part in found], atol=1e-4)
    assert total[1] == 0.0, "an empty text is certain"


def test_another_architecture_and_small_chunks(texts, monkeypatch):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = GPT2Config(
            vocab_size=24, n_embd=16, n_layer=1, n_head=2, n_positions=32, bos_token_id=1, eos_token_id=1
        )
        model = GPT2LMHeadModel(config).eval()
    monkeypatch.setattr(causal_likelihood, "PROJECTION_ROWS", 5)
    found = log_likelihood(model, texts, context=(START,))
    np.testing.assert_allclose(found, [sum(by_logits(model, ids, (START,))) for ids in texts], atol=1e-4)


def test_probabilities_of_all_texts_sum_to_one():
    """The chain rule: over all 4^3 texts of three tokens of four, exp(log p) sums to one."""
    model = new_causal(4, width=8, n_layers=1, n_heads=1, n_positions=8, seed=1)
    every = [np.array(ids) for ids in itertools.product(range(4), repeat=3)]
    assert np.exp(log_likelihood(model, every, context=(0,))).sum() == pytest.approx(1.0, abs=1e-6)


def test_the_vocabulary_is_never_projected_for_all_positions(tiny_causal, texts, monkeypatch):
    rows = []
    head = copy.deepcopy(tiny_causal)
    head.get_output_embeddings().register_forward_hook(lambda module, inputs, output: rows.append(len(inputs[0])))
    monkeypatch.setattr(causal_likelihood, "PROJECTION_ROWS", 4)
    log_likelihood(head, texts, context=(START,))
    assert sum(rows) == sum(map(len, texts))
    assert max(rows) <= 4


def test_gradient_is_that_of_the_plain_loss(tiny_causal, texts):
    batch = collate([ids for ids in texts if len(ids)], (START,))
    own, plain = copy.deepcopy(tiny_causal), copy.deepcopy(tiny_causal)
    (-target_log_probs(own, **batch).mean()).backward()
    labels = batch["input_ids"].masked_fill(~batch["scored"], -100)
    plain(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels).loss.backward()
    for mine, reference in zip(own.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, reference.grad, atol=1e-6, rtol=1e-4)


def test_padding_id_in_a_text_is_a_token_and_the_mode_is_kept(tiny_causal):
    batch = collate([np.array([0, 0]), np.array([5])], (START,), pad_id=0)
    assert batch["scored"].tolist() == [[False, True, True], [False, True, False]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    model = copy.deepcopy(tiny_causal).train()
    assert np.isfinite(log_likelihood(model, [np.array([0, 0])], context=(START,))).all()
    assert model.training


def test_no_text_no_context_and_too_long_a_text(tiny_causal):
    assert log_likelihood(tiny_causal, [], context=(START,)).shape == (0,)
    with pytest.raises(ValueError, match="context of at least one token"):
        log_likelihood(tiny_causal, [np.array([5])], context=())
    with pytest.raises(ValueError, match="at most 32 tokens; got 33"):
        log_likelihood(tiny_causal, [np.full(32, 5)], context=(START,))
