"""Run records: what was run, on what, with which versions, so that a number can be made again."""

from __future__ import annotations

import math
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from gencls.data.storage import plain, write_json

PACKAGES = (
    "gencls",
    "torch",
    "transformers",
    "datasets",
    "peft",
    "accelerate",
    "safetensors",
    "scikit-learn",
    "scipy",
    "numpy",
)
DIRECTIONS = (">=", "<=")


def run_record(
    command: str | Sequence[str],
    config: Mapping[str, Any],
    seed: int,
    *,
    device: str | None = None,
    **extra: Any,
) -> dict[str, Any]:
    """Everything needed to run it again.

    Parameters
    ----------
    command : str or sequence of str
        As typed.
    config : mapping
    seed : int
    device : str, optional
        The accelerator's name; the CPU's name if not given.
    **extra
        Further entries: data, n_texts, wall_seconds, ...

    Returns
    -------
    dict
        command, config, seed, time (UTC, ISO 8601), commit (None outside a repository; "+changes" if files
        differ from it), versions, python, platform, device, n_cores, and `extra`.
    """
    return {
        "command": command if isinstance(command, str) else " ".join(command),
        "config": dict(config),
        "seed": seed,
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": git_commit(),
        "versions": package_versions(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "device": device or cpu_name(),
        "n_cores": available_cores(),
        **extra,
    }


def package_versions(names: Sequence[str] = PACKAGES) -> dict[str, str | None]:
    """Installed version of each package, None if absent. Reads metadata, imports nothing."""
    return {name: _version(name) for name in names}


def git_commit(folder: Path | None = None) -> str | None:
    """Commit around `folder` (default: this source file), "+changes" if tracked files differ from it."""
    where = folder or Path(__file__).resolve().parent
    commit = _git(where, "rev-parse", "HEAD")
    if not commit:
        return None
    return commit + ("+changes" if _git(where, "status", "--porcelain", "--untracked-files=no") else "")


def cpu_name() -> str:
    """The processor's model name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(models, "") or platform.processor() or platform.machine()


def available_cores() -> int:
    """Cores that this process may use, which in a container are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def target_row(name: str, value: float | None, target: float, direction: str, command: str) -> dict[str, Any]:
    """One row of `targets.json`: the value as measured, whatever it is, and whether it meets the target.

    Parameters
    ----------
    name : str
    value : float or None
        A fraction, not a percentage. None or NaN (not measured) does not meet anything.
    target : float
    direction : ">=" or "<="
    command : str
        What makes the number.

    Examples
    --------
    >>> target_row("accuracy", 0.85, 0.84, ">=", "make demo")["met"]
    True
    """
    if direction not in DIRECTIONS:
        raise ValueError(f"direction: expected one of {DIRECTIONS}, got {direction!r}. Say which side is good.")
    measured = math.nan if value is None else value
    # NaN compares false both ways, so what was not measured meets nothing.
    met = bool(measured >= target if direction == ">=" else measured <= target)
    return plain(
        {
            "name": name,
            "value": value,
            "target": target,
            "direction": direction,
            "met": met,
            "command": command,
        }
    )


def write_targets(path: Path | str, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write `targets.json`."""
    return write_json(path, list(rows))


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _git(folder: Path, *arguments: str) -> str:
    """Output of a git command, empty when there is no git or no repository."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
