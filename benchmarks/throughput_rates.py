"""Rates as fractions of what the machine does in a plain matrix product, measured in the same minutes.

A shared machine is slower at one time than at another. So every measurement stands between two of the matrix product,
and the ratio is taken within such a pair; the median over pairs is what is reported.
"""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from benchmarks.throughput_counting import (
    NetworkShape,
    Rows,
    scoring_products,
    shape_of,
    training_products,
    useful_rows,
)
from gencls.classifier.estimator import DiffusionClassifier
from gencls.diffusion.denoiser import Denoiser
from gencls.likelihood.engine import score_texts
from gencls.likelihood.estimators import Estimator
from gencls.training.examples import TokenizedSplit
from gencls.training.per_class import train_denoiser

IntArray = NDArray[np.int64]
#: Rows, inner and columns of the products: those of a small encoder, and large ones, where a machine is at its best.
SIZES = {
    "cpu": ((1024, 384, 1536), (1024, 1536, 384), (2048, 2048, 2048), (4096, 1024, 1024)),
    "cuda": ((16384, 768, 3072), (8192, 8192, 8192), (4096, 4096, 4096)),
}
DTYPES = ("bfloat16", "float32")
#: Optimiser steps at the front of a stage that are start-up.
FIRST_STEPS = 3
FLOPS = 2  # of a multiply-add


def matmul_rates(device: torch.device, *, seconds: float = 0.1) -> dict[str, dict[str, float]]:
    """Return the rate of matrix products by type and size, floating-point operations per second."""
    sizes = SIZES.get(device.type, SIZES["cpu"])
    return {
        name: {"x".join(map(str, size)): _matmul_rate(device, name, size, seconds) for size in sizes} for name in DTYPES
    }


@dataclass(frozen=True)
class MatmulClock:
    """The machine's best matrix product, to be measured again and again."""

    device: torch.device
    dtype: str
    size: tuple[int, int, int]
    seconds: float = 0.1

    @classmethod
    def best_of(cls, device: torch.device, rates: Mapping[str, Mapping[str, float]]) -> MatmulClock:
        """Choose the fastest type and size."""
        dtype, size = max(((name, size) for name in rates for size in rates[name]), key=lambda k: rates[k[0]][k[1]])
        rows, inner, columns = (int(part) for part in size.split("x"))
        return cls(device, dtype, (rows, inner, columns))

    def rate(self) -> float:
        """Return floating-point operations per second, now."""
        return _matmul_rate(self.device, self.dtype, self.size, self.seconds)


def _matmul_rate(device: torch.device, dtype: str, size: tuple[int, int, int], seconds: float) -> float:
    """Repeat one product for a while, weights as a linear layer holds them; the first one warms up."""
    rows, inner, columns = size
    left, weights = torch.randn(rows, inner, device=device), torch.randn(columns, inner, device=device)
    left, right = left.to(getattr(torch, dtype)), weights.to(getattr(torch, dtype)).t()
    out = left @ right
    synchronize(device)
    count, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds:
        for _ in range(4):
            torch.mm(left, right, out=out)
        synchronize(device)
        count += 4
    return FLOPS * rows * inner * columns * count / passed


def synchronize(device: torch.device) -> None:
    """Wait for the device, where it works on its own."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass(frozen=True)
class Pairs:
    """Measurements, each between two of the matrix product.

    Attributes
    ----------
    seconds : list of n float
    flops : list of n float
        Useful floating-point operations of each.
    matmul : list of n + 1 float
        Operations per second before, between and after.
    """

    seconds: list[float]
    flops: list[float]
    matmul: list[float]

    @property
    def fractions(self) -> list[float]:
        """Rate of each measurement as a fraction of the matrix product's around it."""
        around = zip(self.matmul, self.matmul[1:], strict=False)
        rates = [flops / seconds for flops, seconds in zip(self.flops, self.seconds, strict=True)]
        return [2 * rate / (before + after) for rate, (before, after) in zip(rates, around, strict=True)]

    def figures(self) -> dict[str, Any]:
        """Return the medians, and the extremes of the fractions, as plain data."""
        return {
            "fraction": float(np.median(self.fractions)),
            "fraction_low": min(self.fractions),
            "fraction_high": max(self.fractions),
            "n_pairs": len(self.seconds),
            "seconds": float(np.median(self.seconds)),
            "gflops": float(np.median(self.flops)) / 1e9,
            "gflops_per_second": float(np.median(np.divide(self.flops, self.seconds))) / 1e9,
            "matmul_gflops_per_second": float(np.median(self.matmul)) / 1e9,
        }


def interleaved(work: Callable[[], object], flops: float, clock: MatmulClock, n_pairs: int) -> Pairs:
    """Time some work between matrix products; `work` ran before, to warm up."""
    seconds, matmul = [], [clock.rate()]
    for _ in range(n_pairs):
        seconds.append(timed(work, clock.device))
        matmul.append(clock.rate())
    return Pairs(seconds, [flops] * n_pairs, matmul)


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of a call."""
    synchronize(device)
    start = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - start


def measure_scoring(
    denoiser: Denoiser, token_ids: Sequence[IntArray], estimator: Estimator, clock: MatmulClock, n_pairs: int
) -> dict[str, Any]:
    """Return what `score_texts` reaches of the machine's matrix product, with "auto" precision."""

    def score() -> object:
        return score_texts(denoiser, token_ids, estimator, seed=0)

    shape = shape_of(denoiser)
    rows = useful_rows(token_ids, estimator, seed=0, n_special=shape.n_special)
    flops = FLOPS * scoring_products(shape, rows, denoiser.n_classes)
    score()
    pairs = interleaved(score, flops, clock, n_pairs)
    figures = pairs.figures()
    lengths = [len(ids) for ids in token_ids]
    facts = {"n_texts": len(lengths), "mean_tokens": float(np.mean(lengths)), "n_passes": len(rows.lengths)}
    return {**facts, **figures, "texts_per_second": len(lengths) / figures["seconds"]}


@dataclass
class StepClock:
    """Seconds and useful operations of every optimiser step, with matrix products in between.

    Attributes
    ----------
    clock : MatmulClock
    stages : list of Pairs
        One for each stage of the training, its first step still in it.
    """

    clock: MatmulClock
    stages: list[Pairs] = field(default_factory=list)
    _products: int = 0
    _begun: float = 0.0
    _shapes: dict[Any, NetworkShape] = field(default_factory=dict)

    def __call__(self, step: int) -> None:
        """Note a step that has just ended; the matrix product runs between two steps."""
        synchronize(self.clock.device)
        seconds = time.perf_counter() - self._begun
        if step == 1:
            self.stages.append(Pairs([], [], [self.clock.rate()]))
        stage = self.stages[-1]
        stage.seconds.append(seconds)
        stage.flops.append(float(FLOPS * self._products))
        stage.matmul.append(self.clock.rate())
        self._products, self._begun = 0, time.perf_counter()

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count the rows of every call of a denoiser that is being trained."""
        handle = register_module_forward_pre_hook(self._count)
        try:
            yield
        finally:
            handle.remove()

    def _count(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if not isinstance(module, Denoiser) or not torch.is_grad_enabled():
            return
        batch, class_ids = inputs[:2]
        prompt = self._shape(module, 0).n_special - module.frame.n_special
        lengths = batch.attention_mask.sum(dim=1).cpu().numpy() + prompt
        n_scored, classes = batch.scored.sum(dim=1).cpu().numpy(), class_ids.cpu().numpy()
        for index in np.unique(classes).tolist():
            rows = Rows(lengths[classes == index], n_scored[classes == index])
            shape = self._shape(module, index)
            self._products += training_products(shape, rows, has_class=index < module.n_classes)

    def _shape(self, denoiser: Denoiser, index: int) -> NetworkShape:
        key = index, tuple(value.requires_grad for value in denoiser.parameters())
        if key not in self._shapes:
            self._shapes[key] = shape_of(denoiser, index)
        return self._shapes[key]


def measure_training(
    classifier: DiffusionClassifier, parts: Mapping[str, TokenizedSplit], n_steps: int, clock: MatmulClock
) -> dict[str, Any]:
    """Train as the run was trained, for a few steps of each stage.

    Parameters
    ----------
    classifier : DiffusionClassifier
        For its options and its backbone, which is copied.
    parts : mapping
        ``train`` and ``validation``.
    n_steps : int
        Of each stage, start-up included.
    clock : MatmulClock

    Returns
    -------
    dict
        ``stages``: the figures of adaptation and classes; ``fraction`` of both together, in the proportion in which
        the run had them.
    """
    config = classifier.train_config()
    few = replace(config, adapt_steps=n_steps, class_steps=n_steps, checkpoint_steps=10 * n_steps)
    steps = StepClock(clock)
    names = [str(name) for name in classifier.classes_]
    backbone = copy.deepcopy(classifier.backbone_)
    options: dict[str, Any] = {"device": clock.device, "on_step": steps}
    with tempfile.TemporaryDirectory() as folder, steps.counting():
        train_denoiser(backbone, parts["train"], parts["validation"], names, few, Path(folder), **options)
    stages = {
        name: _without_start(pairs).figures() for name, pairs in zip(("adapt", "classes"), steps.stages, strict=True)
    }
    planned = {"adapt": config.adapt_steps, "classes": config.class_steps}
    work = {name: planned[name] * figures["gflops"] for name, figures in stages.items()}
    time_spent = sum(work[name] / figures["fraction"] for name, figures in stages.items())
    return {"stages": stages, "planned_steps": planned, "fraction": sum(work.values()) / time_spent}


def _without_start(pairs: Pairs) -> Pairs:
    first = min(FIRST_STEPS, len(pairs.seconds) - 1)
    return Pairs(pairs.seconds[first:], pairs.flops[first:], pairs.matmul[first:])
