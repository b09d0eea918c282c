"""Texts that are scored with the tables of the texts outside their fold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gencls.diffusion.cross_fitting import CrossFittedTexts
from gencls.diffusion.statistics import ClassStatistics

TOKENS = {"unigram": 1.0, "discount": None, "interpolation": 0.0, "pair": None, "triple": None}
ALL = {**TOKENS, "interpolation": 0.3, "pair": 2.0, "triple": 4.0}


@pytest.fixture(scope="module")
def counted():
    """Statistics of 30 texts of two classes, and the texts with ten more that were not counted."""
    generator = np.random.default_rng(0)
    texts = [generator.integers(0, 4, size=generator.integers(3, 9)) for _ in range(40)]
    labels, folds = generator.integers(0, 2, size=40), np.append(np.arange(30) % 3, np.full(10, -1))
    of_training = texts[:30], labels[:30], folds[:30]
    return ClassStatistics.from_texts(*of_training, 2, 5, with_triples=True), texts, labels, folds


@pytest.mark.parametrize("smoothing", [TOKENS, ALL, {**ALL, "triple": None}, {**ALL, "pair": None}])
def test_each_text_is_scored_with_the_tables_that_have_not_counted_it(counted, smoothing):
    statistics, texts, labels, folds = counted
    found = CrossFittedTexts(statistics, texts, labels, folds)
    order = np.argsort(folds, kind="stable")
    tables = {fold: statistics.table(**smoothing, without_fold=fold) for fold in range(3)}
    tables[-1] = statistics.table(**smoothing)
    wanted = [statistics.scores(tables[folds[row]], [texts[row]])[0] for row in order]
    np.testing.assert_allclose(found.scores(smoothing), wanted, atol=1e-12)
    assert found.labels.tolist() == labels[order].tolist()


def test_pairs_and_triples_count(counted):
    found = CrossFittedTexts(*counted)
    scores = [found.scores({**ALL, **without}) for without in ({}, {"pair": None}, {"triple": None})]
    assert all(np.abs(scores[0] - others).max() > 0.01 for others in scores[1:])


def test_a_class_without_tokens_outside_a_fold_leaves_its_texts_out():
    texts, labels, folds = [np.array([0, 1]), np.array([1, 2]), np.array([3])], np.array([0, 0, 1]), np.array([0, 1, 0])
    statistics = ClassStatistics.from_texts(texts, labels, folds, 2, 5)
    found = CrossFittedTexts(statistics, texts, labels, folds)
    assert found.labels.tolist() == [0, 0]
    wanted = [statistics.scores(statistics.table(**TOKENS, without_fold=fold), [texts[fold]])[0] for fold in range(2)]
    np.testing.assert_allclose(found.scores(TOKENS), wanted)


def test_statistics_of_other_counts_make_tables_of_their_own(counted):
    statistics = counted[0]
    statistics.table(**ALL)  # what it keeps for later tables must not follow the copy
    swapped = replace(statistics, counts=statistics.counts[:, ::-1])
    fresh = ClassStatistics(swapped.counts, swapped.pairs, swapped.triples)
    np.testing.assert_array_equal(swapped.table(**ALL).deviations, fresh.table(**ALL).deviations)
    assert np.abs(swapped.table(**ALL).deviations - statistics.table(**ALL).deviations).max() > 0.1
