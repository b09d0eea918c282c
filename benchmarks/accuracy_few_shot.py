"""Accuracy against the number of labelled texts, where all training texts are there without their labels.

    python -m benchmarks.accuracy_few_shot --data imdb

The generative model starts from a language model of the unlabelled texts (`gencls train-lm`), so that only its classes
are learned from labelled ones; the discriminative rivals have no use for texts without labels. Every number of texts
is drawn with several seeds; validation texts, as many as training ones, choose what is chosen. A row that is there is
not made again.
"""

from __future__ import annotations

import argparse
import copy
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy_few_shot_report import write_few_shot
from benchmarks.accuracy_recipes import FRESH_TEST
from gencls.classifier.estimator import DiffusionClassifier
from gencls.data import TextSplit, load_dataset, stratified_sample
from gencls.data.dataset import TextDataset
from gencls.data.errors import three_parts
from gencls.data.storage import read_json, write_json
from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.tokens import tokenize
from gencls.evaluation.rival_data import RivalData
from gencls.evaluation.rivals import fit_baseline
from gencls.evaluation.runs import Splits, cut_splits, names_of
from gencls.reporting.records import run_record
from gencls.training.config import TrainConfig
from gencls.training.language_model import train_language_model

logger = logging.getLogger("gencls.benchmarks")
Row = dict[str, Any]
RIVALS = ("naive_bayes", "naive_bayes_pairs", "nb_svm", "tfidf_logistic_regression", "encoder")
#: Passes over the labelled texts, and the fewest and most steps of the classes and of the encoder.
EPOCHS, FEWEST_STEPS, MOST_STEPS = 3, 60, 200
#: Validation texts of each class that fit the temperature: it moves no decision between equally likely classes.
CALIBRATION = 100
TRAINING = TrainConfig(
    backbone_layers=4, max_length=128, batch_size=16, n_scored=48, adapt_steps=400, n_steps=2, n_mc_samples=1
)


@dataclass(frozen=True)
class Config:
    """What is trained on how many texts.

    Parameters
    ----------
    sizes : tuple of int
        Labelled texts of each class.
    seeds : tuple of int
        Of the choice of texts, their order and the masks.
    n_test : int
        Texts of the test split, a stratified sample: the same ones for all.
    training : TrainConfig
        Its backbone and `adapt_steps` are those of the language model.
    """

    sizes: tuple[int, ...] = (8, 32, 128, 512, 2048)
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    n_test: int = 1000
    training: TrainConfig = TRAINING


def few_shot(data: str, config: Config, runs: Path, *, progress: bool = False) -> list[Row]:
    """Train what is missing.

    Parameters
    ----------
    data : str
    config : Config
    runs : Path
        Folder of the language model and of the finished rows.
    progress : bool

    Returns
    -------
    list of dict
        ``size``, ``seed``, ``model``, ``accuracy`` on the test texts and ``seconds`` of training.

    Raises
    ------
    ValueError
        If a class has fewer training texts than the largest size, or the folder holds rows of another config.
    """
    dataset = load_dataset(data)
    splits = cut_splits(dataset, FRESH_TEST.get(data), 0)
    _check_sizes(splits["train"], config.sizes)
    _check_folder(runs, {"data": data, "fingerprint": dataset.fingerprint, "training": config.training.as_dict()})
    test = stratified_sample(splits["test"], config.n_test, seed=0)
    language_model = _language_model(splits["train"], config.training, runs / "language-model", progress)
    rows: list[Row] = []
    for seed in config.seeds:
        for size in config.sizes:
            path = runs / "rows" / f"{size}-{seed}-{config.n_test}.json"
            if not path.exists():
                parts = {**_labelled(splits, size, seed), "test": test}
                write_json(path, _rows(dataset, parts, language_model, config.training, size, seed, progress))
            found: list[Row] = read_json(path)
            logger.info("%d texts, seed %d: %s", size, seed, {row["model"]: row["accuracy"] for row in found})
            rows += found
    return rows


def _check_sizes(train: TextSplit, sizes: Sequence[int]) -> None:
    fewest = int(np.bincount(train.labels).min())
    if max(sizes) > fewest:
        raise ValueError(three_parts(f"sizes of at most {fewest}, the smallest class", str(max(sizes)), "Lower it."))


def _check_folder(runs: Path, wanted: Mapping[str, Any]) -> None:
    path = runs / "config.json"
    if path.exists() and read_json(path) != wanted:
        raise ValueError(three_parts("an empty folder, or one of the same options", runs.name, "Give another --runs."))
    write_json(path, wanted)


def _language_model(train: TextSplit, config: TrainConfig, folder: Path, progress: bool) -> Path:
    """The language model of the training texts, which looks at no label; returns its folder."""
    if not (folder / "language_model.json").exists():
        backbone = load_backbone(config.backbone, n_layers=config.backbone_layers, texts=train.texts)
        ids = tokenize(train.texts, backbone.tokenizer, max_length=config.max_length, truncation=config.truncation).ids
        train_language_model(backbone, ids, config, folder, progress=progress).save(folder)
    return folder


def _labelled(splits: Splits, size: int, seed: int) -> Splits:
    """As many texts of each class as asked for, to train on and to choose by."""
    found = {name: _of_each_class(splits[name], size, seed) for name in ("train", "validation")}
    return {**found, "calibration": _of_each_class(found["validation"], CALIBRATION, seed)}


def _of_each_class(split: TextSplit, size: int, seed: int) -> TextSplit:
    order = np.random.default_rng([seed, 5]).permutation(len(split))
    chosen = [order[split.labels[order] == label][:size] for label in range(int(split.labels.max()) + 1)]
    return split.take(np.sort(np.concatenate(chosen)))


def _rows(
    dataset: TextDataset,
    parts: Splits,
    language_model: Path,
    config: TrainConfig,
    size: int,
    seed: int,
    progress: bool,
) -> list[Row]:
    n_steps = int(np.clip(EPOCHS * len(parts["train"]) // config.batch_size, FEWEST_STEPS, MOST_STEPS))
    options = {"adapt_steps": 0, "class_steps": n_steps, "backbone": str(language_model), "backbone_layers": None}
    classifier = DiffusionClassifier.from_config(replace(config, seed=seed, **options), progress=progress)
    pairs = {name: (part.texts, names_of(dataset, part)) for name, part in parts.items()}
    classifier.fit(*pairs["train"], validation=pairs["validation"], calibration=pairs["calibration"])
    labels = classifier.encode_labels(names_of(dataset, parts["test"]))
    own = classifier.predict_log_proba(parts["test"].texts)
    rows = [_row("diffusion", own, labels, classifier.training_record_["seconds"])]
    given = {name: RivalData.of(classifier, part, dataset.label_names) for name, part in parts.items()}
    # the rival starts from the backbone as it came: it discriminates, and has no use for texts without labels
    start = copy.copy(classifier).set_params(backbone=config.backbone)
    for name in RIVALS:
        log_proba, record = fit_baseline(name, start, given, progress=progress)
        rows.append(_row(name, log_proba, labels, record["seconds"]))
    return [{"size": size, "seed": seed, "n_steps": n_steps, **row} for row in rows]


def _row(model: str, log_proba: NDArray[np.float64], labels: NDArray[np.int64], seconds: float) -> Row:
    return {"model": model, "accuracy": float((log_proba.argmax(axis=1) == labels).mean()), "seconds": seconds}


def main(
    data: str,
    *,
    sizes: Sequence[int] = Config.sizes,
    seeds: Sequence[int] = Config.seeds,
    limit: int | None = None,
    runs: Path | None = None,
    output: Path = Path("reports/accuracy"),
    config: Config = Config(),
    command: str = "",
    progress: bool = False,
) -> Path:
    """Run what is missing and write the curves; returns the page. Parameters as `Config`; `limit` is `n_test`."""
    wanted = replace(config, sizes=tuple(sizes), seeds=tuple(seeds), n_test=limit or config.n_test)
    name = Path(data).stem
    rows = few_shot(data, wanted, runs or Path("runs") / f"few-shot-{name}", progress=progress)
    record = run_record(command, {"data": data, "n_test": wanted.n_test, **wanted.training.as_dict()}, 0)
    return write_few_shot(name, rows, record, output)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy_few_shot", description=__doc__)
    parser.add_argument("--data", default="imdb")
    parser.add_argument("--sizes", nargs="+", type=int, default=list(Config.sizes), metavar="N", help="of each class")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(Config.seeds), metavar="SEED")
    parser.add_argument("--limit", type=int, metavar="N", help=f"test texts (default: {Config.n_test})")
    parser.add_argument("--runs", type=Path, help="folder of models and rows (default: runs/few-shot-DATA)")
    parser.add_argument("--output", type=Path, default=Path("reports/accuracy"))
    arguments = vars(parser.parse_args())
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", stream=sys.stderr)
    for logger_name in ("gencls.diffusion", "gencls.benchmarks"):
        logging.getLogger(logger_name).setLevel(logging.INFO)
    typed = f"python -m benchmarks.accuracy_few_shot --data {arguments['data']}"
    print(f"report: {main(**arguments, command=typed, progress=sys.stderr.isatty())}")
