"""Where trainings of causal rivals, half an hour each on a CPU, go on after a kill: below the run, until written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from gencls.data.fingerprint import digest_of_texts
from gencls.evaluation.rival_data import CausalOptions, RivalData

FOLDER = "rival-checkpoints"


def with_checkpoints(options: CausalOptions, run: Path, train: RivalData) -> CausalOptions:
    """Return options with a folder of the run, another one for other options or training texts.

    Parameters
    ----------
    options : CausalOptions
        Kept as they are if they have a folder.
    run : Path
        Of the classifier beside which the rivals are fitted. Its own options never change.
    train : RivalData
    """
    if options.checkpoints is not None:
        return options
    told = {**asdict(options), "checkpoints": None, "calibration_texts": None}  # these train nothing
    about = json.dumps([told, train.labels.tolist()], sort_keys=True)
    return replace(options, checkpoints=run / FOLDER / digest_of_texts([about, *train.texts])[:16])


def drop_checkpoints(options: CausalOptions, rivals: Iterable[str]) -> None:
    """Remove the checkpoints of rivals whose scores are written, if `with_checkpoints` gave their folder."""
    folder = options.checkpoints
    if folder is None or folder.parent.name != FOLDER:
        return
    for name in rivals:
        shutil.rmtree(folder / name, ignore_errors=True)
    for emptied in (folder, folder.parent):
        with suppress(OSError):  # another rival's are in it, or it is not there
            emptied.rmdir()
