"""The order of training: equal for classes, complete for texts, and nothing but the seed decides it."""

from __future__ import annotations

import numpy as np
import pytest

from gencls.diffusion.collator import DiffusionCollator
from gencls.diffusion.schedule import LevelSchedule
from gencls.diffusion.tokens import TokenFrame
from gencls.training.examples import (
    ScheduledExamples,
    TrainingTexts,
    balanced_schedule,
    token_budget,
    uniform_schedule,
)
from gencls.training.rivals import Rivals

LABELS = np.array([0] * 3 + [1] * 11 + [2] * 7)


def rng(seed=0):
    return np.random.default_rng(seed)


def texts():
    ids = [rng(row).integers(5, 99, size=1 + row % 5) for row in range(len(LABELS))]
    return TrainingTexts(ids, LABELS, np.arange(len(LABELS)) % 4, 3)


@pytest.mark.parametrize("n_examples", [1, 7, 21, 50, 63])
def test_uniform_schedule_visits_all_before_any_again(n_examples):
    schedule = uniform_schedule(21, n_examples, generator=rng())
    assert len(schedule) == n_examples
    for start in range(0, n_examples, 21):
        epoch = schedule[start : start + 21]
        assert len(set(epoch.tolist())) == len(epoch)
    assert set(schedule.tolist()) <= set(range(21))


@pytest.mark.parametrize("n_examples", [3, 30, 64, 65])
def test_balanced_schedule_is_equal_in_every_round(n_examples):
    schedule = balanced_schedule(LABELS, n_examples, generator=rng())
    assert len(schedule) == n_examples
    whole = n_examples // 3 * 3
    assert (np.sort(LABELS[schedule[:whole]].reshape(-1, 3), axis=1) == [0, 1, 2]).all()
    counts = np.bincount(LABELS[schedule], minlength=3)
    assert counts.max() - counts.min() <= 1


def test_balanced_schedule_uses_each_classs_texts_once_before_any_again():
    schedule = balanced_schedule(LABELS, 3 * 22, generator=rng())
    for label, size in ((0, 3), (1, 11), (2, 7)):
        visits = schedule[LABELS[schedule] == label]
        for start in range(0, len(visits), size):
            epoch = visits[start : start + size]
            assert len(set(epoch.tolist())) == len(epoch)


def test_the_order_of_classes_is_not_always_the_same():
    rounds = LABELS[balanced_schedule(LABELS, 300, generator=rng())].reshape(-1, 3)
    assert len({tuple(row) for row in rounds.tolist()}) == 6


def test_no_examples():
    assert uniform_schedule(5, 0, generator=rng()).tolist() == []
    assert balanced_schedule(LABELS, 0, generator=rng()).tolist() == []


def make(seed, class_dropout=0.3, n=600):
    schedule = balanced_schedule(LABELS, n, generator=rng(1))
    return ScheduledExamples(texts(), schedule, class_dropout=class_dropout, seed=seed)


def test_same_seed_same_items_and_another_seed_other_masks():
    first, second, third = make(5), make(5), make(6)
    for index in (0, 17, 599):
        assert first[index].seed == second[index].seed
        assert first[index].class_id == second[index].class_id
        np.testing.assert_array_equal(first[index].token_ids, second[index].token_ids)
    assert [item.seed for item in map(first.__getitem__, range(20))] != [
        item.seed for item in map(third.__getitem__, range(20))
    ]


def test_masks_depend_on_the_item_and_not_on_the_batch():
    collate = DiffusionCollator(TokenFrame(2, 3, 0, 4), LevelSchedule(0.1, 1.0), n_scored=2)
    items = [make(5)[index] for index in range(6)]
    together, alone = collate(items)["batch"], collate(items[3:4])["batch"]
    width = alone.input_ids.shape[1]
    for name in ("input_ids", "scored", "attention_mask"):
        np.testing.assert_array_equal(getattr(together, name)[3, :width], getattr(alone, name)[0])


def test_share_of_dropped_classes():
    examples = [make(5)[index] for index in range(600)]
    dropped = np.array([example.class_id == 3 for example in examples])
    labels = np.array([example.label for example in examples])
    assert [int(dropped[labels == label].sum()) for label in range(3)] == [60, 60, 60]  # equal, not only on average
    for example, schedule in zip(examples, make(5).schedule, strict=True):
        assert example.label == LABELS[schedule]
        assert example.class_id in (example.label, 3)
        assert example.fold_id == schedule % 4
    assert not make(5, class_dropout=0.0).is_dropped.any()
    assert make(5, class_dropout=1.0).is_dropped.all()


def test_budget_by_hand():
    data = TrainingTexts([np.arange(n) for n in (1, 2, 3)], np.array([0, 1, 1]), np.zeros(3, int), 2)
    schedule = np.array([0, 0, 1, 2, 2])
    everything = ScheduledExamples(data, schedule, class_dropout=0.0, seed=0)
    assert token_budget(everything) == {"texts": [2, 3], "tokens": [2, 8]}
    half = ScheduledExamples(data, schedule, class_dropout=0.5, seed=0)  # the second visit of each class is dropped
    assert token_budget(half) == {"texts": [1, 2], "tokens": [1, 5]}


def test_candidates_of_a_visit_are_the_same_in_every_life():
    scores = np.random.default_rng(0).normal(size=(len(LABELS), 5))
    wide = TrainingTexts(texts().token_ids, LABELS, texts().folds, 5)
    schedule = balanced_schedule(LABELS, 60, generator=rng(1))
    options = {"class_dropout": 0.0, "seed": 5}
    examples = ScheduledExamples(wide, schedule, rivals=Rivals.of(scores, LABELS, 4), **options)
    again = ScheduledExamples(wide, schedule, rivals=Rivals.of(scores, LABELS, 4), **options).first(30)
    plain = ScheduledExamples(wide, schedule, **options)
    for index in range(30):
        assert examples[index].candidates[0] == examples[index].label
        np.testing.assert_array_equal(examples[index].candidates, again[index].candidates)
        assert examples[index].seed == plain[index].seed, "the masks stay as they are"
        assert plain[index].candidates is None
    drawn = {tuple(examples[index].candidates[-1:]) for index in range(60)}
    assert len(drawn) > 1, "not always the same class is drawn"
    collate = DiffusionCollator(TokenFrame(2, 3, 0, 4), LevelSchedule(0.1, 1.0), n_scored=2)
    rows = collate([examples[index] for index in range(3)])["candidates"]
    np.testing.assert_array_equal(rows, np.stack([examples[index].candidates for index in range(3)]))
    assert "candidates" not in collate([plain[0]])
    with pytest.raises(ValueError, match="candidates of all examples of a batch, or of none; got 1 of 2"):
        collate([plain[0], examples[1]])
