"""Hand examples and invariances of the metrics of written texts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gencls.reporting.text_metrics import (
    bleu,
    bootstrap_interval,
    distinct,
    divergence_area,
    feature_divergence,
    repetition,
    self_bleu,
)


def test_distinct_counts_over_all_texts():
    texts = ["aba", "abc"]
    assert distinct(texts, 1) == 3 / 6
    assert distinct(texts, 2) == 3 / 4  # ab, ba | ab, bc
    assert math.isnan(distinct(texts, 4))


def test_repetition_is_inside_one_text():
    assert repetition("abcdabcd") == pytest.approx(1 - 4 / 5)
    assert repetition("abcdefg") == 0
    assert repetition("abc") == 0


def test_bleu_by_hand():
    # 1-grams 4/5, 2-grams 2/4, of a text as long as its reference
    assert bleu("abcxd", ["abcyd"], max_n=2) == pytest.approx(math.sqrt(4 / 5 * 2 / 4))


def test_bleu_clips_counts_at_the_best_reference():
    assert bleu("aaaa", ["aabc", "abcd"], max_n=1) == 2 / 4


def test_bleu_is_brief_against_the_closest_reference():
    assert bleu("abcd", ["abcdef", "abcdefgh"]) == pytest.approx(math.exp(1 - 6 / 4))
    assert bleu("", ["a"]) == 0


def test_self_bleu_of_copies_is_one_and_of_strangers_zero():
    assert self_bleu(["abcde"] * 3) == pytest.approx(1)
    assert self_bleu(["abcde", "fghij"]) == 0
    with pytest.raises(ValueError, match="two texts"):
        self_bleu(["abcde"])


def test_area_is_one_for_equal_and_near_zero_for_disjoint_distributions():
    p = np.array([0.2, 0.3, 0.5])
    assert divergence_area(p, p) == pytest.approx(1)
    # disjoint: x = (1 - l)^5, y = l^5; the area under it is B(6, 5) * 5 = 1 / 252
    assert divergence_area(np.array([1.0, 0]), np.array([0, 1.0])) == pytest.approx(1 / 252, rel=0.01)


def test_area_is_symmetric():
    p, q = np.array([0.2, 0.8]), np.array([0.6, 0.4])
    assert divergence_area(p, q) == pytest.approx(divergence_area(q, p))
    assert 0 < divergence_area(p, q) < 1


def test_feature_divergence_tells_like_from_unlike():
    generator = np.random.default_rng(0)
    human, alike, unlike = generator.normal(size=(3, 200, 8))
    for texts, place in ((human, 1), (alike, 1), (unlike, -3)):
        texts[:, 0] += place
    near, far = (feature_divergence(ours, human, n_clusters=10, seed=0) for ours in (alike, unlike))
    assert near > 0.8
    assert far < 0.3
    assert feature_divergence(human, human, n_clusters=10, seed=0) == pytest.approx(1)


def test_bootstrap_covers_the_mean_and_repeats():
    values = np.random.default_rng(0).normal(3, 1, size=400)
    low, high = bootstrap_interval(values, seed=1)
    assert (low, high) == bootstrap_interval(values, seed=1)
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.02)
    assert high == pytest.approx(values.mean() + half, abs=0.02)
