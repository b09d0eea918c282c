"""The class tables of a training set: that their smoothing is told."""

from __future__ import annotations

import numpy as np

from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.conditioning import ConditioningConfig
from gencls.diffusion.denoiser import Denoiser
from gencls.training.class_tables import fit_statistics
from gencls.training.config import TrainConfig
from gencls.training.examples import TokenizedSplit, TrainingTexts


def test_what_smooths_the_tables_is_told(caplog):
    ids = [np.array([5, 6, 7]), np.array([8, 9, 8])] * 4
    texts = TrainingTexts(ids, np.arange(8) % 2, np.arange(8) % 4, 2)
    denoiser = Denoiser(load_backbone("tiny-random"), 2, ConditioningConfig())
    config = TrainConfig(smoothing=(0.5,), pair_smoothing=(8.0,))
    with caplog.at_level("INFO", logger="gencls.training"):
        fit_statistics(denoiser, texts, TokenizedSplit(ids, np.arange(8) % 2), config)
    assert caplog.messages == [
        "class tables: choosing their smoothing",
        "class tables: smoothed by unigram 0.5, pair 8",
    ]
