"""How much of the machine scoring and training use, what they need of its memory, and what classes and options cost.

Everything stands beside the machine's own rate of matrix products, measured in the same minutes (`throughput_rates`),
and counts useful multiply-adds only (`throughput_counting`).

    python -m benchmarks.throughput --run runs/imdb-demo --preset small --output reports/throughput
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.commands import log_to_stderr
from benchmarks.throughput_material import LONG, SHORT, Material, load_material
from benchmarks.throughput_memory import memory_of_a_long_text, memory_of_texts
from benchmarks.throughput_padding import padding_waste
from benchmarks.throughput_plain import plain_scoring, profile_of
from benchmarks.throughput_rates import MatmulClock, matmul_rates, measure_scoring, measure_training, timed
from benchmarks.throughput_report import write_report
from benchmarks.throughput_studies import class_costs, differences, precision_and_options, worker_processes
from gencls.diffusion.denoiser import Denoiser
from gencls.evaluation.runs import accelerator_name
from gencls.likelihood.engine import score_texts
from gencls.likelihood.estimators import Estimator
from gencls.likelihood.parallel import SPANS_PER_THREAD
from gencls.likelihood.precision import resolve_precision
from gencls.likelihood.rows import row_limit
from gencls.reporting.records import run_record
from gencls.training.examples import TokenizedSplit

IntArray = NDArray[np.int64]
logger = logging.getLogger("benchmarks.throughput")
ESTIMATOR = Estimator("path", n_steps=2, n_mc_samples=2)


@dataclass(frozen=True)
class Config:
    """What is measured.

    Parameters
    ----------
    n_texts, n_long_texts : int
        Texts of 128, and of up to 510 tokens, whose scoring rate is measured.
    n_pairs : int
        Measurements between matrix products.
    n_train_steps : int
        Optimiser steps of each stage.
    n_plain_texts : int
        Texts of the profiles and of the plain way.
    n_class_texts : int
        Texts that are scored under many classes.
    n_classes : tuple of int
    n_option_texts, n_job_texts : int
        Texts that are scored with each option, and in worker processes.
    n_memory_texts : int
    memory_layers : int, optional
        Layers that are kept for the measurement of memory, all by default.
    n_characters : int
        Of the long text.
    with_compile : bool
        Whether torch.compile is among the options: half a minute.
    seed : int
        Of the choice of texts.
    """

    n_texts: int = 256
    n_long_texts: int = 128
    n_pairs: int = 5
    n_train_steps: int = 15
    n_plain_texts: int = 64
    n_class_texts: int = 10
    n_classes: tuple[int, ...] = (2, 8, 52)
    n_option_texts: int = 64
    n_job_texts: int = 64
    n_memory_texts: int = 10_000
    memory_layers: int | None = 1
    n_characters: int = 1_000_000
    with_compile: bool = True
    seed: int = 0

    def limited(self, limit: int | None) -> Config:
        """Return the config with at most `limit` texts, steps and, times a thousand, characters of everything."""
        if limit is None:
            return self
        counts = {name: min(getattr(self, name), limit) for name in _LIMITED}
        counts["n_characters"] = min(self.n_characters, 1000 * limit)
        return replace(self, **counts, n_pairs=min(self.n_pairs, 2))


#: What `--limit` makes smaller.
_LIMITED = (
    "n_texts",
    "n_long_texts",
    "n_train_steps",
    "n_plain_texts",
    "n_class_texts",
    "n_option_texts",
    "n_job_texts",
    "n_memory_texts",
)
PRESETS = {
    "small": Config(),
    "full": Config(
        n_texts=1024,
        n_long_texts=512,
        n_pairs=9,
        n_train_steps=50,
        n_plain_texts=256,
        n_class_texts=31,
        n_option_texts=256,
        n_job_texts=256,
        memory_layers=None,
    ),
}


def measure(material: Material, config: Config) -> dict[str, Any]:
    """Measure everything; returns plain data for the report."""
    denoiser, device = material.denoiser, material.denoiser.bias.device
    rates = matmul_rates(device)
    clock = MatmulClock.best_of(device, rates)
    short = material.sample(config.n_texts, length=SHORT, seed=config.seed)
    steps: dict[str, Callable[[], Any]] = {
        "scoring": lambda: _scoring(material, config, short, clock),
        "training": lambda: _training(material, config, clock),
        "before": lambda: _before(denoiser, short[: config.n_plain_texts]),
        "padding": lambda: _padding(material),
        "classes": lambda: class_costs(
            material.classifier.backbone_,
            denoiser,
            short[: config.n_class_texts],
            ESTIMATOR,
            n_classes=config.n_classes,
            rank=material.classifier.train_config().rank,
        ),
        "options": lambda: precision_and_options(
            denoiser, short[: config.n_option_texts], ESTIMATOR, with_compile=config.with_compile
        ),
        "workers": lambda: worker_processes(denoiser, material.sample(config.n_job_texts, seed=1), ESTIMATOR),
        "memory": lambda: _memory(material, config),
    }
    results: dict[str, Any] = {"machine": _machine(rates, clock)}
    for name, step in steps.items():
        started = time.monotonic()
        results[name] = step()
        logger.info("%s: %.0f s", name, time.monotonic() - started)
    return results


def _machine(rates: dict[str, dict[str, float]], clock: MatmulClock) -> dict[str, Any]:
    return {
        "device": clock.device.type,
        "threads": torch.get_num_threads(),
        "matmul_gflops_per_second": {k: {s: r / 1e9 for s, r in v.items()} for k, v in rates.items()},
        "best": {"dtype": clock.dtype, "size": "x".join(map(str, clock.size))},
        "precision": resolve_precision("auto", clock.device),
    }


def _scoring(material: Material, config: Config, short: list[IntArray], clock: MatmulClock) -> list[dict[str, Any]]:
    long = material.sample(config.n_long_texts, seed=config.seed)
    return [
        {"texts": title, **measure_scoring(material.denoiser, ids, ESTIMATOR, clock, config.n_pairs)}
        for title, ids in ((f"{SHORT} tokens", short), (f"up to {LONG} tokens", long))
    ]


def _training(material: Material, config: Config, clock: MatmulClock) -> dict[str, Any]:
    length = material.classifier.max_length
    parts = {
        name: TokenizedSplit(material.cut(split.token_ids, length), split.labels)
        for name, split in (("train", material.train), ("validation", material.validation))
    }
    return measure_training(material.classifier, parts, config.n_train_steps, clock)


def _before(denoiser: Denoiser, token_ids: list[IntArray]) -> dict[str, Any]:
    """The plain way and the engine on the same texts: time, scores and profiles."""
    device = denoiser.bias.device
    plain_scoring(denoiser, token_ids[:2], ESTIMATOR, seed=0, precision="float32")  # warms up
    precision: Any = resolve_precision("auto", device)
    found: dict[str, Any] = {}

    def plain() -> None:
        found["before"] = plain_scoring(denoiser, token_ids, ESTIMATOR, seed=0, precision=precision)

    def engine() -> None:
        found["after"] = score_texts(denoiser, token_ids, ESTIMATOR, seed=0, precision=precision).samples

    n_passes = len(token_ids) * denoiser.n_classes * ESTIMATOR.n_plan_draws * ESTIMATOR.n_steps
    result: dict[str, Any] = {"n_texts": len(token_ids), "precision": precision}
    for name, work, repeats in (("before", plain, 1), ("after", engine, 3)):
        seconds = float(np.median([timed(work, device) for _ in range(repeats)]))
        result[name] = {"seconds": seconds, "passes_per_second": n_passes / seconds}
        result[name]["profile"] = profile_of(work, device)
    result["speedup"] = result["before"]["seconds"] / result["after"]["seconds"]
    return {**result, **differences(found["after"], found["before"])}


def _padding(material: Material) -> list[dict[str, Any]]:
    denoiser, rows = material.denoiser, []
    for length in (SHORT, LONG):
        sizes = np.array([len(ids) for ids in material.cut(material.train.token_ids, length)], dtype=np.int64)
        waste = padding_waste(
            sizes,
            denoiser.frame,
            row_limit(denoiser),
            n_draws=ESTIMATOR.n_mc_samples,
            n_spans=torch.get_num_threads() * SPANS_PER_THREAD,
            device_type=denoiser.bias.device.type,
        )
        rows.append({"max_length": length, "n_texts": len(sizes), "mean_tokens": float(sizes.mean()), "waste": waste})
    return rows


def _memory(material: Material, config: Config) -> dict[str, Any]:
    token_ids = [ids for ids in material.train.token_ids if len(ids)][: config.n_memory_texts]
    text = " ".join(material.texts)
    text = (text + " ") * (-(-config.n_characters // (len(text) + 1)))
    longest = max(len(ids) for ids in token_ids)
    return {
        "layers": config.memory_layers,
        "texts": memory_of_texts(material.run, token_ids, n_layers=config.memory_layers),
        "long_text": memory_of_a_long_text(material.run, text[: config.n_characters], max_length=longest),
    }


def main(config: Config, limit: int | None = None, *, run: Path, output: Path, command: str) -> Path:
    """Measure a trained run and write the report.

    Parameters
    ----------
    config : Config
    limit : int, optional
        Fewer texts and steps, to try it.
    run, output : Path
        Folder of the trained run; folder of the report.
    command : str
        As typed, for the record.

    Returns
    -------
    Path
        The report.
    """
    started = time.monotonic()
    material, chosen = load_material(run), config.limited(limit)
    results = measure(material, chosen)
    facts = {"run": run.name, "wall_seconds": time.monotonic() - started}
    device = accelerator_name(material.denoiser.bias.device)
    record = run_record(command, asdict(chosen), chosen.seed, device=device, **facts)
    return write_report(results, record, output)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput", description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("runs/imdb-demo"), help="folder of a trained run")
    parser.add_argument("--preset", choices=PRESETS, default="small", help="how many texts and repeats")
    parser.add_argument("--output", type=Path, default=Path("reports/throughput"), help="folder of the report")
    parser.add_argument("--limit", type=int, help="at most this many texts and steps")
    return parser


if __name__ == "__main__":
    log_to_stderr(logger.name)
    arguments = _parser().parse_args()
    typed = " ".join(["python -m benchmarks.throughput", *sys.argv[1:]])
    chosen = PRESETS[arguments.preset]
    report = main(chosen, arguments.limit, run=arguments.run, output=arguments.output, command=typed)
    print(report.read_text(encoding="utf-8"))
    print(report)
