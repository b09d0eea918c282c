"""Orders and remasking, by hand and by frequency."""

from __future__ import annotations

import numpy as np
import pytest

from gencls.generation.config import GenerationConfig
from gencls.generation.orders import asked_places, remasked_places, reveal_order, start_ranks

HIDDEN = np.array([True, False, True, True, True, False, True])
PLACES = np.arange(7)


def test_early_orders_ask_for_no_more_than_they_reveal():
    ranks = np.array([6, 5, 0, 4, 1, 2, 3])
    asked = asked_places(HIDDEN, ranks, 2, GenerationConfig(order="random"))
    assert np.flatnonzero(asked).tolist() == [2, 4]
    assert reveal_order(asked, np.zeros(7), ranks, GenerationConfig(order="random")).tolist() == [2, 4]
    asked = asked_places(HIDDEN, PLACES, 2, GenerationConfig(order="left_to_right"))
    assert np.flatnonzero(asked).tolist() == [0, 2]


def test_blocks_ask_for_whole_blocks_and_finish_the_first():
    config = GenerationConfig(order="blocks", block_size=3)
    assert np.flatnonzero(asked_places(HIDDEN, PLACES, 1, config)).tolist() == [0, 2]
    asked = asked_places(HIDDEN, PLACES, 3, config)
    assert np.flatnonzero(asked).tolist() == [0, 2, 3, 4]
    sureness = np.array([0.1, 0, 0.2, 0.8, 0.9, 0, 1.0])
    assert reveal_order(asked, sureness, PLACES, config).tolist() == [2, 0, 4, 3]


def test_sure_places_come_first_and_ties_go_to_the_left():
    config = GenerationConfig(order="confidence")
    assert (asked_places(HIDDEN, PLACES, 1, config) == HIDDEN).all()
    sureness = np.array([0.5, 9, 0.7, 0.5, 0.9, 9, 0.5])
    assert reveal_order(HIDDEN, sureness, PLACES, config).tolist() == [4, 2, 0, 3, 6]


def test_random_ranks_are_uniform_and_every_order_draws_the_same():
    generator = np.random.default_rng(0)
    firsts = np.bincount([start_ranks(4, "random", generator=generator)[0] for _ in range(4000)], minlength=4)
    assert np.abs(firsts - 1000).max() / np.sqrt(4000 * 0.25 * 0.75) < 4
    after = []
    for order in ("random", "confidence", "left_to_right"):
        generator = np.random.default_rng(0)
        start_ranks(4, order, generator=generator)
        after.append(generator.random())
    assert len(set(after)) == 1


def test_remasking_follows_the_softmax_of_minus_confidence():
    candidates = np.array([True, False, True, True])
    confidence = np.array([0.05, np.nan, 0.5, 0.95])
    generator = np.random.default_rng(0)
    draws = [remasked_places(candidates, confidence, 1, generator=generator) for _ in range(4000)]
    counts = np.sum(draws, axis=0)
    assert counts[1] == 0
    weights = np.exp(-confidence[candidates])
    expected = weights / weights.sum()
    z = (counts[candidates] / 4000 - expected) / np.sqrt(expected * (1 - expected) / 4000)
    assert np.abs(z).max() < 4
    assert expected[0] / expected[2] == pytest.approx(np.exp(0.9))


def test_remasking_never_hides_more_than_there_is():
    candidates = np.array([True, False, True])
    confidence = np.array([0.5, np.nan, 0.5])
    chosen = remasked_places(candidates, confidence, 3, generator=np.random.default_rng(0))
    assert chosen.tolist() == [True, False, True]
