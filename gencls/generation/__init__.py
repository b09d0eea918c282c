"""Generation: the reverse process, from hidden tokens to text, and what it leaves to be looked at.

The public names load on first use, as in `gencls`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gencls.generation.animation import animate
    from gencls.generation.config import GenerationConfig
    from gencls.generation.trajectory import Step, Trajectory
    from gencls.generation.writing import generate, infill

__all__ = ["GenerationConfig", "Step", "Trajectory", "animate", "generate", "infill"]

_HOME_OF = {
    "GenerationConfig": "gencls.generation.config",
    "Step": "gencls.generation.trajectory",
    "Trajectory": "gencls.generation.trajectory",
    "animate": "gencls.generation.animation",
    "generate": "gencls.generation.writing",
    "infill": "gencls.generation.writing",
}


def __getattr__(name: str) -> object:
    """Import a public name from its module on first use (PEP 562)."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'gencls.generation' has no attribute {name!r}; the public names are {__all__}")
    return getattr(import_module(_HOME_OF[name]), name)
