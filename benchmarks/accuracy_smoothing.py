"""How the class tables are smoothed: one option at a time against the recipe, in minutes: no network is trained.

    python -m benchmarks.accuracy_smoothing --data r52 --seed 1

Each level leaves out one of the recipe's options of smoothing, or takes in one that it lacks. The smoothing is chosen
as a training chooses it (`gencls.training.class_tables.fit_statistics`). Then the tables decide alone: on the training
texts, each by the tables of the other folds, and on the calibration texts, which chose nothing. No test text is scored.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy_levels import Options, as_json
from benchmarks.accuracy_recipes import DATA, DISCOUNTS, HUB_DATA, PAIRS, TRIPLES, Task, task
from benchmarks.accuracy_results import mean_and_half
from benchmarks.accuracy_study_report import BASE, study_name
from benchmarks.accuracy_targets import report_folder
from benchmarks.commands import as_typed, log_to_stderr
from benchmarks.markdown import table
from gencls.data import load_dataset
from gencls.data.storage import read_json, write_atomic, write_json
from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.cross_fitting import CrossFittedTexts
from gencls.diffusion.denoiser import Denoiser
from gencls.diffusion.parts import Backbone
from gencls.diffusion.smoothing import tempered_losses
from gencls.diffusion.statistics import as_words
from gencls.diffusion.tokens import tokenize
from gencls.evaluation.runs import cut_splits
from gencls.reporting.records import run_record
from gencls.training.class_tables import choice_of, fit_statistics
from gencls.training.config import TrainConfig
from gencls.training.examples import TokenizedSplit, TrainingTexts, training_texts
from gencls.training.per_class import conditioning_of
from gencls.training.presets import INTERPOLATION, LENGTH_EXPONENTS

logger = logging.getLogger("gencls.benchmarks")
Row = dict[str, Any]
Splits = Mapping[str, TokenizedSplit]
Judged = dict[str, tuple[NDArray[np.bool_], NDArray[np.float64]]]
#: The options of smoothing: what each is where it is left out, and where a recipe that lacks it takes it in.
OPTIONS: Mapping[str, tuple[Any, Any]] = {
    "discount": ((), DISCOUNTS),
    "interpolation": ((), INTERPOLATION),
    "pair_smoothing": ((), PAIRS),
    "triple_smoothing": ((), TRIPLES),
    "embedding_ridge": (None, 10.0),
    "length_exponent": ((), LENGTH_EXPONENTS),
}
#: The texts that the tables decide on. The validation texts, which help to choose, are in neither.
PARTS = {"crossfit": "training texts", "held": "calibration texts"}
_PAGE = """# How the class tables are smoothed: {data}, seed {seed}

Made by `{command}` on {device}.

The class tables alone, without a network. Each row leaves out one of the recipe's options of smoothing, or takes in one
that it lacks, and the smoothing is chosen anew among the candidates, as a training chooses it. Where neither pairs nor
triples are left, single tokens decide; a discount, where one is chosen, uses no embeddings.

Decided on {counted}, and on no test text. Training texts are decided by the tables of the other folds. They chose the
smoothing, so that an option more can hardly lose on them; the calibration texts chose nothing. Accuracy in %. Loss:
negative log posterior of the true class, in nats, at the temperature that is best for these texts; its change is
paired, with the 95 % interval (the tables of the folds share texts: among training texts it is somewhat too narrow).

{rows}
"""


def levels_of(recipe: TrainConfig, backbone: Backbone) -> list[Options]:
    """Return a level for each option of smoothing, and one of tokens alone where that is not the level without pairs.

    No embeddings are taken in where they are random.
    """
    names = [name for name in OPTIONS if name != "embedding_ridge" or backbone.has_trained_embeddings]
    levels: list[Options] = [{name: OPTIONS[name][0 if getattr(recipe, name) else 1]} for name in names]
    return [*levels, {"pair_smoothing": (), "triple_smoothing": ()}] if recipe.triple_smoothing else levels


def smoothing_study(base: Task, *, write: Callable[[list[Row]], object] = lambda rows: None) -> list[Row]:
    """Choose the smoothing for the recipe and for each level, and let the tables decide.

    Parameters
    ----------
    base : Task
        Its ``config`` is the recipe.
    write : callable
        Called after each level with the rows so far.

    Returns
    -------
    list of dict
        The recipe first: ``level`` (what it changes), ``smoothing`` (what was chosen), and for each
        of `PARTS` ``n_texts``, ``accuracy``, ``loss`` in nats, and the paired ``loss_change`` with the half of its 95 %
        interval ``loss_change_half``.
    """
    recipe, dataset = base.config, load_dataset(base.data)
    splits = cut_splits(dataset, base.fresh_test, recipe.seed)
    # its tokenizer and its embeddings: the network reads no text
    backbone = load_backbone(recipe.backbone, n_layers=recipe.backbone_layers, texts=splits["train"].texts)
    denoiser = Denoiser(backbone, len(dataset.label_names), conditioning_of(recipe))
    cut = {"max_length": recipe.max_length, "truncation": recipe.truncation}
    tokenised = {
        name: TokenizedSplit(tokenize(splits[name].texts, backbone.tokenizer, **cut).ids, splits[name].labels)
        for name in ("train", "validation", "calibration")
    }
    texts = training_texts(tokenised["train"], denoiser.n_classes, recipe)
    first: Judged = {}
    rows = []
    for level in ({}, *levels_of(recipe, backbone)):
        row, judged = _judged(denoiser, texts, tokenised, replace(recipe, **level))
        first = first or judged
        rows.append({"level": as_json(level), **row, **_told(judged, first)})
        logger.info("%s: loss %.4f", _said(level) or BASE, rows[-1]["crossfit"]["loss"])
        write(rows)
    return rows


def _judged(denoiser: Denoiser, texts: TrainingTexts, splits: Splits, config: TrainConfig) -> tuple[Row, Judged]:
    """Choose the smoothing; returns which texts of each part the tables get right, and their losses."""
    statistics, smoothing = fit_statistics(denoiser, texts, splits["validation"], config)
    crossfit = CrossFittedTexts(statistics, texts.token_ids, texts.labels, texts.folds)
    held = splits["calibration"]
    scored = {
        "crossfit": (crossfit.scores(smoothing), crossfit.labels),
        "held": (statistics.scores(statistics.table(**smoothing), held.token_ids), held.labels),
    }
    judged = {
        part: (joint.argmax(axis=1) == labels, tempered_losses(joint, labels))
        for part, (scores, labels) in scored.items()
        for joint in [scores + texts.log_prior]
    }
    return {"smoothing": choice_of(statistics, smoothing)}, judged


def _told(judged: Judged, first: Judged) -> Row:
    told = {}
    for part, (correct, losses) in judged.items():
        change, half = mean_and_half(losses - first[part][1])
        told[part] = {
            "n_texts": len(correct),
            "accuracy": float(correct.mean()),
            "loss": float(losses.mean()),
            "loss_change": change,
            "loss_change_half": half,
        }
    return told


def smoothing_page(path: Path) -> str:
    """Return the page of the numbers in a JSON file of `main`, in Markdown."""
    found = read_json(path)
    run, rows = found["run"], found["rows"]
    names = ["level", "chosen"]
    names += [f"{said}: {column}" for said in PARTS.values() for column in ("accuracy", "loss", "change of loss")]
    counted = " and ".join(f"{rows[0][part]['n_texts']:,} {said}" for part, said in PARTS.items())
    return _PAGE.format(
        data=run["config"]["data"],
        seed=run["seed"],
        command=run["command"],
        device=run["device"],
        counted=counted,
        rows=table(names, (_cells(row) for row in rows)),
    )


def _said(level: Options) -> str:
    left_out = " and ".join(name for name, value in level.items() if not value)
    taken_in = (f"with {name} {_listed(value)}" for name, value in level.items() if value)
    return ", ".join([*([f"without {left_out}"] if left_out else []), *taken_in])


def _listed(value: float | Sequence[float]) -> str:
    return ", ".join(f"{one:g}" for one in (value if isinstance(value, Sequence) else [value]))


def _cells(row: Mapping[str, Any]) -> list[str]:
    cells = [_said(row["level"]) or BASE, as_words(row["smoothing"])]
    for part in PARTS:
        found = row[part]
        change = f"{found['loss_change']:+.4f} ± {found['loss_change_half']:.4f}" if row["level"] else "–"
        cells += [f"{100 * found['accuracy']:.1f}", f"{found['loss']:.4f}", change]
    return cells


def main(data: str, *, size: str = "cpu", seed: int = 0, output: Path | None = None, command: str = "") -> Path:
    """Choose, decide, and write the page and its numbers; returns the page. Parameters as the command line's."""
    base, folder = task(data, "generative", size=size, seed=seed), output or report_folder(size)
    record = run_record(command, {"data": data, "size": size, "recipe": base.config.as_dict()}, seed)
    path = folder / f"{study_name(data, seed, 'smoothing')}.json"

    def write(rows: list[Row]) -> None:
        write_json(path, {"rows": rows, "run": record})
        write_atomic(path.with_suffix(".md"), smoothing_page(path))

    smoothing_study(base, write=write)
    return path.with_suffix(".md")


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.accuracy_smoothing", description="the class tables alone")
    made.add_argument("--size", choices=("cpu", "gpu"), default="cpu")
    made.add_argument("--data", default="imdb", choices=(*DATA, *HUB_DATA), help="the last two need a hub")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--output", type=Path, help="default: reports/accuracy, and its folder gpu for that size")
    return made


if __name__ == "__main__":
    options = vars(parser().parse_args())
    log_to_stderr("gencls")
    print(f"smoothing: {main(**options, command=as_typed(parser(), options, always=('size', 'data')))}")
