"""The study of factors on a toy table: one change at a time, nothing trained twice, no test text read."""

from __future__ import annotations

import json

import pytest

from benchmarks import accuracy_study
from benchmarks.accuracy_recipes import Task, task
from benchmarks.accuracy_study import BASE, FACTORS, study, study_of, write_study
from gencls.training.config import TrainConfig

LEVELS = {
    "path_steps": ({"n_steps": 1}, {"n_steps": 2}),
    "class_steps": ({"class_steps": 1},),
    "level_weighting": ({"level_weighting": "learned"},),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory, toy, table):
    data = table(tmp_path_factory.mktemp("study") / "toy.csv", toy(300))
    config = TrainConfig(backbone="tiny-random", adapt_steps=2, class_steps=2, batch_size=8, max_length=24)
    return Task(str(data), "generative", config, ())


@pytest.fixture(scope="module")
def rows(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return folder, study_of(base, LEVELS, folder, limit=None, progress=False)


def test_a_row_for_each_level_that_changes_something(rows):
    _, found = rows
    assert [(row["factor"], row["level"]) for row in found] == [
        (BASE, {}),
        ("path_steps", {"n_steps": 1}),
        ("class_steps", {"class_steps": 1}),
        ("level_weighting", {"level_weighting": "learned"}),
    ]
    assert found[0]["ahead"] == 0
    assert found[0]["mcnemar_p"] is None
    assert found[1]["forwards"] == 1 < found[0]["forwards"]
    assert found[1]["nats_per_token"] > found[0]["nats_per_token"]  # no context, a looser bound


def test_only_what_trains_anew_has_a_run(rows, base):
    folder, _ = rows
    assert [path.name for path in (folder / "study").iterdir()] == [f"{base.name}-class_steps=1"]


def test_nothing_is_trained_twice(rows, base, monkeypatch):
    folder, found = rows
    monkeypatch.setattr("gencls.evaluation.runs.DiffusionClassifier.fit", lambda *_, **__: pytest.fail("trained again"))
    again = study_of(base, LEVELS, folder, limit=None, progress=False)
    assert [row["accuracy"] for row in again] == [row["accuracy"] for row in found]


def test_rows_of_earlier_calls_stay(rows, tmp_path):
    _, found = rows
    write_study("toy", found[:2], tmp_path, "first")
    changed = {**found[1], "accuracy": 0.125}
    path = write_study("toy", [found[0], changed, found[2]], tmp_path, "second")
    kept = json.loads((tmp_path / "study-toy.json").read_text(encoding="utf-8"))["rows"]
    assert [row["factor"] for row in kept] == [BASE, "path_steps", "class_steps"]
    assert kept[1]["accuracy"] == 0.125
    text = path.read_text(encoding="utf-8")
    assert "12.5 ±" in text
    assert "class_steps 1" in text


def test_unknown_factors_are_refused_before_any_training(tmp_path, monkeypatch):
    monkeypatch.setattr(accuracy_study, "train_run", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(ValueError, match=r"Use .*path_steps"):
        study("imdb", ["pathsteps"], tmp_path)


@pytest.mark.parametrize("factor", FACTORS)
def test_every_level_is_a_valid_recipe_that_differs_from_it(factor):
    from dataclasses import replace

    config = task("imdb", "generative").config
    levels = [replace(config, **level) for level in FACTORS[factor]]
    assert any(level != config for level in levels)
