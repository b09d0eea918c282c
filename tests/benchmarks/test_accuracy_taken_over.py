"""The accuracy benchmark beside earlier runs in another folder: what they have trained alike is taken over."""

from __future__ import annotations

import runpy
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from benchmarks import accuracy
from benchmarks.accuracy_recipes import Task, task
from gencls.data.storage import read_json, write_json
from gencls.evaluation.same_run import RUN
from gencls.training.config import TrainConfig
from gencls.training.loop import StageTrainer

OPTIONS = {"adapt_steps": 2, "class_steps": 2, "batch_size": 8, "max_length": 24, "counts_beside": True}


@pytest.fixture(scope="module")
def chosen(tmp_path_factory, toy, table):
    data = table(tmp_path_factory.mktemp("accuracy") / "toy.csv", toy(120))
    return Task(str(data), "generative", TrainConfig(backbone="tiny-random", **OPTIONS), ())


@pytest.fixture(scope="module")
def earlier(tmp_path_factory, chosen):
    folder = tmp_path_factory.mktemp("earlier")
    accuracy.run_task(chosen, folder, command="test")
    return folder


def test_a_task_takes_the_stages_of_the_earlier_run_of_its_name(tmp_path, chosen, earlier, monkeypatch):
    later = replace(chosen, config=replace(chosen.config, smoothing=(0.05,)))
    with monkeypatch.context() as context:
        context.setattr(StageTrainer, "training_step", lambda *_, **__: pytest.fail("trained again"))
        evaluation = accuracy.run_task(later, tmp_path, source=earlier, command="test")
    assert evaluation == tmp_path / "toy-generative-0" / "evaluation"
    assert read_json(evaluation / accuracy.DONE)["variant"] == "generative"
    theirs, ours = (load_file(folder / chosen.name / "model.safetensors") for folder in (earlier, tmp_path))
    assert torch.equal(theirs["bias"], ours["bias"])
    assert not torch.equal(theirs["class_bias"], ours["class_bias"])


def test_a_task_of_which_there_is_no_earlier_run_is_trained(tmp_path, chosen, earlier, monkeypatch):
    monkeypatch.setattr(accuracy, "train_run", lambda *_, adapted, **__: asked.append(adapted))
    for name in ("evaluate_run", "write_held_out_scores"):
        monkeypatch.setattr(accuracy, name, lambda *_, **__: None)
    asked = []
    for other in (replace(chosen, config=replace(chosen.config, seed=1)), replace(chosen, variant="hybrid"), chosen):
        accuracy.run_task(other, tmp_path, source=earlier, command="test")
    assert asked == [None, None, earlier / chosen.name]


def test_an_earlier_hybrid_goes_before_the_generative_run_beside_it(tmp_path):
    generative, hybrid = (task("imdb", variant) for variant in ("generative", "hybrid"))
    runs, earlier = tmp_path / "runs", tmp_path / "earlier"
    write_json(runs / generative.name / RUN, {"config": generative.config.as_dict()})
    (earlier / hybrid.name).mkdir(parents=True)
    assert accuracy._adapted(hybrid, runs, earlier) == runs / generative.name, "no run is there"
    write_json(earlier / hybrid.name / RUN, {"config": hybrid.config.as_dict()})
    assert accuracy._adapted(hybrid, runs, earlier) == earlier / hybrid.name
    assert accuracy._adapted(hybrid, runs, None) == runs / generative.name


@pytest.mark.parametrize("other", [{"max_length": 16}, {"length_exponent": (1.0,), "counts_beside": False}])
def test_nothing_is_taken_over_from_an_earlier_run_that_was_adapted_otherwise(tmp_path, chosen, earlier, caplog, other):
    caplog.set_level("INFO")
    later = replace(chosen, config=replace(chosen.config, **other))
    assert accuracy._adapted(later, tmp_path, earlier) is None
    assert all(name in caplog.text for name in other if name != "counts_beside")


def test_a_summary_takes_nothing_over(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["accuracy", "--summary", "--take-from", str(tmp_path)])
    with pytest.raises(SystemExit, match="--take-from"):
        runpy.run_path(accuracy.__file__, run_name="__main__")


def test_the_command_takes_stages_over_without_refit(tmp_path, monkeypatch):
    name = task("r8", "generative").name
    write_json(tmp_path / "earlier" / name / RUN, {"config": task("r8", "generative").config.as_dict()})
    asked = []

    def trained(data, folder, *_, adapted, **__):
        asked.append((data, folder, adapted))
        raise KeyboardInterrupt

    monkeypatch.setattr("gencls.evaluation.runs.train_run", trained)
    folders = ["--take-from", str(tmp_path / "earlier"), "--runs", str(tmp_path / "runs")]
    monkeypatch.setattr(sys, "argv", ["accuracy", "--data", "r8", "--variants", "generative", *folders])
    with pytest.raises(KeyboardInterrupt):
        runpy.run_path(accuracy.__file__, run_name="__main__")
    assert asked == [(task("r8", "generative").data, tmp_path / "runs" / name, tmp_path / "earlier" / name)]
