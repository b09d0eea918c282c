"""Checkpoints of the Trainer: which one is whole, and what it does not keep itself."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock
from transformers.trainer_utils import get_last_checkpoint

from gencls.data.storage import read_json, write_json

COMPLETE, WEIGHTS = "complete.json", "model.safetensors"


@dataclass(frozen=True)
class Progress:
    """How far a training had come at a checkpoint.

    Attributes
    ----------
    step : int
    seconds : float
        Of training, earlier lives counted in.
    tokens_seen : int
        Through the network in training, earlier lives counted in.
    finished : bool
        Whether the budget was spent.
    """

    step: int
    seconds: float
    tokens_seen: int
    finished: bool


def mark_complete(folder: Path, progress: Progress) -> None:
    """Write the progress into a checkpoint, last: one without it was cut short by a kill."""
    write_json(folder / COMPLETE, asdict(progress))


@contextmanager
def alone(folder: Path | None) -> Iterator[None]:
    """Wait until no other process trains in a folder, and keep others out; nothing to wait for without one."""
    if folder is None:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        yield


def keep_weights(folder: Path) -> None:
    """Remove all but the weights and the progress of a finished training: nothing goes on from it."""
    found = last_whole_checkpoint(folder)
    if found is None or not found[1].finished:
        return
    for path in folder.glob("checkpoint-*"):
        if path != found[0]:
            shutil.rmtree(path)
    for path in found[0].iterdir():
        if path.name not in (WEIGHTS, COMPLETE):
            path.unlink()


def last_whole_checkpoint(folder: Path) -> tuple[Path, Progress] | None:
    """Return the newest checkpoint that was written to its end, with its progress; newer broken ones are removed."""
    while folder.is_dir() and (last := get_last_checkpoint(str(folder))):
        if all((Path(last) / name).exists() for name in (WEIGHTS, COMPLETE)):
            return Path(last), Progress(**read_json(Path(last) / COMPLETE))
        shutil.rmtree(last)
    return None
