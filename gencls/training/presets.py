"""Presets of the command line: training options by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gencls.data.errors import check_choice
from gencls.training.config import TrainConfig

#: Texts of the other folds choose among them, and none; of no use to sentences, to all longer texts some are.
INTERPOLATION = (0.1, 0.3, 0.5, 0.7)
#: Chosen alike: reviews ask for 1, posts for 0.5, and news, whose longest texts tell their topics best, for none.
LENGTH_EXPONENTS = (0.5, 1.0)
_TABLES: dict[str, Any] = {"interpolation": INTERPOLATION, "length_exponent": LENGTH_EXPONENTS}
PRESETS = {
    "demo": TrainConfig(backbone_layers=4, adapt_steps=110, class_steps=60, **_TABLES),
    "cpu": TrainConfig(
        backbone_layers=4,
        max_length=256,
        adapt_steps=2000,
        class_steps=1500,
        n_scored=48,
        n_steps=4,
        checkpoint_steps=250,
        **_TABLES,
    ),
    "gpu": TrainConfig(
        backbone="roberta-base",
        backbone_layers=None,
        max_length=384,
        adapt_steps=20_000,
        class_steps=20_000,
        batch_size=64,
        n_scored=96,
        learning_rate=1e-4,
        freeze_embeddings=False,
        n_steps=4,
        n_mc_samples=4,
        checkpoint_steps=500,
        **_TABLES,
    ),
}


def preset(name: str, **changes: Any) -> TrainConfig:
    """Return a preset with changes.

    Raises
    ------
    ValueError
        If there is no preset of that name.
    """
    return preset_of(PRESETS, name, **changes)


def preset_of(presets: Mapping[str, TrainConfig], name: str, **changes: Any) -> TrainConfig:
    """Return one of some presets with changes; raises as `preset`."""
    check_choice("preset", name, tuple(presets))
    return replace(presets[name], **changes)
