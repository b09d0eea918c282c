"""Class statistics of a training set: tables of all texts, and of all but a fold."""

from __future__ import annotations

import numpy as np
import pytest

from gencls.diffusion.ngrams import count_ngrams
from gencls.diffusion.statistics import ClassStatistics, no_ngrams
from gencls.diffusion.unigram import class_counts, class_deviations, length_weights

C, V, F = 2, 12, 4


def make(n_texts=60, seed=0):
    generator = np.random.default_rng(seed)
    labels, folds = generator.integers(0, C, size=n_texts), generator.permutation(np.arange(n_texts) % F)
    texts = [generator.integers(2 * label, 10 + 2 * label, size=generator.integers(1, 12)) for label in labels]
    return texts, labels, folds


def of(texts, labels, folds, **options):
    return ClassStatistics.from_texts(texts, labels, folds, C, V, **options)


@pytest.mark.parametrize("fold", [0, F - 1])
def test_cross_fitted_table_is_the_table_without_the_folds_texts(fold):
    texts, labels, folds = make()
    statistics = of(texts, labels, folds)
    found = statistics.table(unigram=0.5, pair=2.0, without_fold=fold)
    keep = np.flatnonzero(folds != fold)
    rest = [texts[row] for row in keep]
    alone = of(rest, labels[keep], np.zeros(len(keep), dtype=int)).table(unigram=0.5, pair=None)
    np.testing.assert_allclose(found.deviations, alone.deviations, atol=1e-12)
    np.testing.assert_allclose(found.log_frequencies, alone.log_frequencies, atol=1e-12)
    # the rest alone would leave out other rare pairs: count them all, and compare those that both have
    pairs = count_ngrams(rest, labels[keep], np.zeros(len(keep), dtype=int), C, V, min_count=1)
    expected = ClassStatistics(class_counts(rest, labels[keep], C, V)[None], pairs, no_ngrams(1, C, V, 3)).table(
        unigram=0.5, pair=2.0
    )
    place = {key: column for column, key in enumerate(pairs.keys.tolist())}
    for column, key in enumerate(statistics.pairs.keys.tolist()):
        wanted = expected.pair_deviations[:, place[key]] if key in place else np.zeros(C)
        np.testing.assert_allclose(found.pair_deviations[:, column], wanted, atol=1e-12)


def test_a_fold_does_not_see_its_own_texts():
    texts, labels, folds = make()
    before = of(texts, labels, folds)
    changed = [ids[::-1] * 0 + 3 if fold == 1 else ids for ids, fold in zip(texts, folds, strict=True)]
    after = of(changed, labels, folds)
    options = {"unigram": 1.0, "pair": None}
    np.testing.assert_array_equal(
        before.table(**options, without_fold=1).deviations, after.table(**options, without_fold=1).deviations
    )
    assert np.abs(before.table(**options).deviations - after.table(**options).deviations).max() > 0.1


def test_table_of_all_texts_is_the_unigram_module():
    texts, labels, folds = make()
    found = of(texts, labels, folds).table(unigram=3.0, pair=None)
    np.testing.assert_allclose(found.deviations, class_deviations(class_counts(texts, labels, C, V), 3.0), atol=1e-12)
    np.testing.assert_allclose(np.exp(found.log_frequencies).sum(), 1.0, atol=1e-12)
    assert not found.pair_deviations.any()


def test_a_class_whose_texts_are_all_in_one_fold():
    """Without that fold nothing is known of the class: its tables must stay finite, or the loss would not."""
    texts, folds = [np.array([0, 1, 0, 1]), np.array([2, 3, 2, 3]), np.array([2, 3])], np.array([0, 1, 2])
    statistics = of(texts, np.array([0, 1, 1]), folds)
    for fold in range(3):
        table = statistics.table(unigram=0.5, pair=2.0, without_fold=fold)
        assert np.isfinite(table.deviations).all()
        assert np.isfinite(table.pair_deviations).all()


@pytest.mark.parametrize("interpolation", [0.0, 0.6])
def test_deviations_of_pairs_start_from_shares_that_sum_to_one(interpolation):
    """The class shares of a token, P(c) e^delta, are probabilities: pairs expected by them deviate by nothing."""
    texts, labels, folds = make()
    statistics = of(texts, labels, folds)
    table = statistics.table(unigram=1.0, pair=1e9, interpolation=interpolation)
    assert np.abs(table.pair_deviations).max() < 1e-5
    sizes = statistics.counts.sum(axis=(0, 2)) + 1.0 * V
    shares = np.exp(table.deviations) * (sizes / sizes.sum())[:, None]
    np.testing.assert_allclose(shares.sum(axis=0), 1.0, atol=1e-12)


def test_cross_fitted_tables_with_discounts_are_finite():
    texts, folds = [np.array([0, 1, 0, 1]), np.array([2, 3, 2, 3]), np.array([2, 3])], np.array([0, 1, 2])
    statistics = of(texts, np.array([0, 1, 1]), folds)
    for fold in (None, 0, 1, 2):
        table = statistics.table(unigram=0.5, discount=0.5, pair=2.0, without_fold=fold)
        assert np.isfinite(table.deviations).all()
        assert np.isfinite(table.pair_deviations).all()


def test_tokens_pairs_and_triples_count_the_weights_of_their_texts():
    texts, labels, folds = make()
    statistics = of(texts, labels, folds, with_triples=True, length_exponent=0.7)
    assert statistics.length_exponent == 0.7
    wanted = {order: np.zeros((F, C, V**order)) for order in (1, 2, 3)}
    for ids, label, fold, weight in zip(texts, labels, folds, length_weights(texts, 0.7), strict=True):
        for order, counts in wanted.items():
            for place in range(len(ids) - order + 1):
                key = np.ravel_multi_index(ids[place : place + order], (V,) * order)
                counts[fold, label, key] += weight
    np.testing.assert_allclose(statistics.counts, wanted[1], rtol=1e-12)
    plain = of(texts, labels, folds, with_triples=True)
    for found, seen in ((statistics.pairs, plain.pairs), (statistics.triples, plain.triples)):
        assert found.keys.tolist() == seen.keys.tolist() != []
        np.testing.assert_allclose(found.counts, wanted[found.order][..., found.keys], rtol=1e-12)


@pytest.mark.parametrize("fold", [None, 0, F - 1])
def test_the_class_free_unigram_is_that_of_the_texts_as_they_are(fold):
    texts, labels, folds = make()
    plain, weighted = (of(texts, labels, folds, length_exponent=exponent) for exponent in (0.0, 1.0))
    tables = [statistics.table(unigram=0.5, pair=2.0, without_fold=fold) for statistics in (plain, weighted)]
    np.testing.assert_allclose(tables[0].log_frequencies, tables[1].log_frequencies, atol=1e-12)
    assert np.abs(tables[0].deviations - tables[1].deviations).max() > 0.1
    assert np.abs(tables[0].pair_deviations - tables[1].pair_deviations).max() > 0.01


def test_exponent_zero_changes_nothing():
    texts, labels, folds = make()
    plain, found = (of(texts, labels, folds, with_triples=True, **options) for options in ({}, {"length_exponent": 0}))
    assert plain.length_exponent == 0
    for fold in (None, 1):
        tables = [
            statistics.table(unigram=0.5, pair=2.0, triple=4.0, without_fold=fold) for statistics in (plain, found)
        ]
        for name in ("log_frequencies", "deviations", "pair_deviations", "triple_deviations"):
            np.testing.assert_array_equal(getattr(tables[0], name), getattr(tables[1], name))
    np.testing.assert_array_equal(found.counts.sum(axis=0), class_counts(texts, labels, C, V))


def test_where_all_texts_weigh_the_same_repeating_one_adds_nothing():
    texts, labels, folds = make()
    longer = [np.tile(ids, 1 + place % 5) for place, ids in enumerate(texts)]
    once, repeated = (of(ids, labels, folds, length_exponent=1.0).counts for ids in (texts, longer))
    np.testing.assert_allclose(repeated / repeated.sum(), once / once.sum(), atol=1e-12)
    repeated = of(longer, labels, folds, length_exponent=0.5).counts
    assert np.abs(repeated / repeated.sum() - once / once.sum()).max() > 1e-3, "but they do at half the exponent"
