"""What classes cost, which options pay, what bfloat16 changes, and whether worker processes give the same bits."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.throughput_rates import timed
from gencls.diffusion.conditioning import Adapter, ConditioningConfig, Mode
from gencls.diffusion.denoiser import Denoiser
from gencls.diffusion.parts import Backbone
from gencls.likelihood.engine import Scores, score_texts
from gencls.likelihood.estimators import Estimator

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
#: Ways to condition on the class, and the last layers that carry adapters (all of them if None).
MODES: tuple[tuple[Mode, int | None], ...] = (
    ("conditional", None),
    ("adapter", None),
    ("adapter", 1),
    ("independent", None),
)
#: Full copies of the network beyond this are no option on a machine of common size.
MOST_COPIES = 8
#: Few enough to run on one thread, where a compiler works.
WARM_UP_TEXTS = 8


def class_costs(
    backbone: Backbone,
    trained: Denoiser,
    token_ids: Sequence[IntArray],
    estimator: Estimator,
    *,
    n_classes: Sequence[int],
    rank: int,
) -> list[dict[str, Any]]:
    """Time scoring under more and more classes.

    Parameters
    ----------
    backbone : Backbone
        Copied for every denoiser; the class parts are untrained, the tables are those of `trained`, in turn.
    trained : Denoiser
    token_ids : sequence of N ndarray of shape (L,), int64
    estimator : Estimator
    n_classes : sequence of int
        The first one is what the others are compared with.
    rank : int

    Returns
    -------
    list of dict
        ``mode``, ``adapter_layers``, ``n_classes``, ``seconds_per_text``, ``ratio`` and ``classes_ratio`` to the first
        number of classes.
    """
    rows: list[dict[str, Any]] = []
    for mode, n_layers in MODES:
        counts = [count for count in n_classes if mode != "independent" or count <= MOST_COPIES]
        seconds = []
        for count in counts:
            denoiser = denoiser_of(backbone, trained, count, ConditioningConfig(mode, rank, adapter_layers=n_layers))
            seconds.append(_seconds_per_text(denoiser, token_ids, estimator))
            rows.append(
                {
                    "mode": mode,
                    "adapter_layers": n_layers,
                    "n_classes": count,
                    "seconds_per_text": seconds[-1],
                    "ratio": seconds[-1] / seconds[0],
                    "classes_ratio": count / counts[0],
                }
            )
    return rows


def denoiser_of(backbone: Backbone, trained: Denoiser, n_classes: int, config: ConditioningConfig) -> Denoiser:
    """Build a denoiser of any number of classes, with real tables of counts and untrained class parts."""
    denoiser = Denoiser(copy.deepcopy(backbone), n_classes, config).to(trained.bias.device)
    source = torch.arange(n_classes, device=trained.bias.device) % trained.n_classes
    denoiser.set_unigram(trained.bias.detach(), trained.class_bias[source])
    known = trained.pairs
    denoiser.pairs.set_table(known.keys, known.values[source], known.triple_keys, known.triple_values[source])
    return denoiser.eval()


def _seconds_per_text(denoiser: Denoiser, token_ids: Sequence[IntArray], estimator: Estimator) -> float:
    score_texts(denoiser, token_ids[:1], estimator, seed=0)  # warms up, and makes the tables
    seconds = timed(lambda: score_texts(denoiser, token_ids, estimator, seed=0), denoiser.bias.device)
    return seconds / len(token_ids)


def precision_and_options(
    denoiser: Denoiser,
    token_ids: Sequence[IntArray],
    estimator: Estimator,
    *,
    with_compile: bool = True,
    n_pairs: int = 3,
) -> list[dict[str, Any]]:
    """Score in both precisions, with a compiled and with a quantised encoder.

    Returns
    -------
    list of dict
        ``option``, ``precision``, ``seconds_per_text``, ``start_seconds`` (once), ``ratio`` (its time to that of the
        engine in its own choice of precision; median of pairs), ``largest_sum_difference`` and
        ``largest_log_odds_difference`` (nats, to float32), ``decisions_changed``; or ``error`` where the machine
        cannot do it.
    """
    study = _Study(denoiser, list(token_ids), estimator, n_pairs)
    reference = study.score(denoiser, "float32").samples
    options: list[tuple[str, str, Callable[[Denoiser], Denoiser]]] = [
        ("engine", "float32", lambda model: model),
        ("engine", "bfloat16", lambda model: model),
    ]
    if with_compile:
        options.append(("torch.compile", "bfloat16", _compiled))
    if denoiser.bias.device.type == "cpu":
        options.append(("int8 dynamic quantisation", "float32", _quantised))
    return [study.row(*option, reference) for option in options]


@dataclass(frozen=True)
class _Study:
    """One network and texts, and what is compared on them."""

    denoiser: Denoiser
    token_ids: list[IntArray]
    estimator: Estimator
    n_pairs: int

    def score(self, model: Denoiser, precision: str, n_texts: int | None = None) -> Scores:
        chosen: Any = precision
        return score_texts(model, self.token_ids[:n_texts], self.estimator, seed=0, precision=chosen)

    def row(
        self, option: str, precision: str, prepare: Callable[[Denoiser], Denoiser], reference: FloatArray
    ) -> dict[str, Any]:
        facts = {"option": option, "precision": precision}
        try:
            return facts | self._figures(prepare, precision, reference)
        except Exception as error:  # compilers and backends raise what they like; the report says so
            return facts | {"error": f"{type(error).__name__}: {str(error).strip().splitlines()[0][:120]}"}

    def _figures(
        self, prepare: Callable[[Denoiser], Denoiser], precision: str, reference: FloatArray
    ) -> dict[str, Any]:
        started = time.perf_counter()
        model = prepare(self.denoiser)
        self.score(model, precision, WARM_UP_TEXTS)
        start_seconds = time.perf_counter() - started
        samples = self.score(model, precision).samples
        device = self.denoiser.bias.device
        seconds, ratios = [], []
        for _ in range(self.n_pairs):
            plain = timed(lambda: self.score(self.denoiser, "auto"), device)
            seconds.append(timed(lambda: self.score(model, precision), device))
            ratios.append(seconds[-1] / plain)
        return {
            "seconds_per_text": float(np.median(seconds)) / len(self.token_ids),
            "start_seconds": start_seconds,
            "ratio": float(np.median(ratios)),
            **differences(samples, reference),
        }


def differences(samples: FloatArray, reference: FloatArray) -> dict[str, Any]:
    """Return the largest differences of scores (N, C, K): of draws, of log-odds, and decisions that change."""
    mean, expected = samples.mean(axis=2), reference.mean(axis=2)
    odds, expected_odds = mean - mean[:, :1], expected - expected[:, :1]
    return {
        "largest_sum_difference": float(np.abs(samples - reference).max()),
        "largest_log_odds_difference": float(np.abs(odds - expected_odds).max()),
        "decisions_changed": int((mean.argmax(axis=1) != expected.argmax(axis=1)).sum()),
    }


def _compiled(denoiser: Denoiser) -> Denoiser:
    """Return a copy whose encoder, in the form that bfloat16 scoring runs, is compiled at its first use."""
    model = copy.deepcopy(denoiser).eval()
    encoder: nn.Module = model._short_network().encoder
    if isinstance(model.network, Adapter):
        encoder = model._grouped_encoder(range(model.n_classes), torch.bfloat16)
    encoder.compile(dynamic=False)
    return model


def _quantised(denoiser: Denoiser) -> Denoiser:
    """Return a copy whose encoder has linear maps in int8, activations quantised as they come."""
    model = copy.deepcopy(denoiser).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces a successor in another package
        quantise: Callable[..., nn.Module] = torch.ao.quantization.quantize_dynamic
        model.network.encoder = quantise(model.network.encoder, {nn.Linear}, dtype=torch.qint8)
    return model


def worker_processes(
    denoiser: Denoiser, token_ids: Sequence[IntArray], estimator: Estimator, *, n_jobs: int = 2
) -> dict[str, Any]:
    """Score in one process and in several.

    Returns
    -------
    dict
        ``n_jobs``, ``is_identical`` (to the last bit), ``seconds`` of both, ``ratio`` of several to one; the workers'
        start is in it, as a caller would see it the second time.
    """
    results, seconds = [], []
    for jobs in (1, n_jobs):
        score_texts(denoiser, token_ids[: 4 * jobs], estimator, seed=0, n_jobs=jobs)
        start = time.perf_counter()
        results.append(score_texts(denoiser, token_ids, estimator, seed=0, n_jobs=jobs).samples)
        seconds.append(time.perf_counter() - start)
    return {
        "n_jobs": n_jobs,
        "n_texts": len(token_ids),
        "is_identical": bool(np.array_equal(results[0], results[1])),
        "seconds": seconds,
        "ratio": seconds[1] / seconds[0],
    }
