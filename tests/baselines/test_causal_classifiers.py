"""Per-class and zero-shot causal classifiers on texts whose classes differ in nothing but the order of tokens."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from gencls.baselines.causal_likelihood import log_likelihood
from gencls.baselines.causal_per_class import PerClassCausalLM, add_adapters
from gencls.baselines.causal_zero_shot import ZeroShotCausalLM, prompt_contexts
from gencls.baselines.naive_bayes import TokenNaiveBayes

START = 1


def make(model, **changes):
    options = {"start_id": START, "n_steps": 40, "batch_size": 16, "learning_rate": 2e-2, "adapter_rank": 4}
    return PerClassCausalLM(model, **{**options, **changes})


@pytest.mark.parametrize("rank", [4, None])
def test_reads_the_order_that_naive_bayes_cannot(tiny_causal, toy_orders, rank):
    model = make(tiny_causal, adapter_rank=rank, learning_rate=2e-2 if rank else 1e-2).fit(*toy_orders(200))
    held, y = toy_orders(100, seed=1)
    assert model.score(held, y) > 0.95
    assert TokenNaiveBayes(24, alpha=1.0).fit(*toy_orders(200)).score(held, y) < 0.7
    assert {training.n_steps for training in model.trainings_} == {model.n_steps_} == {40}
    np.testing.assert_allclose(model.predict_proba(held).sum(axis=1), 1.0)


def test_score_is_bayes_rule_and_an_empty_text_gets_the_prior(tiny_causal, toy_orders):
    texts, y = toy_orders(40)
    model = make(tiny_causal, n_steps=2).fit([*texts, texts[1]], np.append(y, 1))
    np.testing.assert_allclose(np.exp(model.log_prior_), [20 / 41, 21 / 41])
    joint = model.log_likelihood(texts) + model.log_prior_
    expected = joint - np.logaddexp(joint[:, :1], joint[:, 1:])
    np.testing.assert_allclose(model.predict_log_proba(texts), expected, atol=1e-10)
    empty = model.predict_proba([np.zeros(0, dtype=np.int64)])
    np.testing.assert_allclose(empty[0], [20 / 41, 21 / 41])


def test_the_model_handed_in_stays_and_adapters_start_as_it(tiny_causal, toy_orders):
    texts, y = toy_orders(40)
    before = log_likelihood(tiny_causal, texts, context=(START,))
    make(tiny_causal, n_steps=2).fit(texts, y)
    assert np.array_equal(log_likelihood(tiny_causal, texts, context=(START,)), before)
    adapted = add_adapters(copy.deepcopy(tiny_causal), 3, 2, seed=0)
    first = {name.split(".class")[0]: value for name, value in adapted.named_parameters() if "lora_A.class0" in name}
    for index in range(3):
        adapted.set_adapter(f"class{index}")
        np.testing.assert_allclose(log_likelihood(adapted, texts, context=(START,)), before, atol=1e-5)
    others = {name.split(".class")[0]: value for name, value in adapted.named_parameters() if "lora_A.class2" in name}
    assert first
    assert all(first[name].equal(others[name]) for name in first)


def test_order_of_training_does_not_couple_the_classes(tiny_causal, toy_orders):
    """A class's model depends on its own texts only: swapping the labels swaps the columns."""
    texts, y = toy_orders(40)
    one, other = (make(tiny_causal, n_steps=3).fit(texts, labels) for labels in (y, 1 - y))
    np.testing.assert_allclose(one.log_likelihood(texts), other.log_likelihood(texts)[:, ::-1], atol=1e-9)


def test_a_time_budget_gives_every_class_the_same_steps_and_survives_a_resume(tiny_causal, toy_orders, tmp_path):
    texts, y = toy_orders(40)
    model = make(tiny_causal, n_steps=500, max_seconds=0.2, checkpoints=tmp_path).fit(texts, y)
    assert {training.n_steps for training in model.trainings_} == {model.n_steps_}
    assert model.n_steps_ < 500
    again = make(tiny_causal, n_steps=500, max_seconds=50.0, checkpoints=tmp_path).fit(texts, y)
    assert again.n_steps_ == model.n_steps_
    assert np.array_equal(again.log_likelihood(texts), model.log_likelihood(texts))


def test_zero_shot_is_the_channel_model(tiny_causal, toy_orders):
    texts, y = toy_orders(30)
    contexts = [[START, 7, 8], [START, 9]]
    model = ZeroShotCausalLM(tiny_causal, contexts=contexts).fit(texts, y)
    expected = np.stack([log_likelihood(tiny_causal, texts, context=context) for context in contexts], axis=1)
    assert np.array_equal(model.log_likelihood(texts), expected)
    assert model.predict(texts).tolist() == expected.argmax(axis=1).tolist()
    same = ZeroShotCausalLM(tiny_causal, contexts=[contexts[0]] * 2).fit(texts, y)
    np.testing.assert_allclose(same.predict_proba(texts), 0.5)
    with pytest.raises(ValueError, match="a context for each of 2 classes, got 1"):
        ZeroShotCausalLM(tiny_causal, contexts=contexts[:1]).fit(texts, y)


def test_prompts_hold_the_label_in_words(char_tokenizer):
    first, second = prompt_contexts(["comp.sys-x", "a"], char_tokenizer, START, template="{label}:")
    assert first == [START, *char_tokenizer("comp sys x:", add_special_tokens=False)["input_ids"]]
    assert second == [START, *char_tokenizer("a:", add_special_tokens=False)["input_ids"]]


def test_clone_and_missing_fit(tiny_causal):
    with pytest.raises(NotFittedError, match="call fit first"):
        make(tiny_causal).predict([np.array([5])])
    assert clone(make(tiny_causal, n_steps=7)).n_steps == 7
