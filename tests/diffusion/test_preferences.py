"""What the word embeddings say of the classes of tokens that were counted rarely or never."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from gencls.diffusion.conditioning import ConditioningConfig
from gencls.diffusion.ngrams import count_ngrams
from gencls.diffusion.preferences import embedding_preferences
from gencls.diffusion.statistics import ClassStatistics, no_ngrams
from gencls.diffusion.unigram import class_counts, class_deviations

V, D = 40, 5


def made(n_classes=2, seed=0):
    """Tokens whose class shares follow one direction of their embeddings, and counts drawn from them."""
    generator = np.random.default_rng(seed)
    embeddings = generator.normal(size=(V, D))
    directions = generator.normal(size=(n_classes, D))
    shares = np.exp(embeddings @ directions.T)
    shares /= shares.sum(axis=1, keepdims=True)
    counts = np.stack([generator.multinomial(30, share) for share in shares]).T.astype(float)
    return counts, embeddings, shares.T


@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_what_was_counted_is_carried_over_to_tokens_that_were_not(n_classes):
    counts, embeddings, shares = made(n_classes)
    hidden = np.arange(V) % 4 == 0
    counts[:, hidden] = 0
    found = embedding_preferences(counts, embeddings, ridge=0.01)
    likely = found / n_classes * (counts.sum(axis=1) / counts.sum())[:, None]
    likely /= likely.sum(axis=0)
    assert (likely.argmax(axis=0) == shares.argmax(axis=0))[hidden].mean() >= 0.7
    assert np.abs(likely - shares)[:, hidden].mean() < 0.5 * np.abs(1 / n_classes - shares)[:, hidden].mean()


@pytest.mark.parametrize("n_classes", [2, 4])
def test_preferences_have_a_mean_of_one_over_the_classes(n_classes):
    counts, embeddings, _ = made(n_classes)
    counts[0] *= 10  # the size of a class is no preference
    found = embedding_preferences(counts, embeddings, ridge=1.0)
    np.testing.assert_allclose(found.mean(axis=0), 1.0, atol=1e-6)
    assert (found > 0).all()


def test_a_strong_ridge_prefers_nothing_whatever_the_sizes_of_the_classes():
    counts, embeddings, _ = made(3)
    counts[1] *= 7
    np.testing.assert_allclose(embedding_preferences(counts, embeddings, ridge=1e5), 1.0, atol=0.01)


def test_the_scale_and_the_place_of_the_embeddings_change_nothing():
    counts, embeddings, _ = made()
    moved = embeddings * 100 + 7
    found, other = (embedding_preferences(counts, values, ridge=1.0) for values in (embeddings, moved))
    np.testing.assert_allclose(found, other, atol=1e-3)


def test_classes_without_tokens_get_even_shares():
    counts, embeddings, _ = made(3)
    counts[2] = 0
    found = embedding_preferences(counts, embeddings, ridge=1.0)
    np.testing.assert_array_equal(found[2], 1.0)
    np.testing.assert_allclose(found[:2].mean(axis=0), 1.0, atol=1e-6)
    counts[1] = 0  # one class is left: there is nothing to tell
    np.testing.assert_array_equal(embedding_preferences(counts, embeddings, ridge=1.0), 1.0)


def test_an_embedding_that_is_the_same_for_all_tokens():
    counts, _, _ = made()
    np.testing.assert_allclose(embedding_preferences(counts, np.ones((V, D)), ridge=1.0), 1.0, atol=1e-3)


def test_deviations_split_the_pseudo_counts_by_hand():
    counts = np.array([[2.0, 0.0], [1.0, 1.0]])
    preferences = np.array([[1.5, 0.5], [0.5, 1.5]])
    found = class_deviations(counts, 2.0, preferences)
    first, second, total = np.array([5.0, 1.0]) / 6, np.array([2.0, 4.0]) / 6, np.array([7.0, 5.0]) / 12
    np.testing.assert_allclose(found, np.log([first / total, second / total]), atol=1e-12)
    np.testing.assert_allclose(class_deviations(counts, 2.0, np.ones((2, 2))), class_deviations(counts, 2.0))


def test_a_flag_that_a_kernel_raises_is_no_error_and_weights_that_are_no_numbers_are(monkeypatch):
    counts, embeddings, _ = made()
    expected = embedding_preferences(counts, embeddings, ridge=1.0)
    fit = LogisticRegression.fit

    def with_a_flag(model, *args, **options):
        assert np.isnan(np.subtract(np.float32(np.inf), np.float32(np.inf)))  # warns, where it is not told not to
        return fit(model, *args, **options)

    def without_numbers(model, *args, **options):
        fit(model, *args, **options).coef_[0, 1] = np.nan
        return model

    monkeypatch.setattr(LogisticRegression, "fit", with_a_flag)
    np.testing.assert_array_equal(embedding_preferences(counts, embeddings, ridge=1.0), expected)
    monkeypatch.setattr(LogisticRegression, "fit", without_numbers)
    with pytest.raises(FloatingPointError, match=r"no numbers \(ridge 1, embeddings of shape \(40, 5\)\)"):
        embedding_preferences(counts, embeddings, ridge=1.0)


def texts_of(counts):
    """One text of each class: its tokens in order."""
    return [np.repeat(np.arange(V), row.astype(int)) for row in counts]


def statistics_of(ridge, *, hidden=()):
    counts, embeddings, _ = made(seed=3)
    counts[:, list(hidden)] = 0
    texts = [part for text in texts_of(counts) for part in (text[::2], text[1::2])]
    labels, folds = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    return ClassStatistics.from_texts(texts, labels, folds, 2, V, embeddings=embeddings, ridge=ridge), texts, labels


def test_tables_use_the_embeddings_only_where_a_ridge_is_given():
    (plain, *_), (informed, texts, labels) = statistics_of(None, hidden=[0, 1]), statistics_of(0.1, hidden=[0, 1])
    even = class_deviations(class_counts(texts, labels, 2, V), 1.0)
    np.testing.assert_allclose(plain.table(unigram=1.0, pair=None).deviations, even, atol=1e-12)
    found = informed.table(unigram=1.0, pair=None).deviations
    spread = np.ptp(found, axis=0)[:2], np.ptp(even, axis=0)[:2]
    assert spread[0].min() > 0.2 > spread[1].max()  # tokens that no text has


def test_a_fold_is_fitted_without_its_own_texts():
    """The table of a fold is that of the other fold's texts alone: its own labels are not in the fit either."""
    statistics, texts, labels = statistics_of(0.1)
    found = statistics.table(unigram=1.0, pair=None, without_fold=0).deviations
    _, embeddings, _ = made(seed=3)
    rest = [texts[1], texts[3]]
    alone = ClassStatistics(
        class_counts(rest, labels[[1, 3]], 2, V)[None],
        count_ngrams(rest, labels[[1, 3]], np.zeros(2, dtype=int), 2, V),
        no_ngrams(1, 2, V, 3),
        embeddings,
        0.1,
    )
    np.testing.assert_allclose(found, alone.table(unigram=1.0, pair=None).deviations, atol=1e-9)
    whole = statistics.table(unigram=1.0, pair=None).deviations
    assert np.abs(found - whole).max() > 0.05


def test_shares_of_pairs_start_from_the_same_pseudo_counts():
    statistics, _, _ = statistics_of(0.1)
    assert len(statistics.pairs.keys)
    assert np.abs(statistics.table(unigram=1.0, pair=1e9).pair_deviations).max() < 1e-5


def test_random_embeddings_are_refused(tmp_path):
    from gencls.diffusion.backbones import load_backbone
    from gencls.training.config import TrainConfig
    from gencls.training.examples import TokenizedSplit
    from gencls.training.per_class import train_denoiser

    backbone = load_backbone("scratch-64x1", texts=["abab", "cdcd"])
    split = TokenizedSplit([np.array([5, 6]), np.array([7, 8])], np.array([0, 1]))
    with pytest.raises(ValueError, match="pretrained backbone for embedding_ridge"):
        train_denoiser(backbone, split, split, ["a", "b"], TrainConfig(embedding_ridge=1.0), tmp_path)
    assert not (tmp_path / "plan.json").exists()


def test_word_embeddings_are_those_of_the_projection():
    from gencls.diffusion.backbones import load_backbone
    from gencls.diffusion.denoiser import Denoiser

    denoiser = Denoiser(load_backbone("tiny-random"), 2, ConditioningConfig("conditional", rank=2))
    found = denoiser.word_embeddings()
    assert found.dtype == np.float32
    np.testing.assert_array_equal(torch.from_numpy(found), denoiser.projection.detach())
