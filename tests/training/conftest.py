"""Toy training material: tokenised texts whose classes use different letters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.tokens import tokenize
from gencls.training.config import TrainConfig
from gencls.training.examples import TokenizedSplit
from gencls.training.per_class import train_denoiser

TINY = {
    "backbone": "tiny-random",
    "backbone_layers": None,
    "max_length": 24,
    "adapt_steps": 3,
    "class_steps": 3,
    "batch_size": 8,
    "n_scored": 8,
    "precision": "float32",
    "checkpoint_steps": 2,
}


@pytest.fixture(scope="session")
def tiny_config() -> Callable[..., TrainConfig]:
    return lambda **changes: TrainConfig(**{**TINY, **changes})


@pytest.fixture(scope="session")
def split(toy: Callable[..., Any]) -> Callable[..., TokenizedSplit]:
    tokenizer = load_backbone("tiny-random").tokenizer

    def make(n_texts: int = 40, *, seed: int = 0) -> TokenizedSplit:
        texts, labels = toy(n_texts, seed=seed)
        ids = tokenize(texts, tokenizer, max_length=24).ids
        return TokenizedSplit(ids, np.array([label == "right" for label in labels], dtype=np.int64))

    return make


@pytest.fixture(scope="session")
def train(split: Callable[..., Any], tiny_config: Callable[..., TrainConfig]) -> Callable[..., Any]:
    """Train in a folder; options of `train_denoiser` under `call`, of the config as keywords."""

    def run(
        folder: Any, *, call: dict[str, Any] | None = None, data: Any = None, held: Any = None, **changes: Any
    ) -> Any:
        parts = (data or split(), held or split(20, seed=1))
        config = tiny_config(**changes)
        return train_denoiser(load_backbone("tiny-random"), *parts, ["left", "right"], config, folder, **(call or {}))

    return run


@pytest.fixture(scope="session")
def same() -> Callable[[Any, Any], bool]:
    """Whether two trainings ended with the same bits."""

    def compare(one: Any, other: Any) -> bool:
        wanted = other.denoiser.state_dict()
        return all(torch.equal(value, wanted[name]) for name, value in one.denoiser.state_dict().items())

    return compare
