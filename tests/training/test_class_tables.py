"""The class tables of a training set: that their smoothing is told, and how much less long texts weigh."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.conditioning import ConditioningConfig
from gencls.diffusion.cross_fitting import CrossFittedTexts
from gencls.diffusion.denoiser import Denoiser
from gencls.diffusion.smoothing import choose_smoothing, tempered_loss
from gencls.diffusion.statistics import ClassStatistics
from gencls.training.class_tables import choice_of, fit_statistics, set_statistics
from gencls.training.config import TrainConfig
from gencls.training.examples import TokenizedSplit, TrainingTexts

SMOOTHING = {"smoothing": (0.1, 1.0, 10.0), "pair_smoothing": (2.0, 32.0)}
CONFIG = TrainConfig(length_exponent=(1.0, 0.5), **SMOOTHING)
N, F, FIRST, WORDS = 160, 4, 5, 30


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("tiny-random")


@pytest.fixture
def denoiser(backbone):
    return Denoiser(backbone, 2, ConditioningConfig())


def test_what_smooths_the_tables_is_told(caplog, denoiser):
    ids = [np.array([5, 6, 7]), np.array([8, 9, 8])] * 4
    texts = TrainingTexts(ids, np.arange(8) % 2, np.arange(8) % 4, 2)
    config = TrainConfig(smoothing=(0.5,), pair_smoothing=(8.0,))
    with caplog.at_level("INFO", logger="gencls.training"):
        fit_statistics(denoiser, texts, TokenizedSplit(ids, np.arange(8) % 2), config)
    assert caplog.messages == [
        "class tables: choosing their smoothing",
        "class tables: smoothed by unigram 0.5, pair 8",
    ]


def made(drawn, seed, **options):
    """Training and validation texts; `drawn` gives a text of a class's word shares, long if it is one in seven."""
    generator = np.random.default_rng(seed)
    shares = generator.dirichlet(np.full(WORDS, 2.0), size=2)
    labels = np.arange(N + 40) % 3 // 2
    ids = [FIRST + drawn(generator, shares[label], row % 7 == 0) for row, label in enumerate(labels)]
    folds = np.arange(N) // 2 % F
    return TrainingTexts(ids[:N], labels[:N], folds, 2, **options), TokenizedSplit(ids[N:], labels[N:])


def repetitive(generator, shares, is_long):
    """Long ones say the same few words over and over."""
    return np.tile(generator.choice(WORDS, size=6, p=shares), 30 if is_long else 1)


def telling(generator, shares, is_long):
    """Long ones alone are of their class."""
    return generator.choice(WORDS, size=40, p=shares) if is_long else generator.integers(0, WORDS, size=20)


@pytest.mark.parametrize("seed", range(3))
def test_long_texts_that_repeat_themselves_weigh_less(caplog, denoiser, seed):
    texts, validation = made(repetitive, seed)
    with caplog.at_level("INFO", logger="gencls.training"):
        statistics, _ = fit_statistics(denoiser, texts, validation, TrainConfig(length_exponent=(1.0,), **SMOOTHING))
    assert statistics.length_exponent == 1
    assert caplog.messages[-1].endswith(", length exponent 1")
    assert fit_statistics(denoiser, texts, validation, TrainConfig(**SMOOTHING))[0].length_exponent == 0


@pytest.mark.parametrize("seed", range(3))
def test_long_texts_that_tell_their_class_weigh_as_much(denoiser, seed):
    texts, validation = made(telling, seed)
    assert fit_statistics(denoiser, texts, validation, CONFIG)[0].length_exponent == 0


def by_hand(texts, validation, exponent):
    """The smoothing and the loss of one exponent."""
    own = slice(0 if texts.has_found_labels else None)
    judged = (
        [*texts.token_ids[own], *validation.token_ids],
        np.append(texts.labels[own], validation.labels),
        np.append(texts.folds[own], np.full(len(validation.labels), -1)),
    )
    counted = texts.token_ids, texts.labels, texts.folds, 2, len(load_backbone("tiny-random").projection)
    statistics = ClassStatistics.from_texts(*counted, length_exponent=exponent)
    candidates = {"unigram": SMOOTHING["smoothing"], "pair": SMOOTHING["pair_smoothing"]}
    smoothing = choose_smoothing(statistics, *judged, **candidates, log_prior=texts.log_prior)[0]
    scored = CrossFittedTexts(statistics, *judged)
    return smoothing, tempered_loss(scored.scores(smoothing) + texts.log_prior, scored.labels)


@pytest.mark.parametrize("has_found_labels", [False, True])
@pytest.mark.parametrize("drawn", [repetitive, telling])
@pytest.mark.parametrize("seed", range(3))
def test_each_exponent_is_judged_with_a_smoothing_of_its_own(denoiser, drawn, seed, has_found_labels):
    texts, validation = made(drawn, seed, has_found_labels=has_found_labels)
    wanted = 0.0
    for exponent in (0.25, 0.5, 1.0, 2.0):
        if by_hand(texts, validation, exponent)[1] >= by_hand(texts, validation, wanted)[1]:
            break
        wanted = exponent
    config = TrainConfig(length_exponent=(2.0, 0.5, 1.0, 0.25), **SMOOTHING)
    statistics, smoothing = fit_statistics(denoiser, texts, validation, config)
    assert statistics.length_exponent == wanted
    assert smoothing == by_hand(texts, validation, wanted)[0]


def test_larger_exponents_are_not_tried_after_one_that_does_not_help(denoiser, monkeypatch):
    tried, count = [], ClassStatistics.from_texts

    def counted(*texts, length_exponent, **options):
        tried.append(length_exponent)
        return count(*texts, length_exponent=length_exponent, **options)

    monkeypatch.setattr(ClassStatistics, "from_texts", counted)
    for drawn, wanted in ((telling, [0.0, 0.5]), (repetitive, [0.0, 0.5, 1.0])):
        tried.clear()
        fit_statistics(denoiser, *made(drawn, 1), CONFIG)
        assert tried == wanted


def set_up(denoiser, backbone, **options):
    """What was chosen, and the tables: full ones, and those of the folds."""
    chosen = set_statistics(denoiser, backbone, *made(repetitive, 1), CONFIG, **options)
    full = denoiser.class_bias[:-1], denoiser.pairs.values
    return chosen, [table.clone() for table in (*full, denoiser._training_bias, denoiser.pairs.training_values)]


def are_equal(tables, others):
    return [bool((one == other).all()) for one, other in zip(tables, others, strict=True)]


def test_what_is_chosen_of_the_tables_makes_them_again(denoiser, backbone, monkeypatch):
    chosen, tables = set_up(denoiser, backbone)
    texts, validation = made(repetitive, 1)
    statistics, smoothing = fit_statistics(denoiser, texts, validation, CONFIG)
    assert chosen == choice_of(statistics, smoothing) == {**smoothing, "length_exponent": 1.0}
    wanted = statistics.scores(statistics.table(**smoothing), validation.token_ids)
    np.testing.assert_allclose(denoiser.count_scores(validation.token_ids), wanted, atol=1e-4)
    monkeypatch.setattr("gencls.training.class_tables.fit_statistics", None)
    again, same = set_up(denoiser, backbone, chosen=json.loads(json.dumps(chosen)))
    assert again == chosen
    assert are_equal(same, tables) == [True] * 4


def test_a_choice_of_before_weighs_all_tokens_alike(denoiser, backbone):
    chosen, tables = set_up(denoiser, backbone)
    older = {name: value for name, value in chosen.items() if name != "length_exponent"}
    known, of_older = set_up(denoiser, backbone, chosen=older)
    assert known == {**older, "length_exponent": 0.0}
    assert are_equal(set_up(denoiser, backbone, chosen=known)[1], of_older) == [True] * 4
    assert are_equal(of_older, tables) == [False] * 4
