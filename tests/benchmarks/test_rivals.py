"""The rivals' scorers against loops written by hand, and the facts of their masks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.rivals import earlier_scorer, llada
from benchmarks.rivals.independent import batched_scores, class_seed
from gencls.diffusion.batches import RowBatch


def by_hand(denoiser, ids, hidden, class_index):
    """log p of the hidden tokens of one row, in float32, from the ordinary forward pass."""
    frame = denoiser.frame
    framed = frame.frame(ids)
    scored = np.zeros(len(framed), dtype=bool)
    scored[frame.n_before : frame.n_before + len(ids)] = hidden
    rows = [np.where(scored, frame.mask, framed), np.ones_like(framed), framed, scored]
    batch = RowBatch(*(torch.from_numpy(row[None]) for row in rows))
    with torch.no_grad():
        return denoiser(batch, torch.tensor([class_index])).double().numpy()


def test_the_earlier_scorer_is_the_mean_over_its_hidden_tokens(denoiser, texts):
    scores = earlier_scorer.score(denoiser, texts, seed=3, n_draws=2, precision="float32")
    assert scores.shape == (5, 2, 2)
    for row, ids in enumerate(texts):
        for index in range(2):
            plan = earlier_scorer.FixedShare(n_mc_samples=2).plan(ids, seed=class_seed(3, index))
            for draw in range(2):
                hidden = plan.masked[draw, 0]
                expected = by_hand(denoiser, ids, hidden, index).mean() if len(ids) else 0.0
                assert scores[row, index, draw] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("shared", [False, True])
def test_llada_weights_each_draw_by_its_level(denoiser, texts, shared):
    scores = llada.score(denoiser, texts, seed=3, n_draws=4, batch_size=2, shared=shared, precision="float32")
    estimator = llada.LladaEstimator(n_mc_samples=4, batch_size=2)
    for row, ids in enumerate(texts):
        for index in range(2):
            plan = estimator.plan(ids, seed=3 if shared else class_seed(3, index))
            for draw in range(4):
                hidden = plan.masked[draw, 0]
                weighted = len(ids) / max(hidden.sum(), 1) * by_hand(denoiser, ids, hidden, index).sum()
                assert scores[row, index, draw] == pytest.approx(weighted, abs=1e-3)


@pytest.mark.parametrize(
    ("module", "estimator"), [(earlier_scorer, earlier_scorer.FixedShare()), (llada, llada.LladaEstimator())]
)
def test_batches_give_what_the_rival_gives(denoiser, texts, module, estimator):
    """The agreement is measured in batches, the time of the rival's own loop: they must be the same scorer."""
    alone = module.score(denoiser, texts, seed=1, n_draws=32, precision="float32")
    estimator = replace(estimator, n_mc_samples=32)
    batched = batched_scores(denoiser, texts, estimator, seed=1, precision="float32")
    np.testing.assert_allclose(batched, alone, atol=2e-3)


def test_classes_and_draws_have_masks_of_their_own(texts):
    plans = [earlier_scorer.FixedShare().plan(texts[4], seed=class_seed(0, index)) for index in range(2)]
    masks = np.concatenate([plan.masked[:, 0] for plan in plans])
    assert len(np.unique(masks, axis=0)) == len(masks)


@pytest.mark.parametrize("n_tokens", [1, 2, 7, 20, 128])
def test_the_earlier_scorer_hides_its_share_and_never_nothing(n_tokens):
    plan = earlier_scorer.FixedShare().plan(np.arange(n_tokens), seed=0)
    assert set(plan.masked.sum(axis=2).ravel()) == {max(1, round(0.15 * n_tokens))}
    np.testing.assert_array_equal(plan.weights, 1 / plan.masked.sum(axis=2))


def test_more_draws_begin_with_the_fewer(texts):
    for estimator in (earlier_scorer.FixedShare(), llada.LladaEstimator()):
        few, more = (replace(estimator, n_mc_samples=count).plan(texts[0], seed=5) for count in (40, 70))
        np.testing.assert_array_equal(more.masked[:40], few.masked)
        part = estimator.plan(texts[0], seed=5, first_draw=33, n_draws=20)
        np.testing.assert_array_equal(part.masked, more.masked[33:53])


def test_a_level_grid_is_even_and_wraps_around():
    """L = 128 and b = 32: steps of 4 from the start, so all counts of one remainder, each once."""
    grid = llada.level_grid(128, 32, generator=np.random.default_rng(0))
    assert sorted(np.diff(np.sort(grid))) == [4] * 31
    assert ((grid >= 1) & (grid <= 128)).all()


def test_every_level_is_equally_likely_where_nothing_is_rounded():
    generator = np.random.default_rng(0)
    grids = np.concatenate([llada.level_grid(16, 8, generator=generator) for _ in range(4000)])
    counts = np.bincount(grids, minlength=17)[1:]
    # two levels a start: the counts of a grid are one half of the levels, so a binomial over grids
    assert np.abs(counts - 2000).max() < 4.5 * np.sqrt(4000 / 4)


def test_rounding_makes_levels_uneven():
    """The known defect, kept: L = 5 in steps of 5/4 rounds half to even, so neighbours may coincide or be left out."""
    grids = [llada.level_grid(5, 4, generator=np.random.default_rng(seed)) for seed in range(30)]
    assert {tuple(np.sort(grid)) for grid in grids} <= {
        tuple(np.sort((np.rint(s + 1.25 * np.arange(4)).astype(int) - 1) % 5 + 1)) for s in range(1, 6)
    }


def test_scoring_leaves_the_mode_and_gradients_alone(denoiser, texts):
    denoiser.train()
    try:
        earlier_scorer.score(denoiser, texts[1:2], seed=0, n_draws=1, precision="float32")
        assert denoiser.training
        assert torch.is_grad_enabled()
        assert all(parameter.grad is None for parameter in denoiser.parameters())
    finally:
        denoiser.eval()
