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
from gencls.training.class_verdict import VERDICT
from gencls.training.config import TrainConfig, free_of_adaptation, free_table_options, other_options
from gencls.training.loop import CHECKPOINTS, FINISHED, stage_folder
from gencls.training.plan import FREE_OPTIONS, PLAN, has_these_tables, taken_over

logger = logging.getLogger("gencls.evaluation")
RUN = "run.json"


def identity_of(folder: Path) -> dict[str, Any]:
    """Return what a run folder holds a run of; options that are newer than it at their defaults."""
    record: dict[str, Any] = read_json(folder / RUN)
    return {**record, "config": {**TrainConfig().as_dict(), **(record.get("config") or {})}}


def check_same_run(folder: Path, identity: Mapping[str, Any]) -> None:
    """Refuse to resume another run.

    Parameters
    ----------
    folder : Path
        Of the run that is to be trained, whether it has begun or not.
    identity : mapping
        Its ``data``, ``fingerprint`` and ``config``.

    Raises
    ------
    ValueError
        If the folder holds a run of other data or options.
    """
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


def take_stages(source: Path, folder: Path, identity: Mapping[str, Any], *, time_budget: float | None = None) -> None:
    """Copy the finished stages of another run that this run would train alike, unless the folder has begun its own.

    Where the class tables stand beside the network in both runs, how they are smoothed may differ: they are made anew.

    Parameters
    ----------
    source, folder : Path
        Run folders.
    identity : mapping
        ``data``, ``fingerprint`` and ``config`` of the run that is to be trained.
    time_budget : float, optional
        Of that run. With one the steps of its classes are planned anew, and only the adaptation is taken over.

    Raises
    ------
    ValueError
        If the source holds no run, its adaptation has not all of its steps, or its data or the options of its
        adaptation are other ones.
    """
    if (folder / CHECKPOINTS).exists():
        return
    theirs = identity_of(source) if (source / RUN).exists() else None
    if theirs is None or not _has_finished(source, "adapt", theirs["config"]["adapt_steps"]):
        expected = f"a run with a finished adaptation of {identity['config']['adapt_steps']} steps"
        raise ValueError(three_parts(expected, f"none in {source}", "Train it first, or leave --adapted out."))
    configs = identity["config"], theirs["config"]
    differing = other_options(*configs, free=free_of_adaptation(*configs)) + _other_data(theirs, identity)
    if differing:
        todo = "Only options of the classes' stage may differ; leave --adapted out."
        raise ValueError(three_parts(f"the adaptation of a run of the same {', '.join(differing)}", source.name, todo))
    stages = ["adapt"]
    free = (*FREE_OPTIONS, *free_table_options(*configs))
    is_alike = time_budget is None and not other_options(*configs, free=free)
    is_whole = _has_finished(source, "classes", theirs["config"]["class_steps"])
    if is_alike and is_whole and has_these_tables(plan := read_json(source / PLAN)):
        stages.append("classes")
        # with the smoothing that the classes trained with
        has_these = not other_options(*configs, free=FREE_OPTIONS)
        write_json(folder / PLAN, taken_over(plan, has_these_tables=has_these))
    _copy_stages(source, folder, stages)
    logger.info("taken over from %s: %s", source, " and ".join(stages))


def _has_finished(run: Path, stage: str, steps: int) -> bool:
    """Whether a stage has all of its steps: a time budget may have cut it."""
    path = stage_folder(run, stage) / FINISHED
    return path.exists() and read_json(path)["steps"] == steps


def _copy_stages(source: Path, folder: Path, stages: Sequence[str]) -> None:
    """All of them or none; without the verdict on the classes, which may be another one as they are scored here."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".stages-") as temporary:
        for stage in stages:
            ours = stage_folder(Path(temporary), stage)
            shutil.copytree(stage_folder(source, stage), ours, ignore=shutil.ignore_patterns(VERDICT))
        os.replace(Path(temporary) / CHECKPOINTS, folder / CHECKPOINTS)
