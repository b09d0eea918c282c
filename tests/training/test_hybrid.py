"""The decision's loss among few of the classes: it is that of all where the others do not matter, and it trains."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from gencls.diffusion.backbones import load_backbone
from gencls.training.examples import TokenizedSplit, training_texts
from gencls.training.model import TrainingModel
from gencls.training.per_class import _rivals, _stages, train_denoiser
from gencls.training.plan import collator

N_CLASSES, OPTIONS = 6, {"hybrid_weight": 1.0, "class_dropout": 0.0}


@pytest.fixture(scope="module")
def parts():
    """Training and validation texts of six classes, each with words of its own among words of all."""
    generator = np.random.default_rng(0)

    def make(per_class):
        labels = np.repeat(np.arange(N_CLASSES), per_class)
        own = generator.integers(0, 3, size=(len(labels), 4)) + 10 + 3 * labels[:, None]
        ids = np.concatenate([own, generator.integers(30, 60, size=(len(labels), 6))], axis=1)
        return TokenizedSplit([generator.permuted(row).astype(np.int64) for row in ids], labels)

    return make(8), make(3)


def fit(folder, parts, config, **call):
    names = [f"class {index}" for index in range(N_CLASSES)]
    return train_denoiser(load_backbone("tiny-random"), *parts, names, config, folder, **call).denoiser


def decision_loss(denoiser, texts, config):
    """The decision's part of the loss of the class stage's first visits, with the masks of the stage."""
    stage = _stages(texts, config, _rivals(denoiser, texts, config))["classes"]
    batch = collator(denoiser, config.class_level_low, config)([stage[index] for index in range(len(stage))])
    with torch.no_grad():
        both = TrainingModel(denoiser, 1.0, stage.rivals)(**batch)["loss"]
        batch.pop("candidates", None)
        return float(both - TrainingModel(denoiser, 0.0)(**batch)["loss"])


def test_few_classes_estimate_the_loss_of_all(tmp_path, parts, tiny_config):
    config = tiny_config(**OPTIONS, adapt_steps=2, class_steps=8)
    denoiser = fit(tmp_path, parts, config)
    texts = training_texts(parts[0], N_CLASSES, config)
    losses = {count: decision_loss(denoiser, texts, replace(config, hybrid_classes=count)) for count in (None, 5, 3)}
    assert losses[None] > 0.01
    assert losses[5] == pytest.approx(losses[None], rel=0.05)
    assert losses[3] == pytest.approx(losses[None], rel=0.2)


@pytest.mark.parametrize("options", [{"complementary": True, "adapt_level_low": 0.0}, {"class_dropout": 0.5}], ids=str)
def test_few_classes_go_with_what_changes_the_rows(tmp_path, parts, tiny_config, options):
    """Complements give a text two rows, and class dropout gives some no class of their own."""
    config = tiny_config(**{**OPTIONS, **options}, hybrid_classes=4, class_level_low=0.0)
    denoiser = fit(tmp_path, parts, config)
    state = denoiser.state_dict()
    assert all(torch.isfinite(value).all() for value in state.values() if value.is_floating_point())
    texts = training_texts(parts[0], N_CLASSES, config)
    stage = _stages(texts, config, _rivals(denoiser, texts, config))["classes"]
    batch = collator(denoiser, 0.0, config)([stage[index] for index in range(8)])
    assert len(batch["candidates"]) == len(batch["labels"])
    np.testing.assert_array_equal(batch["candidates"][:, 0], batch["labels"])


def test_as_many_candidates_as_classes_is_the_loss_of_all(tmp_path, parts, tiny_config):
    config = tiny_config(**OPTIONS)
    counts = (None, N_CLASSES, 50)
    ends = [fit(tmp_path / str(n), parts, replace(config, hybrid_classes=n)).state_dict() for n in counts]
    for other in ends[1:]:
        assert all(torch.equal(value, other[name]) for name, value in ends[0].items())


def test_training_among_few_is_resumed_with_the_same_bits(tmp_path, parts, tiny_config):
    config = tiny_config(**OPTIONS, hybrid_classes=4, adapt_steps=2, class_steps=5, checkpoint_steps=2)
    whole = fit(tmp_path / "whole", parts, config).state_dict()
    assert all(torch.isfinite(value).all() for value in whole.values() if value.is_floating_point())

    def stop(step):
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        steps = iter([0, 0, 1, 2, 3, 4, 5])  # two of the adaptation first
        fit(tmp_path / "killed", parts, config, on_step=lambda _: stop(next(steps)))
    again = fit(tmp_path / "killed", parts, config).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in whole.items())
    other = fit(tmp_path / "all", parts, replace(config, hybrid_classes=None)).state_dict()
    assert any(not torch.equal(value, other[name]) for name, value in whole.items()), "the option does something"
