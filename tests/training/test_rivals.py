"""The classes that a decision is trained against, where there are too many for all of them."""

from __future__ import annotations

import numpy as np
import pytest

from gencls.training.rivals import FEWEST_CLASSES, Rivals

N, C = 6, 9


@pytest.fixture
def scores():
    return np.random.default_rng(0).normal(0, 3, size=(N, C))


@pytest.fixture
def labels():
    return np.arange(N) % C


def test_the_likeliest_are_other_classes_by_falling_score(scores, labels):
    rivals = Rivals.of(scores, labels, 6)
    assert rivals.likeliest.shape == (N, 3)
    assert rivals.n_drawn == 2
    for text, label in enumerate(labels):
        others = [c for c in np.argsort(-scores[text]) if c != label]
        assert rivals.likeliest[text].tolist() == others[:3]


@pytest.mark.parametrize("n_candidates", range(FEWEST_CLASSES, C))
def test_a_visit_has_its_own_class_first_and_none_twice(scores, labels, n_candidates):
    rivals = Rivals.of(scores, labels, n_candidates)
    for text, label in enumerate(labels):
        found = rivals.candidates(text, int(label), generator=np.random.default_rng(text))
        again = rivals.candidates(text, int(label), generator=np.random.default_rng(text))
        assert found.shape == rivals.log_weights.shape == (n_candidates,)
        assert found[0] == label
        assert len(set(found.tolist())) == n_candidates
        assert set(found.tolist()) <= set(range(C))
        np.testing.assert_array_equal(found, again)


def test_they_stand_for_all_classes(scores, labels):
    """The estimated sum of exponentials is right in the mean: a z-score against its own error."""
    rivals, generator = Rivals.of(scores, labels, 5), np.random.default_rng(1)
    for text in range(N):
        draws = (rivals.candidates(text, int(labels[text]), generator=generator) for _ in range(4000))
        sums = np.array([np.exp(scores[text, chosen] + rivals.log_weights).sum() for chosen in draws])
        z = (sums.mean() - np.exp(scores[text]).sum()) / (sums.std(ddof=1) / len(sums) ** 0.5)
        assert abs(z) < 4


@pytest.mark.parametrize("n_candidates", range(FEWEST_CLASSES, C))
def test_those_drawn_stand_for_all_that_are_left(scores, labels, n_candidates):
    rivals = Rivals.of(scores, labels, n_candidates)
    stands_for = np.exp(rivals.log_weights)
    n_exact = n_candidates - rivals.n_drawn
    np.testing.assert_array_equal(stands_for[:n_exact], 1)
    np.testing.assert_allclose(stands_for[n_exact:], (C - n_exact) / rivals.n_drawn)


def test_one_of_two_stands_for_both():
    rivals = Rivals.of(np.array([[0.0, 3.0, 2.0, 1.0]]), np.array([0]), 3)
    assert rivals.likeliest.tolist() == [[1]]
    np.testing.assert_allclose(np.exp(rivals.log_weights), [1, 1, 2])


def test_the_scores_stay_as_they_are(scores, labels):
    before = scores.copy()
    Rivals.of(scores, labels, 4)
    np.testing.assert_array_equal(scores, before)
