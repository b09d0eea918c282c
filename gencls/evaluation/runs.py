"""A run folder: what was trained, on which data, with which splits."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gencls.classifier.estimator import DiffusionClassifier
from gencls.classifier.persistence import CONFIG
from gencls.data import (
    TextDataset,
    TextSplit,
    class_counts,
    held_out,
    load_dataset,
    make_splits,
    with_fresh_test,
    with_unlabelled,
)
from gencls.data.errors import three_parts
from gencls.data.fingerprint import digest_of_texts
from gencls.data.storage import read_json, write_json
from gencls.data.text import normal_form
from gencls.evaluation.same_run import RUN, check_same_run, take_stages
from gencls.evaluation.seen_texts import note_unlabelled, texts_without_labels
from gencls.reporting.records import run_record
from gencls.training.config import TrainConfig

logger = logging.getLogger("gencls.evaluation")
#: Share of the test texts above which copies are worth a warning.
MANY_COPIES = 0.05
Splits = Mapping[str, TextSplit]


def train_run(
    data: str,
    folder: Path,
    config: TrainConfig,
    *,
    source: str = "auto",
    text_column: str = "text",
    label_column: str = "label",
    fresh_test: int | None = None,
    n_test: int | None = None,
    unlabelled: Path | None = None,
    adapted: Path | None = None,
    time_budget: float | None = None,
    progress: bool = False,
    command: str = "",
) -> DiffusionClassifier:
    """Train, calibrate and save one classifier; the same call resumes a killed run.

    Parameters
    ----------
    data : str
        Name, file or folder; see `gencls.data.load_dataset`.
    folder : Path
        Run folder.
    config : TrainConfig
    source, text_column, label_column : str
        As `load_dataset`.
    fresh_test : int, optional
        Texts of a test split that no earlier evaluation of the same seed has seen; see `with_fresh_test`. An official
        test split is used as it is.
    n_test : int, optional
        Texts of the test split that the run is judged on, a stratified sample: the others train it without their
        labels; see `with_unlabelled`.
    unlabelled : Path, optional
        File of more texts, without labels, as `gencls.data.files.load_texts` takes it; see `DiffusionClassifier.fit`.
        Those that the data set has with labels are left out.
    adapted : Path, optional
        A run of the same data and options, but for those of the classes' stage: its class-free adaptation is taken
        over and not trained again, and so are the steps of its classes where they would be the same: where the
        shrinkage of the classes, the scoring and nothing else differs (and, with `counts_beside`, the smoothing of the
        class tables), and there is no time budget.
    time_budget : float, optional
        Minutes of training.
    progress : bool
    command : str
        For the record.

    Returns
    -------
    DiffusionClassifier

    Raises
    ------
    ValueError
        Bad data, or a folder that holds a run of other data or options.
    """
    start = time.monotonic()
    place: dict[str, Any] = {"name": data, "source": source, "text_column": text_column, "label_column": label_column}
    place |= {"fresh_test": fresh_test, "n_test": n_test}
    dataset = _load(place)
    splits = cut_splits(dataset, fresh_test, config.seed, n_test=n_test)
    identity: dict[str, Any] = {"data": place, "fingerprint": dataset.fingerprint, "config": config.as_dict()}
    more = None
    if unlabelled is not None or "unlabelled" in splits:
        names, more = _without_labels(splits, unlabelled, text_column)
        identity["unlabelled"] = {"name": names, "texts": len(more), "digest": digest_of_texts(more)}
    check_same_run(folder, identity)
    if (folder / CONFIG).exists():
        if more is not None:
            note_unlabelled(folder, more)  # a run from before they were kept gets them
        logger.info("%s is trained already; give another --output to train again", folder)
        return DiffusionClassifier.load(folder)
    if adapted is not None:
        take_stages(adapted, folder, identity, time_budget=time_budget)
    record = run_record(command or f"gencls train-per-class {data}", config.as_dict(), config.seed)
    record |= {**identity, "data_facts": data_facts(dataset, splits)}
    write_json(folder / RUN, record)
    if more is not None:
        note_unlabelled(folder, more)
    served = splits["train"], splits["validation"], held_out(splits)
    train, validation, calibration = ((part.texts, names_of(dataset, part)) for part in served)
    classifier = DiffusionClassifier.from_config(config, run_dir=folder, progress=progress, time_budget=time_budget)
    classifier.fit(*train, validation=validation, calibration=calibration, unlabelled=more)
    classifier.save(folder)
    record |= {"train_seconds": time.monotonic() - start, "device_used": str(classifier.denoiser_.bias.device)}
    write_json(folder / RUN, record)
    return classifier


def _without_labels(splits: Splits, path: Path | None, text_column: str) -> tuple[str, list[str]]:
    """Where the texts come from that train a run without their labels, and the texts."""
    names, texts = [], []
    if "unlabelled" in splits:
        names, texts = ["test split"], [*splits["unlabelled"].texts]
    if path is not None:
        names.append(path.name)
        texts += texts_without_labels(path, splits, text_column)
    return ", ".join(names), texts


def load_run_data(folder: Path) -> tuple[dict[str, Any], TextDataset, Splits]:
    """Return the record, the data set and the splits of a run, made again from its record.

    Raises
    ------
    FileNotFoundError
        If the folder holds no run.
    ValueError
        If the data set is not the one that was trained on.
    """
    if not (folder / RUN).exists():
        raise FileNotFoundError(
            three_parts(f"a run folder with {RUN}", f"none in {folder}", "Train one: gencls train-per-class.")
        )
    record = read_json(folder / RUN)
    dataset = _load(record["data"])
    if dataset.fingerprint != record["fingerprint"]:
        raise ValueError(
            three_parts(
                f"the data that {folder.name} was trained on (fingerprint {record['fingerprint'][:12]})",
                f"{dataset.fingerprint[:12]} from {dataset.source}",
                "Use the same source, or train again.",
            )
        )
    place = record["data"]
    seed, n_test = record["config"]["seed"], place.get("n_test")
    return record, dataset, cut_splits(dataset, place.get("fresh_test"), seed, n_test=n_test)


def names_of(dataset: TextDataset, split: TextSplit) -> np.ndarray:
    """Return the class name of each text, shape (N,), str."""
    return np.array(dataset.label_names)[split.labels]


def data_facts(dataset: TextDataset, splits: Splits) -> dict[str, Any]:
    """Return what a report says of the data."""
    return {
        "name": dataset.name,
        "source": dataset.source,
        "version": dataset.version,
        "fingerprint": dataset.fingerprint,
        "class_counts": {name: class_counts(split, dataset.label_names) for name, split in splits.items()},
    }


def cut_splits(dataset: TextDataset, fresh_test: int | None, seed: int, *, n_test: int | None = None) -> Splits:
    """Return the splits of a run; parameters as in `train_run`. Warns of many copies in the test split."""
    splits = make_splits(dataset, seed=seed)
    if not (fresh_test is None or "test" in dataset.splits):
        splits = with_fresh_test(splits, fresh_test, seed=seed)
    if n_test is not None:
        splits = with_unlabelled(splits, n_test)
    n_texts = len(splits["test"])
    n_copies = n_texts - len({normal_form(text) for text in splits["test"].texts})
    if n_copies > MANY_COPIES * n_texts:
        told = "%d of %d test texts of %s are copies of others, and no evidence of their own: intervals are too narrow"
        logger.warning(told, n_copies, n_texts, dataset.name)
    return splits


def _load(place: Mapping[str, Any]) -> TextDataset:
    return load_dataset(
        place["name"],
        source=place["source"],
        text_column=place["text_column"],
        label_column=place["label_column"],
    )


def accelerator_name(device: torch.device) -> str | None:
    """Return the accelerator's name; None on a CPU, which a run record names itself."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else None
