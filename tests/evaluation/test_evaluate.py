"""The report of a toy run: all files, exactly the promised metrics, and everything replays from the scores."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil

import numpy as np
import pytest

from gencls.classifier.estimator import DiffusionClassifier
from gencls.cli.main import main
from gencls.data.storage import plain
from gencls.evaluation.evaluate import EvaluationOptions, evaluate_run
from gencls.evaluation.rivals import BASELINES
from gencls.evaluation.runs import load_run_data
from gencls.reporting.evaluation import evaluation_metrics, load_scores

PROMISED = {"accuracy", "accuracy_se", "nll", "brier", "ece", "ece_low", "ece_high", "ece_null", "smece"}
PROMISED |= {"n_texts", "majority_accuracy", "mcnemar_p"}
OF_DIFFUSION = {"uncalibrated", "temperature", "forwards_per_text_per_class", "bits_per_token", "train_seconds"}
OF_DIFFUSION |= {"score_texts_per_second"}


@pytest.fixture(autouse=True, scope="module")
def _quiet_afterwards():
    yield
    logger = logging.getLogger("gencls")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)


@pytest.fixture(scope="module")
def report(toy_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports") / "toy"
    assert main(["evaluate", str(toy_run), "--output", str(folder)]) == 0
    return folder


def read(folder, name):
    return json.loads((folder / name).read_text(encoding="utf-8"))


def test_all_files_are_there(report):
    names = {path.name for path in report.iterdir()}
    expected = {"run.json", "metrics.json", "scores.npz", "predictions.jsonl", "report.md", "report.html"}
    assert expected <= names
    assert len([name for name in names if name.endswith(".png")]) >= 5
    assert not [name for name in names if "tmp" in name]


def test_metrics_have_the_promised_keys(report):
    metrics = read(report, "metrics.json")
    assert {"naive_bayes", "tfidf_logistic_regression", "encoder"} <= set(BASELINES)
    assert set(metrics) == {"diffusion", *BASELINES}
    for name, row in metrics.items():
        assert set(row) >= PROMISED, name
        assert row["n_texts"] == read(report, "run.json")["n_texts"]
        assert 0 <= row["accuracy"] <= 1
        assert row["majority_accuracy"] == pytest.approx(0.5, abs=0.1)
        if name != "diffusion":
            assert 0 <= row["mcnemar_p"] <= 1
    diffusion = metrics["diffusion"]
    assert set(diffusion) >= OF_DIFFUSION
    assert set(diffusion["uncalibrated"]) >= PROMISED - {"mcnemar_p"}
    assert set(diffusion["temperature"]) == {"a", "b", "shortest", "log_prior", "lapse", "n_texts"}
    assert np.shape(diffusion["bits_per_token"]) == (2, 2)
    assert diffusion["accuracy"] > 0.8
    assert metrics["naive_bayes"]["accuracy"] > 0.8


def test_all_held_out_texts_calibrate_the_run_and_its_rivals(report):
    counts = read(report, "run.json")["data"]["class_counts"]
    n_held = sum(sum(counts[name].values()) for name in ("validation", "calibration"))
    assert read(report, "metrics.json")["diffusion"]["temperature"]["n_texts"] == n_held
    baselines = read(report, "run.json")["baselines"]
    assert {name: row["temperature"]["n_texts"] for name, row in baselines.items()} == dict.fromkeys(BASELINES, n_held)
    page = (report / "report.html").read_text(encoding="utf-8")
    told = page[page.index("held-out texts that it was fitted to") :][:200]
    assert re.findall(r"\d+", told)[0] == str(n_held)


def test_a_run_that_was_calibrated_on_fewer_texts_than_its_rivals_says_so(toy_run, tmp_path, caplog):
    options = EvaluationOptions(max_texts=8, baselines=())
    evaluate_run(toy_run, tmp_path / "report", options)
    assert "was calibrated on" not in caplog.text
    run = shutil.copytree(toy_run, tmp_path / "run")
    model, (_, _, splits) = DiffusionClassifier.load(run), load_run_data(run)
    held = splits["calibration"]
    model.calibrate(held.texts, model.classes_[held.labels]).save(run)
    evaluate_run(run, tmp_path / "other", options)
    assert f"was calibrated on {len(held)} texts" in caplog.text
    described = read(run, "classifier.json")
    described["temperature"].pop("n_texts")  # of an older version
    (run / "classifier.json").write_text(json.dumps(described), encoding="utf-8")
    evaluate_run(run, tmp_path / "old", options)
    assert "a number of texts that it does not tell" in caplog.text


def test_texts_that_calibrated_are_no_judges_of_calibration(toy_run, tmp_path, caplog):
    for split, is_said in (("validation", True), ("train", False)):
        caplog.clear()
        evaluate_run(toy_run, tmp_path / split, EvaluationOptions(split=split, max_texts=8, baselines=()))
        assert (f"rests on the {split} texts" in caplog.text) == is_said


def test_forwards_are_counted(report):
    scores, metrics = load_scores(report / "scores.npz"), read(report, "metrics.json")["diffusion"]
    config = read(report, "run.json")["config"]
    n_steps, n_draws = config["n_steps"], config["n_mc_samples"]
    assert scores["samples"].shape[2] == n_draws
    # the first pass of a path hides everything: it is the same for all draws
    assert scores["forwards"].tolist() == [1 + k * (n_steps - 1) for k in range(1, n_draws + 1)]
    assert set(scores["n_forwards"].tolist()) == {metrics["forwards_per_text_per_class"]} == {scores["forwards"][-1]}


def test_the_bound_is_beside_the_unigram(report):
    metrics = read(report, "metrics.json")["diffusion"]
    difference = metrics["unigram_nats_per_token"] - metrics["bound_nats_per_token"]
    assert metrics["nats_per_token_under_unigram"] == pytest.approx(difference)
    # twelve letters, eight of them in each class
    assert np.log(11) < metrics["unigram_nats_per_token"] < np.log(13.5)
    assert metrics["bound_nats_per_token_se"] > 0


def test_scores_replay_to_the_metrics(report):
    """The cut at (N, C, K): nothing but the seed and `scores.npz` is needed for every figure of quality."""
    metrics = read(report, "metrics.json")
    replayed = plain(evaluation_metrics(load_scores(report / "scores.npz"), generator=np.random.default_rng(0)))
    assert set(replayed) == set(metrics)
    for name, row in replayed.items():
        for key, value in row.items():
            assert metrics[name][key] == value, (name, key)


def test_scores_are_consistent_with_the_run(report, toy_run):
    scores, model = load_scores(report / "scores.npz"), DiffusionClassifier.load(toy_run)
    _, dataset, splits = load_run_data(toy_run)
    assert np.array_equal(scores["log_proba"], model.predict_log_proba(splits["test"].texts))
    assert scores["class_names"].tolist() == list(dataset.label_names) == model.classes_.tolist()
    assert scores["y"].tolist() == splits["test"].labels.tolist()
    for name in BASELINES:
        assert scores[f"baseline_{name}"].shape == scores["log_proba"].shape


def test_predictions_hold_no_text(report, toy_run):
    _, _, splits = load_run_data(toy_run)
    content = (report / "predictions.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in content.splitlines()]
    digests = [hashlib.sha256(text.encode()).hexdigest() for text in splits["test"].texts]
    assert [row["text_sha256"] for row in rows] == digests
    assert all(set(row) == {"text_sha256", "label", "prediction", "proba", "n_tokens"} for row in rows)
    for path in report.iterdir():
        if path.suffix in {".json", ".jsonl", ".md", ".html"}:
            whole = path.read_text(encoding="utf-8")
            assert not [text for text in splits["test"].texts if text in whole], path.name


def test_run_record(report, toy_run):
    run = read(report, "run.json")
    assert {"command", "config", "seed", "commit", "versions", "device", "data", "wall_seconds", "n_texts"} <= set(run)
    data = run["data"]
    assert {"name", "source", "fingerprint", "class_counts", "max_length", "truncation", "share_cut"} <= set(data)
    assert data["max_length"] == 24
    assert data["fingerprint"] == read(toy_run, "run.json")["fingerprint"]
    assert run["training"]["class_budget"]["texts"] == [11, 11]  # one of 12 is without its class
    assert run["baselines"]["encoder"]["steps"] == 6  # the budget of both stages together
    assert sum(data["scored_class_counts"].values()) == run["n_texts"]


def test_report_is_self_contained(report):
    page = (report / "report.html").read_text(encoding="utf-8")
    assert "data:image/png;base64," in page
    for outside in ('src="http', "src='http", "<link", "@import", 'src="/'):
        assert outside not in page
    assert "naive" in (report / "report.md").read_text(encoding="utf-8").lower()


@pytest.fixture(scope="module")
def adaptive(toy_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports") / "adaptive"
    words = ["--target-flip-rate", "0.05", "--baselines", "none"]
    assert main(["evaluate", str(toy_run), "--output", str(folder), *words]) == 0
    return folder


def test_adapted_draws_are_evaluated(adaptive, report):
    scores, metrics, run = (
        load_scores(adaptive / "scores.npz"),
        read(adaptive, "metrics.json"),
        read(adaptive, "run.json"),
    )
    n_drawn = (~np.isnan(scores["samples"])).sum(axis=2)
    assert (n_drawn == scores["n_draws"][:, None]).all()
    assert scores["is_open"].shape == scores["y"].shape
    assert "forwards" not in scores
    row = metrics["diffusion"]
    assert row["forwards_per_text_per_class"] == pytest.approx(scores["n_forwards"].mean())
    assert row["draws"]["mean"] == pytest.approx(scores["n_draws"].mean())
    assert run["scoring"]["stopping_rule"]["target_flip_rate"] == 0.05
    assert read(report, "run.json")["scoring"]["stopping_rule"] is None
    assert not (adaptive / "accuracy_forwards.png").exists()
    assert np.isfinite(scores["log_odds_se"]).all()
    replayed = plain(evaluation_metrics(scores, generator=np.random.default_rng(0)))
    assert replayed["diffusion"]["draws"] == row["draws"]
    # the draws that both have are the same
    first = load_scores(report / "scores.npz")["samples"][..., :1]
    np.testing.assert_array_equal(scores["samples"][..., :1], first)


def test_bad_scoring_options_are_said_before_any_work(toy_run, tmp_path):
    for options in (EvaluationOptions(target_flip_rate=0.7), EvaluationOptions(n_jobs=0)):
        with pytest.raises(ValueError, match=r"Expected .*; got .*\. \w"):
            evaluate_run(toy_run, tmp_path / "report", options)
    assert not (tmp_path / "report").exists()


@pytest.fixture(scope="module")
def sample(toy_run, tmp_path_factory):
    """A second evaluation: other data, a sample, no rivals."""
    folder = tmp_path_factory.mktemp("reports") / "sample"
    options = EvaluationOptions(data=str(toy_run.parent / "toy.csv"), max_texts=16, baselines=("naive_bayes",), seed=3)
    evaluate_run(toy_run, folder, options)
    return folder


def test_the_report_names_the_data_that_were_judged(toy_run, tmp_path):
    other = shutil.copy(toy_run.parent / "toy.csv", tmp_path / "other.csv")
    evaluate_run(toy_run, tmp_path / "report", EvaluationOptions(data=str(other), max_texts=16, baselines=()))
    report = (tmp_path / "report" / "report.md").read_text()
    trained_on = read(toy_run, "run.json")["data"]["name"]
    assert report.startswith(f"# {other}: ")
    assert f"On 16 held-out texts of {other} (the models are trained on {trained_on}) the diffusion" in report
    assert f"- judged on: {other}; what follows is of the data set of the training" in report


def test_sample_of_other_data_is_stratified_and_recorded(sample):
    metrics, run = read(sample, "metrics.json"), read(sample, "run.json")
    assert metrics["diffusion"]["n_texts"] == 16
    assert metrics["diffusion"]["class_counts"] == [8, 8]
    assert set(metrics) == {"diffusion", "naive_bayes"}
    assert run["data"]["evaluated"].endswith("toy.csv")
    assert run["seed"] == 3
