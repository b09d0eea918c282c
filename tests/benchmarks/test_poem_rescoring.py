"""Candidates of the diffusion model, scored again by neighbours: against a loop over single rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.poem_fillers import fill_by_diffusion
from benchmarks.poem_rescoring import N_CANDIDATES, SPACING, _groups, fill_by_rescored_diffusion
from gencls.baselines.filling import N_BEST
from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.batches import frame_rows
from gencls.diffusion.denoiser import Denoiser
from gencls.diffusion.language_model import class_free_denoiser


@pytest.fixture(scope="module")
def denoiser() -> Denoiser:
    found = class_free_denoiser(load_backbone("tiny-random"))
    with torch.no_grad():
        for value in found.network.head.parameters():
            value.copy_(torch.randn(value.shape, generator=torch.Generator().manual_seed(0)))
    return found.eval()


def material() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Texts with one hole each, so that no row is shared."""
    generator = np.random.default_rng(0)
    texts = [generator.integers(5, 25, size=length) for length in (3, 6, 9, 9)]
    places = [0, 5, 4, 1]
    return texts, [np.arange(len(ids)) == place for ids, place in zip(texts, places, strict=True)]


def log_proba(denoiser: Denoiser, ids: np.ndarray, place: int) -> np.ndarray:
    """Log-probabilities (V,) at one hidden place of a text with masks, all tokens asked one by one."""
    rows = []
    for token in range(denoiser.vocab_size):
        row = ids.copy()
        row[place] = token
        rows.append(row)
    masks = [(ids == denoiser.frame.mask) | (np.arange(len(ids)) == place)] * len(rows)
    asked = [np.arange(len(ids)) == place] * len(rows)
    with torch.no_grad():
        found = denoiser(frame_rows(rows, masks, asked, denoiser.frame), torch.full((len(rows),), denoiser.n_classes))
    values = found.double().numpy()
    values[denoiser.frame.mask] = -np.inf
    return values - np.logaddexp.reduce(values)


def expected(denoiser: Denoiser, ids: np.ndarray, place: int, weight: float) -> np.ndarray:
    mask = denoiser.frame.mask
    shown = np.where(np.arange(len(ids)) == place, mask, ids)
    direct = log_proba(denoiser, shown, place)
    candidates = np.argsort(-direct, kind="stable")[:N_CANDIDATES]
    views = []
    for beside in (place - 1, place + 1):
        if not 0 <= beside < len(ids):
            continue
        without = shown.copy()
        without[beside] = mask
        values = log_proba(denoiser, without, place)[candidates]
        for number, token in enumerate(candidates):
            placed = without.copy()
            placed[place] = token
            values[number] += log_proba(denoiser, placed, beside)[ids[beside]]
        views.append(values - np.logaddexp.reduce(values))
    own = direct[candidates] - np.logaddexp.reduce(direct[candidates])
    scores = weight * own + (1 - weight) * np.mean(views, axis=0)
    return np.asarray(candidates[np.argsort(-scores, kind="stable")][:N_BEST])


@pytest.mark.parametrize("weight", [0.0, 0.4])
def test_it_is_the_loop_over_candidates_and_neighbours(denoiser: Denoiser, weight: float) -> None:
    texts, hidden = material()
    found = fill_by_rescored_diffusion(denoiser, texts, hidden, weight=weight)
    for ids, hole, filled in zip(texts, hidden, found, strict=True):
        np.testing.assert_array_equal(filled.best[0], expected(denoiser, ids, int(np.flatnonzero(hole)[0]), weight))
        np.testing.assert_array_equal(filled.token_ids[~hole], ids[~hole])


def test_with_all_the_weight_on_the_direct_answer_it_is_that(denoiser: Denoiser) -> None:
    generator = np.random.default_rng(3)
    texts = [generator.integers(5, 25, size=20) for _ in range(3)]
    hidden = [generator.random(20) < 0.4 for _ in texts]
    plain = fill_by_diffusion(denoiser, texts, hidden, n_steps=1)
    for one, two in zip(plain, fill_by_rescored_diffusion(denoiser, texts, hidden, weight=1.0), strict=True):
        np.testing.assert_array_equal(one.best, two.best)


@pytest.mark.parametrize("offset", [1, -1])
def test_every_hole_with_a_neighbour_in_sight_is_in_one_group(offset: int) -> None:
    generator = np.random.default_rng(0)
    hidden = [generator.random(40) < share for share in (0.1, 0.5, 0.9, 1.0)]
    first, seen = 0, []
    for hole in hidden:
        places = np.flatnonzero(hole)
        seen += [first + n for n, p in enumerate(places) if 0 <= p + offset < len(hole) and not hole[p + offset]]
        first += len(places)
    groups = list(_groups(hidden, offset))
    assert sorted(np.concatenate([group.rows for group in groups]).tolist()) == seen
    for group in groups:
        assert (np.diff(group.places) >= SPACING).all()
        assert hidden[group.text][group.places].all() and not hidden[group.text][group.neighbours].any()
