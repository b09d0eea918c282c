"""Saved classifiers: the same probabilities, clear errors for damaged folders, nothing unpickled."""

from __future__ import annotations

import copy
import json
import os
import pickle
import shutil
import stat
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from gencls.classifier.estimator import DiffusionClassifier

THREE_PARTS = r"(?s)Expected .*; got .*\. \w|expected .*, got .*: .*\. "


@pytest.fixture(scope="module")
def saved(trained, tmp_path_factory):
    return trained.save(tmp_path_factory.mktemp("saved") / "run")


@pytest.fixture
def broken(saved, tmp_path):
    """A copy to damage."""
    return shutil.copytree(saved, tmp_path / "run")


def edit(folder, change):
    path = folder / "classifier.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


@pytest.fixture
def no_pickle(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a pickle was read")

    for owner, name in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (torch, "load")):
        monkeypatch.setattr(owner, name, refuse)


def test_round_trip_gives_the_same_bits_and_reads_no_pickle(trained, saved, held_out, no_pickle):
    again = DiffusionClassifier.load(saved)
    assert np.array_equal(again.predict_log_proba(held_out[0]), trained.predict_log_proba(held_out[0]))
    assert again.classes_.tolist() == trained.classes_.tolist()
    assert again.classes_.dtype == trained.classes_.dtype
    assert again.get_params() == trained.get_params()
    assert again.temperature_ == trained.temperature_
    assert again.training_record_ == json.loads(json.dumps(trained.training_record_))


def test_no_pickle_is_written(saved):
    names = sorted(path.relative_to(saved).as_posix() for path in saved.rglob("*") if path.is_file())
    assert {"classifier.json", "model.safetensors"} <= set(names)
    assert {name.rsplit(".", 1)[-1] for name in names} <= {"json", "safetensors", "txt", "jinja"}
    assert not [name for name in names if "tmp" in name]


def test_others_may_read_a_shared_run(saved):
    reference = saved / "probe"
    reference.write_text("")
    expected = stat.S_IMODE(reference.stat().st_mode)
    reference.unlink()
    assert stat.S_IMODE((saved / "model.safetensors").stat().st_mode) == expected


def test_hub_style_names(trained, tmp_path, held_out):
    trained.save_pretrained(tmp_path / "run")
    again = DiffusionClassifier.from_pretrained(tmp_path / "run")
    assert np.array_equal(again.predict_proba(held_out[0][:3]), trained.predict_proba(held_out[0][:3]))


def test_saved_twice_and_again_after_loading(saved, tmp_path, held_out):
    first = DiffusionClassifier.load(saved)
    second = DiffusionClassifier.load(first.save(tmp_path / "run"))
    second.set_priors([0.2, 0.8]).save(tmp_path / "run")
    third = DiffusionClassifier.load(tmp_path / "run")
    np.testing.assert_allclose(np.exp(third.log_prior_), [0.2, 0.8])
    assert np.array_equal(third.log_likelihood(held_out[0][:3]), first.log_likelihood(held_out[0][:3]))


@pytest.mark.parametrize("mode", ["adapter", "prompt", "independent"])
def test_all_modes(tiny, toy, tmp_path, mode, held_out):
    model = tiny(mode=mode, adapt_steps=1, class_steps=1).fit(*toy(24))
    again = DiffusionClassifier.load(model.save(tmp_path))
    assert np.array_equal(again.log_likelihood(held_out[0][:4]), model.log_likelihood(held_out[0][:4]))


def test_adapters_of_the_last_layers(tiny, toy, tmp_path, held_out):
    model = tiny(mode="adapter", adapt_steps=1, class_steps=2)
    model.set_params(options={**model.options, "adapter_layers": 1}).fit(*toy(24))
    again = DiffusionClassifier.load(model.save(tmp_path))
    assert again.train_config().adapter_layers == 1
    assert np.array_equal(again.log_likelihood(held_out[0][:4]), model.log_likelihood(held_out[0][:4]))
    trained = {name: value for name, value in again.denoiser_.named_parameters() if "lora_B" in name}
    assert trained
    assert all(".layer.1." in name for name in trained)
    assert all(value.any() for value in trained.values())  # they start at zero
    edit(tmp_path, lambda data: data["params"]["options"].pop("adapter_layers"))
    with pytest.raises(ValueError, match="weights of this run"):
        DiffusionClassifier.load(tmp_path)


def test_more_adapter_layers_than_there_are(tiny, toy):
    model = tiny(mode="adapter")
    with pytest.raises(ValueError, match=r"Expected 1 <= adapter_layers <= 2, .*; got 3\. \w"):
        model.set_params(options={**model.options, "adapter_layers": 3}).fit(*toy(24))


@pytest.mark.parametrize("labels", [np.array([7, 9]), np.array([False, True]), np.array(["x", "y"], dtype=object)])
def test_labels_keep_their_kind(trained, tmp_path, labels):
    model = copy.copy(trained)
    model.classes_ = labels
    again = DiffusionClassifier.load(model.save(tmp_path))
    assert again.classes_.dtype == labels.dtype
    assert again.classes_.tolist() == labels.tolist()
    assert again.predict(["abc"]).dtype == labels.dtype


def test_labels_that_json_cannot_hold(trained, tmp_path):
    model = copy.copy(trained)
    model.classes_ = np.array(["2020-01-01", "2020-01-02"], dtype="datetime64[D]")
    with pytest.raises(ValueError, match=THREE_PARTS):
        model.save(tmp_path)


@pytest.mark.parametrize("keep", [0, 5, 100, 0.5, 0.999])
def test_truncated_weights(broken, keep):
    path = broken / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
    with pytest.raises(ValueError, match=THREE_PARTS):
        DiffusionClassifier.load(broken)


def test_weights_of_another_model(broken, tmp_path, tiny, toy):
    other = tiny(mode="prompt", adapt_steps=0, class_steps=1).fit(*toy(24)).save(tmp_path / "other")
    shutil.copy(other / "model.safetensors", broken / "model.safetensors")
    with pytest.raises(ValueError, match=THREE_PARTS):
        DiffusionClassifier.load(broken)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"format": "another"}', "\x00\x01", "{}"])
def test_damaged_json(broken, content):
    (broken / "classifier.json").write_text(content)
    with pytest.raises(ValueError, match=THREE_PARTS):
        DiffusionClassifier.load(broken)


def test_json_that_is_no_text(broken):
    (broken / "classifier.json").write_bytes(b"\xff\xfe\x80{")
    with pytest.raises(ValueError, match=THREE_PARTS):
        DiffusionClassifier.load(broken)


@pytest.mark.parametrize(
    "name", ["params", "classes", "class_count", "log_prior", "temperature", "backbone", "training", "format_version"]
)
def test_json_without_an_entry(broken, name):
    edit(broken, lambda data: data.pop(name))
    with pytest.raises(ValueError, match=THREE_PARTS):
        DiffusionClassifier.load(broken)


@pytest.mark.parametrize("change", [{"mode": "lora"}, {"unheard_of": 1}, {"max_length": "many"}])
def test_json_with_bad_parameters(broken, change):
    edit(broken, lambda data: data["params"].update(change))
    with pytest.raises(ValueError, match=THREE_PARTS):
        DiffusionClassifier.load(broken)


@pytest.mark.parametrize("name", ["stopping_rule", "level_weighting", "network_weight"])
def test_a_run_without_its_rule_or_weights_is_damaged(broken, name):
    edit(broken, lambda data: data.pop(name))
    with pytest.raises(ValueError, match=THREE_PARTS):
        DiffusionClassifier.load(broken)


@pytest.mark.parametrize("weight", ["x", float("nan"), -1.0, 0, True, None, float("inf")], ids=str)
def test_a_weight_of_the_network_that_is_none(broken, weight):
    edit(broken, lambda data: data.update(network_weight=weight))
    with pytest.raises(ValueError, match=THREE_PARTS):
        DiffusionClassifier.load(broken)


SCORING = ("estimator", "order", "target_flip_rate", "level_weighting", "long_texts")


def test_a_run_of_the_first_version_still_loads(trained, broken, held_out):
    def older(data):
        for name in ("stopping_rule", "level_weighting", "network_weight"):
            del data[name]
        for name in SCORING:
            del data["params"][name]
        data["format_version"] = 1

    edit(broken, older)
    again = DiffusionClassifier.load(broken)
    assert again.get_params() == trained.get_params()
    assert np.array_equal(again.predict_log_proba(held_out[0]), trained.predict_log_proba(held_out[0]))


def test_an_older_run_whose_options_name_parameters_still_loads(tiny, toy, tmp_path, held_out):
    """Its training took the options' values, its scoring the parameters'."""
    model = tiny(mode="prompt", adapt_steps=0, class_steps=1).fit(*toy(24))
    twice = {"mode": "prompt", "class_steps": 1, "n_steps": 9, "max_length": 9, "seed": 9}
    params = {"mode": "conditional", "class_steps": 7, "options": {**model.options, **twice}}
    edit(model.save(tmp_path), lambda data: data["params"].update(params))
    again = DiffusionClassifier.load(tmp_path)
    assert again.get_params() == model.get_params()
    assert np.array_equal(again.log_likelihood(held_out[0][:4]), model.log_likelihood(held_out[0][:4]))


@pytest.mark.parametrize(
    "changes", [{"target_flip_rate": 0.05}, {"level_weighting": "learned"}, {"level_weighting": "uniform"}], ids=str
)
def test_rule_and_weights_are_saved(tiny, toy, tmp_path, held_out, changes):
    model = tiny(adapt_steps=0, class_steps=1, **changes).fit(*toy(60))
    again = DiffusionClassifier.load(model.save(tmp_path))
    assert again.stopping_rule_ == model.stopping_rule_
    assert (again.stopping_rule_ is None) is ("target_flip_rate" not in changes)
    assert again.level_weighting_.as_dict() == model.level_weighting_.as_dict()
    assert np.array_equal(again.predict_log_proba(held_out[0]), model.predict_log_proba(held_out[0]))


def test_newer_version(broken):
    edit(broken, lambda data: data.update(format_version=99))
    with pytest.raises(ValueError, match=r"Expected format version 3 or older; got version 99 .*newer gencls"):
        DiffusionClassifier.load(broken)


def test_missing_parts(broken, tmp_path):
    with pytest.raises(FileNotFoundError, match=THREE_PARTS):
        DiffusionClassifier.load(tmp_path / "nowhere")
    shutil.rmtree(broken / "tokenizer")
    with pytest.raises(ValueError, match=THREE_PARTS):
        DiffusionClassifier.load(broken)
    (broken / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=THREE_PARTS):
        DiffusionClassifier.load(broken)


def test_a_save_that_fails_leaves_the_old_run(trained, saved, broken, monkeypatch, held_out):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    tokenizer = type(trained.tokenizer_)
    for owner, name in (("gencls.diffusion.saved", "save_file"), (tokenizer, "save_pretrained")):
        with monkeypatch.context() as patch:
            patch.setattr(*((f"{owner}.{name}",) if isinstance(owner, str) else (owner, name)), full)
            with pytest.raises(OSError, match="No space left"):
                trained.save(broken)
    model = copy.copy(trained)
    model.classes_ = np.array(["2020-01-01", "2020-01-02"], dtype="datetime64[D]")
    with pytest.raises(ValueError, match="labels"):
        model.save(broken)
    assert sorted(path.name for path in broken.iterdir()) == sorted(path.name for path in saved.iterdir())
    again = DiffusionClassifier.load(broken)
    assert np.array_equal(again.log_likelihood(held_out[0][:2]), trained.log_likelihood(held_out[0][:2]))


def test_a_save_that_is_killed_leaves_no_mixture_of_two_runs(trained, broken, monkeypatch):
    """At each rename of the new parts: the old JSON beside new weights would load, as neither of both runs."""
    replace, places = os.replace, []

    def killed(source, target, at):
        places.append(Path(target).name)
        if len(places) == at:
            raise KeyboardInterrupt
        replace(source, target)

    for at in (1, 2, 3, 4):
        places.clear()
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", partial(killed, at=at))
            with pytest.raises(KeyboardInterrupt):
                trained.save(broken)
        with pytest.raises(FileNotFoundError, match=r"classifier\.json"):
            DiffusionClassifier.load(broken)
        assert (broken / "tokenizer" / "tokenizer.json").exists()
    assert places[-1] == "classifier.json"
    trained.save(broken)
    assert DiffusionClassifier.load(broken).temperature_ == trained.temperature_


def test_a_tokenizer_that_cannot_be_renamed_is_put_back(trained, broken, monkeypatch):
    replace = os.replace

    def refuse(source, target):
        if Path(source).suffix == ".tmp" and Path(target).name == "tokenizer":
            raise OSError(13, "Permission denied")
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        with pytest.raises(OSError, match="Permission denied"):
            trained.save(broken)
    assert (broken / "tokenizer" / "tokenizer.json").exists()
    assert sorted(path.name for path in broken.iterdir()) == ["model.safetensors", "tokenizer"]
