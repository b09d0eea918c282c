"""Which runs are the same: a folder is resumed by its own run alone, and stages are taken over between like runs."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gencls.data.errors import three_parts
from gencls.data.storage import read_json, write_json
from gencls.evaluation.seen_texts import other_unlabelled
from gencls.training.config import CLASS_STAGE_OPTIONS, TrainConfig
from gencls.training.loop import CHECKPOINTS, FINISHED, stage_folder
from gencls.training.plan import FREE_OPTIONS, PLAN

logger = logging.getLogger("gencls.evaluation")
RUN = "run.json"


def identity_of(folder: Path) -> dict[str, Any]:
    """Return what a run folder holds a run of; options that are newer than it at their defaults."""
    record: dict[str, Any] = read_json(folder / RUN)
    return {**record, "config": {**TrainConfig().as_dict(), **(record.get("config") or {})}}


def check_same_run(folder: Path, identity: Mapping[str, Any]) -> None:
    """Raise a ValueError if a folder holds another run than the one to train."""
    if (folder / RUN).exists():
        old = identity_of(folder)
        differing = _other_data(old, identity) + ["config"] * (old["config"] != identity["config"])
        refuse_other_run(differing, folder)


def refuse_other_run(differing: Sequence[str], folder: Path) -> None:
    """Raise a ValueError if a folder holds a run in which anything differs from the one to train."""
    if differing:
        raise ValueError(
            three_parts(
                "an empty folder, or a run of the same data and options to resume",
                f"a run with another {' and '.join(differing)} in {folder}",
                "Give another --output.",
            )
        )


def _other_data(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    differing = ["fingerprint"] * (one.get("fingerprint") != other["fingerprint"])
    differing += other_unlabelled(one, other)
    of_test = [[record["data"].get(name) for name in ("fresh_test", "n_test")] for record in (one, other)]
    return differing + ["test split"] * (of_test[0] != of_test[1])


def take_stages(source: Path, folder: Path, identity: Mapping[str, Any]) -> None:
    """Copy the finished stages of another run that this run would train alike, unless the folder has begun its own.

    Parameters
    ----------
    source, folder : Path
        Run folders.
    identity : mapping
        ``data``, ``fingerprint`` and ``config`` of the run that is to be trained.

    Raises
    ------
    ValueError
        If the other run's adaptation is not what this run would train, or is not finished.
    """
    if (folder / CHECKPOINTS).exists():
        return
    if not (source / RUN).exists() or not _is_finished(source, "adapt"):
        got = f"none in {source}"
        raise ValueError(
            three_parts("a run with a finished adaptation", got, "Train it first, or leave --adapted out.")
        )
    theirs = identity_of(source)
    differing = _other_options(theirs, identity, CLASS_STAGE_OPTIONS) + _other_data(theirs, identity)
    if differing:
        todo = "Only options of the classes' stage may differ; leave --adapted out."
        raise ValueError(three_parts(f"the adaptation of a run of the same {', '.join(differing)}", source.name, todo))
    stages = ["adapt"]
    if _is_finished(source, "classes") and not _other_options(theirs, identity, FREE_OPTIONS):
        stages.append("classes")
        write_json(folder / PLAN, read_json(source / PLAN))
    _copy_stages(source, folder, stages)
    logger.info("of %s is taken over: %s", source, " and ".join(stages))


def _other_options(one: Mapping[str, Any], other: Mapping[str, Any], but: Sequence[str]) -> list[str]:
    names = [name for name in TrainConfig().as_dict() if name not in but]
    return [name for name in names if one["config"][name] != other["config"][name]]


def _is_finished(run: Path, stage: str) -> bool:
    return (stage_folder(run, stage) / FINISHED).exists()


def _copy_stages(source: Path, folder: Path, stages: Sequence[str]) -> None:
    """All of them or none."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".stages-") as temporary:
        for stage in stages:
            shutil.copytree(stage_folder(source, stage), stage_folder(Path(temporary), stage))
        os.replace(Path(temporary) / CHECKPOINTS, folder / CHECKPOINTS)
