"""The class stage is kept where it helps the validation texts' decisions, and taken back where it does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gencls.diffusion.smoothing import tempered_loss, tempered_losses
from gencls.likelihood.engine import score_texts
from gencls.likelihood.estimators import Estimator
from gencls.training import class_verdict

#: Tables that say next to nothing: what is to be learned is left to the network.
FLAT = {"smoothing": (1e6,), "pair_smoothing": (), "class_steps": 60, "class_learning_rate": 0.05}
MUST = {"class_steps_must_help": True}


@pytest.fixture(scope="module")
def helpful(train, split, tmp_path_factory):
    folder = tmp_path_factory.mktemp("helpful")
    held = split(40, seed=1)
    return train(folder / "must", held=held, **FLAT, **MUST), train(folder / "may", held=held, **FLAT), held


def test_a_stage_that_helps_is_kept(helpful, same):
    must, may, held = helpful
    verdict = must.record["classes"]["verdict"]
    assert verdict["is_kept"] is True
    assert verdict["loss_before"] - verdict["loss_after"] > verdict["standard_error"] > 0
    assert same(must, may)
    estimator, log_prior = Estimator("path", 2, 2, "spaced"), np.log([0.5, 0.5])
    scores = score_texts(must.denoiser, held.token_ids, estimator, seed=0, precision="float32")
    joint = scores.samples.mean(axis=2) + log_prior
    assert verdict["loss_after"] == pytest.approx(tempered_loss(joint, held.labels), rel=1e-6)
    assert "verdict" not in may.record["classes"]


def test_a_stage_that_does_not_is_taken_back(train, split, tmp_path, same):
    """On texts whose labels have nothing to do with their words."""
    held = split(40, seed=1)
    held = replace(held, labels=np.random.default_rng(0).permutation(held.labels))
    taken_back = train(tmp_path / "must", held=held, **FLAT, **MUST)
    start = train(tmp_path / "none", held=held, **{**FLAT, "class_steps": 0})
    verdict = taken_back.record["classes"]["verdict"]
    assert verdict["is_kept"] is False
    assert taken_back.record["classes"]["steps"] == 60, "what it took is told"
    assert same(taken_back, start)
    assert not same(taken_back, train(tmp_path / "may", held=held, **FLAT))


@pytest.mark.parametrize("mode", ["adapter", "prompt", "independent"])
def test_in_every_mode(train, split, tmp_path, mode, same):
    held = split(3, seed=1)
    held = replace(held, labels=1 - held.labels)
    options = {"mode": mode, "held": held, "smoothing": (1e6,), "pair_smoothing": ()}
    taken_back = train(tmp_path / "must", **options, **MUST)
    assert taken_back.record["classes"]["verdict"]["is_kept"] is False
    assert same(taken_back, train(tmp_path / "none", **{**options, "class_steps": 0}))


def test_a_single_text_says_nothing(train, split, tmp_path):
    result = train(tmp_path, held=split(1, seed=1), **FLAT, **MUST)
    assert result.record["classes"]["verdict"]["is_kept"] is False
    assert result.record["classes"]["verdict"]["standard_error"] is None


def test_no_steps_no_verdict(train, tmp_path):
    assert "verdict" not in train(tmp_path, class_steps=0, **MUST).record["classes"]


@pytest.mark.parametrize("steps_before", [1, 45, 60])
def test_a_killed_training_ends_as_it_would_have(helpful, train, tmp_path, steps_before, same):
    must, _, held = helpful
    steps = []

    def killed(step):
        steps.append(step)
        if len(steps) == 3 + steps_before:
            raise KeyboardInterrupt

    options = {**FLAT, **MUST, "held": held}
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, call={"on_step": killed}, **options)
    resumed = train(tmp_path, **options)
    assert same(resumed, must)
    assert resumed.record["classes"]["verdict"] == must.record["classes"]["verdict"]


def test_a_verdict_stands_however_the_run_is_scored_later(train, tmp_path, monkeypatch, helpful, same):
    """Options of scoring may change between two calls: the trained weights may not."""
    options = {**FLAT, **MUST, "held": helpful[2]}
    first = train(tmp_path, **options)
    monkeypatch.setattr(class_verdict, "score_texts", lambda *_, **__: pytest.fail("asked again"))
    again = train(tmp_path, **options, n_mc_samples=5)
    assert same(again, first)
    assert again.record["classes"]["verdict"] == first.record["classes"]["verdict"]


def test_a_network_in_use_forgets_what_it_derived_from_other_weights(helpful):
    """As a scorer's tables of the vocabulary are."""
    (name, value), *_ = helpful[0].denoiser.named_parameters()
    version = value._version
    class_verdict._set(helpful[0].denoiser, {name: value.detach().clone()})
    assert value._version > version


def test_losses_are_those_of_the_best_temperature():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 200)
    joint = 50 * (generator.normal(size=(200, 3)) + np.eye(3)[labels])
    losses = tempered_losses(joint, labels)
    assert losses.shape == (200,)
    assert losses.mean() == tempered_loss(joint, labels)
    for temperature in (1.0, 20.0, 100.0, 1000.0):
        scaled = joint / temperature
        plain = np.log(np.exp(scaled - scaled.max(axis=1, keepdims=True)).sum(axis=1)) + scaled.max(axis=1)
        assert losses.mean() <= (plain - scaled[np.arange(200), labels]).mean() + 1e-9
