"""The plan of a run: what is decided once, by measurement, and read back by the process that resumes."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gencls.data.errors import three_parts
from gencls.data.storage import read_json, write_json
from gencls.diffusion.collator import DiffusionCollator
from gencls.diffusion.denoiser import Denoiser
from gencls.diffusion.schedule import LevelSchedule
from gencls.likelihood.precision import resolve_precision
from gencls.training.config import SCORING_OPTIONS, TrainConfig
from gencls.training.examples import ScheduledExamples, TrainingTexts
from gencls.training.loop import steps_within

logger = logging.getLogger("gencls.training")
PLAN = "plan.json"
#: Shares of a time budget.
ADAPT_SHARE, CLASS_SHARE = 0.4, 0.6
#: How the folds of the cross-fitted class tables are cut; runs of an older version do not say it.
FOLDS = "stratified"
#: Options that change no weight of a checkpoint: of one training there may be several shrinkages.
FREE_OPTIONS = ("checkpoint_steps", "class_shrinkage", *SCORING_OPTIONS)
#: Options that older runs do not have, and are resumed all the same.
_LATER_OPTIONS = (
    "prefix_share",
    "prefix_tokens",
    "complementary",
    "neighbour_smoothing",
    "discount",
    "adapter_layers",
    "embedding_ridge",
    "triple_smoothing",
    "class_steps_must_help",
    "counts_beside",
    "hybrid_classes",
    "interpolation",
    "length_exponent",
)


def kept_plan(folder: Path, identity: str, validation: str | None = None) -> dict[str, Any]:
    """Return the plan that a run folder holds, empty if there is none.

    Parameters
    ----------
    folder : Path
    identity : str
        See `training_identity`.
    validation : str, optional
        Digest of the validation texts, for a training that has classes.

    Raises
    ------
    ValueError
        If the folder holds a training of other data or options: its checkpoints would be resumed silently. Or one of a
        version that made the class tables otherwise: its later steps would be trained with other tables.
    """
    path = folder / PLAN
    plan: dict[str, Any] = read_json(path) if path.exists() else {}
    if plan.get("identity", identity) != identity:
        raise _refusal(f"checkpoints of another training in {folder.name}")
    if plan and validation is not None and not has_these_tables(plan):
        raise _refusal(f"checkpoints of an older version, which made its class tables otherwise, in {folder.name}")
    if plan.get("validation", validation) != validation:
        raise _refusal(f"checkpoints of a training with other validation texts in {folder.name}")
    return plan


def has_these_tables(plan: Mapping[str, Any]) -> bool:
    """Whether a plan is of a version that makes the class tables of its training as this one does."""
    return "smoothing" in plan and plan.get("folds") == FOLDS


def taken_over(plan: Mapping[str, Any], *, has_these_tables: bool) -> dict[str, Any]:
    """Return the plan of a run that takes over another one's stages.

    Parameters
    ----------
    plan : mapping
        Of the other run.
    has_these_tables : bool
        Whether its classes trained with this run's tables. Otherwise the tables are chosen anew: they stand beside a
        network that has learnt without them.
    """
    ours = {**plan, "time_budget": None}
    if not has_these_tables:
        ours.pop("identity", None)
        ours["smoothing"] = None
    return ours


def _refusal(got: str) -> ValueError:
    expected = "an empty folder, or a training of the same data and options to resume"
    return ValueError(three_parts(expected, got, "Give another folder (run_dir, --output)."))


def training_identity(texts: TrainingTexts, label_names: Sequence[str], config: TrainConfig) -> str:
    """Return a digest of everything that decides the weights of the checkpoints."""
    options = {name: value for name, value in config.as_dict().items() if name not in FREE_OPTIONS}
    for name in _LATER_OPTIONS:
        if not options[name]:
            del options[name]
    return texts_digest(texts.token_ids, texts.labels, json.dumps([options, list(label_names)], sort_keys=True))


def texts_digest(token_ids: Sequence[NDArray[np.int64]], labels: NDArray[np.int64], about: str = "") -> str:
    """Return a digest of texts (N,), their class indices (N,) and what else is to be said."""
    digest = hashlib.sha256(about.encode())
    for ids, label in zip(token_ids, labels, strict=True):
        digest.update(f"|{label}:{len(ids)}|".encode())
        digest.update(ids.astype("<i8").tobytes())
    return digest.hexdigest()


def choose_bf16(plan: dict[str, Any], config: TrainConfig, device: torch.device) -> bool:
    """Return whether to train in bfloat16; a measured choice may fall the other way in a process that resumes."""
    if "bf16" in plan:
        return bool(plan["bf16"])
    return resolve_precision(config.precision, device) == "bfloat16"


def collator(denoiser: Denoiser, low: float, config: TrainConfig) -> DiffusionCollator:
    """Return the collator of a stage whose lowest masking level is `low`."""
    return DiffusionCollator(
        denoiser.frame,
        LevelSchedule(low, 1.0),
        config.n_scored,
        config.prefix_share,
        config.prefix_tokens,
        complementary=config.complementary and low == 0,
    )


def make_plan(
    stages: dict[str, ScheduledExamples],
    denoiser: Denoiser,
    config: TrainConfig,
    folder: Path,
    time_budget: float | None,
    *,
    bf16: bool,
    identity: str,
    validation: str | None = None,
    smoothing: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Fix the step counts and the smoothing once; a resumed run reads them back and ends where the first would have."""
    if plan := kept_plan(folder, identity, validation):
        if plan.get("time_budget", time_budget) != time_budget:
            told = "%s was planned for a time budget of %s minutes, which is kept; %s is not used"
            logger.warning(told, folder.name, plan["time_budget"], time_budget)
        if "identity" not in plan:  # taken over from a training beside other tables; see `taken_over`
            plan |= {"identity": identity} | ({} if validation is None else {"smoothing": smoothing})
            write_json(folder / PLAN, plan)
        return plan
    plan = {"adapt_steps": config.adapt_steps, "class_steps": config.class_steps}
    plan |= {"time_budget": time_budget, "bf16": bf16, "identity": identity}
    if validation is not None:
        plan |= {"validation": validation, "smoothing": smoothing, "folds": FOLDS}
    if time_budget is not None:

        def fitting(examples: ScheduledExamples, share: float, hybrid_weight: float) -> int:
            rows = collator(denoiser, config.class_level_low, config)
            options = {"batch_size": config.batch_size, "bf16": bf16, "hybrid_weight": hybrid_weight}
            return steps_within(60 * time_budget * share, denoiser, examples, rows, **options)

        _shorten(plan, "adapt_steps", lambda: fitting(stages["adapt"], adapt_share(config), 0.0))
        _shorten(plan, "class_steps", lambda: fitting(stages["classes"], CLASS_SHARE, config.hybrid_weight))
        logger.info("time budget %.1f min: %d + %d steps", time_budget, plan["adapt_steps"], plan["class_steps"])
    write_json(folder / PLAN, plan)
    return plan


def adapt_share(config: TrainConfig) -> float:
    """Return the share of a time budget that the class-free stage gets: all of it where no stage follows."""
    return ADAPT_SHARE if config.class_steps else 1.0


def _shorten(plan: dict[str, Any], name: str, fitting: Callable[[], int]) -> None:
    if plan[name] > 0:
        plan[name] = min(plan[name], fitting())


def seconds_of(plan: dict[str, Any], share: float) -> float | None:
    """Return the seconds after which a stage is stopped, None without a time budget."""
    budget = plan.get("time_budget")
    return None if budget is None else 1.2 * 60 * budget * share
