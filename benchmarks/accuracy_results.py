"""What an evaluation of the accuracy benchmark gives, as plain JSON data; nothing is measured here."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from benchmarks.accuracy_calibration import HELD_OUT, calibration_rows, quarters_by_length, read_held_out_scores
from benchmarks.packed import packed, unpacked
from gencls.classifier.scoring import context_of_chunk
from gencls.data.storage import read_json
from gencls.diffusion.saved import WEIGHTS
from gencls.diffusion.tokens import chunks
from gencls.evaluation.costs import DenoiserSizes, denoiser_scoring_flops, denoiser_training_flops
from gencls.evaluation.rival_fits import default_encoder_steps
from gencls.reporting.evaluation import BASELINE_PREFIX, load_scores
from gencls.reporting.metrics import confidence_and_correct, mcnemar_p, wilson_interval

logger = logging.getLogger("gencls.benchmarks")
KEPT = ("accuracy", "nll", "brier", "ece", "ece_low", "ece_high", "ece_null", "ece_null_low", "ece_null_high", "smece")
#: The rival that is fitted on the backbone of the generative model.
ENCODER = "encoder"
Row = dict[str, Any]


def collect(folder: Path, task: Mapping[str, Any]) -> Row:
    """Return the facts of one evaluation folder."""
    metrics, run = read_json(folder / "metrics.json"), read_json(folder / "run.json")
    scores = load_scores(folder / "scores.npz")
    own = metrics["diffusion"]
    own_costs = _own_costs(folder.parent / WEIGHTS, run, own, scores)
    costs = {"diffusion": own_costs, **{name: _costs(entry) for name, entry in run["baselines"].items()}}
    records = {"diffusion": own, **run["baselines"]}
    models = {
        name: {**_model(metrics[name], costs.get(name, _costs({}))), "calibrated_on": _calibrated_on(records.get(name))}
        for name in metrics
    }
    if ENCODER in models:
        models[ENCODER] |= {"backbone": run["config"]["backbone"], "steps": run["baselines"][ENCODER]["steps"]}
    if own.get("uncalibrated"):
        models["diffusion"]["uncalibrated"] = {name: own["uncalibrated"][name] for name in KEPT}
    return {
        **task,
        "run": folder.parent.name,
        "n_texts": own["n_texts"],
        "n_classes": len(scores["class_names"]),
        "majority_accuracy": own["majority_accuracy"],
        "split": _split_facts(run["data"]),
        "training": _training_facts(run["training"]),
        "nats_per_token": own["bound_nats_per_token"],
        "unigram_nats_per_token": own["unigram_nats_per_token"],
        "gain_over_unigram": own["nats_per_token_under_unigram"],
        "forwards": own["forwards_per_text_per_class"],
        "texts_per_second": own["score_texts_per_second"],
        "config": run["config"],
        "device": run["device"],
        "commit": run["commit"],
        "models": models,
        "correct": _correct(scores),
        "lengths": length_quartiles(scores),
        "calibration": _calibration(folder, scores),
    }


def _calibration(folder: Path, scores: Mapping[str, Any]) -> list[Row]:
    path = folder / HELD_OUT
    return calibration_rows(read_held_out_scores(path), scores) if path.exists() else []


def _calibrated_on(record: Mapping[str, Any] | None) -> int | None:
    """Texts that the temperature of a model was fitted to; None where it is of before they were counted."""
    return ((record or {}).get("temperature") or {}).get("n_texts") or None


def _costs(record: Mapping[str, Any]) -> Row:
    names = {"train_seconds": "seconds", "train_flops": "train_flops", "score_flops_per_text": "score_flops_per_text"}
    return {name: record.get(key) for name, key in names.items()}


def _own_costs(weights: Path, run: Mapping[str, Any], own: Mapping[str, Any], scores: Mapping[str, Any]) -> Row:
    """What the diffusion model cost, from the shapes of its weights, its steps and the lengths of its texts."""
    with safe_open(weights, "np") as file:
        sizes = DenoiserSizes.of({name: file.get_slice(name).get_shape() for name in file.keys()})  # noqa: SIM118
    config, lengths = run["config"], scores["n_tokens"]
    # the training texts are as long as the test texts, and cut
    length = float(np.mean(np.minimum(lengths, config["max_length"])))
    n_classes, n_scored = len(scores["class_names"]), min(config["n_scored"], length)
    n_decided_classes = min(config.get("hybrid_classes") or n_classes, n_classes)
    rows = {name: run["training"][name]["steps"] * config["batch_size"] for name in ("adapt", "classes")}
    n_rows = sum(rows.values())
    decided = rows["classes"] * n_scored if config["hybrid_weight"] > 0 else 0.0
    return {
        "train_seconds": run["training"]["seconds"],
        "train_flops": denoiser_training_flops(
            sizes, n_rows * length, n_rows * n_scored, n_decided=decided, n_classes=n_decided_classes
        ),
        "score_flops_per_text": denoiser_scoring_flops(
            sizes,
            float(np.mean(lengths)),
            n_forwards=own["forwards_per_text_per_class"] * _share_read_at_once(lengths, config),
            n_draws=config["n_mc_samples"],
            n_classes=n_classes,
        ),
    }


def _share_read_at_once(lengths: np.ndarray, config: Mapping[str, Any]) -> float:
    """What a forward reads of a text: all of it, or the share of a chunk where long texts are scored in chunks."""
    if config.get("long_texts") != "chunks":
        return 1.0
    most = config["max_length"]
    cut = [chunks(np.arange(n), max_length=most, overlap=context_of_chunk(most)) for n in lengths]
    n_read = np.mean([sum(len(part.token_ids) for part in parts) for parts in cut])
    return float(n_read / np.mean([len(parts) for parts in cut]) / np.mean(lengths))


def _model(row: Mapping[str, Any], costs: Row) -> Row:
    low, high = wilson_interval(round(row["accuracy"] * row["n_texts"]), row["n_texts"])
    values = {name: row[name] for name in KEPT}
    return {**values, "accuracy_low": float(low), "accuracy_high": float(high), **costs}


def _split_facts(data: Mapping[str, Any]) -> Row:
    sizes = {name: sum(counts.values()) for name, counts in data["class_counts"].items()}
    kept = {name: data[name] for name in ("source", "max_length", "truncation", "long_texts", "share_cut")}
    return {**kept, **sizes}


def _training_facts(training: Mapping[str, Any]) -> Row:
    """Steps of both stages, and the smoothing of the count tables that the training texts chose."""
    steps = {f"{name}_steps": training[name]["steps"] for name in ("adapt", "classes")}
    return {**steps, "smoothing": training["smoothing"]}


def _correct(scores: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Which texts each model got right, (N,) bool."""
    arrays = {"diffusion": scores["log_proba"]}
    arrays |= {key.removeprefix(BASELINE_PREFIX): scores[key] for key in scores if key.startswith(BASELINE_PREFIX)}
    return {name: confidence_and_correct(values, scores["y"])[1] for name, values in arrays.items()}


def length_quartiles(scores: Mapping[str, Any]) -> list[Row]:
    """Return accuracy and mean confidence of the shortest to the longest quarter of the texts."""
    confidence, correct = confidence_and_correct(scores["log_proba"], scores["y"])
    rows = []
    for part in quarters_by_length(scores["n_tokens"]):
        lengths = scores["n_tokens"][part]
        facts = {"shortest": int(lengths.min()), "longest": int(lengths.max()), "n_texts": len(part)}
        rows.append({**facts, "accuracy": float(correct[part].mean()), "confidence": float(confidence[part].mean())})
    return rows


def compared(evaluations: Sequence[Row]) -> list[Row]:
    """Return one row for each data set, seed and model: its metrics, and McNemar's p against the generative model.

    The hybrid variant is a model of its own; its rivals are those of the generative one, on the same test texts.
    """
    rows = []
    for main in (row for row in evaluations if row["variant"] == "generative"):
        shared = {name: main[name] for name in ("data", "seed", "n_texts", "n_classes")}
        correct, models = dict(main["correct"]), dict(main["models"])
        for other in evaluations:
            same = all(other[name] == main[name] for name in ("data", "seed", "n_texts"))
            if other["variant"] == "hybrid" and same:
                correct["hybrid"], models["hybrid"] = other["correct"]["diffusion"], other["models"]["diffusion"]
        for name, model in models.items():
            p = None if name == "diffusion" else mcnemar_p(correct["diffusion"], correct[name])
            differs = _encoder_differs(model, main) if name == ENCODER else {}
            rows.append({**shared, "model": name, **model, **differs, "mcnemar_p": p, **difference(correct, name)})
    return rows


def joined(evaluations: Sequence[Row], report: Mapping[str, Sequence[Row]]) -> tuple[list[Row], list[Row]]:
    """Return evaluations and rows of `compared`, with those of an earlier report whose runs are not here.

    Parameters
    ----------
    evaluations : sequence of dict
        As `collect` gives them.
    report : mapping
        ``evaluations`` and ``models`` of a results.json, or nothing.

    Returns
    -------
    evaluations, rows : list of dict
        By data set and seed. Rivals that an earlier evaluation of the same split had, and one here has not, stay. A
        report that does not tell which texts were right can be compared with nothing: what it
        says of a data set and seed stands until the generative variant is evaluated here.
    """
    here = {(_place(row), row["variant"]) for row in evaluations}
    old = [row for row in report.get("evaluations", ()) if (_place(row), row["variant"]) not in here]
    fixed = {_place(row) for row in old if row["variant"] == "generative" and "correct" not in row}
    for row in evaluations:
        if _place(row) in fixed:
            logger.warning("%s is not in the summary: the generative run beside it is not here", row["run"])
    if old:
        logger.info("kept from the earlier summary: %s", ", ".join(row["run"] for row in old))
    told = [row for row in report.get("evaluations", ()) if _place(row) in fixed]
    free = [_with_earlier_rivals(row, report) for row in evaluations if _place(row) not in fixed]
    left = [row for row in old if _place(row) not in fixed]
    for row in left:
        if "correct" not in row:
            logger.warning("%s is left out: it does not tell its single texts, and cannot be compared", row["run"])
    free += [_with_arrays(row) for row in left if "correct" in row]
    rows = [*compared(free), *(row for row in report.get("models", ()) if _place(row) in fixed)]
    return sorted([*free, *told], key=_order), sorted(rows, key=_place)


def _with_earlier_rivals(row: Row, report: Mapping[str, Sequence[Row]]) -> Row:
    """An evaluation with the rivals that only an earlier one has had: a causal model takes hours to fit again."""
    for told in report.get("evaluations", ()):
        if "correct" in told and _read_by_rivals(told) == _read_by_rivals(row):
            missing = [name for name in told["models"] if name not in row["models"]]
            if not missing:
                return row
            logger.info("%s: kept from its earlier evaluation: %s", row["run"], ", ".join(missing))
            known = _with_arrays(told)
            correct, models = ({name: known[part][name] for name in missing} for part in ("correct", "models"))
            return {**row, "correct": row["correct"] | correct, "models": row["models"] | models}
    return row


def _read_by_rivals(row: Row) -> dict[str, Any]:
    """What says which texts the rivals of an evaluation read, and how much of each; the model may read more of them."""
    split = {name: value for name, value in row["split"].items() if name not in ("share_cut", "long_texts")}
    return {"split": split, **{name: row[name] for name in ("run", "variant", "n_texts")}}


def _encoder_differs(encoder: Row, evaluation: Row) -> Row:
    """What the encoder ``differs`` in from one fitted beside this evaluation's recipe: its backbone, its steps."""
    backbone, steps, recipe = encoder["backbone"], encoder["steps"], evaluation["config"]
    is_own = steps != default_encoder_steps(recipe)
    told = [backbone] * (backbone != recipe["backbone"]) + [f"{steps:,} steps"] * is_own
    return {"differs": ", ".join(told)} if told else {}


def _with_arrays(row: Row) -> Row:
    """An evaluation of a report, its arrays unpacked."""
    return {**row, "correct": {name: unpacked(said, row["n_texts"]) for name, said in row["correct"].items()}}


def _order(row: Row) -> tuple[Any, ...]:
    return _place(row), row["variant"]


def _place(row: Row) -> tuple[str, int]:
    return Path(row["data"]).stem, row["seed"]


def difference(correct: Mapping[str, np.ndarray], name: str) -> Row:
    """Return how much the generative model is ahead of another one, with the 95 % interval of the paired difference."""
    ahead = correct["diffusion"].astype(float) - correct[name].astype(float)
    mean, half = mean_and_half(ahead)
    return {"ahead": mean, "ahead_low": mean - half, "ahead_high": mean + half}


def outcome(row: Mapping[str, Any]) -> str:
    """Whether the generative model wins against a row's model, loses, or the paired interval leaves it undecided."""
    return "wins" if row["ahead_low"] > 0 else "loses" if row["ahead_high"] < 0 else "undecided"


def mean_and_half(values: np.ndarray) -> tuple[float, float]:
    """Return the mean of values (N,) and half of its 95 % interval."""
    return float(values.mean()), 1.96 * float(values.std(ddof=1)) / len(values) ** 0.5


def plain_rows(evaluations: Sequence[Row]) -> list[Row]:
    """Return the evaluations for JSON, their arrays packed."""
    arrays = (row.get("correct", {}) for row in evaluations)
    texts = ({name: packed(right) for name, right in correct.items()} for correct in arrays)
    pairs = zip(evaluations, texts, strict=True)
    return [{**row, "correct": found} if found else dict(row) for row, found in pairs]
