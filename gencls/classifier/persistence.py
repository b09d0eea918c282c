"""A fitted classifier as a folder: safetensors for the weights, JSON for the rest. Nothing is ever unpickled."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gencls.classifier.temperature import LengthTemperature
from gencls.classifier.weighting import LevelWeighting
from gencls.data.errors import three_parts
from gencls.data.storage import write_json
from gencls.diffusion.backbones import load_tokenizer
from gencls.diffusion.denoiser import Denoiser
from gencls.diffusion.saved import (
    TOKENIZER,
    WEIGHTS,
    backbone_as_dict,
    backbone_from_dict,
    checked_config,
    load_weights,
    save_parts,
)
from gencls.likelihood.adaptive import StoppingRule
from gencls.training.config import SCORING_OPTIONS
from gencls.training.per_class import conditioning_of

FORMAT = "gencls-classifier"
#: 2: a stopping rule and weights of the levels. 3: the weight of a network that has class tables beside it.
FORMAT_VERSION = 3
CONFIG = "classifier.json"
#: Parameters that belong to a session, not to the fitted classifier.
_NOT_SAVED = ("run_dir", "device", "n_jobs", "progress", "time_budget")
#: Parameters that scoring reads, with the seed.
_OF_SCORING = (*SCORING_OPTIONS, "max_length", "truncation", "seed")


def save_run(classifier: Any, folder: Path) -> Path:
    """Write a fitted classifier; a folder that is written over loads whole, old or new, or not at all.

    Raises
    ------
    ValueError
        If the labels are of a kind that JSON cannot hold.
    """
    folder.mkdir(parents=True, exist_ok=True)
    described = _as_dict(classifier)  # first: what cannot be described costs nobody the old run
    save_parts(classifier.denoiser_, classifier.backbone_.tokenizer, folder, config=CONFIG)
    write_json(folder / CONFIG, described)
    return folder


def _as_dict(classifier: Any) -> dict[str, Any]:
    params = {key: value for key, value in classifier.get_params().items() if key not in _NOT_SAVED}
    priors = params["priors"]
    params["priors"] = priors if isinstance(priors, str) else np.asarray(priors, dtype=float).tolist()
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "params": params,
        "classes": _labels_to_json(classifier.classes_),
        "class_count": classifier.class_count_.tolist(),
        "log_prior": classifier.log_prior_.tolist(),
        "temperature": classifier.temperature_.as_dict(),
        "stopping_rule": None if classifier.stopping_rule_ is None else classifier.stopping_rule_.as_dict(),
        "level_weighting": classifier.level_weighting_.as_dict(),
        "network_weight": classifier.network_weight_,
        "precision": classifier.precision_,
        "backbone": backbone_as_dict(classifier.backbone_),
        "training": classifier.training_record_,
    }


def load_run(cls: Any, folder: Path, *, device: torch.device) -> Any:
    """Read a folder that `save_run` wrote; see `DiffusionClassifier.load`."""
    data = _checked_config(folder)
    try:
        classifier, denoiser = _rebuilt(cls, data, load_tokenizer(folder / TOKENIZER))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            three_parts(f"the entries of {CONFIG}", f"{type(error).__name__}: {error}", "Restore it, or train again.")
        ) from error
    load_weights(denoiser, folder / WEIGHTS)
    classifier.denoiser_ = denoiser.to(device).eval()
    return classifier


def _rebuilt(cls: Any, data: dict[str, Any], tokenizer: Any) -> tuple[Any, Denoiser]:
    """The classifier that the JSON describes, and its denoiser before its weights."""
    classifier = cls(**_params(cls, data["params"]))
    backbone = backbone_from_dict(data["backbone"], tokenizer)
    config = classifier.train_config()
    classifier.classes_ = _labels_from_json(data["classes"])
    classifier.backbone_, classifier.tokenizer_ = backbone, tokenizer
    classifier.class_count_ = np.array(data["class_count"])
    classifier.log_prior_ = np.array(data["log_prior"], dtype=np.float64)
    classifier.precision_ = data["precision"]
    classifier.temperature_ = LengthTemperature.from_dict(data["temperature"])
    classifier.stopping_rule_, classifier.level_weighting_ = _rule_and_weighting(data)
    classifier.network_weight_ = 1.0 if data["format_version"] < 3 else _checked_weight(data["network_weight"])
    classifier.training_record_ = data["training"]
    return classifier, Denoiser(backbone, len(classifier.classes_), conditioning_of(config))


def _params(cls: Any, saved: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters without what older runs could name a second time among the options.

    Training took the options' values and scoring the parameters', so that is what they were.
    """
    options = saved.get("options") or {}
    twice = {name: options[name] for name in options if name == "seed" or name in cls._get_param_names()}
    if not twice:
        return dict(saved)
    of_training = {name: value for name, value in twice.items() if name not in _OF_SCORING}
    rest = {name: value for name, value in options.items() if name not in twice}
    return {**saved, **of_training, "options": rest}


def _rule_and_weighting(data: Mapping[str, Any]) -> tuple[StoppingRule | None, LevelWeighting]:
    if data["format_version"] < 2:
        return None, LevelWeighting("bound")
    rule = data["stopping_rule"]
    return None if rule is None else StoppingRule.from_dict(rule), LevelWeighting.from_dict(data["level_weighting"])


def _checked_weight(weight: Any) -> float:
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < float("inf"):
        raise ValueError(three_parts("network_weight > 0", repr(weight), "Restore it, or calibrate and save again."))
    return float(weight)


def _checked_config(folder: Path) -> dict[str, Any]:
    missing = three_parts(f"a trained run with {CONFIG}", f"none in {folder}", "Train one: gencls train-per-class.")
    return checked_config(folder / CONFIG, format_name=FORMAT, newest=FORMAT_VERSION, missing=missing)


def _labels_to_json(classes: np.ndarray) -> dict[str, Any]:
    values = classes.tolist()
    if not all(isinstance(value, str | int | float | bool) for value in values):
        raise ValueError(
            three_parts("labels that are strings, numbers or booleans", str(classes.dtype), "Convert the labels.")
        )
    kind = "object" if classes.dtype == object else classes.dtype.str
    return {"values": values, "dtype": kind}


def _labels_from_json(data: dict[str, Any]) -> np.ndarray:
    return np.array(data["values"], dtype=np.dtype(data["dtype"]))
