"""Texts without labels: their classes by the counts of the labelled ones, in the expected shares, and trained on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.conditioning import ConditioningConfig
from gencls.diffusion.denoiser import Denoiser
from gencls.diffusion.smoothing import choose_smoothing
from gencls.training.class_tables import fit_statistics
from gencls.training.config import TrainConfig
from gencls.training.examples import TokenizedSplit, TrainingTexts
from gencls.training.unlabelled import UnlabelledTexts, matched_classes

EVEN = np.array([0.5, 0.5])


def shares_of(classes, n_classes):
    return np.bincount(classes, minlength=n_classes) / len(classes)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), n_classes=st.integers(2, 6), lean=st.floats(0, 300), scale=st.floats(0.1, 50))
def test_classes_get_their_shares_however_far_the_scores_lean(seed, n_classes, lean, scale):
    generator = np.random.default_rng(seed)
    scores = scale * generator.normal(size=(2000, n_classes)) + lean * generator.normal(size=n_classes)
    shares = 0.02 + (1 - 0.02 * n_classes) * generator.dirichlet(np.ones(n_classes))
    found = matched_classes(scores, shares)
    assert np.abs(shares_of(found, n_classes) - shares).max() < 0.01


def test_of_two_classes_it_is_a_quantile_of_the_log_ratio():
    generator = np.random.default_rng(0)
    scores = generator.normal(size=(1001, 2)) * [3.0, 1.0] + [40.0, 0.0]
    ratio = scores[:, 1] - scores[:, 0]
    found = matched_classes(scores, np.array([0.8, 0.2]))
    assert ratio[found == 1].min() > ratio[found == 0].max()
    assert found.mean() == pytest.approx(0.2, abs=0.005)


def test_what_all_classes_of_a_text_share_and_what_all_texts_of_a_class_share_say_nothing():
    generator = np.random.default_rng(1)
    scores, shares = generator.normal(size=(300, 3)) * 5, np.array([0.2, 0.3, 0.5])
    found = matched_classes(scores, shares)
    moved = scores + 100 * generator.normal(size=(300, 1)) + np.array([50.0, -50.0, 0.0])
    assert (matched_classes(moved, shares) == found).mean() > 0.99
    assert (found == scores.argmax(axis=1)).mean() > 0.6  # and it does go by the scores


@pytest.mark.parametrize("scores", [np.zeros((5, 3)), np.array([[0.0, 2.0, 1.0]])])
def test_nothing_to_choose_by_is_no_error(scores):
    found = matched_classes(scores, np.array([0.2, 0.3, 0.5]))
    assert found.shape == (len(scores),)
    assert set(found) <= {0, 1, 2}


def test_they_train_as_if_the_told_classes_were_their_labels(train, split, tmp_path):
    """Same weights, to the bit, as from all texts labelled so: tables, adaptation and classes."""
    few, more = split(8), split(60, seed=3)
    call = {"unlabelled": UnlabelledTexts(more.token_ids, EVEN)}
    result = train(tmp_path / "one", data=few, call=call)
    told = result.transduction
    assert told.shape == (60,)
    assert result.record["unlabelled"] == np.bincount(told).tolist()
    joined = TokenizedSplit(few.token_ids + more.token_ids, np.concatenate([few.labels, told]))
    same = train(tmp_path / "two", data=joined)
    assert same.transduction is None
    assert "unlabelled" not in same.record
    wanted = same.denoiser.state_dict()
    for name, value in result.denoiser.state_dict().items():
        assert torch.equal(value, wanted[name]), name


def test_their_classes_are_told_by_the_labelled_counts(train, split, tmp_path):
    few, more = split(8), split(200, seed=3)
    alone = train(tmp_path / "alone", data=few, adapt_steps=0, class_steps=0, pair_smoothing=()).denoiser
    deviations = alone.class_bias[:-1].detach().double().numpy()
    scores = np.stack([deviations[:, ids].sum(axis=1) for ids in more.token_ids])
    call = {"unlabelled": UnlabelledTexts(more.token_ids, EVEN)}
    told = train(tmp_path / "told", data=few, call=call, adapt_steps=0, class_steps=0, pair_smoothing=()).transduction
    ratio = scores[:, 1] - scores[:, 0]
    assert ratio[told == 1].min() > ratio[told == 0].max() - 1e-3
    assert (told == more.labels).mean() > 0.7


def test_a_run_is_resumed_with_the_same_texts_only(train, split, tmp_path):
    few, more = split(8), split(30, seed=3)
    call = {"unlabelled": UnlabelledTexts(more.token_ids, EVEN)}
    first = train(tmp_path, data=few, call=call)
    again = train(tmp_path, data=few, call=call)
    assert again.record["plan"] == first.record["plan"]
    for other in ({"unlabelled": UnlabelledTexts(more.token_ids[:20], EVEN)}, {}):
        with pytest.raises(ValueError, match="another training"):
            train(tmp_path, data=few, call=other)


def test_texts_without_tokens_are_told_a_class_and_not_trained_on(train, split, tmp_path):
    few, more = split(8), split(10, seed=3)
    ids = [np.array([], dtype=np.int64), *more.token_ids]
    result = train(tmp_path, data=few, call={"unlabelled": UnlabelledTexts(ids, EVEN)})
    assert len(result.transduction) == 11


@pytest.mark.parametrize("seed", range(3))
def test_found_labels_do_not_choose_the_smoothing(seed):
    """The others' classes were found with a text's own label: without its fold the tables know it all the same."""
    generator = np.random.default_rng(seed)
    ids = [generator.integers(5, 40, size=12) for _ in range(200)]
    labels = np.arange(200) % 2
    validation = TokenizedSplit([generator.integers(5, 40, size=12) for _ in range(20)], np.arange(20) % 2)
    denoiser = Denoiser(load_backbone("tiny-random"), 2, ConditioningConfig())
    texts = TrainingTexts(ids, labels, np.arange(200) % 4, 2, has_found_labels=True)
    config = TrainConfig(smoothing=(0.01, 1.0, 100.0), pair_smoothing=(1.0, 64.0))
    statistics, chosen = fit_statistics(denoiser, texts, validation, config)
    by_validation = choose_smoothing(
        statistics,
        validation.token_ids,
        validation.labels,
        np.full(20, -1),
        unigram=config.smoothing,
        pair=config.pair_smoothing,
        log_prior=np.log([0.5, 0.5]),
    )[0]
    assert chosen == by_validation
