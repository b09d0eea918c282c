"""The class-free language model: training, resume, streams, and its folder."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.batches import frame_rows
from gencls.diffusion.language_model import LanguageModel
from gencls.training.config import TrainConfig
from gencls.training.language_model import PRESETS, language_model_preset, train_language_model
from gencls.training.per_class import train_denoiser
from gencls.training.streaming import FRONT, StreamedTexts

OPTIONS = {
    "backbone": "tiny-random",
    "max_length": 24,
    "adapt_steps": 4,
    "class_steps": 0,
    "batch_size": 8,
    "n_scored": 8,
    "adapt_level_low": 0.0,
    "prefix_share": 0.5,
    "precision": "float32",
    "checkpoint_steps": 2,
}


class Stopped(Exception):
    """A kill, as far as one process can play it."""


def train(folder, texts, *, kill_at=None, **changes):
    def on_step(step):
        if step == kill_at:
            raise Stopped

    config = TrainConfig(**{**OPTIONS, **changes})
    return train_language_model(load_backbone(config.backbone), texts, config, folder, on_step=on_step)


@pytest.fixture(scope="module")
def texts(split):
    return split(40).token_ids


def weights_of(model):
    return model.denoiser.state_dict()


def test_a_killed_training_resumes_with_the_same_weights(tmp_path, texts):
    whole = weights_of(train(tmp_path / "whole", texts))
    with pytest.raises(Stopped):
        train(tmp_path / "killed", texts, kill_at=3)
    resumed = weights_of(train(tmp_path / "killed", texts))
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    steps = [json.loads(line)["step"] for line in (tmp_path / "killed" / "training_log.jsonl").read_text().splitlines()]
    assert max(steps) == 4


def test_training_learns_and_logs_every_level(tmp_path, texts):
    model = train(tmp_path, texts, adapt_steps=40, batch_size=16, checkpoint_steps=100, learning_rate=3e-3)
    log = [json.loads(line) for line in (tmp_path / "training_log.jsonl").read_text().splitlines()]
    levels = {name for entry in log for name in entry if name.startswith("loss_level_")}
    assert levels == {f"loss_level_{place / 10:.1f}" for place in range(1, 11)}
    assert model.record["adapt"]["loss"] < model.record["unigram_nats_per_token"] + 0.1
    assert model.record["adapt"]["steps"] == 40
    assert not model.denoiser.training


def test_another_training_in_the_folder_is_refused(tmp_path, texts):
    train(tmp_path, texts, adapt_steps=1)
    with pytest.raises(ValueError, match="another training"):
        train(tmp_path, texts, adapt_steps=1, prefix_share=0.2)
    with pytest.raises(ValueError, match="another training"):
        train(tmp_path, texts, adapt_steps=1, prefix_tokens=3)


def test_a_saved_model_is_the_same(tmp_path, texts):
    model = train(tmp_path / "run", texts, adapt_steps=1)
    loaded = LanguageModel.load(model.save(tmp_path / "model"))
    assert all(torch.equal(value, weights_of(loaded)[name]) for name, value in weights_of(model).items())
    assert loaded.record == json.loads(json.dumps(model.record))
    assert loaded.tokenizer.mask_token == model.tokenizer.mask_token
    assert {path.name for path in (tmp_path / "model").iterdir()} == {
        "language_model.json",
        "model.safetensors",
        "tokenizer",
    }


def test_a_trained_language_model_is_a_backbone_that_goes_on_from_where_it_is(tmp_path, texts, split):
    model = train(tmp_path / "run", texts, adapt_steps=6)
    folder = model.save(tmp_path / "model")
    config = TrainConfig(backbone=str(folder), adapt_steps=0, class_steps=0, max_length=24, precision="float32")
    backbone, parts = load_backbone(str(folder)), split(40)
    made = train_denoiser(backbone, parts, parts, ["a", "b"], config, tmp_path / "classes").denoiser
    hidden = np.ones(len(texts[0]), dtype=bool)
    hidden[0] = False
    batch = frame_rows(texts[:1], [hidden], [hidden], made.frame)
    with torch.no_grad():
        own, classes_none = (model.denoiser(batch, torch.tensor([0])), made(batch, torch.tensor([2])))
    torch.testing.assert_close(own, classes_none)  # without a class: nothing of it was started anew
    assert train(tmp_path / "goes_on", texts, adapt_steps=0, backbone=str(folder)).record["head_gain_nats"] == 0.0


def test_a_language_model_is_a_backbone_as_a_whole(tmp_path, texts):
    folder = train(tmp_path / "run", texts, adapt_steps=1).save(tmp_path / "model")
    with pytest.raises(ValueError, match="Leave out backbone_layers"):
        load_backbone(str(folder), n_layers=1)
    neighbours = train(tmp_path / "neighbours", texts, adapt_steps=1, neighbour_smoothing=1.0)
    with pytest.raises(ValueError, match="table of neighbours"):
        load_backbone(str(neighbours.save(tmp_path / "with_table")))


def test_damaged_folders_are_said(tmp_path, texts):
    with pytest.raises(FileNotFoundError, match="gencls train-lm"):
        LanguageModel.load(tmp_path)
    folder = train(tmp_path / "run", texts, adapt_steps=1).save(tmp_path / "model")
    config = folder / "language_model.json"
    saved = json.loads(config.read_text())
    for change, match in (
        ({"format_version": 99}, "newer gencls"),
        ({"format": "else"}, "another kind"),
        ({"backbone": {}}, "entries"),
    ):
        config.write_text(json.dumps({**saved, **change}))
        with pytest.raises(ValueError, match=match):
            LanguageModel.load(folder)
    config.write_text(json.dumps(saved))
    (folder / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        LanguageModel.load(folder)


def test_a_stream_is_trained_on_as_a_list_in_its_order(tmp_path, texts):
    opened = []

    def open_stream():
        opened.append(0)
        return iter(texts)

    config = {"adapt_steps": 6}
    model = train(tmp_path, StreamedTexts(open_stream, 48), **config)
    assert model.record["adapt"]["steps"] == 6
    assert len(opened) == 3, "for its front, and for the rest from its beginning and, as 40 texts end, once more"


def test_no_text_is_refused(tmp_path):
    with pytest.raises(ValueError, match="with tokens"):
        train(tmp_path, [np.zeros(0, dtype=np.int64)])
    with pytest.raises(ValueError, match="with tokens"):
        StreamedTexts(lambda: iter(()), 8)


def test_streamed_texts_by_number():
    texts = [np.array([number]) for number in range(FRONT + 10)]
    stream = StreamedTexts(lambda: iter([texts[0][:0], *texts]), 2 * len(texts))
    assert len(stream) == 2 * len(texts)
    assert len(stream.front) == FRONT
    for index in (3, FRONT + 2, FRONT + 2, FRONT + 5, FRONT + 1, len(texts) + 1):
        assert stream[index].tolist() == [index % len(texts)]


def test_presets_cover_all_levels_and_train_no_class():
    for name in PRESETS:
        config = language_model_preset(name)
        assert config.adapt_level_low == 0
        assert config.class_steps == 0
        assert config.prefix_share == 0.5
    with pytest.raises(ValueError, match="'quick'"):
        language_model_preset("quik")
