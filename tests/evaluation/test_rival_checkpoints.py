"""A killed causal rival goes on where it stopped; what is written leaves no checkpoints."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from gencls.baselines.causal_per_class import PerClassCausalLM
from gencls.data.storage import read_json
from gencls.evaluation.additions import add_baselines
from gencls.evaluation.evaluate import EvaluationOptions, evaluate_run
from gencls.evaluation.rival_checkpoints import FOLDER, drop_checkpoints, with_checkpoints
from gencls.evaluation.rival_data import CausalOptions, RivalData

FEW = CausalOptions(n_steps=2)
TRAIN = RivalData(["a b", "c"], [np.arange(2), np.arange(1)], np.array([0, 1]))


@pytest.fixture
def run(toy_run, tmp_path):
    return shutil.copytree(toy_run, tmp_path / "run")


@pytest.mark.parametrize("is_added", [False, True])
def test_a_killed_rival_goes_on(run, tmp_path, monkeypatch, is_added):
    options = EvaluationOptions(max_texts=16, baselines=("naive_bayes_words",), causal=FEW)
    if is_added:
        evaluate_run(run, tmp_path / "out", options)
    options = replace(options, baselines=("causal_scratch",))
    fit = add_baselines if is_added else evaluate_run

    def killed(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(PerClassCausalLM, "log_likelihood", killed)
        with pytest.raises(KeyboardInterrupt):
            fit(run, tmp_path / "out", options)
    (kept,) = (run / FOLDER).glob("*/causal_scratch")
    assert len(list(kept.glob("*/checkpoint-2"))) == 2, "both classes' trainings"
    monkeypatch.setattr(PerClassCausalLM, "_steps_within", killed)  # only a fit that starts anew times its steps
    fit(run, tmp_path / "out", options)
    assert read_json(tmp_path / "out" / "run.json")["baselines"]["causal_scratch"]["steps_per_class"] == 2
    assert not (run / FOLDER).exists()


def test_a_folder_for_what_decides_a_training(tmp_path):
    def folder(options=FEW, train=TRAIN, run=tmp_path):
        return with_checkpoints(options, run, train).checkpoints

    assert folder() == folder(replace(FEW, calibration_texts=3))
    assert folder().parent == tmp_path / FOLDER
    others = [
        folder(replace(FEW, n_steps=3)),
        folder(replace(FEW, model="gpt2")),
        folder(replace(FEW, learning_rate=0.1)),
        folder(train=replace(TRAIN, texts=["a", "b c"])),
        folder(train=replace(TRAIN, labels=TRAIN.labels[::-1])),
        folder(run=tmp_path / "other"),
    ]
    assert len({folder(), *others}) == 1 + len(others)
    assert folder(replace(FEW, checkpoints=tmp_path)) == tmp_path


def test_only_what_is_written_is_dropped(tmp_path):
    ours, other = (with_checkpoints(replace(FEW, n_steps=n), tmp_path, TRAIN) for n in (2, 500))
    for options, name in ((ours, "causal_scratch"), (ours, "causal_per_class"), (other, "causal_scratch")):
        (options.checkpoints / name / "class_0").mkdir(parents=True)
    drop_checkpoints(ours, ["causal_scratch", "nb_svm"])
    assert [path.name for path in ours.checkpoints.iterdir()] == ["causal_per_class"]
    drop_checkpoints(ours, ["causal_per_class"])
    drop_checkpoints(ours, ["causal_per_class"])
    assert not ours.checkpoints.exists()
    assert (other.checkpoints / "causal_scratch").exists(), "a training of other options"
    drop_checkpoints(other, ["causal_scratch"])
    assert not list(tmp_path.iterdir())
    own = replace(FEW, checkpoints=tmp_path / "mine")
    (tmp_path / "mine" / "causal_scratch").mkdir(parents=True)
    drop_checkpoints(own, ["causal_scratch"])
    drop_checkpoints(FEW, ["causal_scratch"])
    assert (tmp_path / "mine" / "causal_scratch").exists(), "a folder that the caller chose"
