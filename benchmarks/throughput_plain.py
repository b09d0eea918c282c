"""The way before the engine: every text, class and step through `Denoiser.forward`, in padded batches; and profiles.

Nothing is shared: the pass that hides everything is run again for every text and draw, the encoder for every class,
and (rows, V) logits are made in float32. It gives the same scores, up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gencls.diffusion.batches import frame_rows
from gencls.diffusion.denoiser import Denoiser
from gencls.likelihood.estimators import Estimator
from gencls.likelihood.precision import autocast

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
BATCH_ROWS = 32
TOP_OPERATIONS = 12


class PlainRow(NamedTuple):
    """One forward pass of one text."""

    text: int
    draw: int
    token_ids: IntArray
    hidden: BoolArray
    scored: BoolArray
    weight: float


@torch.inference_mode()
def plain_scoring(
    denoiser: Denoiser, token_ids: Sequence[IntArray], estimator: Estimator, *, seed: int, precision: str
) -> FloatArray:
    """Return samples (N, C, K) as `score_texts` does, in nats, without any of its shared work.

    Parameters
    ----------
    denoiser : Denoiser
    token_ids : sequence of N ndarray of shape (L,), int64
    estimator : Estimator
        One whose draws are samples.
    seed : int
    precision : {"float32", "bfloat16", "float16"}
    """
    denoiser.eval()
    rows = plain_rows(token_ids, estimator, seed=seed)
    samples = np.zeros((len(token_ids), denoiser.n_classes, estimator.n_plan_draws))
    with autocast(precision, denoiser.bias.device):
        for start in range(0, len(rows), BATCH_ROWS):
            batch = rows[start : start + BATCH_ROWS]
            values = _batch_sums(denoiser, batch)
            for place, row in enumerate(batch):
                samples[row.text, :, row.draw] += row.weight * values[:, place]
    return samples


def plain_rows(token_ids: Sequence[IntArray], estimator: Estimator, *, seed: int) -> list[PlainRow]:
    """Return every pass of every draw, text after text."""
    rows = []
    for text, ids in enumerate(token_ids):
        plan = estimator.plan(ids, seed=seed)
        for draw, step in np.argwhere(plan.scored.any(axis=-1)).tolist():
            masks = plan.masked[draw, step], plan.scored[draw, step]
            rows.append(PlainRow(text, draw, ids, *masks, float(plan.weights[draw, step])))
    return rows


def _batch_sums(denoiser: Denoiser, rows: Sequence[PlainRow]) -> FloatArray:
    """Sum the log-probabilities of each row under each class, (C, B)."""
    device = denoiser.bias.device
    texts, hidden, scored = ([getattr(row, name) for row in rows] for name in ("token_ids", "hidden", "scored"))
    batch = frame_rows(texts, hidden, scored, denoiser.frame).to(device)
    owner = batch.scored.nonzero()[:, 0]
    sums: list[Tensor] = []
    for index in range(denoiser.n_classes):
        log_probs = denoiser(batch, torch.full((len(rows),), index, device=device))
        sums.append(torch.zeros(len(rows), dtype=torch.float64, device=device).index_add(0, owner, log_probs.double()))
    return torch.stack(sums).cpu().numpy()


def profile_of(work: Callable[[], object], device: torch.device) -> list[dict[str, Any]]:
    """Return the operations that take most time of their own; a processor works on one thread meanwhile.

    Returns
    -------
    list of dict
        ``operation``, ``milliseconds`` and ``share`` of its own time, ``calls``; the last row sums all others up.
    """
    on_device = device.type == "cuda"
    activities = [torch.profiler.ProfilerActivity.CPU]
    activities += [torch.profiler.ProfilerActivity.CUDA] if on_device else []
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # times of several threads would add up to more than has passed
    try:
        with torch.profiler.profile(activities=activities, experimental_config=_all_threads()) as profiler:
            work()
    finally:
        torch.set_num_threads(n_threads)
    attribute = "self_device_time_total" if on_device else "self_cpu_time_total"
    events = [(event.key, getattr(event, attribute) / 1e3, event.count) for event in profiler.key_averages()]
    events.sort(key=lambda event: -event[1])
    rest = events[TOP_OPERATIONS:]
    others = (f"{len(rest)} others", sum(event[1] for event in rest), sum(event[2] for event in rest))
    total = sum(event[1] for event in events) or 1.0
    return [
        {"operation": name, "milliseconds": milliseconds, "share": milliseconds / total, "calls": calls}
        for name, milliseconds, calls in [*events[:TOP_OPERATIONS], others]
    ]


def _all_threads() -> Any:
    """The engine works on threads of its own, which the profiler does not see by itself; nor can an older PyTorch."""
    try:
        return torch._C._profiler._ExperimentalConfig(profile_all_threads=True)
    except TypeError:
        return None
