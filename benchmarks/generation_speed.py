"""Speed of the sampler of `benchmarks.generation`: against a position-by-position loop, and in a batch.

All ways write the same prefix and the same number of tokens with the same model, order, temperature and precision, one
token a step. Each writes once untimed; then they take turns, and who goes first changes in every round. A ratio is the
ratio of median times; its extremes are those of single rounds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.rivals import position_loop
from gencls.diffusion.language_model import LanguageModel
from gencls.generation.comparison import check_repeats
from gencls.generation.config import GenerationConfig
from gencls.generation.template import template_of
from gencls.generation.vocabulary import vocabulary_of
from gencls.generation.writing import generate

FloatArray = NDArray[np.float64]
#: Orders that the loop has too.
LOOP_ORDERS = ("random", "confidence")
#: Texts of the timed batch; the target of batching is named after it.
TIMED_TEXTS = 16


@dataclass(frozen=True)
class Task:
    """What everybody writes in turn.

    Parameters
    ----------
    prefix : str
    length : int
        New tokens of each text.
    n_texts : int
        Texts of the batch.
    n_repeats : int
        Timed rounds, odd.
    """

    prefix: str
    length: int = 64
    n_texts: int = TIMED_TEXTS
    n_repeats: int = 3


def times_in_turns(works: Mapping[str, Callable[[], object]], n_repeats: int) -> dict[str, FloatArray]:
    """Return the seconds of every timed round of each work, shape (R,).

    Raises
    ------
    ValueError
        If `n_repeats` is even or below one.
    """
    check_repeats(n_repeats)
    for work in works.values():
        work()
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for number in range(n_repeats):
        for name in list(works) if number % 2 == 0 else list(works)[::-1]:
            begun = time.perf_counter()
            works[name]()
            seconds[name].append(time.perf_counter() - begun)
    return {name: np.array(own) for name, own in seconds.items()}


def ratio(slow: FloatArray, fast: FloatArray) -> dict[str, float]:
    """Return how many times faster: of the medians, with the least and the most of a round.

    Examples
    --------
    >>> ratio(np.array([4.0, 6.0, 5.0]), np.array([1.0, 2.0, 1.0]))
    {'value': 5.0, 'low': 3.0, 'high': 5.0}
    """
    rounds = slow / fast
    value = np.median(slow) / np.median(fast)
    return {"value": float(value), "low": float(rounds.min()), "high": float(rounds.max())}


def measure_order(model: LanguageModel, task: Task, config: GenerationConfig) -> dict[str, Any]:
    """Measure one order: seconds, tokens per second and ratios, plain data.

    Parameters
    ----------
    model : LanguageModel
    task : Task
    config : GenerationConfig
        Its order, temperature and precision count; the rest is one token a step without any limit of the choice,
        which is all that the loop has.
    """
    same = GenerationConfig(
        length=task.length, order=config.order, temperature=config.temperature, precision=config.precision
    )
    works = _works(model, task, same)
    seconds = times_in_turns(works, task.n_repeats)
    rows = {name: _rate(own, task) for name, own in seconds.items()}
    result: dict[str, Any] = {"order": config.order, "ways": rows}
    result["batch_speedup"] = ratio(seconds["one by one"], seconds["batch"])
    if config.order in LOOP_ORDERS:
        result["speedup_over_loop"] = ratio(seconds["loop"], seconds["batch"])
        result["speedup_over_loop_one_by_one"] = ratio(seconds["loop"], seconds["one by one"])
    return result


def measure_speed(
    model: LanguageModel, task: Task, config: GenerationConfig, orders: Sequence[Any] = ("confidence", "random")
) -> list[dict[str, Any]]:
    """Measure several orders, see `measure_order`; the loop stands beside those that it has."""
    return [measure_order(model, task, replace(config, order=order)) for order in orders]


def _works(model: LanguageModel, task: Task, config: GenerationConfig) -> dict[str, Callable[[], object]]:
    seeds = range(task.n_texts)
    works: dict[str, Callable[[], object]] = {
        "batch": lambda: generate(model, config, prefix=task.prefix, n_samples=task.n_texts),
        "one by one": lambda: [generate(model, config, prefix=task.prefix, seed=seed) for seed in seeds],
    }
    if config.order in LOOP_ORDERS:
        start = _start(model, task)
        options: Any = {name: getattr(config, name) for name in ("order", "temperature", "precision")}
        works["loop"] = lambda: [position_loop.write(model, start, seed=seed, **options) for seed in seeds]
    return works


def _start(model: LanguageModel, task: Task) -> NDArray[np.int64]:
    """The prefix and the hidden tokens behind it, shape (L,)."""
    vocabulary = vocabulary_of(model.tokenizer, model.denoiser.vocab_size)
    return template_of([task.prefix, task.length], vocabulary, model.denoiser.frame.mask).token_ids


def _rate(seconds: FloatArray, task: Task) -> dict[str, float]:
    median = float(np.median(seconds))
    return {
        "seconds": median,
        "fastest_seconds": float(seconds.min()),
        "slowest_seconds": float(seconds.max()),
        "tokens_per_second": task.n_texts * task.length / median,
    }
