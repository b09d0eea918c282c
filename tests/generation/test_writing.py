"""`generate` and `infill`: classes, guidance, constraints, limits, errors."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from gencls.generation import GenerationConfig, generate, infill

FLOAT32 = GenerationConfig(length=10, precision="float32")


def tokens_of(trajectories):
    return [one.token_ids.tolist() for one in trajectories]


def test_infilling_fills_the_holes_and_nothing_else(model):
    for one in infill(model, "The [MASK] [MASK] was [MASK]!", FLOAT32, n_samples=3):
        assert re.fullmatch(r"The .+ was .+!", one.text)
        assert (~one.given).sum() == 3
        assert one.steps[-1].n_forwards == 3


def test_the_label_and_the_seed_are_said(class_model):
    one = generate(class_model, replace(FLOAT32, label="right"), seed=5)[0]
    assert one.label == "right, seed 5"
    assert one.extras["seed"] == 5
    assert one.extras["n_steps"] == one.extras["n_forwards"] == 10
    assert one.extras["precision"] == "float32"
    assert one.extras["class_proba"] == {"left": 0.25, "right": 0.75}


def test_guidance_zero_is_the_class_free_model_and_one_the_class_model(class_model):
    """With one, the class-free weights play no part; with zero, the class's do not."""
    free = generate(class_model, FLOAT32, n_samples=4)
    none = generate(class_model, replace(FLOAT32, label="left", guidance=0.0), n_samples=4)
    assert tokens_of(none) == tokens_of(free)
    own = generate(class_model, replace(FLOAT32, label="left"), n_samples=4)
    assert tokens_of(own) != tokens_of(free)
    assert tokens_of(own) != tokens_of(generate(class_model, replace(FLOAT32, label="right"), n_samples=4))
    nearly = generate(class_model, replace(FLOAT32, label="left", guidance=1.0 + 1e-6), n_samples=4)
    assert tokens_of(nearly) == tokens_of(own)


def test_one_pass_of_the_encoder_serves_both_models_of_guidance(class_model):
    one = generate(class_model, replace(FLOAT32, label="left", guidance=2.0))[0]
    assert one.extras["n_forwards"] == one.extras["n_steps"]


def test_strong_guidance_makes_the_class_likelier(class_model):
    """Under the class's own word frequencies, beside the class-free ones."""
    bias = class_model.denoiser.class_bias[0].numpy()

    def evidence(guidance):
        config = replace(FLOAT32, label="left", guidance=guidance)
        return np.array([bias[one.token_ids].mean() for one in generate(class_model, config, n_samples=16)])

    gain = evidence(3.0) - evidence(0.0)
    assert gain.mean() / (gain.std(ddof=1) / 4) > 4


def test_required_words_are_there_or_reported(model):
    config = replace(FLOAT32, require=("terrible", "cat"))
    for one in generate(model, config, prefix="the", n_samples=8):
        assert {"terrible", "cat"} <= set(re.findall(r"\w+", one.text))
        assert one.extras["constraints"]["require"] == {"terrible": True, "cat": True}
    tight = replace(FLOAT32, length=1, require=("terrible",))
    assert generate(model, tight)[0].extras["constraints"]["require"] == {"terrible": False}


def test_a_required_word_that_is_given_is_not_written_again(model):
    config = replace(FLOAT32, require=("Terrible",), forbid=("good",))
    one = generate(model, config, prefix="a terrible cat")[0]
    assert one.extras["constraints"]["require"] == {"Terrible": True}
    assert one.steps[1].revealed.sum() == 1, "no forced tokens"


@pytest.mark.parametrize("order", ["confidence", "random"])
def test_forbidden_words_are_not_there(model, order):
    frequent = ["good", "cat", "the", "terrible", "un"]
    plain = generate(model, replace(FLOAT32, order=order), n_samples=24)
    written = {word for one in plain for word in re.findall(r"\w+", one.text)}
    forbid = (*frequent, *sorted(written)[:10])
    assert len(written & set(forbid)) >= 10, "without the rule they are written"
    for one in generate(model, replace(FLOAT32, order=order, forbid=forbid), n_samples=24):
        assert not set(re.findall(r"\w+", one.text)) & set(forbid)
        assert all(one.extras["constraints"]["forbid"].values())


def test_a_forbidden_word_that_is_given_is_reported(model):
    one = generate(model, replace(FLOAT32, forbid=("cat", "dog")), prefix="The Cat")[0]
    assert one.extras["constraints"]["forbid"] == {"cat": False, "dog": True}


def test_no_token_twice(model):
    config = replace(FLOAT32, length=20, temperature=0.0)
    for n_steps in (None, 4):
        plain = generate(model, replace(config, n_steps=n_steps))[0].token_ids.tolist()
        ruled = generate(model, replace(config, n_steps=n_steps, no_repeat_ngram=1))[0].token_ids.tolist()
        assert len(set(plain)) < 20, "without the rule there are repeats"
        assert len(set(ruled)) == 20


def test_rules_that_cannot_be_kept_give_way_and_no_special_token_comes_out(model):
    """More tokens than the vocabulary has, each once: at the end every token has been refused."""
    usable = [index for index in range(model.denoiser.vocab_size) if index > 6]
    config = replace(FLOAT32, length=62, n_steps=8, no_repeat_ngram=1, forbid=tuple("abcdefghijklmnopqrstuvwxyz"))
    one = generate(model, config)[0]
    assert set(one.token_ids.tolist()) <= set(usable)
    assert len(set(one.token_ids.tolist())) < 62


def test_a_regular_expression_is_tried_for_and_reported(model):
    plain = generate(model, FLOAT32, n_samples=6)
    letter = next(c for c in "abcdefghijklmnopqrstuvwxyz" if sum(c in one.text for one in plain) in (1, 2, 3))
    config = replace(FLOAT32, regex=letter, max_tries=50)
    tried = generate(model, config, n_samples=6)
    for before, after in zip(plain, tried, strict=True):
        assert letter in after.text
        assert after.extras["constraints"]["regex"] is True
        assert (after.extras["n_tries"] == 1) == (letter in before.text)
        if letter in before.text:
            assert after.text == before.text
    never = generate(model, replace(FLOAT32, regex="[0-9]", max_tries=2))[0]
    assert never.extras["constraints"]["regex"] is False
    assert never.extras["n_tries"] == 2
    alone = generate(model, config, seed=3)[0]
    assert alone.text == tried[3].text


def test_special_tokens_never_appear_even_where_the_model_wants_them(model):
    special = model.tokenizer.all_special_ids
    bias = model.denoiser.bias
    before = bias.detach().clone()
    try:
        bias.data[special] += 50.0
        for one in generate(model, replace(FLOAT32, length=20), n_samples=8):
            assert not set(one.token_ids.tolist()) & {*special, 1, 2}
            assert "[" not in one.text
    finally:
        bias.data.copy_(before)


def test_long_texts_fill_all_positions_and_no_more(model):
    assert len(generate(model, replace(FLOAT32, length=62, n_steps=2))[0].token_ids) == 62
    with pytest.raises(ValueError, match="at most 62 tokens"):
        generate(model, replace(FLOAT32, length=61), prefix="the cat")


def test_training_mode_and_a_second_call_are_as_before(model):
    model.denoiser.train()
    first = generate(model, FLOAT32)[0].text
    assert model.denoiser.training
    model.denoiser.eval()
    assert generate(model, FLOAT32)[0].text == first


def test_bfloat16_writes_too(model):
    one = generate(model, replace(FLOAT32, precision="bfloat16"))[0]
    assert one.extras["precision"] == "bfloat16"
    assert len(one.token_ids) == 10


def test_errors(model, class_model):
    with pytest.raises(ValueError, match="without classes"):
        generate(model, replace(FLOAT32, label="left"))
    with pytest.raises(ValueError, match="'left'"):
        generate(class_model, replace(FLOAT32, label="lift"))
    with pytest.raises(ValueError, match="hole"):
        infill(model, "nothing to do")
    for name, value in (("seed", -1), ("n_samples", 0)):
        with pytest.raises(ValueError, match=name):
            generate(model, FLOAT32, **{name: value})


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"length": 0}, "length"),
        ({"n_steps": 0}, "n_steps"),
        ({"top_k": 1.5}, "top_k"),
        ({"order": "randon"}, "'random'"),
        ({"schedule": "cosinus"}, "'cosine'"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
        ({"remask": 1}, "remask"),
        ({"guidance": 2.0}, "label"),
        ({"label": "a", "guidance": float("inf")}, "guidance"),
        ({"regex": "("}, "regular expression"),
        ({"require": ["a"]}, "tuple"),
        ({"forbid": ("",)}, "forbid"),
        ({"threshold": 0.5, "order": "random"}, "order"),
        ({"threshold": 0.5, "n_steps": 4}, "n_steps"),
        ({"threshold": 0.5, "remask": 0.1}, "remask"),
    ],
)
def test_bad_options(options, match):
    with pytest.raises(ValueError, match=match):
        GenerationConfig(**options)
