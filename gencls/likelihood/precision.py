"""In which type a scorer runs: bfloat16 where the device is fast at it, measured, not guessed."""

from __future__ import annotations

import logging
import time
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, Literal, get_args

import torch

from gencls.likelihood.store import ScoreStore

logger = logging.getLogger("gencls.likelihood")
Precision = Literal["auto", "float32", "bfloat16", "float16"]
#: bfloat16 must be this much faster than float32 to be worth its rounding.
WORTHWHILE_SPEEDUP = 1.3


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Return the autocast of a precision; none for float32, also inside a caller's."""
    dtype = torch.float16 if precision == "float16" else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=precision != "float32")


def resolve_precision(precision: Precision, device: torch.device, store: ScoreStore | None = None) -> str:
    """Turn "auto" into the first short type that is worth its rounding, or "float32".

    Parameters
    ----------
    precision : {"auto", "float32", "bfloat16", "float16"}
        Anything but "auto" is left alone.
    device : torch.device
    store : ScoreStore, optional
        Keeps the choice: a measurement may fall the other way in the process that resumes.

    Returns
    -------
    {"float32", "bfloat16", "float16"}
    """
    if precision != "auto":
        return precision
    if store is None:
        return _faster_precision(device.type)
    allowed = [name for name in get_args(Precision) if name != "auto"]
    return store.settle(f"precision-{device.type}", lambda: _faster_precision(device.type), allowed)


#: What "auto" chooses from: no processor is fast at float16, and few devices at float16 alone.
CANDIDATES = {"cpu": ("bfloat16",), "cuda": ("bfloat16", "float16")}


@cache
def _faster_precision(device_type: str) -> str:
    """Time a matrix product in each type; once a process."""
    plain = _matmul_seconds(device_type, torch.float32) if device_type in CANDIDATES else 0.0
    for name in CANDIDATES.get(device_type, ()):
        speedup = plain / _matmul_seconds(device_type, getattr(torch, name))
        if speedup > WORTHWHILE_SPEEDUP:
            logger.info("computing in %s: here it runs %.1f times as fast as float32", name, speedup)
            return name
    return "float32"


def _matmul_seconds(device_type: str, dtype: torch.dtype, size: int = 1024, repeats: int = 4) -> float:
    """Return the shortest time of a square matrix product; the first one warms up."""
    square = torch.ones(size, size, device=device_type, dtype=dtype)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        (square @ square)[0, 0].item()  # reading a number waits for the device
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])
