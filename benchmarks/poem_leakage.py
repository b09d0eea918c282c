"""What leakage does to the number: models that are trained on test poems on purpose. Never used for anything else."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from benchmarks.poem_material import Material, build_material
from benchmarks.poem_models import train_model
from benchmarks.poem_results import accuracy_row, poem_weights
from benchmarks.poem_study import Answers, Task, diffusion_ways
from gencls.data.fingerprint import digest_of
from gencls.diffusion.language_model import LanguageModel

if TYPE_CHECKING:
    from benchmarks.poem_completion import Study

import numpy as np

LEVELS = (0.1, 0.3, 0.6)


def leaked(material: Material, share: float, *, smoothing: float, seed: int) -> Material:
    """Return the material with a share of the test poems among the training poems."""
    splits = material.splits
    order = sorted(splits.test, key=lambda poem: digest_of(seed, poem.text))
    chosen = order[: round(share * len(order))]
    # the training poems stay as many as they are, or more data would be mistaken for leakage
    kept = sorted(splits.train, key=lambda poem: digest_of(seed, poem.text))[: len(splits.train) - len(chosen)]
    mixed = replace(splits, train=[*kept, *chosen])
    return build_material(mixed, material.facts, max_length=material.max_length, smoothing=smoothing, seed=seed)


def leakage_curve(study: Study) -> list[dict[str, Any]]:
    """Return accuracy on the test poems against the share of them in training, the smallest size, one step.

    Returns
    -------
    list of dict
        ``share``, and for each level an accuracy row; the first is the clean model.
    """
    size, recipe = next(iter(study.config.sizes.items()))
    rows = []
    for share in (0.0, *study.config.leaks):
        if share:
            material, model = leaked_model(study, share)
            # their own vocabulary has the leaked poems' characters: the holes are those of the clean model all the same
            drawn_for = study.material
            answers = Answers(study.folder / f"leaked-{share:g}", material, seed=study.config.seed, drawn_for=drawn_for)
        else:
            model, answers = study.model("diffusion", size, recipe), study.answers
        fill = diffusion_ways(model, (1,)).fills["diffusion 1"]
        rows.append({"share": share, "levels": {f"{level:g}": _row(answers, size, fill, level) for level in LEVELS}})
    return rows


def leaked_model(study: Study, share: float) -> tuple[Material, LanguageModel]:
    """Train the smallest diffusion model with a share of the test poems, or read it; with what it is trained on."""
    config, recipe = study.config, next(iter(study.config.sizes.values()))
    material = leaked(study.material, share, smoothing=config.smoothing, seed=config.seed)
    folder = study.folder / "models" / f"leaked-{share:g}-diffusion"
    options: dict[str, Any] = {"smoothing": config.smoothing, "progress": study.progress}
    model: LanguageModel = train_model("diffusion", recipe, material, folder, **options)
    study.clock.tick()
    return material, model


def _row(answers: Answers, size: str, fill: Any, level: float) -> dict[str, float]:
    task = Task("test", "tokens", level)
    holes = answers.holes(task)
    weights = poem_weights(len(holes.texts), generator=np.random.default_rng(0))
    return accuracy_row(answers.best(size, "diffusion 1", fill, task), holes.targets, holes.poem_of, weights)
