"""Small files of a run or a report: JSON, written whole or not at all."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


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
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        where = f"line {error.lineno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise ValueError(
            f"{path}: expected JSON, got an error at {where}. "
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
