"""N-grams: hand examples, sums to one, and the rule of Bayes for the bigram of both sides."""

from __future__ import annotations

import numpy as np

from gencls.baselines.ngrams import NeighbourBigram, WittenBell, unigram

V = 6


def texts(n_texts: int = 30) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(V - 1, size=generator.integers(1, 12)) for _ in range(n_texts)]


def test_witten_bell_by_hand() -> None:
    model = WittenBell(3, order=2).fit([np.array([0, 1, 0, 2, 0, 1])])
    p = unigram([np.array([0, 1, 0, 2, 0, 1])], 3)
    # after 0: token 1 twice and token 2 once, two kinds
    expected = (np.array([0, 2, 1]) + 2 * np.exp(p)) / 5
    np.testing.assert_allclose(model.proba([2, 0]), expected, rtol=1e-12)


def test_every_distribution_sums_to_one() -> None:
    model = WittenBell(V).fit(texts())
    for context in ([], [0], [1, 2, 3, 4, 0, 1], [5], [0, 5], [5, 0]):
        proba = model.proba(context)
        assert proba.min() > 0
        np.testing.assert_allclose(proba.sum(), 1, rtol=1e-12)


def test_a_longer_context_counts_where_it_was_seen() -> None:
    model = WittenBell(4, order=3).fit([np.array([0, 1, 2]), np.array([3, 1, 3])] * 5)
    assert model.proba([0, 1]).argmax() == 2
    assert model.proba([3, 1]).argmax() == 3
    np.testing.assert_array_equal(model.proba([2, 2, 0, 1]), model.proba([0, 1]))


def test_the_left_bigram_is_dirichlet_smoothing() -> None:
    ids = texts()
    model = NeighbourBigram.fit(ids, V, prior=7.0)
    counts = np.zeros((V, V))
    for text in ids:
        np.add.at(counts, (text[:-1], text[1:]), 1)
    p = np.exp(unigram(ids, V))
    expected = (counts + 7.0 * p) / (counts.sum(axis=1, keepdims=True) + 7.0)
    found = model.log_probs(np.arange(V), np.full(V, -1))
    np.testing.assert_allclose(np.exp(found), expected, rtol=1e-10)


def test_both_sides_multiply_and_the_unigram_counts_once() -> None:
    model = NeighbourBigram.fit(texts(), V)
    none = np.array([-1])
    for u in range(V):
        for w in range(V):
            left, right = np.array([u]), np.array([w])
            product = model.log_probs(left, none) + model.log_probs(none, right) - model.log_probs(none, none)
            expected = product - np.logaddexp.reduce(product, axis=1)
            np.testing.assert_allclose(model.log_probs(left, right), expected, rtol=1e-10)


def test_without_neighbours_it_is_the_unigram() -> None:
    ids = texts()
    found = NeighbourBigram.fit(ids, V).log_probs(np.array([-1]), np.array([-1]))[0]
    np.testing.assert_allclose(found, unigram(ids, V), rtol=1e-12)
