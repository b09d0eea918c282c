"""Run folders: a fresh test split, texts without labels, and what is refused."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from gencls.data import load_dataset
from gencls.data.storage import read_json
from gencls.evaluation.evaluate import EvaluationOptions, evaluate_run
from gencls.evaluation.runs import cut_splits, load_run_data, train_run
from gencls.evaluation.seen_texts import UNLABELLED, texts_without_labels, was_trained_on


def test_a_fresh_test_split_is_made_again_from_the_record(tmp_path, data, config):
    train_run(data, tmp_path / "run", config, fresh_test=20)
    record, _, splits = load_run_data(tmp_path / "run")
    assert len(splits["test"].texts) == sum(record["data_facts"]["class_counts"]["test"].values()) == 20
    with pytest.raises(ValueError, match="another test split"):
        train_run(data, tmp_path / "run", config)


def test_unscored_test_texts_train_a_run_and_are_cut_again_from_its_record(tmp_path, data, others, first, config):
    train_run(data, tmp_path / "run", config, n_test=6, unlabelled=others)
    record, _, splits = load_run_data(tmp_path / "run")
    whole = load_run_data(first)[2]["test"]
    assert len(splits["test"]) == 6
    assert sorted([*splits["test"].texts, *splits["unlabelled"].texts]) == sorted(whole.texts)
    n_others = len(whole) - 6
    assert (record["unlabelled"]["name"], record["unlabelled"]["texts"]) == ("test split, more.txt", n_others + 40)
    is_seen = was_trained_on(tmp_path / "run", splits)
    assert [is_seen(text) for text in (splits["unlabelled"].texts[0], splits["test"].texts[0])] == [True, False]
    for n_test, given in ((7, others), (None, others), (6, None)):
        with pytest.raises(ValueError, match="a run with another"):
            train_run(data, tmp_path / "run", config, n_test=n_test, unlabelled=given)
    with pytest.raises(ValueError, match="test texts"):
        train_run(data, tmp_path / "all", config, n_test=len(whole))
    assert not (tmp_path / "all").exists()


@pytest.fixture(scope="module")
def others(tmp_path_factory, toy):
    """A file of 40 texts without labels."""
    path = tmp_path_factory.mktemp("others") / "more.txt"
    path.write_text("\n".join(toy(40, seed=7)[0]), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def with_others(tmp_path_factory, data, others, config):
    folder = tmp_path_factory.mktemp("runs") / "with-others"
    train_run(data, folder, config, unlabelled=others)
    return folder


def test_texts_without_labels_train_a_run_and_its_count_tables(with_others, first, tmp_path):
    record = read_json(with_others / "run.json")
    assert (record["unlabelled"]["name"], record["unlabelled"]["texts"]) == ("more.txt", 40)
    ours, plain = (load_file(folder / "model.safetensors")["class_bias"] for folder in (with_others, first))
    assert not torch.equal(ours, plain)
    evaluate_run(with_others, tmp_path, EvaluationOptions(max_texts=10, baselines=("naive_bayes_pairs",)))
    facts = read_json(tmp_path / "run.json")
    assert sum(facts["training"]["unlabelled"]) == 40 and facts["unlabelled"] == record["unlabelled"]
    assert "40, which train the model and its count tables" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_a_run_goes_on_with_the_same_texts_without_labels_only(with_others, data, others, tmp_path, config, hybrid):
    before = (with_others / "model.safetensors").read_bytes()
    train_run(data, with_others, config, unlabelled=others)
    assert (with_others / "model.safetensors").read_bytes() == before
    fewer = tmp_path / "fewer.txt"
    fewer.write_text("\n".join(others.read_text(encoding="utf-8").splitlines()[:30]), encoding="utf-8")
    for other in (fewer, None):
        with pytest.raises(ValueError, match="another unlabelled texts"):
            train_run(data, with_others, config, unlabelled=other)
        with pytest.raises(ValueError, match="same unlabelled texts"):
            train_run(data, tmp_path / "run", hybrid, unlabelled=other, adapted=with_others)


def test_texts_of_the_data_set_are_no_texts_without_labels(data, first, tmp_path, caplog, config):
    """Test texts would otherwise be trained on, and training texts be counted twice."""
    splits = load_run_data(first)[2]
    known = [split.texts[0] for split in splits.values()]
    path = tmp_path / "more.txt"
    path.write_text("\n".join([*known, "zzzz yyyy", known[-1].upper() + "!"]), encoding="utf-8")
    assert texts_without_labels(path, splits, "text") == ["zzzz yyyy"]
    assert "5 unlabelled texts left out" in caplog.text
    path.write_text("\n".join(known), encoding="utf-8")
    with pytest.raises(ValueError, match="texts that the data set has not"):
        train_run(data, tmp_path / "run", config, unlabelled=path)
    assert not (tmp_path / "run").exists()


def test_other_data_are_evaluated_without_what_trained_the_run(with_others, others, table, toy, tmp_path, caplog):
    """Whether it had labels there or not, and in near-copies."""
    known, fresh = others.read_text(encoding="utf-8").splitlines()[:12], toy(24, seed=8)
    labels = ["left", "right"] * 6
    trained = load_run_data(with_others)[2]["train"].texts[:2]
    texts = [*fresh[0], *(text.upper() + " !" for text in known), *trained]
    path = table(tmp_path / "other.csv", (texts, [*fresh[1], *labels, *labels[:2]]))
    evaluate_run(with_others, tmp_path / "out", EvaluationOptions(data=str(path), baselines=()))
    assert "14 texts left out: the run was trained on them" in caplog.text
    facts = read_json(tmp_path / "out" / "run.json")
    assert (facts["n_texts"], facts["data"]["n_left_out"]) == (24, 14)
    page = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "left out of it, as the run was trained on them: 14 texts" in page


def test_a_run_that_did_not_note_its_unlabelled_texts_says_so_and_notes_them(with_others, data, others, caplog, config):
    text = others.read_text(encoding="utf-8").splitlines()[0]
    (with_others / UNLABELLED).unlink()
    assert not was_trained_on(with_others, {})(text)
    assert "not known: train it again" in caplog.text
    train_run(data, with_others, config, unlabelled=others)
    assert was_trained_on(with_others, {})(text)


def test_copies_in_the_test_split_are_said(tmp_path, toy, table, caplog):
    """They are no evidence of their own, and an interval that counts them is too narrow."""
    rows = toy(120)
    few = load_dataset(str(table(tmp_path / "few.csv", rows)))
    cut_splits(few, None, 0)
    assert "are copies of others" not in caplog.text
    texts = [[*column, *column] for column in rows]
    splits = cut_splits(load_dataset(str(table(tmp_path / "twice.csv", texts))), None, 0)
    n_test = len(splits["test"])
    assert f"{n_test // 2} of {n_test} test texts of" in caplog.text
