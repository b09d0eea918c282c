"""Accuracy against the number of labelled texts, where all training texts are there without their labels.

    python -m benchmarks.accuracy_few_shot --data imdb

The generative model starts from a language model of the unlabelled texts (`gencls train-lm`), so that only its classes
are learned from labelled ones. Of the discriminative rivals, a fine-tuned encoder can use them too: it is fitted from
the backbone as it came, and from that language model. Every number of texts is drawn with several seeds. Validation
texts have labels too: as many as the training texts, as far as the split goes, choose smoothing and regularisation of
all but the encoders. Some models train on the unlabelled texts as well, with classes that they give them
(`benchmarks.accuracy_few_shot_models`). A row that is there, in the folder of the rows or in an earlier report of the
same options, is not made again, and the page is of all rows that are there.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy_few_shot_models import GROUPS, LABELLED, MAKERS, RIVALS, group_of
from benchmarks.accuracy_few_shot_report import of_this_version, reported_rows, write_few_shot
from benchmarks.accuracy_recipes import FRESH_TEST
from benchmarks.commands import as_typed, log_to_stderr
from gencls.data import TextSplit, load_dataset, stratified_sample
from gencls.data.errors import three_parts
from gencls.data.storage import read_json, write_json
from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.tokens import tokenize
from gencls.evaluation.runs import Splits, cut_splits
from gencls.reporting.records import run_record
from gencls.training.config import TrainConfig
from gencls.training.language_model import train_language_model

logger = logging.getLogger("gencls.benchmarks")
Row = dict[str, Any]
#: What a folder's rows are of.
FOLDER = "config.json"
#: Passes over the labelled texts, and the fewest and most steps of the classes and of the encoders: one pass over 4096.
EPOCHS, FEWEST_STEPS, MOST_STEPS = 3, 60, 256
#: Validation texts of each class that fit the temperature: it moves no decision between equally likely classes.
CALIBRATION = 100
#: The ridge was chosen on draws of Rotten Tomatoes' training texts, tables alone: 1 was the best with few texts.
TRAINING = TrainConfig(
    backbone_layers=4,
    max_length=128,
    batch_size=16,
    n_scored=48,
    adapt_steps=400,
    embedding_ridge=1.0,
    n_steps=2,
    n_mc_samples=1,
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
    groups : tuple of str
        Of the models, out of `GROUPS`.
    training : TrainConfig
        Its backbone and `adapt_steps` are those of the language model.
    """

    sizes: tuple[int, ...] = (8, 32, 128, 512, 2048)
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    n_test: int = 1000
    groups: tuple[str, ...] = GROUPS
    training: TrainConfig = TRAINING


def few_shot(
    data: str, config: Config, runs: Path, *, reported: Path | None = None, progress: bool = False
) -> list[Row]:
    """Train what is missing, and return all rows that the folder then has for this number of test texts.

    Parameters
    ----------
    data : str
    config : Config
    runs : Path
        Folder of the language model and of the finished rows.
    reported : Path, optional
        Folder of an earlier report, whose rows are taken over where it was made with the same options.
    progress : bool

    Returns
    -------
    list of dict
        By size, then seed: ``size``, ``seed``, ``n_steps`` of the classes, and what `labelled_rows` and
        the functions beside it say of a model.

    Raises
    ------
    ValueError
        If a class has fewer training texts than the largest size, or the folder holds rows of another config.
    """
    dataset = load_dataset(data)
    splits = cut_splits(dataset, FRESH_TEST.get(data), 0)
    _check_sizes(splits["train"], config.sizes)
    identity = _identity(data, dataset.fingerprint, splits, config.training)
    _check_folder(runs, identity)
    test = stratified_sample(splits["test"], config.n_test, seed=0)
    if reported is not None:
        _take_over(reported_rows(Path(data).stem, reported, {**identity, "n_test": config.n_test}), runs, config.n_test)
    for seed in config.seeds:
        for size in config.sizes:
            found = {}
            for group in config.groups:
                path = _place(runs, size, seed, config.n_test, group)
                if not path.exists():
                    language_model = _language_model(splits["train"], config.training, runs, progress)
                    parts = {**_drawn(splits, size, seed), "test": test}
                    n_steps = _class_steps(len(parts["train"]), config.training)
                    training = replace(config.training, seed=seed, class_steps=n_steps)
                    rows = MAKERS[group](dataset, parts, language_model, training, progress=progress)
                    write_json(path, [{"size": size, "seed": seed, "n_steps": n_steps, **row} for row in rows])
                found |= {row["model"]: row["accuracy"] for row in read_json(path)}
            logger.info("%d texts, seed %d: %s", size, seed, found)
    return _all_rows(runs / "rows", config.n_test)


def _place(runs: Path, size: int, seed: int, n_test: int, group: str) -> Path:
    return runs / "rows" / ("" if group == LABELLED else group) / f"{size}-{seed}-{n_test}.json"


def _take_over(rows: Sequence[Row], runs: Path, n_test: int) -> None:
    """Write the rows of a report as rows of the folder, where it has none."""
    files: dict[Path, list[Row]] = {}
    for row in rows:
        path = _place(runs, row["size"], row["seed"], n_test, group_of(row["model"]))
        files.setdefault(path, []).append(row)
    for path, found in files.items():
        if not path.exists():
            write_json(path, found)


def _all_rows(folder: Path, n_test: int) -> list[Row]:
    """Rows of this and of earlier calls, by size, seed and group; each file's models in their order."""
    rows = [row for path in folder.rglob(f"*-{n_test}.json") for row in read_json(path)]
    return sorted(rows, key=lambda row: (row["size"], row["seed"], GROUPS.index(group_of(row["model"]))))


def _check_sizes(train: TextSplit, sizes: Sequence[int]) -> None:
    fewest = int(np.bincount(train.labels).min())
    if max(sizes) > fewest:
        raise ValueError(three_parts(f"sizes of at most {fewest}, the smallest class", str(max(sizes)), "Lower it."))


def _identity(data: str, fingerprint: str, splits: Splits, training: TrainConfig) -> dict[str, Any]:
    """Everything that decides a row, beside its size, its seed and the number of test texts."""
    return {
        "data": data,
        "fingerprint": fingerprint,
        "fresh_test": FRESH_TEST.get(data),
        "n_unlabelled": len(splits["train"]),
        "n_validation": int(np.bincount(splits["validation"].labels).min()),
        "training": training.as_dict(),
        "rivals": list(RIVALS),
        "epochs": EPOCHS,
        "fewest_steps": FEWEST_STEPS,
        "most_steps": MOST_STEPS,
        "calibration": CALIBRATION,
    }


def _check_folder(runs: Path, wanted: Mapping[str, Any]) -> None:
    path = runs / FOLDER
    if path.exists() and of_this_version(read_json(path)) != wanted:
        raise ValueError(three_parts("an empty folder, or one of the same options", runs.name, "Give another --runs."))
    write_json(path, wanted)


def _language_model(train: TextSplit, config: TrainConfig, runs: Path, progress: bool) -> Path:
    """The language model of the training texts, which looks at no label; returns its folder."""
    folder = runs / "language-model"
    if not (folder / "language_model.json").exists():
        backbone = load_backbone(config.backbone, n_layers=config.backbone_layers, texts=train.texts)
        ids = tokenize(train.texts, backbone.tokenizer, max_length=config.max_length, truncation=config.truncation).ids
        train_language_model(backbone, ids, config, folder, progress=progress).save(folder)
    return folder


def _drawn(splits: Splits, size: int, seed: int) -> Splits:
    """As many texts of each class as asked for, to train on and to choose by, and all others of the training split."""
    chosen = {name: _of_each_class(splits[name], size, seed) for name in ("train", "validation")}
    found = {name: splits[name].take(rows) for name, rows in chosen.items()}
    others = np.setdiff1d(np.arange(len(splits["train"])), chosen["train"])
    calibration = found["validation"].take(_of_each_class(found["validation"], CALIBRATION, seed))
    return {**found, "calibration": calibration, "unlabelled": splits["train"].take(others)}


def _of_each_class(split: TextSplit, size: int, seed: int) -> NDArray[np.int64]:
    """The places of the texts that are drawn, in their order."""
    order = np.random.default_rng([seed, 5]).permutation(len(split))
    chosen = [order[split.labels[order] == label][:size] for label in range(int(split.labels.max()) + 1)]
    return np.sort(np.concatenate(chosen))


def _class_steps(n_texts: int, config: TrainConfig) -> int:
    return int(np.clip(EPOCHS * n_texts // config.batch_size, FEWEST_STEPS, MOST_STEPS))


def main(
    data: str,
    *,
    sizes: Sequence[int] = Config.sizes,
    seeds: Sequence[int] = Config.seeds,
    models: Sequence[str] = GROUPS,
    limit: int | None = None,
    runs: Path | None = None,
    output: Path = Path("reports/accuracy"),
    config: Config = Config(),
    command: str = "",
    progress: bool = False,
) -> Path:
    """Run what is missing and write the curves; returns the page. Parameters as `Config`.

    `limit` is its `n_test`, and `models` are its groups.
    """
    wanted = replace(
        config, sizes=tuple(sizes), seeds=tuple(seeds), groups=tuple(models), n_test=limit or config.n_test
    )
    name = Path(data).stem
    folder = runs or Path("runs") / f"few-shot-{name}"
    rows = few_shot(data, wanted, folder, reported=output, progress=progress)
    record = run_record(command, {**read_json(folder / FOLDER), "n_test": wanted.n_test}, 0)
    return write_few_shot(name, rows, record, output)


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.accuracy_few_shot", description=__doc__)
    made.add_argument("--data", default="imdb")
    made.add_argument("--sizes", nargs="+", type=int, default=list(Config.sizes), metavar="N", help="of each class")
    made.add_argument("--seeds", nargs="+", type=int, default=list(Config.seeds), metavar="SEED")
    made.add_argument("--models", nargs="+", choices=GROUPS, default=list(GROUPS), help="groups of them (default: all)")
    made.add_argument("--limit", type=int, metavar="N", help=f"test texts (default: {Config.n_test})")
    made.add_argument("--runs", type=Path, help="folder of models and rows (default: runs/few-shot-DATA)")
    made.add_argument("--output", type=Path, default=Path("reports/accuracy"))
    return made


if __name__ == "__main__":
    arguments = vars(parser().parse_args())
    log_to_stderr("gencls.diffusion", "gencls.benchmarks")
    typed = as_typed(parser(), arguments, always=("data",))
    print(f"report: {main(**arguments, command=typed, progress=sys.stderr.isatty())}")
