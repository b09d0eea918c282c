"""Run records: what was run, on what, with which versions, so that a number can be made again.

Every file is written under a temporary name in its folder and renamed, so a killed run leaves no half file.
"""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

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


def write_atomic(path: Path | str, content: str | bytes) -> Path:
    """Write a file so that readers see either the old or the whole new one."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def write_json(path: Path | str, obj: Any) -> Path:
    """Write strict JSON, atomically: NaN and infinity become null, numpy values plain ones."""
    return write_atomic(path, json.dumps(plain(obj), indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: Path | str) -> Any:
    """Read JSON; a broken file is a `ValueError` that names it."""
    text = Path(path).read_text(encoding="utf-8")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}: expected JSON, got an error at line {error.lineno}: {error.msg}. "
            "The file is damaged: make it again with the command that wrote it."
        ) from error


def plain(obj: Any) -> Any:
    """Nested containers of numpy values and paths as what JSON has.

    Examples
    --------
    >>> plain({"a": np.float64("nan"), "b": np.arange(2), 3: (np.int64(1), Path("x"))})
    {'a': None, 'b': [0, 1], '3': [1, 'x']}
    """
    if isinstance(obj, Mapping):
        return {str(key): plain(value) for key, value in obj.items()}
    if isinstance(obj, np.ndarray | np.generic):
        return plain(obj.tolist())
    if isinstance(obj, list | tuple | set | frozenset):
        return [plain(value) for value in obj]
    if isinstance(obj, float) and not math.isfinite(obj):
        return None
    return obj if obj is None or isinstance(obj, str | int | float) else str(obj)


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
