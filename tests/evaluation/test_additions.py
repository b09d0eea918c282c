"""Rivals beside a finished evaluation: the same as if they had been asked for at once, and nothing else moves."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from gencls.cli.main import main
from gencls.data.storage import plain, read_json, write_json
from gencls.evaluation import additions
from gencls.evaluation.additions import FILES, add_baselines, take_baselines
from gencls.evaluation.evaluate import EvaluationOptions, evaluate_run
from gencls.reporting.evaluation import evaluation_metrics, load_scores

NAMES = ("naive_bayes", "nb_svm")


def evaluated(run, folder, *names):
    evaluate_run(run, folder, EvaluationOptions(max_texts=16, seed=3, baselines=names))
    return folder


@pytest.fixture(scope="module")
def at_once(toy_run, tmp_path_factory):
    return evaluated(toy_run, tmp_path_factory.mktemp("once") / "report", *NAMES)


@pytest.fixture(scope="module")
def first(toy_run, tmp_path_factory):
    return evaluated(toy_run, tmp_path_factory.mktemp("first") / "report", NAMES[0])


@pytest.fixture
def begun(first, tmp_path):
    return shutil.copytree(first, tmp_path / "report")


@pytest.fixture(scope="module")
def added(toy_run, first, tmp_path_factory):
    folder = shutil.copytree(first, tmp_path_factory.mktemp("added") / "report")
    metrics = read_json(folder / "metrics.json")  # as of an evaluation whose scores were not stored yet
    metrics["diffusion"]["score_texts_per_second"] = 12.5
    write_json(folder / "metrics.json", metrics)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "gencls.classifier.estimator.DiffusionClassifier.score_ids", lambda *_, **__: pytest.fail("scored again")
        )
        add_baselines(toy_run, folder, EvaluationOptions(max_texts=16, seed=3, baselines=NAMES[1:]), command="c")
    return folder


def test_added_rivals_are_those_of_one_evaluation(added, at_once):
    ours, theirs = load_scores(added / "scores.npz"), load_scores(at_once / "scores.npz")
    assert list(ours) == list(theirs)
    for name, values in theirs.items():
        np.testing.assert_array_equal(ours[name], values)
    ours, theirs = read_json(added / "metrics.json"), read_json(at_once / "metrics.json")
    assert list(ours) == list(theirs)
    assert ours["diffusion"].pop("score_texts_per_second") == 12.5
    for name, row in ours.items():
        for key in set(row) - {"train_seconds"}:
            assert row[key] == theirs[name][key], (name, key)
    assert set(ours["nb_svm"]) == set(theirs["nb_svm"])
    assert "NB-SVM" in (added / "report.md").read_text(encoding="utf-8")


def test_records_are_merged_and_told(added, first):
    old, new = (read_json(folder / "run.json") for folder in (first, added))
    assert list(new["baselines"]) == list(NAMES)
    assert new["baselines"]["naive_bayes"] == old["baselines"]["naive_bayes"]
    (entry,) = new["added"]
    assert (entry["command"], entry["baselines"]) == ("c", ["nb_svm"])
    assert new["wall_seconds"] == pytest.approx(old["wall_seconds"] + entry["wall_seconds"])
    same = set(old) - {"baselines", "wall_seconds"}
    assert {name: new[name] for name in same} == {name: old[name] for name in same}


def test_what_is_fitted_is_kept_when_the_next_one_fails(toy_run, begun, monkeypatch):
    fit = additions.fit_baselines

    def failing(classifier, parts, options, *others, **more):
        if options.baselines == ("naive_bayes_words",):
            raise KeyboardInterrupt
        return fit(classifier, parts, options, *others, **more)

    monkeypatch.setattr(additions, "fit_baselines", failing)
    with pytest.raises(KeyboardInterrupt):
        options = EvaluationOptions(max_texts=16, seed=3, baselines=("nb_svm", "naive_bayes_words"))
        add_baselines(toy_run, begun, options)
    assert "baseline_nb_svm" in load_scores(begun / "scores.npz")
    assert "nb_svm" in read_json(begun / "metrics.json")
    assert [entry["baselines"] for entry in read_json(begun / "run.json")["added"]] == [["nb_svm"]]


def test_what_was_added_during_a_fit_is_kept(toy_run, begun, monkeypatch):
    options = EvaluationOptions(max_texts=16, seed=3, baselines=NAMES[1:])
    fit = additions.fit_baselines

    def slow(*args, **kwargs):
        monkeypatch.setattr(additions, "fit_baselines", fit)
        add_baselines(toy_run, begun, EvaluationOptions(max_texts=16, seed=3, baselines=("naive_bayes_words",)))
        return fit(*args, **kwargs)

    monkeypatch.setattr(additions, "fit_baselines", slow)
    add_baselines(toy_run, begun, options)
    everything = {*NAMES, "naive_bayes_words"}
    assert set(read_json(begun / "metrics.json")) == {"diffusion", *everything}
    assert set(read_json(begun / "run.json")["baselines"]) == everything
    assert {f"baseline_{name}" for name in everything} <= set(load_scores(begun / "scores.npz"))


def test_a_rival_that_is_there_is_fitted_again_in_its_place(toy_run, begun):
    scores = load_scores(begun / "scores.npz")
    wrong = {**scores, "baseline_naive_bayes": np.roll(scores["baseline_naive_bayes"], 1, axis=1)}
    np.savez(begun / "scores.npz", **wrong)
    words = ["--max-texts", "16", "--seed", "3", "--baselines", "naive_bayes", "--add"]
    assert main(["evaluate", str(toy_run), "--output", str(begun), *words]) == 0
    again = load_scores(begun / "scores.npz")
    assert list(again) == list(scores)
    np.testing.assert_array_equal(again["baseline_naive_bayes"], scores["baseline_naive_bayes"])
    metrics = read_json(begun / "metrics.json")
    replayed = plain(evaluation_metrics(again, generator=np.random.default_rng(3)))
    assert all(metrics[name][key] == value for name, row in replayed.items() for key, value in row.items())


@pytest.mark.parametrize("options", [{"max_texts": 12}, {"seed": 4}, {"split": "validation"}])
def test_other_texts_are_refused_before_any_fit(toy_run, begun, monkeypatch, options):
    monkeypatch.setattr(additions, "fit_baselines", lambda *_, **__: pytest.fail("fitted"))
    wanted = EvaluationOptions(**{"max_texts": 16, "seed": 3, **options}, baselines=("nb_svm",))
    with pytest.raises(ValueError, match="the texts that were evaluated; got other texts"):
        add_baselines(toy_run, begun, wanted)


@pytest.mark.parametrize(
    ("name", "told", "change"),
    [
        ("y", "labels", lambda values: 1 - values),
        ("n_tokens", "tokens", lambda values: values + 1),
        ("class_names", "classes", lambda values: values[::-1]),
    ],
)
def test_other_labels_tokens_or_classes_are_refused(toy_run, begun, name, told, change):
    scores = load_scores(begun / "scores.npz")
    np.savez(begun / "scores.npz", **{**scores, name: change(scores[name])})
    with pytest.raises(ValueError, match=f"got other {told} than"):
        add_baselines(toy_run, begun, EvaluationOptions(max_texts=16, seed=3, baselines=("nb_svm",)))


def test_a_run_of_other_options_is_refused(toy_run, begun):
    facts = read_json(begun / "run.json")
    write_json(begun / "run.json", {**facts, "config": {**facts["config"], "class_steps": 4}})
    with pytest.raises(ValueError, match="the run that was evaluated"):
        add_baselines(toy_run, begun, EvaluationOptions(max_texts=16, seed=3, baselines=("nb_svm",)))


def test_an_evaluation_of_another_calibration_is_refused(toy_run, begun, monkeypatch):
    monkeypatch.setattr(additions, "fit_baselines", lambda *_, **__: pytest.fail("fitted"))
    options = EvaluationOptions(max_texts=16, seed=3, baselines=NAMES[1:])
    metrics = read_json(begun / "metrics.json")
    old = {**metrics["diffusion"], "temperature": {**metrics["diffusion"]["temperature"], "a": 3.0}}
    write_json(begun / "metrics.json", {**metrics, "diffusion": old})
    with pytest.raises(ValueError, match="calibrated again"):
        add_baselines(toy_run, begun, options)


@pytest.mark.parametrize("name", FILES)
def test_an_unfinished_evaluation_is_refused(toy_run, begun, name):
    (begun / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"none with {name}"):
        add_baselines(toy_run, begun, EvaluationOptions())


def test_rivals_of_an_earlier_run_are_taken_over_as_they_are(toy_run, at_once, first, tmp_path):
    folder = shutil.copytree(first, tmp_path / "report")
    command = ["evaluate", str(toy_run), "--output", str(folder), "--baselines", "nb_svm", "--take-from", str(at_once)]
    assert main(command) == 2
    assert main([*command, "--add"]) == 0
    ours, theirs = load_scores(folder / "scores.npz"), load_scores(at_once / "scores.npz")
    np.testing.assert_array_equal(ours["baseline_nb_svm"], theirs["baseline_nb_svm"])
    old, new = read_json(at_once / "run.json"), read_json(folder / "run.json")
    assert new["baselines"]["nb_svm"] == old["baselines"]["nb_svm"]
    (entry,) = new["added"]
    assert (entry["baselines"], entry["taken_from"]) == (["nb_svm"], old["commit"])
    assert read_json(folder / "metrics.json")["nb_svm"] == read_json(at_once / "metrics.json")["nb_svm"]
    assert "NB-SVM" in (folder / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("place", "value", "match"),
    [
        (("config", "class_steps"), 77, "same data and budgets; got another .*class_steps"),
        (("config", "seed"), 77, "another .*seed"),
        (("data", "fingerprint"), "x", "another .*fingerprint"),
        (("data", "class_counts"), {}, "another .*class_counts"),
        (("unlabelled",), {"name": "more.txt", "texts": 3, "digest": "x"}, "another .*unlabelled texts"),
    ],
)
def test_rivals_of_other_data_or_budgets_are_not_taken_over(toy_run, at_once, begun, tmp_path, place, value, match):
    source = shutil.copytree(at_once, tmp_path / "other")
    facts = read_json(source / "run.json")
    *inside, name = place
    (facts[inside[0]] if inside else facts)[name] = value
    write_json(source / "run.json", facts)
    before = {name: (begun / name).read_bytes() for name in FILES}
    with pytest.raises(ValueError, match=match):
        take_baselines(toy_run, source, begun, ["nb_svm"])
    assert {name: (begun / name).read_bytes() for name in FILES} == before


def test_the_same_unlabelled_texts_may_have_come_from_another_file(toy_run, at_once, begun, tmp_path):
    ours, theirs = shutil.copytree(begun, tmp_path / "ours"), shutil.copytree(at_once, tmp_path / "theirs")
    for folder, name in ((ours, "more.txt"), (theirs, "others.txt")):
        facts = {**read_json(folder / "run.json"), "unlabelled": {"name": name, "texts": 3, "digest": "x"}}
        write_json(folder / "run.json", facts)
    take_baselines(toy_run, theirs, ours, ["nb_svm"])
    assert "baseline_nb_svm" in load_scores(ours / "scores.npz")


@pytest.mark.parametrize("others", [0, 2])
def test_it_is_said_where_a_rival_was_calibrated_on_fewer_texts(toy_run, at_once, begun, tmp_path, others, caplog):
    ours, theirs = shutil.copytree(begun, tmp_path / "ours"), shutil.copytree(at_once, tmp_path / "theirs")
    facts = read_json(theirs / "run.json")
    facts["baselines"]["nb_svm"]["temperature"]["n_texts"] -= others
    write_json(theirs / "run.json", facts)
    take_baselines(toy_run, theirs, ours, ["nb_svm"])
    told = [message for message in caplog.messages if "nb_svm was calibrated on" in message]
    assert len(told) == bool(others)


def test_only_what_is_there_and_no_part_of_a_run_is_taken_over(toy_run, at_once, begun, tmp_path):
    for name in ("naive_bayes_pairs", "encoder"):
        with pytest.raises(ValueError, match=f"out of naive_bayes, nb_svm; got {name}"):
            take_baselines(toy_run, at_once, begun, [name])
    other = tmp_path / "texts"
    evaluate_run(toy_run, other, EvaluationOptions(max_texts=14, seed=3, baselines=("nb_svm",)))
    with pytest.raises(ValueError, match="on the same texts"):
        take_baselines(toy_run, other, begun, ["nb_svm"])
    with pytest.raises(FileNotFoundError, match="a finished evaluation"):
        take_baselines(toy_run, tmp_path / "nothing", begun, ["nb_svm"])
