"""The verbs train-lm and generate from end to end on toy texts."""

from __future__ import annotations

import json
import logging
import shutil

import pytest

from gencls.cli.main import main
from gencls.evaluation.generators import load_language_model

TRAIN = ["--backbone", "tiny-random", "--steps", "2", "--batch-size", "8", "--max-length", "24"]


@pytest.fixture(autouse=True)
def _quiet_afterwards():
    """The command line logs to the stderr of its call, which is gone after the test."""
    yield
    logger = logging.getLogger("gencls")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)


@pytest.fixture(scope="module")
def run(tmp_path_factory, toy):
    """A language model that the command line trained on a text file."""
    folder = tmp_path_factory.mktemp("lm")
    (folder / "book.txt").write_text(".\n\n".join(toy(60)[0]), encoding="utf-8")
    assert main(["train-lm", str(folder / "book.txt"), "--output", str(folder / "run"), *TRAIN]) == 0
    return folder / "run"


@pytest.fixture
def call(capsys):
    def go(*words):
        capsys.readouterr()
        status = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return status, out, err

    return go


def test_a_second_training_resumes_to_the_same_run_and_another_is_refused(run, call):
    words = ["train-lm", run.parent / "book.txt", "--output", run, *TRAIN]
    status, out, err = call(*words)
    assert status == 0
    assert "trained already" in err
    assert f"gencls generate --model {run}" in out
    status, _, err = call(*words, "--seed", "1")
    assert status == 2
    assert "another config" in err
    record = json.loads((run / "run.json").read_text())
    assert record["data"]["came_from"] == "local file book.txt"
    assert record["config"]["adapt_steps"] == 2


@pytest.mark.parametrize(("loss", "is_worse"), [(9.5, True), (0.5, False)])
def test_a_model_that_is_worse_than_word_frequencies_is_told(run, call, tmp_path, loss, is_worse):
    again = shutil.copytree(run, tmp_path / "run")
    saved = json.loads((again / "language_model.json").read_text())
    saved["training"]["adapt"]["loss"], saved["training"]["unigram_nats_per_token"] = loss, 5.0
    (again / "language_model.json").write_text(json.dumps(saved))
    status, _, err = call("train-lm", run.parent / "book.txt", "--output", again, *TRAIN)
    assert status == 0
    assert ("worse than word frequencies" in err) is is_worse


def test_texts_are_printed_one_by_one(run, call):
    words = ["generate", "--model", run, "--prefix", "ab cd", "--length", 5, "--precision", "float32"]
    status, out, _ = call(*words, "--n-samples", 3, "--seed", 4)
    assert status == 0
    lines = out.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("ab cd") for line in lines)
    assert call(*words, "--seed", 6)[1].splitlines() == lines[2:]


def test_json_has_all_that_is_known(run, call):
    options = ["--length", 6, "--steps", 3, "--schedule", "cosine", "--order", "blocks", "--top-k", 5, "--json"]
    status, out, err = call(
        "generate", "--model", run, *options, "--require", "a", "--forbid", "b", "--regex", "[0-9]{9}"
    )
    assert status == 0
    row = json.loads(out)
    assert row["n_tokens"] == 6
    assert row["n_steps"] == row["n_forwards"] == 3
    assert row["constraints"] == {"require": {"a": True}, "forbid": {"b": True}, "regex": False}
    assert "seed 0 does not meet --regex" in err


def test_templates(run, call):
    status, out, _ = call("generate", "--model", run, "--template", "ab [MASK] cd")
    assert status == 0
    assert out.startswith("ab ")
    assert out.endswith(" cd\n")
    status, _, err = call("generate", "--model", run, "--template", "ab [MASK]", "--prefix", "a")
    assert status == 2
    assert "--prefix" in err


def test_a_classifier_generates_text_of_a_class_and_judges_it(toy_run, call):
    words = ["generate", "--model", toy_run, "--length", 5, "--json"]
    status, out, _ = call(*words, "--class", "left", "--guidance", 2)
    assert status == 0
    row = json.loads(out)
    assert row["label"] == "left"
    assert set(row["class_proba"]) == {"left", "right"}
    assert sum(row["class_proba"].values()) == pytest.approx(1)
    assert call(*words)[0] == 0, "its class-free model"
    status, _, err = call(*words, "--class", "lift")
    assert status == 2
    assert "'left'" in err
    assert load_language_model(toy_run).classes == ("left", "right")


def test_errors_come_before_the_model_is_read(call, tmp_path):
    status, _, err = call("generate", "--model", tmp_path, "--temperature", -1)
    assert status == 2
    assert "temperature" in err
    status, _, err = call("generate", "--model", tmp_path)
    assert status == 2
    assert "gencls train-lm" in err
    status, _, err = call("train-lm", tmp_path / "nowhere.txt")
    assert status == 2
    assert "nowhere.txt" in err
    status, _, err = call("train-lm", tmp_path / "nowhere.txt", "--time-budget", 0)
    assert status == 2
    assert "time-budget" in err
