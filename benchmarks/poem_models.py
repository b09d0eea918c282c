"""The models of the poem benchmark: trained once, kept in folders, read back by the next call."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from benchmarks.poem_material import Material
from gencls.baselines.causal import load_causal, new_causal
from gencls.baselines.infilling import NeighbourCausal, train_infiller
from gencls.classifier.devices import choose_device
from gencls.data.errors import three_parts
from gencls.data.storage import read_json, write_atomic, write_json
from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.language_model import LanguageModel
from gencls.diffusion.parts import Backbone, split_model, without_dropout
from gencls.diffusion.scratch import HEAD_WIDTH, INITIALIZER_RANGE, OFFSETS, look_nearby, scratch_model
from gencls.likelihood.precision import resolve_precision
from gencls.training.config import TrainConfig
from gencls.training.language_model import train_language_model

logger = logging.getLogger("gencls.benchmarks")
FINISHED, CONFIG = "record.json", "config.json"
#: Where the heads of a causal model look at first; those of the models that see both sides look at both.
OFFSETS_BEFORE = (-1, -2, -3, -4)
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
        Of the diffusion model: share of the examples whose first tokens are never hidden.
    with_counts : bool
        Whether the output starts at the unigram and gets the counts of neighbours in sight.
    seed : int
    prefix_tokens : int, optional
        How many first tokens are never hidden; a random number if not given.
    backbone : str, optional
        A pretrained model (name or folder) to fine-tune; width and layers are then its own, whatever they are here.
    complementary : bool
        Of the diffusion model: whether every token of a visited window is predicted once, as in the causal models.
    """

    width: int
    n_layers: int
    n_steps: int
    batch_size: int
    learning_rate: float
    prefix_share: float = 0.0
    with_counts: bool = True
    seed: int = 0
    prefix_tokens: int | None = None
    backbone: str | None = None
    complementary: bool = True


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
        backbone=recipe.backbone or f"scratch-{recipe.width}x{recipe.n_layers}",
        max_length=material.max_length,
        truncation="head",
        adapt_steps=recipe.n_steps,
        class_steps=0,
        batch_size=recipe.batch_size,
        n_scored=material.max_length,
        adapt_level_low=0.0,
        prefix_share=recipe.prefix_share,
        prefix_tokens=recipe.prefix_tokens,
        complementary=recipe.complementary,
        neighbour_smoothing=smoothing if recipe.with_counts else None,
        learning_rate=recipe.learning_rate,
        head_learning_rate=recipe.learning_rate,
        class_learning_rate=recipe.learning_rate,
        freeze_embeddings=False,
        checkpoint_steps=200,
        seed=recipe.seed,
    )
    backbone = _backbone(config.backbone, recipe, material)
    options: dict[str, Any] = {"folds": material.folds, "device": choose_device(None), "progress": progress}
    model = train_language_model(backbone, material.train, config, folder, **options)
    model.denoiser.cpu()  # where holes are filled
    model.save(folder)
    _finish(folder, kind, _as_it_is(recipe, backbone.config), model.record["parameters"], model.record["adapt"])
    return model


def _backbone(name: str, recipe: Recipe, material: Material) -> Backbone:
    if recipe.backbone is not None:
        # a character is a token, whatever the model's own tokenizer makes of several
        return replace(load_backbone(recipe.backbone), tokenizer=material.tokenizer)
    network = scratch_model(material.tokenizer, recipe.width, recipe.n_layers, seed=recipe.seed)
    backbone = split_model(name, network, material.tokenizer, has_head=False, source="random weights")
    return replace(backbone, is_pretrained=False)


def _causal(
    kind: str, recipe: Recipe, material: Material, folder: Path, *, smoothing: float, progress: bool
) -> NeighbourCausal:
    if (folder / FINISHED).exists():
        return _saved_causal(recipe, material, folder)
    network = _around(_new_causal(kind, recipe, material), recipe, material)
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
    network.cpu()  # where holes are filled
    _save_causal(network, folder)
    kept = _as_it_is(recipe, network.model.config)
    _finish(folder, kind, kept, sum(value.numel() for value in network.parameters()), taken)
    return network


def _save_causal(network: NeighbourCausal, folder: Path) -> None:
    """Write the weights, and the config, from which the network is built again."""
    temporary = folder / "model.tmp"
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, temporary)
    write_atomic(folder / "model.safetensors", temporary.read_bytes())
    temporary.unlink()
    network.model.config.save_pretrained(folder)


def _saved_causal(recipe: Recipe, material: Material, folder: Path) -> NeighbourCausal:
    """Read what `_save_causal` wrote; the config is that of the training, whatever a new model is like by now."""
    if not (folder / CONFIG).exists():
        todo = "Give another folder (--run), or remove it."
        raise ValueError(three_parts(f"a causal model with {CONFIG}", f"{folder.name} of an earlier version", todo))
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    network = _around(model, recipe, material)
    network.load_state_dict(load_file(folder / "model.safetensors"))
    return network.eval()


def _around(model: Any, recipe: Recipe, material: Material) -> NeighbourCausal:
    if recipe.backbone is not None and not recipe.with_counts:
        return NeighbourCausal(model)
    return NeighbourCausal(model, material.log_unigram, material.counts if recipe.with_counts else None)


def _new_causal(kind: str, recipe: Recipe, material: Material) -> Any:
    """A pretrained model by name, without dropout as the denoiser; or one with random weights."""
    if recipe.backbone is not None:
        return without_dropout(load_causal(recipe.backbone).model)
    model = new_causal(
        material.vocab_size,
        width=recipe.width,
        n_layers=recipe.n_layers,
        n_heads=recipe.width // HEAD_WIDTH,
        n_positions=2 * material.max_length + 4,
        seed=recipe.seed,
        attention_bias=True,
        initializer_range=INITIALIZER_RANGE,
    )
    offsets = itertools.cycle(OFFSETS if kind == "middle" else OFFSETS_BEFORE)
    for layer in model.model.layers:
        look_nearby(layer.self_attn.q_proj.bias, layer.self_attn.k_proj.bias, offsets)
    return model


def _as_it_is(recipe: Recipe, config: Any) -> Recipe:
    """The recipe with the width and the layers of the model, and no more of a folder than its name."""
    if recipe.backbone is None:
        return recipe
    name = Path(recipe.backbone).name if Path(recipe.backbone).is_dir() else recipe.backbone
    return replace(recipe, width=config.hidden_size, n_layers=config.num_hidden_layers, backbone=name)


def _finish(folder: Path, kind: str, recipe: Recipe, parameters: int, taken: dict[str, Any]) -> None:
    record = {"kind": kind, "recipe": asdict(recipe), "parameters": parameters, "training": taken}
    write_json(folder / FINISHED, record)
    logger.info("%s: %d steps in %.1f min", folder.name, taken["steps"], taken["seconds"] / 60)
