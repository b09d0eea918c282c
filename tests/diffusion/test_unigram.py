"""Class unigrams: equal to scikit-learn's multinomial naive Bayes, and cross-fitted without leaks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.naive_bayes import MultinomialNB

from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.batches import RowBatch
from gencls.diffusion.conditioning import ConditioningConfig
from gencls.diffusion.denoiser import Denoiser
from gencls.diffusion.statistics import ClassStatistics
from gencls.diffusion.unigram import (
    assign_folds,
    class_counts,
    class_deviations,
    discounted_deviations,
    interpolated_deviations,
    length_weights,
    log_frequencies,
)

C, V, N = 3, 99, 60


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    tables = rng.dirichlet(np.full(V - 5, 0.3), size=C)
    labels = np.arange(N) % C
    ids = [rng.choice(np.arange(5, V), size=rng.integers(1, 60), p=tables[label]) for label in labels]
    return ids, labels


def count_matrix(ids):
    return np.stack([np.bincount(row, minlength=V) for row in ids])


def test_counts_are_those_of_a_loop(data):
    ids, labels = data
    by_hand = np.zeros((C, V))
    for row, label in zip(ids, labels, strict=True):
        for token in row:
            by_hand[label, token] += 1
    np.testing.assert_array_equal(class_counts(ids, labels, C, V), by_hand)


def test_a_class_without_texts_or_tokens_counts_zero():
    counts = class_counts([np.array([1, 1]), np.array([], dtype=np.int64)], np.array([0, 2]), 4, 3)
    np.testing.assert_array_equal(counts, [[0, 2, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]])
    assert np.isfinite(class_deviations(counts, 1.0)).all()


def test_each_token_of_a_text_counts_its_weight(data):
    ids, labels = data
    weights = np.random.default_rng(1).exponential(size=N)
    by_hand = np.zeros((C, V))
    for row, label, weight in zip(ids, labels, weights, strict=True):
        by_hand[label] += weight * np.bincount(row, minlength=V)
    np.testing.assert_allclose(class_counts(ids, labels, C, V, weights), by_hand, rtol=1e-12)


@pytest.mark.parametrize("exponent", [0.3, 1.0, 2.0])
def test_weights_fall_with_the_length_and_keep_the_number_of_tokens(data, exponent):
    ids, _ = data
    lengths = np.array([len(row) for row in ids])
    weights = length_weights(ids, exponent)
    np.testing.assert_allclose(weights / weights[0], (lengths / lengths[0]) ** -exponent, rtol=1e-12)
    assert weights @ lengths == pytest.approx(lengths.sum(), rel=1e-12)


def test_all_tokens_weigh_the_same_at_exponent_zero_and_all_texts_at_one(data):
    ids, _ = data
    lengths = np.array([len(row) for row in ids])
    np.testing.assert_array_equal(length_weights(ids, 0.0), np.ones(N))
    np.testing.assert_allclose(length_weights(ids, 1.0) * lengths, lengths.mean(), rtol=1e-12)


@pytest.mark.parametrize("smoothing", [0.1, 1.0, 5.0])
def test_log_frequencies_are_those_of_multinomial_nb(data, smoothing):
    ids, labels = data
    nb = MultinomialNB(alpha=smoothing).fit(count_matrix(ids), labels)
    ours = log_frequencies(class_counts(ids, labels, C, V), smoothing)
    np.testing.assert_allclose(ours, nb.feature_log_prob_, atol=1e-12)


def test_frequencies_and_deviations_add_up(data):
    """log p(v) + deviation = log p(v | c), with the total smoothed C times as much."""
    counts = class_counts(*data, C, V)
    total = log_frequencies(counts.sum(axis=0), 0.7 * C)
    np.testing.assert_allclose(total + class_deviations(counts, 0.7), log_frequencies(counts, 0.7), atol=1e-12)
    np.testing.assert_allclose(np.exp(log_frequencies(counts, 0.7)).sum(axis=1), 1.0, atol=1e-12)


def test_a_token_that_no_class_prefers_has_no_deviation():
    counts = np.array([[8.0, 2.0, 10.0, 0.0], [2.0, 8.0, 10.0, 0.0]])
    deviations = class_deviations(counts, 1.0)
    np.testing.assert_allclose(deviations[:, 2:], 0.0, atol=1e-12)
    np.testing.assert_allclose(deviations[0, :2], deviations[1, 1::-1], atol=1e-12)  # the classes mirror each other
    assert deviations[0, 0] > 0 > deviations[1, 0]


def test_smoothing_shrinks_a_word_seen_once():
    """One occurrence in 10 000 tokens carries less than a nat at add-one, several nats at weak smoothing."""
    counts = np.full((2, 100), 100.0)
    counts[:, 0] = [1, 0]
    strong, weak = (np.ptp(class_deviations(counts, alpha)[:, 0]) for alpha in (1.0, 0.01))
    assert strong < 0.7 < 4 < weak


@pytest.mark.parametrize("rate", [0.1, 0.7])
def test_interpolated_classes_take_a_share_of_their_tokens_from_all_classes(data, rate):
    """By hand: (1 - rate) p(v | c) + rate p(v), which sums to one and lies above rate p(v)."""
    counts = class_counts(*data, C, V)
    total = np.exp(log_frequencies(counts.sum(axis=0), 0.7 * C))
    own = np.exp(log_frequencies(counts, 0.7))
    found = interpolated_deviations(class_deviations(counts, 0.7), rate)
    np.testing.assert_allclose(total * np.exp(found), (1 - rate) * own + rate * total, atol=1e-12)
    np.testing.assert_allclose((total * np.exp(found)).sum(axis=1), 1.0, atol=1e-12)
    assert found.min() > np.log(rate)


def test_no_share_leaves_the_deviations_as_they_are(data):
    own = class_deviations(class_counts(*data, C, V), 0.7)
    np.testing.assert_array_equal(interpolated_deviations(own, 0.0), own)


@pytest.mark.parametrize("mode", ["conditional", "prompt"])
def test_step_zero_of_the_denoiser_is_multinomial_naive_bayes(data, mode):
    """Every token of every text, whatever is hidden: log-probs to 1e-4 nats a text and the same decisions."""
    ids, labels = data
    counts = class_counts(ids, labels, C, V)
    denoiser = Denoiser(load_backbone("tiny-random"), C, ConditioningConfig(mode, rank=2, n_prompt_tokens=2)).eval()
    denoiser.set_unigram(
        torch.from_numpy(log_frequencies(counts.sum(axis=0), C * 1.0)).float(),
        torch.from_numpy(class_deviations(counts, 1.0)).float(),
    )
    scores = torch.stack([score_all_tokens(denoiser, ids, index) for index in range(C)], dim=1).numpy()
    nb = MultinomialNB(alpha=1.0).fit(count_matrix(ids), labels)
    expected = count_matrix(ids) @ nb.feature_log_prob_.T
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    np.testing.assert_array_equal((scores + nb.class_log_prior_).argmax(axis=1), nb.predict(count_matrix(ids)))
    background = score_all_tokens(denoiser, ids, C).numpy()
    np.testing.assert_allclose(background, count_matrix(ids) @ log_frequencies(counts.sum(axis=0), C), atol=1e-4)


def score_all_tokens(denoiser, ids, class_index):
    """Sum of the log-probs of all tokens with about half of them hidden, in float64."""
    width = max(map(len, ids)) + 2
    targets = torch.zeros(len(ids), width, dtype=torch.long)
    scored = torch.zeros(len(ids), width, dtype=torch.bool)
    for row, tokens in enumerate(ids):
        targets[row, : len(tokens) + 2] = torch.from_numpy(denoiser.frame.frame(tokens))
        scored[row, 1 : len(tokens) + 1] = True
    attention = torch.zeros_like(targets)
    for row, tokens in enumerate(ids):
        attention[row, : len(tokens) + 2] = 1
    hidden = scored & (torch.arange(width) % 2 == 0)
    inputs = torch.where(hidden, denoiser.frame.mask, targets)
    with torch.no_grad():
        values = denoiser(RowBatch(inputs, attention, targets, scored), torch.full((len(ids),), class_index))
    return torch.zeros(len(ids), dtype=torch.float64).index_add(0, scored.nonzero()[:, 0], values.double())


def distinct(n_texts):
    return [np.array([index, index + 1]) for index in range(n_texts)]


def cross_fitted(ids, labels, folds, n_classes, vocab_size, *, smoothing):
    statistics = ClassStatistics.from_texts(ids, labels, folds, n_classes, vocab_size)
    tables = [statistics.table(unigram=smoothing, pair=None, without_fold=fold) for fold in range(statistics.n_folds)]
    return np.stack([table.deviations for table in tables])


def test_copies_of_a_text_share_a_fold():
    ids = distinct(9) * 3
    folds = assign_folds(ids, 4, generator=np.random.default_rng(0)).reshape(3, 9)
    assert (folds == folds[0]).all() and len(set(folds[0])) == 4


def test_only_copies_share_a_fold_and_zero_is_a_token():
    ids = [np.array([5] + [0] * n) for n in range(8)]
    assert sorted(assign_folds(ids, 8, generator=np.random.default_rng(0))) == list(range(8))


def test_folds_are_even_seeded_and_random():
    folds = assign_folds(distinct(23), 4, generator=np.random.default_rng(0))
    assert sorted(np.bincount(folds)) == [5, 6, 6, 6]
    np.testing.assert_array_equal(folds, assign_folds(distinct(23), 4, generator=np.random.default_rng(0)))
    assert (folds != assign_folds(distinct(23), 4, generator=np.random.default_rng(1))).any()


@pytest.mark.parametrize("sizes", [(8, 8), (1, 2, 30), (17, 5, 4)])
def test_classes_are_in_equal_shares_of_the_folds(sizes):
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(len(sizes)), sizes))
    folds = assign_folds(distinct(len(labels)), 4, labels=labels, generator=np.random.default_rng(0))
    assert np.ptp(np.bincount(folds, minlength=4)) <= 1
    for label in range(len(sizes)):
        assert np.ptp(np.bincount(folds[labels == label], minlength=4)) <= 1
    other = assign_folds(distinct(len(labels)), 4, labels=labels, generator=np.random.default_rng(2))
    assert (folds != other).any()


def test_copies_share_a_fold_whatever_their_labels():
    labels = np.repeat([0, 1, 0], 9)
    folds = assign_folds(distinct(9) * 3, 4, labels=labels, generator=np.random.default_rng(0)).reshape(3, 9)
    assert (folds == folds[0]).all() and len(set(folds[0])) == 4


def test_few_texts_do_not_look_like_the_other_class():
    """Of texts without any signal, tables of folds with classes in unequal shares tell the label, the wrong way."""
    right = {"drawn": [], "stratified": []}
    for seed in range(40):
        rng = np.random.default_rng(seed)
        ids = [rng.zipf(1.3, size=100) % 300 for _ in range(16)]
        labels = rng.permutation(np.arange(16) % 2)
        for name, known in (("drawn", None), ("stratified", labels)):
            folds = assign_folds(ids, 8, labels=known, generator=rng)
            tables = cross_fitted(ids, labels, folds, 2, 300, smoothing=1.0)
            scores = [tables[fold][:, row].sum(axis=1) for row, fold in zip(ids, folds, strict=True)]
            right[name].extend(np.argmax(scores, axis=1) == labels)
    error = 0.5 / len(right["drawn"]) ** 0.5
    assert np.mean(right["drawn"]) < 0.5 - 5 * error
    assert abs(np.mean(right["stratified"]) - 0.5) < 4 * error


def test_a_folds_table_is_the_table_without_the_fold(data):
    ids, labels = data
    folds = assign_folds(ids, 4, generator=np.random.default_rng(0))
    tables = cross_fitted(ids, labels, folds, C, V, smoothing=0.5)
    assert tables.shape == (4, C, V)
    for fold in range(4):
        rest = [place for place in range(N) if folds[place] != fold]
        counts = class_counts([ids[place] for place in rest], labels[rest], C, V)
        np.testing.assert_allclose(tables[fold], class_deviations(counts, 0.5), atol=1e-12)


def test_a_texts_own_tokens_and_label_never_touch_its_own_fold(data):
    ids, labels = data
    folds = assign_folds(ids, 4, generator=np.random.default_rng(0))
    before = cross_fitted(ids, labels, folds, C, V, smoothing=0.5)
    other_ids, other_labels = list(ids), labels.copy()
    other_ids[7] = np.full(300, 11)
    other_labels[7] = (labels[7] + 1) % C
    after = cross_fitted(other_ids, other_labels, folds, C, V, smoothing=0.5)
    own = folds[7]
    np.testing.assert_array_equal(after[own], before[own])
    for fold in set(range(4)) - {own}:
        assert np.abs(after[fold] - before[fold]).max() > 0.1


def test_cross_fitting_removes_the_leak():
    """Texts of unrelated tokens: the full table 'knows' their labels, the cross-fitted one is at chance."""
    rng = np.random.default_rng(5)
    ids = [rng.integers(0, 4000, size=40) for _ in range(200)]
    labels = rng.permutation(np.arange(200) % 2)
    folds = assign_folds(ids, 5, generator=rng)
    full = class_deviations(class_counts(ids, labels, 2, 4000), 1.0)
    crossed = cross_fitted(ids, labels, folds, 2, 4000, smoothing=1.0)
    leaky = np.mean([full[:, row].sum(axis=1).argmax() == label for row, label in zip(ids, labels, strict=True)])
    honest = np.mean(
        [crossed[f][:, row].sum(axis=1).argmax() == y for row, y, f in zip(ids, labels, folds, strict=True)]
    )
    assert leaky > 0.95
    assert abs(honest - 0.5) < 4 * 0.5 / np.sqrt(200)


def test_discounted_frequencies_of_weighted_counts_sum_to_one():
    counts = np.array([[0.3, 0.0, 4.5, 0.1], [0.0, 0.05, 0.0, 0.2]])
    deviations = discounted_deviations(counts, 0.9, 0.25)
    log_frequency = np.log((counts.sum(axis=0) + 0.5) / (counts.sum() + 2.0))
    assert np.allclose(np.exp(deviations + log_frequency).sum(axis=1), 1)


def test_discounted_frequencies_by_hand_and_in_sum():
    counts = np.array([[3.0, 1.0, 0.0, 0.0], [0.0, 2.0, 2.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    deviations = discounted_deviations(counts, 0.5, 0.25)
    total = log_frequencies(counts.sum(axis=0), 0.75)
    frequencies = np.exp(deviations + total)
    np.testing.assert_allclose(frequencies.sum(axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose(frequencies[0, 0], (2.5 + 0.5 * 2 * np.exp(total[0])) / 4, atol=1e-12)
    np.testing.assert_allclose(frequencies[0, 3], 0.5 * 2 * np.exp(total[3]) / 4, atol=1e-12)
    assert not deviations[2].any()
