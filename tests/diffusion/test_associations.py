"""Associations of neighbours: closed forms, and a class-free denoiser that starts as the bigram model of both sides."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gencls.diffusion.associations import SMOOTHING, associations, set_associations
from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.batches import frame_rows
from gencls.diffusion.language_model import LanguageModel, class_free_denoiser
from gencls.diffusion.ngrams import NgramCounts, count_ngrams
from gencls.generation.scorers import DenoiserScorer
from gencls.training.config import TrainConfig
from gencls.training.language_model import train_language_model

V = 99


def texts(n_texts: int = 12, seed: int = 0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.integers(5, 15, size=generator.integers(3, 9)) for _ in range(n_texts)]


def test_an_association_in_closed_form() -> None:
    # N = 8, counts 2 and 4: expected 1, seen 3 times, smoothing 2
    unigram = np.array([2.0, 4.0, 2.0, 0.0]) - SMOOTHING
    found = associations(NgramCounts(np.array([1]), np.zeros((1, 1, 1)), 4), np.array([3.0]), unigram, 2.0)
    np.testing.assert_allclose(found, [np.log(1 + 3 / 2)], rtol=1e-12)


def test_the_denoiser_starts_as_the_bigram_model_of_both_sides() -> None:
    ids = texts()
    denoiser = class_free_denoiser(load_backbone("tiny-random")).eval()
    folds = np.arange(len(ids)) % 2
    set_associations(denoiser, ids, folds, 1.5)
    log_p = torch.randn(V, generator=torch.Generator().manual_seed(0))
    denoiser.set_unigram(log_p, torch.zeros(0, V))
    pairs = count_ngrams(ids, 0 * folds, folds, 1, V, min_count=1)
    unigram = np.bincount(np.concatenate(ids), minlength=V).astype(float)
    table = np.zeros((V, V))
    values = associations(pairs, pairs.counts.sum(axis=(0, 1)), unigram, 1.5)
    table[np.divmod(pairs.keys, V)] = values
    hidden = [np.array([False, True, False, True, True])]
    row = [np.array([5, 7, 9, 6, 8])]
    batch = frame_rows(row, hidden, hidden, denoiser.frame)
    with torch.no_grad():
        found = denoiser(batch, torch.zeros(1, dtype=torch.int64)).numpy()
    left, right = [5, 9, None], [9, None, denoiser.frame.eos]
    for place, target in enumerate([7, 6, 8]):
        logits = log_p.numpy().astype(float)
        logits = logits + (0 if left[place] is None else table[left[place]])
        logits = logits + (0 if right[place] is None else table[:, right[place]])
        np.testing.assert_allclose(found[place], (logits - np.logaddexp.reduce(logits))[target], atol=1e-5)


def test_the_sampler_sees_the_same_logits() -> None:
    ids = texts()
    denoiser = class_free_denoiser(load_backbone("tiny-random")).eval()
    set_associations(denoiser, ids, np.arange(len(ids)) % 2, 1.0)
    row, hidden = np.array([5, 7, 9, 6]), np.array([False, True, False, True])
    batch = frame_rows([row], [hidden], [hidden], denoiser.frame)
    scorer = DenoiserScorer(denoiser, "float32")
    masked = np.where(hidden, denoiser.frame.mask, row)[None]
    logits = torch.cat([part[0] for part in scorer.logits(masked, hidden[None], [0])])
    with torch.no_grad():
        expected = denoiser(batch, torch.zeros(1, dtype=torch.int64))
    found = logits.log_softmax(dim=1).gather(1, torch.tensor([[7], [6]]))[:, 0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_in_training_no_text_is_explained_by_its_own_pairs() -> None:
    ids = [np.array([5, 6, 7]), np.array([8, 9, 10])]
    denoiser = class_free_denoiser(load_backbone("tiny-random"))
    set_associations(denoiser, ids, np.array([0, 1]), 1.0)
    assert denoiser.pairs.values.min() > 0
    own = denoiser.pairs.training_values
    assert own is not None and own.shape == (2, 1, 4)
    assert (own[0, 0, :2] == 0).all() and (own[0, 0, 2:] > 0).all()
    assert (own[1, 0, :2] > 0).all() and (own[1, 0, 2:] == 0).all()


def test_a_model_trains_with_them_and_keeps_them(tmp_path) -> None:
    config = TrainConfig(
        backbone="tiny-random",
        max_length=16,
        adapt_steps=3,
        class_steps=0,
        batch_size=4,
        n_scored=8,
        n_folds=2,
        precision="float32",
        neighbour_smoothing=1.0,
    )
    backbone = load_backbone("tiny-random")
    model = train_language_model(backbone, texts(), config, tmp_path / "run")
    assert not torch.equal(model.denoiser.gate.weight, torch.zeros_like(model.denoiser.gate.weight))
    again = LanguageModel.load(model.save(tmp_path / "saved")).denoiser
    torch.testing.assert_close(again.pairs.values, model.denoiser.pairs.values)
    with pytest.raises(ValueError, match="neighbour_smoothing > 0"):
        TrainConfig(neighbour_smoothing=0.0)
