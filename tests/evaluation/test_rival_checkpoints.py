"""A killed rival goes on where it stopped; of what is written, only an encoder's weights stay."""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from gencls.baselines.causal_per_class import PerClassCausalLM
from gencls.baselines.checkpoints import COMPLETE, WEIGHTS
from gencls.baselines.encoder import EncoderClassifier, MeanPooledClassifier
from gencls.baselines.finetuning import Budget
from gencls.classifier.estimator import DiffusionClassifier
from gencls.data.storage import read_json
from gencls.evaluation import rival_causal, rival_fits
from gencls.evaluation.additions import add_baselines
from gencls.evaluation.evaluate import EvaluationOptions, evaluate_run
from gencls.evaluation.rival_checkpoints import FOLDER, RivalCheckpoints
from gencls.evaluation.rival_data import CausalOptions, RivalData
from gencls.evaluation.rival_fits import rival_encoder
from gencls.reporting.evaluation import BASELINE_PREFIX, load_scores

FEW = CausalOptions(n_steps=2)
ABOUT = {"source": "random weights", "n_steps": 2}
TRAIN = RivalData(["a b", "c"], [np.arange(2), np.arange(1)], np.array([0, 1]))


@pytest.fixture
def run(toy_run, tmp_path):
    # other tests' evaluations leave their encoder's weights below the session's run
    return shutil.copytree(toy_run, tmp_path / "run", ignore=shutil.ignore_patterns(FOLDER))


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
    (kept,) = (run / FOLDER / "causal_scratch").iterdir()
    assert len(list(kept.glob("*/checkpoint-2"))) == 2, "both classes' trainings"
    monkeypatch.setattr(PerClassCausalLM, "_steps_within", killed)  # only a fit that starts anew times its steps
    seconds = sum(read_json(path)["seconds"] for path in kept.glob("*/checkpoint-2/complete.json"))
    fit(run, tmp_path / "out", options)
    record = read_json(tmp_path / "out" / "run.json")["baselines"]["causal_scratch"]
    assert record["steps_per_class"] == 2
    assert record["seconds"] > seconds > 0, "those before the kill are counted in"
    assert not (run / FOLDER).exists()


@pytest.mark.parametrize("is_added", [False, True])
def test_a_killed_encoder_goes_on_and_a_finished_one_is_read(run, tmp_path, monkeypatch, is_added):
    options = EvaluationOptions(max_texts=16, baselines=("encoder",))
    evaluate_run(run, tmp_path / "at once", options)
    at_once = load_scores(tmp_path / "at once" / "scores.npz")[BASELINE_PREFIX + "encoder"]
    record = read_json(tmp_path / "at once" / "run.json")["baselines"]["encoder"]
    shutil.rmtree(run / FOLDER)
    if is_added:
        evaluate_run(run, tmp_path / "out", replace(options, baselines=("naive_bayes_words",)))
    fit = add_baselines if is_added else evaluate_run

    def killed(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(EncoderClassifier, "predict_log_proba", killed)
        with pytest.raises(KeyboardInterrupt):
            fit(run, tmp_path / "out", options)
    (kept,) = (run / FOLDER / "encoder").glob("*/checkpoint-*")
    assert {path.name for path in kept.iterdir()} == {WEIGHTS, COMPLETE}, "nothing goes on from a finished training"
    monkeypatch.setattr(MeanPooledClassifier, "forward", reads_only(MeanPooledClassifier.forward))
    trained = read_json(kept / COMPLETE)["seconds"]
    fit(run, tmp_path / "out", options)
    again = read_json(tmp_path / "out" / "run.json")["baselines"]["encoder"]
    assert {**again, "seconds": None} == {**record, "seconds": None}
    assert again["seconds"] > trained > 0
    assert np.array_equal(load_scores(tmp_path / "out" / "scores.npz")[BASELINE_PREFIX + "encoder"], at_once)
    evaluate_run(run, tmp_path / "other texts", replace(options, max_texts=8))  # trains nothing
    assert kept.exists()


def reads_only(forward):
    """Fail where a network trains."""

    def checked(self, *args, **kwargs):
        assert not self.training
        return forward(self, *args, **kwargs)

    return checked


def test_a_folder_for_what_decides_a_training(tmp_path):
    def place(about=ABOUT, train=TRAIN, run=tmp_path, rival="causal_scratch"):
        return RivalCheckpoints(run).place(rival, about, train)

    assert place() == place(dict(reversed(ABOUT.items())))
    assert place().parent == tmp_path / FOLDER / "causal_scratch"
    others = [
        place({**ABOUT, "n_steps": 3}),
        place(train=replace(TRAIN, texts=["a", "b c"])),
        place(train=replace(TRAIN, labels=TRAIN.labels[::-1])),
        place(run=tmp_path / "other"),
        place(rival="causal_per_class"),
    ]
    assert len({place(), *others}) == 1 + len(others)


def test_a_folder_for_other_budgets_of_a_causal_rival(tmp_path):
    def place(options=FEW, source="folder tiny"):
        about = {"model": options.model, "source": source}
        return rival_causal._place("causal_scratch", about, options, {"train": TRAIN}, RivalCheckpoints(tmp_path))

    assert place() == place(replace(FEW, calibration_texts=3)), "they train nothing"
    changes = {"n_steps": 3, "model": "gpt2", "learning_rate": 0.1, "max_seconds": 5.0, "batch_size": 2}
    others = [place(replace(FEW, **{name: value})) for name, value in {**changes, "adapter_rank": 3}.items()]
    others.append(place(source="hub: tiny"))
    assert len({place(), *others}) == 1 + len(others)


def test_a_folder_for_what_decides_an_encoder(run):
    classifier = DiffusionClassifier.load(run)

    def told(**changes):
        model = rival_encoder(classifier, progress=False)
        for name, value in changes.items():
            setattr(model, name, value)
        return json.dumps(rival_fits._decisive(model), sort_keys=True)

    encoder = rival_encoder(classifier, progress=False)
    other = copy.deepcopy(encoder.encoder)
    next(other.parameters()).data[0, 0] += 1
    changes = {"learning_rate": 1.0, "warmup": 0.9, "batch_size": 3, "random_state": 5}
    changes["bf16"] = not encoder.bf16  # which of the two is faster depends on the machine
    others = [told(**{name: value}) for name, value in {**changes, "budget": Budget(max_steps=77)}.items()]
    others.append(told(encoder=other))
    assert told() == told(progress=True)
    assert len({told(), *others}) == 1 + len(others)


def test_only_what_is_written_is_dropped(tmp_path):
    ours, other = RivalCheckpoints(tmp_path), RivalCheckpoints(tmp_path)
    scratch, adapters, encoder = (
        ours.place(name, ABOUT, TRAIN) for name in ("causal_scratch", "causal_per_class", "encoder")
    )
    longer = other.place("causal_scratch", {**ABOUT, "n_steps": 500}, TRAIN)
    for folder in (scratch, adapters, encoder, longer):
        (folder / "class_0").mkdir(parents=True)
    ours.drop(["causal_scratch", "nb_svm", "encoder"])
    assert [path.exists() for path in (scratch, adapters, encoder, longer)] == [False, True, True, True]
    for _ in range(2):
        ours.drop(["causal_per_class", "causal_scratch"])
        assert [path.exists() for path in (adapters, encoder, longer)] == [False, True, True]
    other.drop(["causal_scratch"])
    assert [path.name for path in (tmp_path / FOLDER).iterdir()] == ["encoder"], "finished weights stay"
