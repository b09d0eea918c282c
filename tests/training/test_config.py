"""Training options: what is refused, and the way to JSON and back."""

from __future__ import annotations

import json

import pytest

from gencls.training.config import SCORING_OPTIONS, TrainConfig
from gencls.training.presets import PRESETS, preset

BAD = [
    *({name: 0} for name in ("max_length", "batch_size", "n_scored", "n_steps", "n_mc_samples", "rank")),
    *({name: -1} for name in ("adapt_steps", "class_steps", "hybrid_weight", "seed")),
    *({name: 1.0} for name in ("class_dropout", "adapt_level_low", "class_level_low")),
    *({name: 0.0} for name in ("learning_rate", "head_learning_rate", "class_learning_rate")),
    *({name: 2.0} for name in ("n_steps", "n_mc_samples", "max_length", "batch_size", "n_scored", "rank", "n_folds")),
    *({name: 9.0} for name in ("adapt_steps", "class_steps", "checkpoint_steps")),
    {"n_steps": "2"},
    {"estimator": "chain", "max_length": 513},
    *({"adapter_layers": value} for value in (0, -1, 1.5, "1")),
    *({"prefix_tokens": value, "prefix_share": 0.5} for value in (0, 2.5)),
    {"prefix_tokens": 16},
    {"complementary": True},
    *({"prefix_share": value} for value in (-0.1, 1.1)),
    {"checkpoint_steps": 0},
    {"n_folds": 1},
    {"mode": "lora"},
    {"truncation": "middle"},
    {"precision": "float16"},
    {"smoothing": ()},
    {"smoothing": (1.0, 0.0)},
    {"pair_smoothing": (-1.0,)},
    {"discount": (1.0,)},
    {"interpolation": (0.0,)},
    {"interpolation": (0.5, 1.0)},
    {"length_exponent": (0.0,)},
    {"length_exponent": (0.5, -1.0)},
    {"embedding_ridge": 0.0},
    {"seed": None},
    {"estimator": "paths"},
    {"order": "right_to_left"},
    *({"target_flip_rate": rate} for rate in (0.0, 0.5, -0.01, "0.01", float("nan"))),
    {"level_weighting": "none"},
    {"long_texts": "cut"},
    {"estimator": "chain", "target_flip_rate": 0.01},
    {"estimator": "importance_path", "target_flip_rate": 0.01},
    {"order": "left_to_right", "target_flip_rate": 0.01},
    {"level_weighting": "learned", "target_flip_rate": 0.01},
    {"level_weighting": "uniform", "estimator": "elbo"},
    {"target_flip_rate": 0.01, "counts_beside": True},
    {"class_steps_must_help": True, "counts_beside": True},
    {"hybrid_weight": 0.5, "counts_beside": True},
    *({"class_shrinkage": value} for value in (-1.0, float("nan"), float("inf"), "10", None)),
    *({"class_shrinkage": 10.0, "mode": mode} for mode in ("prompt", "independent")),
    {"hybrid_classes": 8},
    {"hybrid_classes": 2, "hybrid_weight": 1.0},
]


@pytest.mark.parametrize("options", BAD, ids=str)
def test_bad_options_are_refused(options):
    with pytest.raises(ValueError, match=r"^Expected .*; got .*\. \w") as error:
        TrainConfig(**options)
    assert next(iter(options)) in str(error.value)


@pytest.mark.parametrize(
    "options",
    [
        {"estimator": "chain", "order": "left_to_right", "max_length": 512},
        {"estimator": "elbo", "target_flip_rate": 0.01},
        {"order": "uniform", "level_weighting": "learned", "long_texts": "chunks"},
        {"target_flip_rate": 0.49, "long_texts": "chunks"},
        {"mode": "adapter", "adapter_layers": 2},
        {"prefix_share": 1.0, "prefix_tokens": 16},
    ],
    ids=str,
)
def test_pairs_that_go_together(options):
    assert TrainConfig.from_dict(json.loads(json.dumps(TrainConfig(**options).as_dict()))) == TrainConfig(**options)


def test_scoring_options_change_no_training():
    """What a folder holds of a training is resumed under other scoring options."""
    from gencls.training.plan import FREE_OPTIONS

    assert set(SCORING_OPTIONS) <= {*FREE_OPTIONS} <= TrainConfig().as_dict().keys()


def test_no_steps_and_no_pairs_are_fine():
    assert TrainConfig(adapt_steps=0, class_steps=0, pair_smoothing=(), hybrid_weight=0.0)


@pytest.mark.parametrize("name", PRESETS)
def test_json_round_trip(name):
    config = preset(name, seed=7, smoothing=(0.5, 2.0))
    data = json.loads(json.dumps(config.as_dict()))
    assert TrainConfig.from_dict(data) == config
    assert isinstance(TrainConfig.from_dict(data).smoothing, tuple)


def test_presets_change_only_what_is_asked():
    assert preset("demo") == PRESETS["demo"]
    changed = preset("cpu", class_steps=1)
    assert changed.class_steps == 1
    assert changed.max_length == PRESETS["cpu"].max_length


def test_unknown_names_get_the_nearest():
    with pytest.raises(ValueError, match="batch_size"):
        TrainConfig.from_dict({"batchsize": 3})
    with pytest.raises(ValueError, match="demo"):
        preset("demos")


def test_options_that_came_later_leave_older_trainings_as_they_are():
    """The digest of a training with all of them at their defaults is the one that their folders hold."""
    import hashlib

    import numpy as np

    from gencls.training.examples import TrainingTexts
    from gencls.training.plan import training_identity

    ids, config = np.arange(3), TrainConfig()
    later = {"prefix_share", "prefix_tokens", "complementary", "neighbour_smoothing", "discount", "adapter_layers"}
    later |= {"embedding_ridge", "triple_smoothing", "class_steps_must_help", "counts_beside"}
    later |= {"hybrid_classes", "class_shrinkage", "interpolation", "length_exponent"}
    free = {"checkpoint_steps", *SCORING_OPTIONS, *later}
    options = {name: value for name, value in config.as_dict().items() if name not in free}
    text = json.dumps([options, ["a"]], sort_keys=True) + "|0:3|"
    expected = hashlib.sha256(text.encode() + ids.astype("<i8").tobytes()).hexdigest()
    texts = TrainingTexts([ids], np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64), 1)
    assert training_identity(texts, ["a"], config) == expected
    assert training_identity(texts, ["a"], TrainConfig(length_exponent=(0.5,))) != expected
