"""Which runs are the same, and what one takes over from another."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from gencls.data.storage import read_json, write_json
from gencls.evaluation.runs import train_run
from gencls.evaluation.same_run import RUN, identity_of, take_stages
from gencls.training.class_verdict import VERDICT
from gencls.training.loop import FINISHED, StageTrainer, stage_folder
from gencls.training.plan import PLAN


def test_a_taken_over_adaptation_gives_the_same_bits_as_training_it(tmp_path, data, first, monkeypatch, hybrid):
    train_run(data, tmp_path / "anew", hybrid)
    steps = []
    monkeypatch.setattr("gencls.training.loop._LogWriter.on_log", lambda self, *_, **__: steps.append(self.stage))
    classifier = train_run(data, tmp_path / "taken", hybrid, adapted=first)
    anew, taken, plain = (
        load_file(folder / "model.safetensors") for folder in (tmp_path / "anew", tmp_path / "taken", first)
    )
    assert anew.keys() == taken.keys()
    assert all(torch.equal(anew[name], taken[name]) for name in anew)
    assert any(not torch.equal(anew[name], plain[name]) for name in anew)
    assert classifier.training_record_["adapt"]["steps"] == 3


def test_the_steps_of_the_classes_are_taken_over_where_only_their_shrinkage_differs(
    tmp_path, data, first, monkeypatch, config
):
    shrunk = replace(config, class_shrinkage=5.0, n_steps=1)
    train_run(data, tmp_path / "anew", shrunk)
    with monkeypatch.context() as context:
        context.setattr(StageTrainer, "training_step", lambda *_, **__: pytest.fail("trained again"))
        taken = train_run(data, tmp_path / "taken", shrunk, adapted=first)
    folders = (tmp_path / "anew", tmp_path / "taken", first)
    anew, over, plain = (load_file(folder / "model.safetensors") for folder in folders)
    assert all(torch.equal(value, over[name]) for name, value in anew.items())
    assert any(not torch.equal(value, over[name]) for name, value in plain.items())
    assert taken.training_record_["classes"]["steps"] == config.class_steps
    other = train_run(data, tmp_path / "other", replace(shrunk, class_steps=2), adapted=first)
    assert other.training_record_["classes"]["steps"] == 2, "another stage of the classes is trained"


@pytest.mark.parametrize(
    "changes", [{"learning_rate": 1e-5}, {"adapt_steps": 2}, {"seed": 1}, {"mode": "prompt"}], ids=lambda one: str(*one)
)
def test_another_adaptation_is_refused_by_the_name_of_what_differs(tmp_path, data, first, changes, hybrid):
    with pytest.raises(ValueError, match=f"same .*{next(iter(changes))}"):
        train_run(data, tmp_path / "run", replace(hybrid, **changes), adapted=first)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_an_adaptation_of_other_texts_or_an_unfinished_one_is_refused(tmp_path, data, first, toy, table, hybrid):
    other = str(table(tmp_path / "other.csv", toy(120, seed=1)))
    with pytest.raises(ValueError, match=r"same .*fingerprint"):
        train_run(other, tmp_path / "run", hybrid, adapted=first)
    with pytest.raises(ValueError, match="a run with a finished adaptation"):
        train_run(data, tmp_path / "run", hybrid, adapted=tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"same .*test split"):
        train_run(data, tmp_path / "run", hybrid, fresh_test=20, adapted=first)


def test_a_verdict_is_reached_anew(tmp_path, data, first, config):
    """It may be another one as the texts are scored here."""
    must = replace(config, class_steps_must_help=True)
    train_run(data, tmp_path / "must", must, adapted=first)
    place = stage_folder(tmp_path / "must", "classes") / VERDICT
    write_json(place, {**read_json(place), "loss_after": -1.0})
    again = train_run(data, tmp_path / "again", replace(must, n_mc_samples=3), adapted=tmp_path / "must")
    assert again.training_record_["classes"]["verdict"]["loss_after"] >= 0


def begun(tmp_path, first, **options):
    folder = tmp_path / "begun"
    take_stages(first, folder, identity_of(first), **options)
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def test_with_a_time_budget_only_the_adaptation_is_taken_over(tmp_path, first):
    assert begun(tmp_path, first, time_budget=1.0) == ["adapt"]
    assert begun(tmp_path / "without", first) == ["adapt", "classes"]


@pytest.mark.parametrize("stage", ["adapt", "classes"])
def test_a_stage_that_a_time_budget_cut_is_not_taken_over(tmp_path, data, first, stage, config):
    train_run(data, tmp_path / "cut", config, adapted=first)
    write_json(stage_folder(tmp_path / "cut", stage) / FINISHED, {"steps": 2})
    if stage == "adapt":
        with pytest.raises(ValueError, match="a finished adaptation of 3 steps"):
            begun(tmp_path, tmp_path / "cut")
        assert not (tmp_path / "begun").exists()
    else:
        assert begun(tmp_path, tmp_path / "cut") == ["adapt"]


def test_classes_that_an_older_version_trained_with_other_tables_are_not_taken_over(tmp_path, first):
    old = tmp_path / "old"
    shutil.copytree(first, old)
    write_json(old / PLAN, {name: value for name, value in read_json(old / PLAN).items() if name != "folds"})
    assert begun(tmp_path, old) == ["adapt"]


def test_classes_keep_the_tables_that_they_trained_beside(tmp_path, data, first, config):
    """A version may choose another smoothing than the one that the source was trained with did."""
    source = tmp_path / "source"
    shutil.copytree(first, source)
    plan = read_json(source / PLAN)
    other = {**plan["smoothing"], "unigram": 7.0}
    write_json(source / PLAN, {**plan, "smoothing": other})
    taken = train_run(data, tmp_path / "taken", replace(config, class_shrinkage=5.0), adapted=source)
    assert taken.training_record_["smoothing"] == other
    anew = train_run(data, tmp_path / "anew", replace(config, class_steps=2), adapted=source)
    assert anew.training_record_["smoothing"] == plan["smoothing"]


def test_checkpoints_without_a_record_are_not_taken_over(tmp_path, first):
    shutil.copytree(first / "checkpoints", tmp_path / "unknown" / "checkpoints")
    with pytest.raises(ValueError, match="a run with a finished adaptation"):
        take_stages(tmp_path / "unknown", tmp_path / "begun", identity_of(first))


def test_what_a_folder_has_begun_is_left_alone(tmp_path, first):
    own = tmp_path / "begun" / "checkpoints" / "adapt"
    own.mkdir(parents=True)
    take_stages(first, tmp_path / "begun", identity_of(first))
    assert list(own.iterdir()) == []


def test_an_older_run_has_newer_options_at_their_defaults(tmp_path, first, config):
    record = read_json(first / RUN)
    del record["config"]["class_shrinkage"]
    write_json(tmp_path / RUN, record)
    assert identity_of(tmp_path)["config"] == config.as_dict()
