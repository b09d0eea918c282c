"""For all tests: no hub is asked, no progress bar is drawn; and a toy data set whose classes use different letters."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

# at import and not in a fixture: the libraries read them once, when they are imported
for name in ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS", "TQDM_DISABLE"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

Toy = tuple[list[str], list[str]]
TRAIN_FLAGS = ["--backbone", "tiny-random", "--adapt-steps", "3", "--class-steps", "3", "--batch-size", "8"]
TRAIN_FLAGS += ["--max-length", "24"]


def make_toy(n_texts: int, *, seed: int = 0) -> Toy:
    """Words of random letters: a to h in the class "left", e to l in the class "right"."""
    generator = np.random.default_rng(seed)
    letters = {"left": list("abcdefgh"), "right": list("efghijkl")}
    labels = [("left", "right")[row % 2] for row in range(n_texts)]
    texts = [" ".join("".join(generator.choice(letters[label], 4)) for _ in range(5)) for label in labels]
    return texts, labels


def write_table(path: Path, rows: Toy, *, columns: tuple[str, str] = ("text", "label")) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns, *zip(*rows, strict=True)])
    return path


@pytest.fixture(scope="session")
def toy() -> Callable[..., Toy]:
    return make_toy


@pytest.fixture(scope="session")
def table() -> Callable[..., Path]:
    return write_table


@pytest.fixture(scope="session")
def train_flags() -> list[str]:
    return list(TRAIN_FLAGS)


@pytest.fixture(scope="session")
def toy_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that the command line trained on a table; do not write into it (evaluations put their encoder below it)."""
    from gencls.cli.main import main

    folder = tmp_path_factory.mktemp("toy")
    data = write_table(folder / "toy.csv", make_toy(120))
    assert main(["train-per-class", str(data), "--output", str(folder / "run"), *TRAIN_FLAGS]) == 0
    return folder / "run"
