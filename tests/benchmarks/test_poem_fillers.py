"""Ways to fill holes: the shortcut of a batch against one text at a time, and probabilities that are ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.poem_fillers import (
    diffusion_nats,
    fill_by_diffusion,
    fill_by_neighbours,
    fill_by_ngrams,
    fill_by_unigram,
)
from gencls.baselines.ngrams import NeighbourBigram, WittenBell, unigram
from gencls.diffusion.associations import set_associations
from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.batches import frame_rows
from gencls.diffusion.denoiser import Denoiser
from gencls.diffusion.language_model import class_free_denoiser

V = 99


@pytest.fixture(scope="module")
def denoiser() -> Denoiser:
    found = class_free_denoiser(load_backbone("tiny-random"))
    set_associations(found, material(12, seed=1)[0], np.arange(12) % 2, 1.0)
    with torch.no_grad():
        for value in found.network.head.parameters():
            value.copy_(torch.randn(value.shape, generator=torch.Generator().manual_seed(0)))
    return found.eval()


def material(n_texts: int = 5, seed: int = 0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    generator = np.random.default_rng(seed)
    texts = [generator.integers(5, 25, size=length) for length in generator.integers(4, 12, size=n_texts)]
    return texts, [generator.permutation(len(ids)) < max(1, len(ids) // 2) for ids in texts]


@pytest.mark.parametrize("n_steps", [1, 3, 20])
def test_a_text_is_filled_alike_alone_and_in_a_batch(denoiser: Denoiser, n_steps: int) -> None:
    texts, hidden = material()
    together = fill_by_diffusion(denoiser, texts, hidden, n_steps=n_steps)
    for ids, hole, found in zip(texts, hidden, together, strict=True):
        alone = fill_by_diffusion(denoiser, [ids], [hole], n_steps=n_steps)[0]
        np.testing.assert_array_equal(found.token_ids, alone.token_ids)
        np.testing.assert_array_equal(found.token_ids[~hole], ids[~hole])
        np.testing.assert_array_equal(found.token_ids[hole], found.best[:, 0])
        assert denoiser.frame.mask not in found.token_ids


def test_what_stands_in_a_hole_is_not_looked_at(denoiser: Denoiser) -> None:
    texts, hidden = material()
    other = [np.where(hole, 30, ids) for ids, hole in zip(texts, hidden, strict=True)]
    for one, two in zip(
        fill_by_diffusion(denoiser, texts, hidden, n_steps=2),
        fill_by_diffusion(denoiser, other, hidden, n_steps=2),
        strict=True,
    ):
        np.testing.assert_array_equal(one.token_ids, two.token_ids)


def test_one_step_takes_the_likeliest_of_each_hole(denoiser: Denoiser) -> None:
    texts, hidden = material(1)
    (found,) = fill_by_diffusion(denoiser, texts, hidden, n_steps=1)
    log_probs = []
    for token in range(V):
        row = np.where(hidden[0], token, texts[0])
        batch = frame_rows([row], hidden, hidden, denoiser.frame)
        with torch.no_grad():
            log_probs.append(denoiser(batch, torch.zeros(1, dtype=torch.int64)).numpy())
    values = np.array(log_probs)
    values[denoiser.frame.mask] = -np.inf
    np.testing.assert_array_equal(found.best[:, 0], values.argmax(axis=0))


def test_path_probabilities_sum_to_one(denoiser: Denoiser) -> None:
    """Over all fillings of a hole; and two holes in one step are two holes apart."""
    hidden = np.array([False, True, True, False])
    one = [np.array([False, True, False, False])]
    texts = [np.array([7, token, 12, 9]) for token in range(V)]
    np.testing.assert_allclose(np.exp(-diffusion_nats(denoiser, texts, one * V, n_steps=3)).sum(), 1, rtol=1e-4)
    (both,) = diffusion_nats(denoiser, texts[:1], [hidden], n_steps=1)
    batch = frame_rows([texts[0]], [hidden], [hidden], denoiser.frame)
    with torch.no_grad():
        expected = -denoiser(batch, torch.zeros(1, dtype=torch.int64)).sum().item()
    np.testing.assert_allclose(both, expected, rtol=1e-5)


def test_counts_fill_as_their_tables_say() -> None:
    texts, hidden = material(6)
    train = material(30, seed=2)[0]
    log_p = unigram(train, V)
    neighbours, grams = NeighbourBigram.fit(train, V), WittenBell(V).fit(train)
    for ids, hole, one, two, three in zip(
        texts,
        hidden,
        fill_by_unigram(log_p, texts, hidden),
        fill_by_neighbours(neighbours, texts, hidden),
        fill_by_ngrams(grams, texts, hidden),
        strict=True,
    ):
        places = np.flatnonzero(hole)
        assert (one.token_ids[places] == log_p.argmax()).all()
        sight = np.where(hole, -1, ids)
        tokens = ids.copy()
        for number, place in enumerate(places):
            left = sight[place - 1] if place else -1
            right = sight[place + 1] if place + 1 < len(ids) else -1
            expected = neighbours.log_probs(np.array([left]), np.array([right]))[0].argmax()
            assert two.best[number, 0] == expected
            tokens[place] = grams.proba(tokens[max(0, place - 4) : place].tolist()).argmax()
            assert three.best[number, 0] == tokens[place]
