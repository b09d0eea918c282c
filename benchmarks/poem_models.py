"""The models of the poem benchmark: trained once, kept in folders, read back by the next call."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from benchmarks.poem_material import Material
from gencls.baselines.causal import new_causal
from gencls.baselines.infilling import NeighbourCausal, train_infiller
from gencls.data.storage import read_json, write_atomic, write_json
from gencls.diffusion.backbones import split_model
from gencls.diffusion.language_model import LanguageModel
from gencls.diffusion.scratch import HEAD_WIDTH, scratch_model
from gencls.likelihood.precision import resolve_precision
from gencls.training.config import TrainConfig
from gencls.training.language_model import train_language_model

logger = logging.getLogger("gencls.benchmarks")
FINISHED = "record.json"
KINDS = ("diffusion", "causal", "middle")


@dataclass(frozen=True)
class Recipe:
    """How a model is trained; the same for all kinds of one size.

    Attributes
    ----------
    width, n_layers : int
    n_steps, batch_size : int
        Windows of a step; the tokens seen are the product of the two and the windows' length.
    learning_rate : float
    prefix_share : float
        Of the diffusion model: share of the examples whose first tokens, a random number of them, are never hidden.
    with_counts : bool
        Whether the output starts at the unigram and gets the counts of neighbours in sight.
    seed : int
    """

    width: int
    n_layers: int
    n_steps: int
    batch_size: int
    learning_rate: float
    prefix_share: float = 0.0
    with_counts: bool = True
    seed: int = 0


def train_model(
    kind: str, recipe: Recipe, material: Material, folder: Path, *, smoothing: float, progress: bool
) -> Any:
    """Train a model, or read the one that the folder holds; a killed training resumes.

    Parameters
    ----------
    kind : {"diffusion", "causal", "middle"}
    recipe : Recipe
    material : Material
    folder : Path
        Of this model alone.
    smoothing : float
        Of the counts of neighbours.
    progress : bool

    Returns
    -------
    LanguageModel or NeighbourCausal
        With the facts of its training in the folder's ``record.json``.
    """
    train: Callable[..., Any] = _diffusion if kind == "diffusion" else _causal
    return train(kind, recipe, material, folder, smoothing=smoothing, progress=progress)


def record_of(folder: Path) -> dict[str, Any]:
    """Return the facts of a finished training."""
    record: dict[str, Any] = read_json(folder / FINISHED)
    return record


def _diffusion(
    kind: str, recipe: Recipe, material: Material, folder: Path, *, smoothing: float, progress: bool
) -> LanguageModel:
    if (folder / FINISHED).exists():
        return LanguageModel.load(folder)
    config = TrainConfig(
        backbone=f"scratch-{recipe.width}x{recipe.n_layers}",
        max_length=material.max_length,
        truncation="head",
        adapt_steps=recipe.n_steps,
        class_steps=0,
        batch_size=recipe.batch_size,
        n_scored=material.max_length,
        adapt_level_low=0.0,
        prefix_share=recipe.prefix_share,
        neighbour_smoothing=smoothing if recipe.with_counts else None,
        learning_rate=recipe.learning_rate,
        head_learning_rate=recipe.learning_rate,
        class_learning_rate=recipe.learning_rate,
        freeze_embeddings=False,
        checkpoint_steps=200,
        seed=recipe.seed,
    )
    network = scratch_model(material.tokenizer, recipe.width, recipe.n_layers, seed=recipe.seed)
    backbone = split_model(config.backbone, network, material.tokenizer, has_head=False, source="random weights")
    backbone.is_pretrained = False
    model = train_language_model(backbone, material.train, config, folder, folds=material.folds, progress=progress)
    model.save(folder)
    _finish(folder, kind, recipe, model.record["parameters"], model.record["adapt"])
    return model


def _causal(
    kind: str, recipe: Recipe, material: Material, folder: Path, *, smoothing: float, progress: bool
) -> NeighbourCausal:
    network = _new_causal(recipe, material)
    if (folder / FINISHED).exists():
        network.load_state_dict(load_file(folder / "model.safetensors"))
        return network.eval()
    taken = train_infiller(
        network,
        material.train,
        material.folds.tolist(),
        material.specials,
        in_the_middle=kind == "middle",
        n_steps=recipe.n_steps,
        batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        seed=recipe.seed,
        bf16=resolve_precision("auto", network.bias.device) == "bfloat16",
        checkpoints=folder / "checkpoints",
        progress=progress,
    )
    temporary = folder / "model.tmp"
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, temporary)
    write_atomic(folder / "model.safetensors", temporary.read_bytes())
    temporary.unlink()
    _finish(folder, kind, recipe, sum(value.numel() for value in network.parameters()), taken)
    return network


def _new_causal(recipe: Recipe, material: Material) -> NeighbourCausal:
    model = new_causal(
        material.vocab_size,
        width=recipe.width,
        n_layers=recipe.n_layers,
        n_heads=recipe.width // HEAD_WIDTH,
        n_positions=2 * material.max_length + 4,
        seed=recipe.seed,
    )
    if not recipe.with_counts:
        return NeighbourCausal(model)
    return NeighbourCausal(model, material.log_unigram, material.counts)


def _finish(folder: Path, kind: str, recipe: Recipe, parameters: int, taken: dict[str, Any]) -> None:
    record = {"kind": kind, "recipe": asdict(recipe), "parameters": parameters, "training": taken}
    write_json(folder / FINISHED, record)
    logger.info("%s: %d steps in %.1f min", folder.name, taken["steps"], taken["seconds"] / 60)
