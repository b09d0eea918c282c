"""A small run of a toy data set, and its options; do not write into it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gencls.evaluation.runs import train_run
from gencls.training.config import TrainConfig


@pytest.fixture(scope="session")
def config() -> TrainConfig:
    return TrainConfig(backbone="tiny-random", adapt_steps=3, class_steps=3, batch_size=8, max_length=24)


@pytest.fixture(scope="session")
def hybrid(config: TrainConfig) -> TrainConfig:
    """Another stage of the classes."""
    return replace(config, hybrid_weight=0.5, class_dropout=0.0)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory, toy: Callable[..., object], table: Callable[..., Path]) -> str:
    return str(table(tmp_path_factory.mktemp("data") / "toy.csv", toy(120)))


@pytest.fixture(scope="session")
def first(tmp_path_factory: pytest.TempPathFactory, data: str, config: TrainConfig) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "first"
    train_run(data, folder, config)
    return folder
