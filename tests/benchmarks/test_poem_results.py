"""Accuracy, margins and their intervals: hand examples and coverage."""

from __future__ import annotations

import numpy as np

from benchmarks.poem_results import (
    accuracy_by_group,
    accuracy_row,
    author_weights,
    margin_row,
    poem_weights,
    share_interval,
    strongest,
)

TARGETS = np.array([1, 2, 3, 4])
POEM_OF = np.array([0, 0, 1, 1])
BEST = np.array([[1, 9, 9, 9, 9], [9, 2, 9, 9, 9], [9, 9, 9, 9, 9], [4, 9, 9, 9, 9]])


def weights(n_poems: int = 2, n_draws: int = 500) -> np.ndarray:
    return poem_weights(n_poems, generator=np.random.default_rng(0), n_draws=n_draws)


def test_accuracy_by_hand() -> None:
    row = accuracy_row(BEST, TARGETS, POEM_OF, weights())
    assert (row["accuracy"], row["top5"], row["n_holes"], row["n_poems"]) == (0.5, 0.75, 4, 2)
    assert row["low"] == row["high"] == 0.5  # both poems are half right


def test_margin_by_hand_and_its_sign() -> None:
    rival = np.full_like(BEST, 9)
    row = margin_row(BEST, rival, TARGETS, POEM_OF, weights())
    assert (row["margin"], row["low"], row["high"], row["mcnemar_p"]) == (0.5, 0.5, 0.5, 0.5)
    assert margin_row(rival, BEST, TARGETS, POEM_OF, weights())["margin"] == -0.5
    assert margin_row(BEST, BEST, TARGETS, POEM_OF, weights())["mcnemar_p"] == 1.0


def test_the_interval_covers_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    drawn = weights(60, 400)
    covered = []
    for _ in range(300):
        counts = generator.integers(5, 15, size=60).astype(float)
        values = generator.binomial(counts.astype(int), np.clip(generator.normal(0.3, 0.1, size=60), 0, 1)).astype(
            float
        )
        _, low, high = share_interval(values, counts, drawn)
        covered.append(low <= 0.3 <= high)
    z = (np.mean(covered) - 0.95) / np.sqrt(0.95 * 0.05 / 300)
    assert -4 < z < 4


def test_authors_bring_all_their_poems() -> None:
    drawn = author_weights(["b", "a", "b", "c"], generator=np.random.default_rng(0), n_draws=200)
    assert drawn.shape == (200, 4)
    np.testing.assert_array_equal(drawn[:, 0], drawn[:, 2])
    np.testing.assert_array_equal(drawn[:, [0, 1, 3]].sum(axis=1), 3)


def test_poems_of_one_author_widen_the_interval_over_authors() -> None:
    poem_of, authors = np.repeat(np.arange(40), 5), [str(number // 10) for number in range(40)]
    targets = np.ones(200, dtype=np.int64)
    # right for two authors of four, in all of their poems
    best = np.where(np.isin(poem_of // 10, [0, 1])[:, None], 1, 0) * np.ones((1, 5), dtype=np.int64)
    by_author = author_weights(authors, generator=np.random.default_rng(0))
    row = margin_row(best, np.zeros_like(best), targets, poem_of, weights(40), by_author)
    assert row["author_high"] - row["author_low"] > 2 * (row["high"] - row["low"])


def test_groups_and_the_strongest() -> None:
    rows = accuracy_by_group(BEST, TARGETS, np.array([0, 1, 1, 0]), 3)
    assert [row["n_holes"] for row in rows] == [2, 2, 0]
    assert rows[0]["accuracy"] == 1.0 and rows[1]["accuracy"] == 0.0 and np.isnan(rows[2]["accuracy"])
    assert strongest({"a": 0.1, "b": 0.3, "c": 0.3}) == "b"
