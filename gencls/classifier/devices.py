"""Where a model runs."""

from __future__ import annotations

from typing import Any


def choose_device(name: str | None = None) -> Any:
    """Return the named device, else CUDA or the CPU (Apple's MPS only by name: it is not tested here)."""
    import torch

    if name is not None:
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
