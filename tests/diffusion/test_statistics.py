"""Class statistics of a training set: cross-fitting, and the choice of the smoothing."""

from __future__ import annotations

import numpy as np
import pytest

from gencls.diffusion.pairs import count_pairs
from gencls.diffusion.statistics import ClassStatistics
from gencls.diffusion.unigram import class_counts, class_deviations

C, V, F = 2, 12, 4


def make(n_texts=60, seed=0):
    generator = np.random.default_rng(seed)
    labels, folds = generator.integers(0, C, size=n_texts), generator.permutation(np.arange(n_texts) % F)
    texts = [generator.integers(2 * label, 10 + 2 * label, size=generator.integers(1, 12)) for label in labels]
    return texts, labels, folds


def of(texts, labels, folds):
    return ClassStatistics.from_texts(texts, labels, folds, C, V)


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
    pairs = count_pairs(rest, labels[keep], np.zeros(len(keep), dtype=int), C, V, min_count=1)
    expected = ClassStatistics(class_counts(rest, labels[keep], C, V)[None], pairs).table(unigram=0.5, pair=2.0)
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


def test_pairs_are_chosen_where_only_they_tell_the_classes_apart():
    """Both classes use both tokens equally often; one alternates them, the other repeats them."""
    generator = np.random.default_rng(0)

    def text(label):
        start = generator.integers(0, 2)
        return (start + np.arange(12)) % 2 if label else (start + np.arange(12) // 6) % 2

    labels = np.arange(40) % 2
    texts, held = [text(label) for label in labels], [text(label) for label in labels]
    statistics = of(texts, labels, np.arange(40) // 2 % F)
    chosen = statistics.choose_smoothing(held, labels, unigram=(1.0, 3.0), pair=(1.0, 4.0))
    assert chosen == {"unigram": 3.0, "discount": None, "pair": 4.0}  # all candidates are as good: the stronger
    table = statistics.table(**chosen)
    assert np.abs(table.deviations).max() < 0.1 < np.abs(table.pair_deviations).max()


def test_no_pair_candidates_no_pairs():
    texts, labels, folds = make()
    chosen = of(texts, labels, folds).choose_smoothing(texts, labels, unigram=(1.0,), pair=())
    assert chosen == {"unigram": 1.0, "discount": None, "pair": None}


def test_smoothing_is_chosen_by_validation_accuracy():
    """One rare token points the wrong way in training: weak smoothing believes it, strong smoothing does not."""
    texts = [np.array([0] * 6 + [1] * 4)] * 20 + [np.array([1] * 6 + [0] * 4)] * 20 + [np.array([2, 2])]
    labels = np.array([0] * 20 + [1] * 21)
    statistics = of(texts, labels, np.arange(41) % F)
    held, wanted = [np.array([0, 0, 1, 2]), np.array([1, 1, 0])], np.array([0, 1])
    assert statistics.choose_smoothing(held, wanted, unigram=(0.01, 200.0), pair=())["unigram"] == 200.0
    assert statistics.choose_smoothing(held[1:], wanted[1:], unigram=(0.01,), pair=())["unigram"] == 0.01


def test_a_class_whose_texts_are_all_in_one_fold():
    """Without that fold nothing is known of the class: its tables must stay finite, or the loss would not."""
    texts, folds = [np.array([0, 1, 0, 1]), np.array([2, 3, 2, 3]), np.array([2, 3])], np.array([0, 1, 2])
    statistics = of(texts, np.array([0, 1, 1]), folds)
    for fold in range(3):
        table = statistics.table(unigram=0.5, pair=2.0, without_fold=fold)
        assert np.isfinite(table.deviations).all()
        assert np.isfinite(table.pair_deviations).all()


def test_deviations_of_pairs_start_from_shares_that_sum_to_one():
    """The class shares of a token, P(c) e^delta, are probabilities: pairs expected by them deviate by nothing."""
    texts, labels, folds = make()
    statistics = of(texts, labels, folds)
    table = statistics.table(unigram=1.0, pair=1e9)
    assert np.abs(table.pair_deviations).max() < 1e-5
    sizes = statistics.counts.sum(axis=(0, 2)) + 1.0 * V
    shares = np.exp(table.deviations) * (sizes / sizes.sum())[:, None]
    np.testing.assert_allclose(shares.sum(axis=0), 1.0, atol=1e-12)


def test_discounts_are_chosen_where_a_small_class_needs_them():
    """Additive smoothing gives a class of one text so much of every token that it loses its own."""
    generator = np.random.default_rng(0)
    large = [generator.integers(0, V, size=30) for _ in range(60)]
    texts, labels = [*large, np.array([0, 0, 0, 1])], np.array([0] * 60 + [1])
    statistics = of(texts, labels, np.arange(61) % F)
    held, wanted = [np.array([0, 0, 1]), np.array([V - 1, V - 1, 2])], np.array([1, 0])
    options = {"unigram": (50.0,), "pair": ()}
    assert statistics.choose_smoothing(held, wanted, **options)["discount"] is None
    log_prior = np.log([0.7, 0.3])
    chosen = statistics.choose_smoothing(held, wanted, discount=(0.5,), log_prior=log_prior, **options)
    assert chosen == {"unigram": 50.0, "discount": 0.5, "pair": None}
    # without the prior both are right, and the additive smoothing is taken
    weak = {"unigram": (0.1,), "pair": ()}
    assert statistics.choose_smoothing(held, wanted, discount=(0.5,), **weak)["discount"] is None


def test_cross_fitted_tables_with_discounts_are_finite():
    texts, folds = [np.array([0, 1, 0, 1]), np.array([2, 3, 2, 3]), np.array([2, 3])], np.array([0, 1, 2])
    statistics = of(texts, np.array([0, 1, 1]), folds)
    for fold in (None, 0, 1, 2):
        table = statistics.table(unigram=0.5, discount=0.5, pair=2.0, without_fold=fold)
        assert np.isfinite(table.deviations).all()
        assert np.isfinite(table.pair_deviations).all()
