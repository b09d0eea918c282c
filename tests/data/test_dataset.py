"""Every source goes through the same checks, each of which names the rows and what to do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gencls.data.dataset import TextDataset, build_dataset, class_counts


def build(texts: list[Any], labels: list[Any], **more: Any) -> TextDataset:
    return build_dataset("toy", {"train": (texts, labels)}, source="a test", version="1", **more)


def test_labels_of_any_kind_become_indices() -> None:
    for labels in ([0, 1, 0, 1], ["0", "1", "0", "1"], [0.0, 1.0, 0.0, 1.0], [np.int64(0), 1, 0, 1]):
        dataset = build(list("abcd"), labels)
        assert dataset.label_names == ("0", "1")
        assert dataset.splits["train"].labels.tolist() == [0, 1, 0, 1]
        assert dataset.splits["train"].labels.dtype == np.int64
    assert build(list("abcd"), [True, False, True, False]).label_names == ("False", "True")


def test_numbers_sort_as_numbers_and_words_as_words() -> None:
    assert build(list("abcdef"), [10, 9, 2, 10, 9, 2]).label_names == ("2", "9", "10")
    assert build(list("abcdef"), ["x", "9", "10", "x", "9", "10"]).label_names == ("10", "9", "x")


def test_a_given_order_is_kept_without_unused_names() -> None:
    dataset = build(list("abcd"), ["pos", "neg", "pos", "neg"], label_names=("neg", "none", "pos"))
    assert dataset.label_names == ("neg", "pos")


def test_texts_are_cleaned() -> None:
    assert build(["a<br />b", "c", "", " "], [0, 0, 1, 1]).splits["train"].texts == ["a b", "c", "", ""]


@pytest.mark.parametrize("missing", [None, float("nan"), 7, b"bytes", ["list"]])
def test_what_is_no_text_is_refused_with_its_rows(missing: Any) -> None:
    with pytest.raises(ValueError, match=r"Expected a string .*2 of 4 rows.*\(rows 2, 4\)\. Fill or remove"):
        build(["a", missing, "b", missing], [0, 1, 0, 1])


@pytest.mark.parametrize("missing", [None, float("nan"), "", "  "])
def test_a_missing_label_is_refused_with_its_row(missing: Any) -> None:
    with pytest.raises(ValueError, match=r"a label in every row; got none in 1 of 5 .*\(rows 3\)"):
        build(list("abcde"), [0, 1, missing, 0, 1])


def test_pandas_na_is_missing() -> None:
    pandas = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match=r"missing text.*\(rows 1\)"):
        build([pandas.NA, "a", "b", "c"], [0, 0, 1, 1])
    with pytest.raises(ValueError, match="a label in every row"):
        build(list("abcd"), [pandas.NA, 0, 1, 1])


def test_empty_one_class_and_a_lone_text() -> None:
    with pytest.raises(ValueError, match="at least one text"):
        build([], [])
    with pytest.raises(ValueError, match="at least two classes; got only 'x'"):
        build(["a", "b"], ["x", "x"])
    with pytest.raises(ValueError, match="at least 2 texts of every class; got 1 of class 'y'"):
        build(["a", "b", "c"], ["x", "x", "y"])
    assert build(["a", "b", "c"], ["x", "x", "y"], min_texts=1).label_names == ("x", "y")


def test_a_test_split_of_one_class_or_an_unknown_class_is_refused() -> None:
    train = (list("abcd"), [0, 0, 1, 1])
    for labels, message in (([0, 0], "only '0' in 'test'"), ([0, 2], "'2' in 'test'")):
        with pytest.raises(ValueError, match=message):
            build_dataset("toy", {"train": train, "test": (["e", "f"], labels)}, source="", version="")


def test_summary_counts() -> None:
    dataset = build(["a", "bb", "ccc", "dddd"], ["x", "y", "y", "y"], min_texts=1)
    facts = dataset.summary()
    assert facts["fingerprint"] == dataset.fingerprint
    assert facts["splits"]["train"] == {
        "n_texts": 4,
        "class_counts": {"x": 1, "y": 3},
        "majority_share": 0.75,
        "characters": {"q05": pytest.approx(1.15), "median": 2.5, "q95": pytest.approx(3.85), "max": 4.0},
    }
    assert class_counts(dataset.splits["train"].take([0, 0]), dataset.label_names) == {"x": 2, "y": 0}
