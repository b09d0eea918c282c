"""The verbs from end to end on toy tables, and the one-line errors."""

from __future__ import annotations

import io
import json
import logging
import shutil

import numpy as np
import pytest

from gencls.cli.main import main

QUICK = ["--backbone", "tiny-random", "--adapt-steps", "1", "--class-steps", "1", "--batch-size", "8"]
QUICK += ["--max-length", "24"]


@pytest.fixture(autouse=True)
def _quiet_afterwards():
    """The command line logs to the stderr of its call, which is gone after the test."""
    yield
    logger = logging.getLogger("gencls")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)


def fails(capsys, *words):
    """Run a command that must fail; return its one error line."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    out, err = capsys.readouterr()
    errors = [line for line in err.splitlines() if line.startswith("gencls: error: ")]
    assert len(errors) == 1
    assert err.splitlines()[-1] == errors[0]
    assert "Traceback" not in err
    assert out == ""
    return errors[0]


def rows_of(text):
    return [json.loads(line) for line in text.splitlines()]


def test_second_call_says_that_it_is_trained_already(toy_run, capsys, train_flags):
    before = (toy_run / "model.safetensors").stat().st_mtime_ns
    words = ["train-per-class", str(toy_run.parent / "toy.csv"), "--output", str(toy_run), *train_flags]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert "trained already" in err
    assert f"gencls evaluate {toy_run}" in out
    assert (toy_run / "model.safetensors").stat().st_mtime_ns == before


def test_another_config_or_other_data_in_the_same_folder_is_refused(toy_run, capsys, train_flags, table, toy, tmp_path):
    words = ["--output", toy_run, *train_flags]
    data = toy_run.parent / "toy.csv"
    assert "another config" in fails(capsys, "train-per-class", data, *words, "--class-steps", "4")
    other = table(tmp_path / "toy.csv", toy(120, seed=3))
    assert "another fingerprint" in fails(capsys, "train-per-class", other, *words)


def test_other_column_names(tmp_path, table, toy, capsys):
    data = table(tmp_path / "toy.csv", toy(40), columns=("review", "sentiment"))
    assert "text" in fails(capsys, "train-per-class", data, "--output", tmp_path / "run", *QUICK)
    assert not (tmp_path / "run").exists()
    columns = ["--text-column", "review", "--label-column", "sentiment"]
    assert main(["train-per-class", str(data), "--output", str(tmp_path / "run"), *QUICK, *columns]) == 0
    capsys.readouterr()
    assert main(["predict", str(tmp_path / "run"), "abcd bcda"]) == 0
    assert rows_of(capsys.readouterr().out)[0]["prediction"] == "left"


def test_predict_gives_one_json_line_per_text(toy_run, capsys):
    capsys.readouterr()
    texts = ["abcd dcba abcd", "ijkl lkji kjil", "", "[MASK] \U0001f600"]
    assert main(["predict", str(toy_run), *texts]) == 0
    rows = rows_of(capsys.readouterr().out)
    assert [row["prediction"] for row in rows[:2]] == ["left", "right"]
    for row in rows:
        assert set(row) == {"prediction", "proba", "log_odds", "log_odds_se", "n_tokens"}
        assert sum(row["proba"].values()) == pytest.approx(1.0)
        best, second = sorted(row["proba"].values(), reverse=True)
        assert row["log_odds"] == pytest.approx(np.log(best / second), abs=1e-6)
    assert rows[2] == {
        "prediction": "left",
        "proba": {"left": 0.5, "right": 0.5},
        "log_odds": 0.0,
        "log_odds_se": 0.0,
        "n_tokens": 0,
    }


def test_predict_from_a_file_and_from_standard_input_agree(toy_run, capsys, tmp_path, monkeypatch, toy):
    lines = [*toy(70, seed=4)[0], ""]
    (tmp_path / "texts.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    outputs = []
    for words in (["--file", str(tmp_path / "texts.txt")], ["--file", "-"], ["-"], lines[:2]):
        monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines) + "\n"))
        capsys.readouterr()
        assert main(["predict", str(toy_run), *words]) == 0
        outputs.append(rows_of(capsys.readouterr().out))
    assert outputs[0] == outputs[1] == outputs[2]
    assert len(outputs[0]) == 71
    assert outputs[3] == outputs[0][:2]


@pytest.mark.parametrize("column", ["text", "review"])
def test_predict_reads_the_texts_of_a_table_alone(toy_run, capsys, tmp_path, toy, column):
    texts, labels = toy(6, seed=4)
    lines = [f"{column},label", *(f'"{text}",{label}' for text, label in zip(texts, labels, strict=True))]
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    capsys.readouterr()
    assert main(["predict", str(toy_run), "--file", str(tmp_path / "rows.csv"), "--text-column", column]) == 0
    found = rows_of(capsys.readouterr().out)
    assert main(["predict", str(toy_run), *texts]) == 0
    assert found == rows_of(capsys.readouterr().out)


def test_a_table_with_an_empty_text_or_another_column_is_refused(toy_run, capsys, tmp_path):
    (tmp_path / "rows.csv").write_text("text,label\nabcd,left\n,right\n")
    assert "none in 1 of 2 rows" in fails(capsys, "predict", toy_run, "--file", tmp_path / "rows.csv")
    words = ["--file", tmp_path / "rows.csv", "--text-column", "body"]
    assert "a column 'body'" in fails(capsys, "predict", toy_run, *words)


@pytest.mark.parametrize("words", [["", "--priors", "0.2,0.8"], ["--priors", "0.2,0.8", ""]])
def test_predict_with_other_priors(toy_run, capsys, words):
    capsys.readouterr()
    assert main(["predict", str(toy_run), *words]) == 0
    assert rows_of(capsys.readouterr().out)[0]["proba"] == pytest.approx({"left": 0.2, "right": 0.8})


def test_predict_with_an_adapted_number_of_draws(toy_run, capsys):
    capsys.readouterr()
    texts = ["abcd dcba abcd", "eeee ffff", ""]
    assert main(["predict", str(toy_run), *texts, "--target-flip-rate", "0.01"]) == 0
    rows = rows_of(capsys.readouterr().out)
    for row in rows:
        assert row["n_draws"] >= 2  # the run knows no variance of draws
        assert isinstance(row["is_open"], bool)
        assert row["log_odds_se"] >= 0
    assert rows[0]["n_draws"] <= rows[1]["n_draws"]
    assert main(["predict", str(toy_run), texts[1], "--target-flip-rate", "0.01"]) == 0
    assert rows_of(capsys.readouterr().out) == rows[1:2]


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["a", "--target-flip-rate", "0.5"], "target_flip_rate"),
        (["a", "--n-jobs", "0"], "n_jobs"),
        ([], "neither"),
        (["a", "--file", "f"], "both"),
        (["--file", "no-such-file"], "no-such-file"),
        (["a", "--priors", "0.5,0.6"], "priors"),
        (["a", "--priors", "half,half"], "numbers between commas"),
    ],
)
def test_predict_errors(toy_run, capsys, words, match):
    assert match in fails(capsys, "predict", toy_run, *words)


BAD_TABLES = {
    "one class": ("text,label\na b,x\nc d,x\ne f,x\n", "at least two classes"),
    "a class with one text": ("text,label\na b,x\nc d,x\ne f,y\n", "of every class"),
    "missing column": ("text,sentiment\na b,x\nc d,y\n", "label"),
    "a missing text": ("text,label\na b,x\n,y\nc,x\nd,y\n", "rows 2"),
    "empty": ("", "empty"),
    "only a header": ("text,label\n", "at least one text"),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_bad_tables(tmp_path, capsys, name):
    content, match = BAD_TABLES[name]
    (tmp_path / "bad.csv").write_text(content)
    line = fails(capsys, "train-per-class", tmp_path / "bad.csv", "--output", tmp_path / "run", *QUICK)
    assert match in line.lower()
    assert not (tmp_path / "run").exists()


def test_scoring_options_reach_the_run(tmp_path, capsys, table, toy):
    data = table(tmp_path / "toy.csv", toy(60))
    words = ["--output", str(tmp_path / "run"), *QUICK, "--target-flip-rate", "0.05", "--long-texts", "chunks"]
    assert main(["train-per-class", str(data), *words]) == 0
    saved = json.loads((tmp_path / "run" / "classifier.json").read_text())
    assert saved["params"]["long_texts"] == "chunks"
    assert saved["stopping_rule"]["target_flip_rate"] == 0.05
    capsys.readouterr()
    assert main(["predict", str(tmp_path / "run"), "abcd " * 100]) == 0
    row = rows_of(capsys.readouterr().out)[0]
    assert row["n_tokens"] == 400
    assert row["n_draws"] >= 1
    assert "target_flip_rate" in fails(capsys, "train-per-class", data, *QUICK, "--target-flip-rate", "2")


def test_class_steps_that_do_not_help_are_told(tmp_path, capsys, table, toy):
    data = table(tmp_path / "toy.csv", toy(60))
    words = ["train-per-class", str(data), *QUICK, "--output"]
    assert main([*words, str(tmp_path / "run"), "--class-steps-must-help"]) == 0
    out = capsys.readouterr().out
    verdict = json.loads((tmp_path / "run" / "classifier.json").read_text())["training"]["classes"]["verdict"]
    assert verdict["is_kept"] == ("taken back" not in out)
    assert not verdict["is_kept"], "a single step of a tiny network"
    assert main([*words, str(tmp_path / "other")]) == 0
    assert "taken back" not in capsys.readouterr().out


def test_a_run_folder_of_the_first_version_is_known_again(toy_run, capsys, train_flags, tmp_path):
    older = shutil.copytree(toy_run, tmp_path / "run")
    record = json.loads((older / "run.json").read_text())
    for name in ("estimator", "order", "target_flip_rate", "level_weighting", "long_texts"):
        del record["config"][name]
    (older / "run.json").write_text(json.dumps(record))
    words = ["train-per-class", str(toy_run.parent / "toy.csv"), "--output", str(older), *train_flags]
    assert main(words) == 0
    assert "trained already" in capsys.readouterr().err


def test_what_no_verb_knows_is_refused(toy_run, capsys):
    for words in (["predict", str(toy_run), "--prior", "1", "--nonsense"], ["evaluate", str(toy_run), "more"]):
        with pytest.raises(SystemExit, match="2"):
            main(words)
        assert "unrecognized arguments" in capsys.readouterr().err


def test_other_data_may_have_other_columns(toy_run, capsys, tmp_path, toy):
    texts, labels = toy(30, seed=8)
    lines = ["body,topic", *(f'"{text}",{label}' for text, label in zip(texts, labels, strict=True))]
    (tmp_path / "other.csv").write_text("\n".join(lines))
    words = ["evaluate", toy_run, "--data", tmp_path / "other.csv", "--split", "train", "--baselines", "none"]
    words += ["--output", tmp_path / "report"]
    assert "--text-column" in fails(capsys, *words)
    named = [*map(str, words), "--text-column", "body", "--label-column", "topic"]
    assert main(named) == 0
    assert json.loads((tmp_path / "report" / "metrics.json").read_text())["diffusion"]["n_texts"] == 30


def test_bad_names_and_options(tmp_path, capsys, table, toy):
    run = ["--output", tmp_path / "run"]
    assert "'imdb'" in fails(capsys, "train-per-class", "imbd", *run)
    assert "nowhere.csv" in fails(capsys, "train-per-class", tmp_path / "nowhere.csv", *run)
    data = table(tmp_path / "toy.csv", toy(40))
    assert "tiny-random" in fails(capsys, "train-per-class", data, *run, "--backbone", "tiny-randon")
    assert "max_length" in fails(capsys, "train-per-class", data, *run, *QUICK, "--max-length", "0")
    assert "time-budget" in fails(capsys, "train-per-class", data, *run, *QUICK, "--time-budget", "0")
    assert "1 to 5 of 6 test texts" in fails(capsys, "train-per-class", data, *run, *QUICK, "--test-texts", "6")
    assert "nowhere.txt" in fails(
        capsys, "train-per-class", data, *run, *QUICK, "--unlabelled", tmp_path / "nowhere.txt"
    )


def test_a_test_set_of_one_class_is_refused(tmp_path, capsys, table, toy, toy_run):
    texts, labels = toy(40, seed=6)
    folder = tmp_path / "data"
    folder.mkdir()
    table(folder / "train.csv", (texts, labels))
    one = [row for row, label in enumerate(labels) if label == "left"]
    lefts = table(folder / "test.csv", ([texts[row] for row in one], ["left"] * len(one)))
    line = fails(capsys, "train-per-class", folder, "--output", tmp_path / "run", *QUICK)
    assert "at least two classes" in line
    line = fails(capsys, "evaluate", toy_run, "--data", lefts, "--output", tmp_path / "report")
    assert "at least two classes" in line
    assert not (tmp_path / "report").exists()


def test_run_folders_that_cannot_be_used(tmp_path, capsys, toy_run):
    for verb, words in (("evaluate", ["--output", tmp_path / "report"]), ("predict", ["a text"])):
        assert "gencls train-per-class" in fails(capsys, verb, tmp_path / "nowhere", *words)
        newer = shutil.copytree(toy_run, tmp_path / f"newer-{verb}")
        data = json.loads((newer / "classifier.json").read_text())
        (newer / "classifier.json").write_text(json.dumps({**data, "format_version": 99}))
        assert "Install a newer gencls" in fails(capsys, verb, newer, *words)
        (newer / "classifier.json").write_text('{"format":')
        assert "expected JSON" in fails(capsys, verb, newer, *words)
    assert not (tmp_path / "report").exists()


def test_evaluate_errors(tmp_path, capsys, toy_run, table, toy):
    output = ["--output", tmp_path / "report"]
    assert "naive_bayes" in fails(capsys, "evaluate", toy_run, *output, "--baselines", "naive_bias")
    assert "'tset'" in fails(capsys, "evaluate", toy_run, *output, "--split", "tset")
    assert "encoder_steps; got 0" in fails(capsys, "evaluate", toy_run, *output, "--encoder-steps", "0")
    texts, labels = toy(20)
    strange = table(tmp_path / "strange.csv", (texts, ["up" if label == "left" else "down" for label in labels]))
    assert "'down'" in fails(capsys, "evaluate", toy_run, *output, "--data", strange)
    other = table(tmp_path / "other.csv", (texts, labels), columns=("review", "label"))
    assert "review" in fails(capsys, "evaluate", toy_run, *output, "--data", other)
    assert not (tmp_path / "report").exists()


def test_data_that_changed_since_training_is_noticed(tmp_path, capsys, table, toy):
    data = table(tmp_path / "toy.csv", toy(40))
    assert main(["train-per-class", str(data), "--output", str(tmp_path / "run"), *QUICK]) == 0
    table(data, toy(40, seed=9))
    assert "fingerprint" in fails(capsys, "evaluate", tmp_path / "run", "--output", tmp_path / "report")


def test_a_killed_training_is_resumed_by_the_same_command(tmp_path, capsys, table, toy, monkeypatch):
    """Stopped between training and saving: the same command goes on, another one is refused."""
    data = table(tmp_path / "toy.csv", toy(40))
    words = ["train-per-class", str(data), "--output", str(tmp_path / "run"), *QUICK]
    with monkeypatch.context() as patch:
        patch.setattr("gencls.classifier.estimator.DiffusionClassifier._calibrate", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            main(words)
    assert "another config" in fails(capsys, *words, "--seed", "1")
    assert main(words) == 0
    lines = (tmp_path / "run" / "training_log.jsonl").read_text().splitlines()
    steps = [json.loads(line) for line in lines if "loss_level" in line]
    assert len(steps) == 2  # one of each stage: nothing was trained a second time
