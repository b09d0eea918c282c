"""What the poem benchmark measures: choices on validation poems, then accuracy on test poems, by kind of holes.

How the diffusion model fills is chosen on validation poems. The rival is not chosen at all: the margin is that over the
causal protocol which leaves the least of it on the test poems, so that a wrong choice cannot favour diffusion.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.poem_groups import by_group, by_steps
from benchmarks.poem_masks import LINES_SHARE, STRUCTURES
from benchmarks.poem_pretrained import PRETRAINED
from benchmarks.poem_results import margin_row, share_interval, strongest
from benchmarks.poem_study import Task

if TYPE_CHECKING:
    from benchmarks.poem_completion import Study

logger = logging.getLogger("gencls.benchmarks")
#: All protocols of the causal side.
RIVALS = ("causal left", "causal rescored", "causal iterated", "middle")


def choose(study: Study, size: str, level: float) -> dict[str, Any]:
    """Choose, on validation poems, how the diffusion model fills."""
    task = Task("validation", "tokens", level, study.config.n_validation)
    names, _ = study.contenders(size, level)
    found = {name: row["accuracy"] for name, row in study.accuracy(size, task, names).items()}
    return {"diffusion": strongest(found), "validation": found}


def measure(study: Study) -> dict[str, Any]:
    """Return everything that the report needs; the test poems are filled once."""
    floors = list(study.ways["floors"].fills)
    base = list(study.config.sizes)[-1]
    result: dict[str, Any] = {"headline": base, "sizes": {}}
    for size in study.sizes:
        # the floors have the tokens of the models from scratch
        known = [] if size == PRETRAINED else floors
        result["sizes"][size] = {f"{level:g}": _at_level(study, size, level, known) for level in study.config.ratios}
    result["structures"] = {kind: _structure(study, base, kind, result, floors) for kind in STRUCTURES}
    result["nats"] = {f"{level:g}": _nats(study, base, level) for level in study.config.ratios}
    result["groups"] = by_group(study, base, result["sizes"][base])
    result["steps"] = by_steps(study, base)
    return result


def _at_level(study: Study, size: str, level: float, floors: Sequence[str]) -> dict[str, Any]:
    chosen, task = choose(study, size, level), Task("test", "tokens", level)
    names = [name for name in study.names(size, level) if not name.startswith("diffusion ") or _is_wanted(name, chosen)]
    _, rivals = study.contenders(size, level)
    margins = _margins(study, size, chosen["diffusion"], rivals, task)
    logger.info("%s, %.0f %% hidden: %s against %s", size, 100 * level, chosen["diffusion"], margins["rival"])
    return {
        "chosen": {**chosen, "rival": margins["rival"]},
        "ways": study.accuracy(size, task, [*floors, *names]),
        "margin": margins["margin"],
        "margins": margins["margins"],
    }


def _is_wanted(name: str, chosen: Mapping[str, Any]) -> bool:
    return name == chosen["diffusion"] or "without" in name or "prefix" in name


def _margins(study: Study, size: str, ours: str, rivals: Sequence[str], task: Task) -> dict[str, Any]:
    """The margins over every rival; ``rival`` is the one with the lowest lower end, ``margin`` that over it."""
    holes, own = study.answers_of(size).holes(task), study.best(size, ours, task)
    weights, authors = study.weights(size, task), study.author_weights(size, task)
    margins = {
        name: margin_row(own, study.best(size, name, task), holes.targets, holes.poem_of, weights, authors)
        for name in rivals
    }
    rival = min(margins, key=lambda name: margins[name]["low"])
    return {"rival": rival, "margin": margins[rival], "margins": margins}


def _structure(study: Study, size: str, kind: str, result: Mapping[str, Any], floors: Sequence[str]) -> dict[str, Any]:
    """Lines and ends of lines: diffusion fills as chosen where a similar share of tokens is hidden."""
    near = min(study.config.ratios, key=lambda level: abs(level - LINES_SHARE))
    ours, rivals = result["sizes"][size][f"{near:g}"]["chosen"]["diffusion"], [*RIVALS]
    task = Task("test", kind, LINES_SHARE)
    margins = _margins(study, size, ours, rivals, task)
    return {
        "chosen": {"diffusion": ours, "rival": margins["rival"]},
        "ways": study.accuracy(size, task, [*floors, ours, *rivals]),
        "margin": margins["margin"],
    }


def _nats(study: Study, size: str, level: float) -> dict[str, dict[str, float]]:
    """Nats per hidden token, with an interval over poems, under every model that has a probability for it."""
    task = Task("test", "tokens", level)
    counts, weights = np.array([hole.sum() for hole in study.answers.holes(task).hidden]), study.weights(size, task)
    owners = {"unigram": "floors", "bigram": "floors", "diffusion": size, "causal left": size, "middle": size}
    found = {}
    for name, owner in owners.items():
        nats = study.answers.nats(owner, name, study.ways[owner].nats[name], task)
        found[name] = dict(zip(("nats", "low", "high"), share_interval(nats, counts, weights), strict=True))
    return found
