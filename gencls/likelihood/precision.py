"""In which type a scorer runs: bfloat16 where the device is fast at it, measured, not guessed."""

from __future__ import annotations

import logging
import time
from functools import cache
from typing import Literal, get_args

import torch

from gencls.likelihood.store import ScoreStore

logger = logging.getLogger("gencls.likelihood")
Precision = Literal["auto", "float32", "bfloat16"]
#: bfloat16 must be this much faster than float32 to be worth its rounding.
WORTHWHILE_SPEEDUP = 1.3


def resolve_precision(precision: Precision, device: torch.device, store: ScoreStore | None = None) -> str:
    """Turn "auto" into the faster of "float32" and "bfloat16".

    Parameters
    ----------
    precision : {"auto", "float32", "bfloat16"}
        Anything but "auto" is left alone.
    device : torch.device
    store : ScoreStore, optional
        Keeps the choice: a measurement may fall the other way in the process that resumes.

    Returns
    -------
    {"float32", "bfloat16"}
    """
    if precision != "auto":
        return precision
    if store is None:
        return _faster_precision(device.type)
    allowed = [name for name in get_args(Precision) if name != "auto"]
    return store.settle(f"precision-{device.type}", lambda: _faster_precision(device.type), allowed)


@cache
def _faster_precision(device_type: str) -> str:
    """Time a matrix product in both types; once a process."""
    if device_type not in ("cpu", "cuda"):
        return "float32"
    plain, short = (_matmul_seconds(device_type, dtype) for dtype in (torch.float32, torch.bfloat16))
    chosen = "bfloat16" if plain > WORTHWHILE_SPEEDUP * short else "float32"
    logger.info("computing in %s: here bfloat16 runs %.1f times as fast as float32", chosen, plain / short)
    return chosen


def _matmul_seconds(device_type: str, dtype: torch.dtype, size: int = 1024, repeats: int = 4) -> float:
    """Return the shortest time of a square matrix product; the first one warms up."""
    square = torch.ones(size, size, device=device_type, dtype=dtype)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        (square @ square)[0, 0].item()  # reading a number waits for the device
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])
