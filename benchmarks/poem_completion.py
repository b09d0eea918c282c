"""Poem completion: masked diffusion against causal models of the same size, trained on the same poems. No test poem is
in training, all models fill the same holes, what is chosen is chosen on validation poems, and the rival is the
strongest of all causal protocols.

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

from benchmarks.commands import log_to_stderr
from benchmarks.poem_config import PRESETS, PoemConfig
from benchmarks.poem_leakage import leakage_curve
from benchmarks.poem_material import Material, load_material
from benchmarks.poem_measure import measure
from benchmarks.poem_models import FINISHED, KINDS, Recipe, record_of, train_model
from benchmarks.poem_original import original_protocol
from benchmarks.poem_prefix import N_PREFIX, PREFIX_WAY, behind_prefix
from benchmarks.poem_pretrained import PRETRAINED, Pair, out_of_reach, pretrained_material
from benchmarks.poem_report import write_poem_report
from benchmarks.poem_results import accuracy_row, author_weights, poem_weights
from benchmarks.poem_run import Clock, now
from benchmarks.poem_study import Answers, Task, Ways, causal_ways, diffusion_ways, floor_ways, joined, middle_ways
from gencls.data.poems import author_key
from gencls.reporting.records import run_record

logger = logging.getLogger("gencls.benchmarks")
#: Levels of the models without counts.
WITHOUT_COUNTS_AT = (0.1, 0.3, 0.6)


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
    pretrained : Answers, optional
        Of the pretrained models, which have other tokens.
    """

    config: PoemConfig
    material: Material
    answers: Answers
    folder: Path
    clock: Clock
    progress: bool = False
    ways: dict[str, Ways] = field(default_factory=dict)
    pretrained: Answers | None = None

    @property
    def sizes(self) -> list[str]:
        """The sizes that are measured, the pretrained one last."""
        return [*self.config.sizes, *([PRETRAINED] if self.pretrained else [])]

    def answers_of(self, size: str) -> Answers:
        """Return the answers in the tokens of a size."""
        return self.pretrained if size == PRETRAINED and self.pretrained else self.answers

    def train(self) -> None:
        """Train all models, or read those that are there."""
        self.ways["floors"] = floor_ways(self.material)
        for place, (size, recipe) in enumerate(self.config.sizes.items()):
            parts = self._of_size(size, {kind: recipe for kind in KINDS})
            if place == 0 and self.config.variants:
                parts += self._variants(size, recipe)
            self.ways[size] = joined(parts)
        if self.pretrained and (pair := self.config.pretrained):
            self.ways[PRETRAINED] = joined(self._of_size(PRETRAINED, {kind: pair.recipe(kind) for kind in KINDS}))

    def add_pretrained(self) -> str | None:
        """Get ready for the pretrained pair, if there is one; returns why it is left out."""
        pair, folder = self.config.pretrained, self.folder / PRETRAINED
        if pair is None:
            return None
        if reason := out_of_reach(pair, folder):
            logger.warning("the pretrained models are left out: %s", reason)
            return reason
        options: dict[str, Any] = {"smoothing": self.config.smoothing, "seed": self.config.seed}
        own = pretrained_material(pair, self.material, folder, **options)
        # the same holes as for the models from scratch
        self.pretrained = Answers(self.folder / "answers", own, seed=self.config.seed, drawn_for=self.material)
        return None

    def _of_size(self, size: str, recipes: Mapping[str, Recipe]) -> list[Ways]:
        models = {kind: self.model(kind, size, recipe) for kind, recipe in recipes.items()}
        material = self.answers_of(size).material
        return [
            diffusion_ways(models["diffusion"], self.config.steps, rescored=True),
            causal_ways(models["causal"], material),
            middle_ways(models["middle"], material),
        ]

    def _variants(self, size: str, recipe: Recipe) -> list[Ways]:
        """The models without counts, and those with a prefix that is never hidden."""
        steps = self.config.steps[:1]
        plain, prefix = replace(recipe, with_counts=False), replace(recipe, prefix_share=1.0, prefix_tokens=N_PREFIX)
        own, rival = (self.model(kind, f"{size}-plain", plain) for kind in ("diffusion", "causal"))
        with_prefix = self.model("diffusion", f"{size}-prefix{N_PREFIX}", prefix)
        return [
            diffusion_ways(own, steps, prefix="diffusion without counts"),
            causal_ways(rival, self.material, prefix="causal without counts"),
            diffusion_ways(with_prefix, steps, prefix=PREFIX_WAY),
        ]

    def model(self, kind: str, name: str, recipe: Recipe) -> Any:
        """Train one model or read it."""
        folder, material = self.folder / "models" / f"{name}-{kind}", self.answers_of(name).material
        smoothing, progress = self.config.smoothing, self.progress
        model = train_model(kind, recipe, material, folder, smoothing=smoothing, progress=progress)
        self.clock.tick()
        return model

    def accuracy(self, size: str, task: Task, names: Sequence[str]) -> dict[str, dict[str, float]]:
        """Return accuracy rows of some ways of filling."""
        holes, weights = self.answers_of(size).holes(task), self.weights(size, task)
        return {
            name: accuracy_row(self.best(size, name, task), holes.targets, holes.poem_of, weights) for name in names
        }

    def best(self, size: str, name: str, task: Task) -> Any:
        """Return the alternatives of one way of filling."""
        owner = "floors" if name in self.ways["floors"].fills else size
        best = self.answers_of(size).best(owner, name, self.ways[owner].fills[name], task)
        self.clock.tick()
        return best

    def weights(self, size: str, task: Task) -> Any:
        """Return the bootstrap samples of a task's poems."""
        generator = np.random.default_rng(self.config.seed)
        return poem_weights(len(self.answers_of(size).holes(task).texts), generator=generator)

    def author_weights(self, size: str, task: Task) -> Any:
        """Return the bootstrap samples of the authors of a task's poems."""
        poems = getattr(self.material.splits, task.split)
        authors = [author_key(poems[place].author) for place in self.answers_of(size).holes(task).places]
        return author_weights(authors, generator=np.random.default_rng(self.config.seed))

    def names(self, size: str, level: float) -> list[str]:
        """Return the ways of a size that are affordable at a level; models without counts are at some levels only."""
        slow = ("rescored", "iterated")
        affordable = level <= self.config.iterated_up_to
        return [
            name
            for name in self.ways[size].fills
            if (affordable or not name.endswith(slow)) and ("without" not in name or level in WITHOUT_COUNTS_AT)
        ]

    def contenders(self, size: str, level: float) -> tuple[list[str], list[str]]:
        """Return the affordable ways of diffusion and those of the causal side, without the variants."""
        names = [name for name in self.names(size, level) if "without" not in name and "prefix" not in name]
        ours = [name for name in names if name.startswith("diffusion")]
        return ours, [name for name in names if name not in ours]


def main(
    config: PoemConfig,
    run: Path,
    output: Path,
    *,
    poems: Path | None = None,
    source: str = "auto",
    progress: bool = False,
    command: str = "make poems",
    with_examples: bool = True,
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
    clock = Clock(run, {"config": config.identity(), "fingerprint": material.facts["fingerprint"]}, started)
    study = Study(config, material, Answers(run / "answers", material, seed=config.seed), run, clock, progress)
    left_out = study.add_pretrained()
    study.train()
    metrics = measure(study)
    metrics |= {"leakage": leakage_curve(study), "original": original_protocol(study), "prefix": behind_prefix(study)}
    metrics["left_out"] = left_out
    finished = [place.parent for place in sorted((run / "models").glob(f"*/{FINISHED}"))]
    metrics["models"] = {folder.name: record_of(folder) for folder in finished}
    clock.tick()
    minutes, work = clock.minutes
    extra: dict[str, Any] = {"data": material.facts, "minutes": minutes, "processor_minutes": work}
    record = run_record(command=command, config=config.as_dict(), seed=config.seed, **extra)
    return write_poem_report(output, metrics, record, study, with_examples=with_examples)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.poem_completion", description="poem completion")
    parser.add_argument("--preset", choices=tuple(PRESETS), default="cpu", help="size of the benchmark")
    parser.add_argument("--poems", type=Path, metavar="JSONL", help="file of poems (default: GENCLS_POEMS)")
    parser.add_argument("--source", choices=("auto", "file", "hub", "registry"), default="auto")
    parser.add_argument(
        "--pretrained",
        nargs=2,
        metavar=("MASKED", "CAUSAL"),
        help="two pretrained models of one Chinese vocabulary, by name or folder, as one more size",
    )
    parser.add_argument("--run", type=Path, help="folder of models and answers (default: runs/poems-PRESET)")
    parser.add_argument("--output", type=Path, default=Path("reports/poems"), help="folder of the report")
    parser.add_argument(
        "--without-examples", action="store_true", help="no poem's text in it, where it is to be shared"
    )
    return parser


def run_command(argv: Sequence[str] | None = None, *, command: str = "make poems") -> Path:
    """Run the benchmark with flags; prints nothing and returns the path of the report."""
    arguments = build_parser().parse_args(argv)
    run, config = arguments.run or Path("runs") / f"poems-{arguments.preset}", PRESETS[arguments.preset]
    if arguments.pretrained:
        config = replace(config, pretrained=Pair(*arguments.pretrained))
        if reason := out_of_reach(config.pretrained, run / PRETRAINED):
            raise ValueError(reason)
    return main(
        config,
        run,
        arguments.output,
        poems=arguments.poems,
        source=arguments.source,
        progress=sys.stderr.isatty(),
        command=command,
        with_examples=not arguments.without_examples,
    )


if __name__ == "__main__":
    log_to_stderr("gencls")
    path = run_command()
    print((path.parent / "table.txt").read_text(encoding="utf-8"))
    print(f"report: {path}")
