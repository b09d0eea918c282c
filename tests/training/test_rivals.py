"""The classes that a decision is trained against, where there are too many for all of them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp

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


def test_all_but_one_class_is_exact_where_one_stands_for_two(scores, labels):
    """With C - 1 of C classes the drawn ones stand for themselves and their share of the one that is left."""
    rivals = Rivals.of(scores, labels, C - 1)
    n_left = C - 1 - rivals.likeliest.shape[1]
    np.testing.assert_allclose(np.exp(rivals.log_weights).sum(), C)
    np.testing.assert_allclose(logsumexp(rivals.log_weights[-rivals.n_drawn :]), np.log(n_left))


def test_the_scores_stay_as_they_are(scores, labels):
    before = scores.copy()
    Rivals.of(scores, labels, 4)
    np.testing.assert_array_equal(scores, before)
