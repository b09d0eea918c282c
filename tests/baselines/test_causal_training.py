"""Next-token training: it learns, freezes what is frozen, resumes to the same bits, and keeps to its budget."""

from __future__ import annotations

import copy
import random

import numpy as np
import pytest
import torch

from gencls.baselines.causal_per_class import add_adapters
from gencls.baselines.causal_training import NextTokenModel, nats_per_token, steps_within, train_causal
from gencls.baselines.finetuning import BudgetCallback

START = 1
OPTIONS = {"start_id": START, "batch_size": 16, "learning_rate": 1e-2, "seed": 0}


def weights(model):
    return {name: value.clone() for name, value in model.named_parameters()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_learns_the_order_of_tokens(tiny_causal, toy_orders):
    texts, y = toy_orders(200)
    up = [ids for ids, label in zip(texts, y, strict=True) if label == 0]
    model = copy.deepcopy(tiny_causal)
    record = train_causal(model, up[:80], n_steps=60, validation=up[80:], **OPTIONS)
    # the first of some eight tokens is one of twenty, all others follow from it
    assert record.validation_loss < 1.0 < nats_per_token(tiny_causal, up[80:], start_id=START)
    assert record.validation_loss == pytest.approx(nats_per_token(model, up[80:], start_id=START))
    assert record.n_steps == 60
    assert not model.training


def test_adapters_train_and_the_rest_stays(tiny_causal, toy_orders):
    texts, _ = toy_orders(40)
    model = add_adapters(copy.deepcopy(tiny_causal), 2, 2, seed=0)
    before = weights(model)
    model.set_adapter("class1")
    record = train_causal(model, texts, n_steps=3, **OPTIONS)
    changed = {name for name, value in weights(model).items() if not torch.equal(value, before[name])}
    assert changed
    assert all("lora" in name and "class1" in name for name in changed)
    per_step = record.tokens_seen / 3
    assert 4 * 16 < per_step < 12 * 16
    assert np.isnan(record.validation_loss)


def test_every_step_has_as_many_texts_however_few_there_are(tiny_causal):
    three = [np.full(5, 7), np.full(5, 8), np.full(5, 9)]
    record = train_causal(copy.deepcopy(tiny_causal), three, n_steps=4, **OPTIONS)
    assert record.tokens_seen == 4 * 16 * 5


class _Kill(RuntimeError):
    pass


@pytest.mark.parametrize("adapters", [False, True])
def test_a_killed_training_resumes_to_the_same_bits(tiny_causal, toy_orders, tmp_path, monkeypatch, adapters):
    texts, _ = toy_orders(48)

    def train(folder):
        model = copy.deepcopy(tiny_causal)
        model = add_adapters(model, 1, 2, seed=0) if adapters else model
        record = train_causal(model, texts, n_steps=10, checkpoints=folder, save_steps=4, **OPTIONS)
        return weights(model), record

    straight, whole = train(None)
    plain_step = BudgetCallback.on_step_end

    def dies_at_six(self, args, state, control, **kwargs):
        if state.global_step == 6:
            raise _Kill
        plain_step(self, args, state, control, **kwargs)

    monkeypatch.setattr(BudgetCallback, "on_step_end", dies_at_six)
    with pytest.raises(_Kill):
        train(tmp_path)
    (tmp_path / "checkpoint-5").mkdir()  # one that a kill cut short
    monkeypatch.setattr(BudgetCallback, "on_step_end", plain_step)
    resumed, record = train(tmp_path)
    assert same(straight, resumed)
    assert (record.n_steps, record.tokens_seen) == (10, whole.tokens_seen)
    again, record = train(tmp_path)
    assert same(straight, again), "a finished training adds no step"
    assert (record.n_steps, record.tokens_seen) == (10, whole.tokens_seen)


def test_checkpoints_hold_no_frozen_weights(tiny_causal):
    model = add_adapters(copy.deepcopy(tiny_causal), 1, 2, seed=0)
    state = NextTokenModel(model).state_dict()
    assert state
    assert all("lora" in name for name in state)


def test_time_budget_and_random_states(tiny_causal, toy_orders):
    texts, _ = toy_orders(40)
    torch.manual_seed(3)
    random.seed(3)
    states = torch.get_rng_state().clone(), random.getstate()
    record = train_causal(copy.deepcopy(tiny_causal), texts, n_steps=10_000, max_seconds=0.3, **OPTIONS)
    assert 1 <= record.n_steps < 10_000
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]


def test_trial_steps_change_nothing_and_scale_with_the_time(tiny_causal, toy_orders):
    texts, _ = toy_orders(40)
    model = copy.deepcopy(tiny_causal)
    options = {"start_id": START, "batch_size": 8, "bf16": False, "seed": 0}
    assert steps_within(1e-9, model, texts, **options) == 1
    assert steps_within(100.0, model, texts, **options) > 100
    assert same(weights(model), weights(tiny_causal))
    assert all(value.grad is None for value in model.parameters())


def test_nothing_to_train_on_and_divergence(tiny_causal, toy_orders):
    with pytest.raises(ValueError, match="at least one text with a token"):
        train_causal(tiny_causal, [np.zeros(0, dtype=np.int64)], n_steps=1, **OPTIONS)
    with pytest.raises(ValueError, match="at most 32 tokens"):
        train_causal(tiny_causal, [np.full(40, 5)], n_steps=1, **OPTIONS)
    broken = OPTIONS | {"learning_rate": float("nan")}
    with pytest.raises(RuntimeError, match="finite training loss"):
        train_causal(copy.deepcopy(tiny_causal), toy_orders(40)[0], n_steps=3, **broken)
