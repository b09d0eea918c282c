"""Poem completion: masked diffusion against causal models of the same size, trained on the same poems. No test poem is
in training, all models fill the same holes, and everything that is chosen is chosen on validation poems.

    python -m benchmarks.poem_completion --preset cpu

Poems: a JSONL file (``--poems``, or the variable GENCLS_POEMS), else the hub's modern poems, else the classical ones of
the npm registry. A killed run resumes: trained models and answers are kept in ``--run``.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.poem_config import PRESETS, PoemConfig
from benchmarks.poem_groups import by_group, by_steps
from benchmarks.poem_leakage import leakage_curve
from benchmarks.poem_masks import LINES_SHARE, STRUCTURES
from benchmarks.poem_material import Material, load_material
from benchmarks.poem_models import Recipe, record_of, train_model
from benchmarks.poem_report import write_poem_report
from benchmarks.poem_results import accuracy_row, margin_row, poem_weights, strongest
from benchmarks.poem_run import Clock, now
from benchmarks.poem_study import Answers, Task, Ways, causal_ways, diffusion_ways, floor_ways, middle_ways
from gencls.reporting.records import run_record

logger = logging.getLogger("gencls.benchmarks")


@dataclass
class Study:
    """The benchmark on its way.

    Attributes
    ----------
    config : PoemConfig
    material : Material
    answers : Answers
    folder : Path
        Of models and answers.
    clock : Clock
    progress : bool
    ways : dict
        By size (and "floors").
    """

    config: PoemConfig
    material: Material
    answers: Answers
    folder: Path
    clock: Clock
    progress: bool = False
    ways: dict[str, Ways] = field(default_factory=dict)

    def train(self) -> None:
        """Train all models, or read those that are there."""
        self.ways["floors"] = floor_ways(self.material)
        for place, (size, recipe) in enumerate(self.config.sizes.items()):
            parts = self._of_size(size, recipe, with_variants=place == 0 and self.config.variants)
            fills = {name: fill for part in parts for name, fill in part.fills.items()}
            self.ways[size] = Ways(fills, {name: nats for part in parts for name, nats in part.nats.items()})

    def _of_size(self, size: str, recipe: Recipe, *, with_variants: bool) -> list[Ways]:
        steps = self.config.steps
        parts = [
            diffusion_ways(self.model("diffusion", size, recipe), steps),
            causal_ways(self.model("causal", size, recipe), self.material),
            middle_ways(self.model("middle", size, recipe), self.material),
        ]
        if with_variants:
            plain, prefix = replace(recipe, with_counts=False), replace(recipe, prefix_share=0.5)
            name = "without counts"
            parts += [
                diffusion_ways(self.model("diffusion", f"{size}-plain", plain), steps[:1], prefix=f"diffusion {name}"),
                causal_ways(self.model("causal", f"{size}-plain", plain), self.material, prefix=f"causal {name}"),
                diffusion_ways(self.model("diffusion", f"{size}-prefix", prefix), steps[:1], prefix="diffusion prefix"),
            ]
        return parts

    def model(self, kind: str, name: str, recipe: Recipe) -> Any:
        """Train one model or read it."""
        folder = self.folder / "models" / f"{name}-{kind}"
        smoothing, progress = self.config.smoothing, self.progress
        model = train_model(kind, recipe, self.material, folder, smoothing=smoothing, progress=progress)
        self.clock.tick()
        return model

    def accuracy(self, size: str, task: Task, names: Sequence[str]) -> dict[str, dict[str, float]]:
        """Return accuracy rows of some ways of filling."""
        holes, weights = self.answers.holes(task), self.weights(task)
        return {
            name: accuracy_row(self.best(size, name, task), holes.targets, holes.poem_of, weights) for name in names
        }

    def best(self, size: str, name: str, task: Task) -> Any:
        """Return the alternatives of one way of filling."""
        owner = "floors" if name in self.ways["floors"].fills else size
        best = self.answers.best(owner, name, self.ways[owner].fills[name], task)
        self.clock.tick()
        return best

    def weights(self, task: Task) -> Any:
        """Return the bootstrap samples of a task's poems."""
        generator = np.random.default_rng(self.config.seed)
        return poem_weights(len(self.answers.holes(task).texts), generator=generator)

    def names(self, size: str, level: float) -> list[str]:
        """Return the ways of a size that are affordable at a level."""
        slow = ("rescored", "iterated")
        affordable = level <= self.config.iterated_up_to
        return [name for name in self.ways[size].fills if affordable or not name.endswith(slow)]


def choose(study: Study, size: str, level: float) -> dict[str, Any]:
    """Choose, on validation poems, in how many steps the diffusion model fills and which rival is the strongest."""
    task = Task("validation", "tokens", level, study.config.n_validation)
    names = [name for name in study.names(size, level) if "without" not in name and "prefix" not in name]
    rows = study.accuracy(size, task, names)
    found = {name: row["accuracy"] for name, row in rows.items()}
    ours = {name: value for name, value in found.items() if name.startswith("diffusion")}
    rivals = {name: value for name, value in found.items() if not name.startswith("diffusion")}
    return {"diffusion": strongest(ours), "rival": strongest(rivals), "validation": found}


def measure(study: Study) -> dict[str, Any]:
    """Return everything that the report needs; the test poems are filled once."""
    floors = list(study.ways["floors"].fills)
    result: dict[str, Any] = {"sizes": {}}
    for size in study.config.sizes:
        result["sizes"][size] = {f"{level:g}": _at_level(study, size, level, floors) for level in study.config.ratios}
    base = list(study.config.sizes)[-1]
    result["structures"] = {kind: _structure(study, base, kind, result, floors) for kind in STRUCTURES}
    result["nats"] = {f"{level:g}": _nats(study, base, level) for level in study.config.ratios}
    result["groups"] = by_group(study, base, result["sizes"][base])
    result["steps"] = by_steps(study, base)
    return result


def _at_level(study: Study, size: str, level: float, floors: Sequence[str]) -> dict[str, Any]:
    chosen, task = choose(study, size, level), Task("test", "tokens", level)
    names = [name for name in study.names(size, level) if not name.startswith("diffusion ") or _is_wanted(name, chosen)]
    logger.info("%s, %.0f %% hidden: %s against %s", size, 100 * level, chosen["diffusion"], chosen["rival"])
    return {
        "chosen": chosen,
        "ways": study.accuracy(size, task, [*floors, *names]),
        **_margin(study, size, chosen, task),
    }


def _is_wanted(name: str, chosen: Mapping[str, Any]) -> bool:
    return name == chosen["diffusion"] or "without" in name or "prefix" in name


def _margin(study: Study, size: str, chosen: Mapping[str, Any], task: Task) -> dict[str, Any]:
    holes = study.answers.holes(task)
    ours, rival = (study.best(size, chosen[side], task) for side in ("diffusion", "rival"))
    return {"margin": margin_row(ours, rival, holes.targets, holes.poem_of, study.weights(task))}


def _structure(study: Study, size: str, kind: str, result: Mapping[str, Any], floors: Sequence[str]) -> dict[str, Any]:
    """Lines and rhymes take what was chosen where a similar share of tokens is hidden."""
    near = min(study.config.ratios, key=lambda level: abs(level - LINES_SHARE))
    chosen = result["sizes"][size][f"{near:g}"]["chosen"]
    names = [chosen["diffusion"], "causal left", "causal rescored", "causal iterated", "middle"]
    task = Task("test", kind, LINES_SHARE)
    return {
        "chosen": chosen,
        "ways": study.accuracy(size, task, [*floors, *names]),
        **_margin(study, size, chosen, task),
    }


def _nats(study: Study, size: str, level: float) -> dict[str, float]:
    """Nats per hidden token under every model that has a probability for it."""
    task = Task("test", "tokens", level)
    n_holes = len(study.answers.holes(task).targets)
    owners = {"unigram": "floors", "bigram": "floors", "diffusion": size, "causal left": size, "middle": size}
    found = {}
    for name, owner in owners.items():
        nats = study.answers.nats(owner, name, study.ways[owner].nats[name], task)
        found[name] = float(nats.sum() / n_holes)
    return found


def main(
    config: PoemConfig,
    run: Path,
    output: Path,
    *,
    poems: Path | None = None,
    source: str = "auto",
    progress: bool = False,
    command: str = "make poems",
) -> Path:
    """Train, fill, measure and write the report; returns the path of its HTML page."""
    started = now()
    material = load_material(
        poems,
        source=source,
        max_length=config.max_length,
        max_poems=config.max_poems,
        smoothing=config.smoothing,
        seed=config.seed,
    )
    clock = Clock(run, {"config": config.as_dict(), "fingerprint": material.facts["fingerprint"]}, started)
    study = Study(config, material, Answers(run / "answers", material, seed=config.seed), run, clock, progress)
    study.train()
    metrics = measure(study)
    metrics["leakage"] = leakage_curve(study)
    metrics["models"] = {place.name: record_of(place) for place in sorted((run / "models").iterdir())}
    clock.tick()
    minutes, work = clock.minutes
    extra: dict[str, Any] = {"data": material.facts, "minutes": minutes, "processor_minutes": work}
    record = run_record(command=command, config=config.as_dict(), seed=config.seed, **extra)
    return write_poem_report(output, metrics, record, study)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.poem_completion", description="poem completion")
    parser.add_argument("--preset", choices=tuple(PRESETS), default="cpu", help="size of the benchmark")
    parser.add_argument("--poems", type=Path, metavar="JSONL", help="file of poems (default: GENCLS_POEMS)")
    parser.add_argument("--source", choices=("auto", "file", "hub", "registry"), default="auto")
    parser.add_argument("--run", type=Path, help="folder of models and answers (default: runs/poems-PRESET)")
    parser.add_argument("--output", type=Path, default=Path("reports/poems"), help="folder of the report")
    return parser


def run_command(argv: Sequence[str] | None = None, *, command: str = "make poems") -> Path:
    """Run the benchmark with flags; prints nothing and returns the path of the report."""
    arguments = build_parser().parse_args(argv)
    run = arguments.run or Path("runs") / f"poems-{arguments.preset}"
    return main(
        PRESETS[arguments.preset],
        run,
        arguments.output,
        poems=arguments.poems,
        source=arguments.source,
        progress=sys.stderr.isatty(),
        command=command,
    )


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("gencls").setLevel(logging.INFO)
    path = run_command()
    print((path.parent / "table.txt").read_text(encoding="utf-8"))
    print(f"report: {path}")
