"""Splits: disjoint after normalisation, stratified, and the same whatever the order of the rows."""

from __future__ import annotations

import logging
from collections import Counter

import numpy as np
import pytest

from gencls.data.dataset import TextDataset, TextSplit
from gencls.data.splits import (
    SPLIT_NAMES,
    held_out,
    make_splits,
    stratified_sample,
    with_fresh_test,
    with_unlabelled,
)
from gencls.data.text import normal_form


def split_of(texts: list[str], labels: list[int]) -> TextSplit:
    return TextSplit(texts, np.array(labels, dtype=np.int64))


def dataset_of(train: TextSplit, **official: TextSplit) -> TextDataset:
    names = tuple(f"c{label}" for label in range(int(train.labels.max()) + 1))
    return TextDataset("toy", "a test", "1", names, {"train": train, **official})


def numbered(n: int, counts: tuple[int, ...] = (1, 1), start: int = 0) -> TextSplit:
    """n texts without copies, the classes in the shares `counts`."""
    pattern = [label for label, count in enumerate(counts) for _ in range(count)]
    labels = [pattern[row % len(pattern)] for row in range(n)]
    return split_of([f"text number {row}" for row in range(start, start + n)], labels)


def rows(splits: dict[str, TextSplit]) -> dict[str, list[tuple[str, int]]]:
    return {key: list(zip(one.texts, one.labels.tolist(), strict=True)) for key, one in splits.items()}


def test_sizes_are_exact_in_every_class() -> None:
    splits = make_splits(dataset_of(numbered(1000, (3, 1))))
    assert tuple(splits) == SPLIT_NAMES
    counts = {key: np.bincount(split.labels).tolist() for key, split in splits.items()}
    assert counts == {"train": [570, 190], "validation": [30, 10], "calibration": [30, 10], "test": [120, 40]}


def test_every_text_is_somewhere_once() -> None:
    data = numbered(333, (2, 1, 1))
    together = [row for split in rows(make_splits(dataset_of(data))).values() for row in split]
    assert Counter(together) == Counter(zip(data.texts, data.labels.tolist(), strict=True))


def test_held_out_are_the_texts_of_neither_training_nor_test() -> None:
    splits = make_splits(dataset_of(numbered(200)))
    held = held_out(splits)
    told = rows(splits)
    assert rows({"held": held})["held"] == told["calibration"] + told["validation"]
    assert held.labels.dtype == np.int64
    empty = {**splits, "validation": splits["validation"].take([])}
    assert rows({"held": held_out(empty)})["held"] == told["calibration"]


def test_copies_never_straddle_a_border_even_across_classes() -> None:
    base = numbered(200)
    loud = [f"  {text.upper()}!!! " for text in base.texts]
    labels = base.labels.tolist() + (1 - base.labels[:50]).tolist() + base.labels[50:].tolist()
    splits = make_splits(dataset_of(split_of(base.texts + loud, labels)), test=0.3)
    sides: dict[str, set[str]] = {}
    for side, split in splits.items():
        for text in split.texts:
            sides.setdefault(normal_form(text), set()).add(side)
    assert sum(map(len, splits.values())) == 400
    assert {len(one) for one in sides.values()} == {1}


def test_the_order_of_the_rows_has_no_influence() -> None:
    data = numbered(150, (2, 1))
    data = split_of([*data.texts, "Text number 7", "text, number 8"], [*data.labels.tolist(), 1, 1])
    order = np.random.default_rng(0).permutation(len(data))
    assert rows(make_splits(dataset_of(data))) == rows(make_splits(dataset_of(data.take(order))))


def test_the_seed_has() -> None:
    data = dataset_of(numbered(150))
    assert rows(make_splits(data, seed=1)) == rows(make_splits(data, seed=1))
    assert set(make_splits(data, seed=1)["test"].texts) != set(make_splits(data, seed=2)["test"].texts)


def test_added_texts_move_few_others() -> None:
    before = make_splits(dataset_of(numbered(2000)))
    after = make_splits(dataset_of(numbered(2100)))
    side = {text: key for key, split in after.items() for text in split.texts}
    moved = sum(side[text] != key for key, split in before.items() for text in split.texts)
    assert moved < 0.05 * 2000


def test_cut_splits_are_not_sorted_by_class() -> None:
    labels = make_splits(dataset_of(numbered(1000)))["test"].labels
    # 160 fair coins change face 79.5 times on average, standard deviation 6.3; a sorted split does so once.
    assert abs(np.count_nonzero(np.diff(labels)) - 79.5) < 5 * 6.3


def test_an_official_test_split_is_used_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gencls.data")
    test = split_of(["TEXT number 3!", "text number 4", "other", "another"], [1, 0, 0, 1])
    splits = make_splits(dataset_of(numbered(100), test=test), test=0.9)
    assert splits["test"] is test
    assert not {"text number 3", "text number 4"} & {text for key in SPLIT_NAMES[:3] for text in splits[key].texts}
    assert sum(len(splits[key]) for key in SPLIT_NAMES[:3]) == 98
    assert "dropped 2 training texts" in caplog.text
    assert len(splits["validation"]) == len(splits["calibration"]) == 4


def test_an_official_validation_split_is_used_too() -> None:
    validation = split_of(["v0", "v1", "text number 0", "Other"], [0, 1, 0, 1])
    test = split_of(["other", "TEXT number 1"], [0, 1])
    splits = make_splits(dataset_of(numbered(100), validation=validation, test=test))
    assert splits["validation"].texts == ["v0", "v1", "text number 0"]
    assert len(splits["train"]) + len(splits["calibration"]) == 98


@pytest.mark.parametrize(
    ("n", "expected"), [(2, (1, 0, 0, 1)), (3, (1, 0, 1, 1)), (4, (1, 1, 1, 1)), (6, (3, 1, 1, 1))]
)
def test_a_small_class_serves_training_and_test_first(n: int, expected: tuple[int, ...]) -> None:
    splits = make_splits(dataset_of(numbered(2 * n)))
    assert [np.bincount(splits[key].labels, minlength=2).tolist() for key in SPLIT_NAMES] == [[m, m] for m in expected]


def test_large_shares_leave_a_training_text() -> None:
    splits = make_splits(dataset_of(numbered(6)), validation=0.3, calibration=0.3, test=0.3)
    assert np.bincount(splits["train"].labels).min() >= 1


def test_copies_of_one_text_are_no_class_to_split() -> None:
    data = split_of(["a", "b", "c", "d", "same", "SAME!"], [0, 0, 0, 0, 1, 1])
    with pytest.raises(ValueError, match="at least 2 distinct training texts of every class; got 1 of class 'c1'"):
        make_splits(dataset_of(data))


@pytest.mark.parametrize("shares", [{"test": 1.0}, {"test": -0.1}, {"validation": 0.5, "calibration": 0.5}])
def test_impossible_shares(shares: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="shares from 0 to 1"):
        make_splits(dataset_of(numbered(50)), **shares)


def test_a_share_of_zero_is_an_empty_split() -> None:
    splits = make_splits(dataset_of(numbered(50)), validation=0, test=0)
    assert [len(splits[key]) for key in SPLIT_NAMES] == [48, 0, 2, 0]


@pytest.mark.parametrize(("max_texts", "expected"), [(10, [5, 3, 2]), (3, [1, 1, 1]), (2, [1, 1, 0]), (1, [1, 0, 0])])
def test_sample_keeps_the_shares(max_texts: int, expected: list[int]) -> None:
    sample = stratified_sample(numbered(100, (5, 3, 2)), max_texts, seed=0)
    assert np.bincount(sample.labels, minlength=3).tolist() == expected


def test_sample_keeps_a_rare_class() -> None:
    split = split_of([f"t{row}" for row in range(100)], [0] * 98 + [1] * 2)
    for max_texts in range(2, 100):
        sample = stratified_sample(split, max_texts, seed=0)
        assert len(sample) == max_texts
        assert 1 <= np.count_nonzero(sample.labels) <= 2


def test_sample_is_seeded_nested_and_in_order() -> None:
    split = numbered(100)
    one, two = (stratified_sample(split, 20, seed=seed).texts for seed in (0, 1))
    assert one == stratified_sample(split, 20, seed=0).texts != two
    assert one == sorted(one, key=split.texts.index)
    assert set(one) <= set(stratified_sample(split, 40, seed=0).texts)


def test_sample_of_everything_and_of_nothing() -> None:
    split = numbered(10)
    assert stratified_sample(split, 10, seed=0) is split
    with pytest.raises(ValueError, match="at least 1"):
        stratified_sample(split, 0, seed=0)


def test_a_fresh_test_split_was_never_held_out_before() -> None:
    splits = make_splits(dataset_of(numbered(400)))
    fresh = with_fresh_test(splits, 60, seed=1)
    assert len(fresh["test"]) == 60
    assert np.bincount(fresh["test"].labels).tolist() == [30, 30]
    assert set(fresh["test"].texts) <= set(splits["train"].texts)
    assert sorted(fresh["train"].texts + fresh["test"].texts) == sorted(splits["train"].texts + splits["test"].texts)
    assert not set(fresh["test"].texts) & set(fresh["train"].texts)
    for name in ("validation", "calibration"):
        assert fresh[name] is splits[name]
    assert with_fresh_test(splits, 60, seed=2)["test"].texts != fresh["test"].texts


def test_copies_go_to_the_fresh_test_split_together() -> None:
    texts = [f"text {row // 2}" + "!" * (row % 2) for row in range(400)]
    splits = make_splits(dataset_of(split_of(texts, [row // 2 % 2 for row in range(400)])))
    fresh = with_fresh_test(splits, 60, seed=0)
    assert not {text.strip("!") for text in fresh["test"].texts} & {text.strip("!") for text in fresh["train"].texts}


@pytest.mark.parametrize("n_test", [0, 190])
def test_a_fresh_test_split_leaves_something_to_train_on(n_test: int) -> None:
    with pytest.raises(ValueError, match="a fresh test split of 1 to"):
        with_fresh_test(make_splits(dataset_of(numbered(400))), n_test)


def test_the_other_test_texts_are_left_without_copies_of_any_split() -> None:
    splits = make_splits(dataset_of(numbered(100)))
    copies = [splits["train"].texts[0].upper(), splits["test"].texts[0] + "!"]
    whole = TextSplit([*splits["test"].texts, *copies], np.append(splits["test"].labels, [0, 1]))
    found = with_unlabelled({**splits, "test": whole}, 6)
    assert len(found["test"]) == 6
    assert found["test"].texts == stratified_sample(whole, 6, seed=0).texts
    known = {normal_form(text) for name in ("train", "test") for text in found[name].texts}
    others = found["unlabelled"].texts
    assert not {normal_form(text) for text in others} & known
    assert set(map(normal_form, [*others, *found["test"].texts, copies[0]])) == set(map(normal_form, whole.texts))
    for n_test in (0, len(whole)):
        with pytest.raises(ValueError, match="test texts; got"):
            with_unlabelled(splits | {"test": whole}, n_test)
    same = TextSplit(["same", "SAME!", "same."], np.array([0, 0, 0]))
    with pytest.raises(ValueError, match="copies alone"):
        with_unlabelled(splits | {"test": same}, 1)
