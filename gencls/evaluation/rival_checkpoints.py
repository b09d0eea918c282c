"""Where trainings of rivals, up to an hour each on a CPU, go on after a kill: below the run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from gencls.data.fingerprint import digest_of_texts
from gencls.evaluation.rival_data import RivalData

FOLDER = "rival-checkpoints"
#: Rivals whose finished weights stay: another evaluation of the run reads them instead of training again.
KEPT = ("encoder",)


class RivalCheckpoints:
    """The folders of the rivals' trainings beside one run.

    Parameters
    ----------
    run : Path
        Its own options never change, so that they are no part of a folder's name.
    """

    def __init__(self, run: Path) -> None:
        self.folder = run / FOLDER
        self._given: dict[str, list[Path]] = {}

    def place(self, rival: str, about: Mapping[str, Any], train: RivalData) -> Path:
        """Return the folder of a training, another one for other options or training texts.

        Parameters
        ----------
        rival : str
        about : mapping
            JSON data: everything but the texts that decides the trained weights.
        train : RivalData
        """
        told = json.dumps([dict(about), train.labels.tolist()], sort_keys=True)
        place = self.folder / rival / digest_of_texts([told, *train.texts])[:16]
        self._given.setdefault(rival, []).append(place)
        return place

    def drop(self, rivals: Iterable[str]) -> None:
        """Remove the checkpoints of rivals whose scores are written: those given here, but for `KEPT`."""
        for rival in rivals:
            if rival in KEPT:
                continue
            for place in self._given.pop(rival, []):
                shutil.rmtree(place, ignore_errors=True)
            for emptied in (self.folder / rival, self.folder):
                with suppress(OSError):  # another training's are in it, or it is not there
                    emptied.rmdir()
