"""Checkpoints of the Trainer: which one is whole, and what it does not keep itself."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from transformers.trainer_utils import get_last_checkpoint

from gencls.data.storage import read_json, write_json

COMPLETE = "complete.json"


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


def last_whole_checkpoint(folder: Path) -> tuple[Path, Progress] | None:
    """Return the newest checkpoint that was written to its end, with its progress; newer broken ones are removed."""
    while folder.is_dir() and (last := get_last_checkpoint(str(folder))):
        if (Path(last) / COMPLETE).exists():
            return Path(last), Progress(**read_json(Path(last) / COMPLETE))
        shutil.rmtree(last)
    return None
