"""The factors of `benchmarks.accuracy_study` and their levels: what each changes in a recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.accuracy_recipes import COUNTS_BESIDE, DISCOUNTS, FROM_SCRATCH, MPNET
from gencls.training.config import TrainConfig
from gencls.training.presets import LENGTH_EXPONENTS

Options = Mapping[str, Any]


def times(option: str, factor: int) -> Callable[[TrainConfig], int]:
    """A level: so many times the recipe's value, since recipes differ in what they can pay."""
    return lambda recipe: factor * int(getattr(recipe, option))


def all_steps(recipe: TrainConfig) -> int:
    """A level: the steps of both stages."""
    return recipe.adapt_steps + recipe.class_steps


#: Smoothed by more than float64 can add to: no class has counts of its own, and the network alone tells them apart.
NO_COUNTS: Options = {
    "smoothing": (1e30,),
    "discount": (),
    "pair_smoothing": (),
    "triple_smoothing": (),
    "embedding_ridge": None,
}
MINILM: Options = {**MPNET, "backbone": "minilm"}
#: For texts that are not English, where the CPU's recipe starts from scratch: with the language at the rates of its
#: English recipes, and the classes as the recipe has them.
MULTILINGUAL: Options = {
    "backbone": "multilingual-e5",
    "backbone_layers": 6,
    "adapt_steps": 300,
    "learning_rate": 5e-4,
    "head_learning_rate": 1e-3,
    "freeze_embeddings": True,
}
#: Name of a factor -> the changes of each of its levels.
FACTORS: dict[str, tuple[Options, ...]] = {
    "path_steps": tuple({"n_steps": steps} for steps in (1, 2, 8)),
    "draws": tuple({"n_mc_samples": draws} for draws in (1, 4)),
    "order": ({"order": "uniform"},),
    "long_texts": ({"long_texts": "chunks"}, {"long_texts": "truncate"}),
    "level_weighting": ({"level_weighting": "learned"},),
    "class_steps": ({"class_steps": 0}, {"class_steps": times("class_steps", 3)}),
    # the steps of the classes, spent on the stage before them
    "class_free": ({"class_steps": 0, "adapt_steps": all_steps},),
    "class_levels": ({"class_level_low": 0.5}, {"class_level_low": 0.8}),
    # the decision's loss has no texts without their class, and counts in the softmax: the first level is its control
    "hybrid_weight": tuple(
        {"hybrid_weight": weight, "class_dropout": 0.0, "counts_beside": False} for weight in (0.0, 0.1, 1.0, 10.0)
    ),
    "adaptation": ({"adapt_steps": 0}, {"adapt_steps": times("adapt_steps", 3)}),
    "learning_rate": tuple({"learning_rate": rate, "head_learning_rate": rate} for rate in (1e-4, 3e-4)),
    "pairs": ({"pair_smoothing": ()},),
    # without counts to start from there is more to learn, and the second level has the time and the rate for it
    "counts": (NO_COUNTS, {**NO_COUNTS, "class_steps": times("class_steps", 3), "class_learning_rate": 3e-3}),
    # a network that learns its classes alone has more to learn, too; the second level is the control of the first
    "counts_beside": (
        COUNTS_BESIDE,
        {**COUNTS_BESIDE, "counts_beside": False},
    ),
    # for long texts, of which the steps above are one pass
    "counts_beside_longer": tuple({**COUNTS_BESIDE, "class_steps": steps} for steps in (2000, 4000)),
    # all that costs time, together: what each alone leaves within chance might add up
    "budget": (
        {
            "adapt_steps": times("adapt_steps", 3),
            "class_steps": times("class_steps", 3),
            "n_steps": times("n_steps", 2),
            "n_mc_samples": times("n_mc_samples", 2),
        },
    ),
    "embedding_ridge": ({"embedding_ridge": None}, {"embedding_ridge": 1.0}, {"embedding_ridge": 10.0}),
    "discount": ({"discount": DISCOUNTS},),
    "interpolation": ({"interpolation": ()},),
    "length_exponent": ({"length_exponent": ()}, {"length_exponent": LENGTH_EXPONENTS}),
    "mode": tuple({"mode": mode} for mode in ("adapter", "prompt", "independent")),
    "class_learning_rate": tuple({"class_learning_rate": rate} for rate in (5e-4, 3e-3)),
    # where classes of few texts train as long as those of many
    "class_shrinkage": tuple({"class_shrinkage": texts} for texts in (0.0, 10.0, 50.0)),
    # a rate for class maps behind the network is high for adapters inside it
    "adapter_rate": ({"mode": "adapter", "class_learning_rate": 5e-4},),
    "truncation": ({"truncation": "head"}, {"truncation": "tail"}),
    "max_length": tuple({"max_length": length} for length in (64, 128, 510)),  # and two special tokens
    "layers": tuple({"backbone_layers": count} for count in (2, 6)),
    # all of smollm2's network is pretrained and bears smaller steps, each as long as twenty of the recipe
    "backbone": (
        MPNET,
        {**MPNET, "mode": "adapter", "class_learning_rate": 5e-4},
        {"backbone": "smollm2", "backbone_layers": None, "learning_rate": 2e-4, "adapt_steps": 100, "class_steps": 100},
        FROM_SCRATCH,
    ),
    # a recipe has one of them: that level is left out
    "mpnet": (MPNET, MINILM),
    "multilingual": (MULTILINGUAL,),
    # masked language models that come with their heads, at the rate of the GPU preset
    "hub_backbone": tuple(
        {"backbone": name, "backbone_layers": None, "learning_rate": 1e-4}
        for name in ("roberta-base", "answerdotai/ModernBERT-base")
    ),
}
#: Factors for machines that a hub answers.
HUB_FACTORS = ("hub_backbone",)
#: Factors that are studied where they are named: those of a hub, of texts that are not English, of many steps, of
#: classes that differ in size, and a level of another factor alone.
ON_REQUEST = (*HUB_FACTORS, "mpnet", "multilingual", "counts_beside", "counts_beside_longer", "class_shrinkage")
#: What is fitted to the calibration texts and decides: such a level is judged on the validation texts alone.
FITTED = {"level_weighting", "target_flip_rate"}


def as_json(level: Options) -> dict[str, Any]:
    """Return a level as JSON reads it back: lists, no tuples."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in level.items()}


def level_of(level: Options, recipe: TrainConfig) -> Options:
    """Return the changes of a level, with what depends on the recipe worked out."""
    return {name: value(recipe) if callable(value) else value for name, value in level.items()}
