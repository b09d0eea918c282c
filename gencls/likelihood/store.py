"""Scores on disk, so that a killed scoring goes on where it stopped and ends with the same bits.

A *shard* is a slice of the caller's texts. Its file is named by a digest of everything that decides its
numbers: the scorer (a fingerprint of its weights), the estimator, the seed, the classes, the precision and
the token ids. So a file is either right or never looked at, and one folder can serve many scorers and
settings. A file is written under a temporary name and renamed; one that cannot be read is computed again,
with a warning.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gencls.data.errors import three_parts
from gencls.data.storage import write_atomic

logger = logging.getLogger("gencls.likelihood")
#: Part of every key. Raise it when the engine's arithmetic changes, so that old files are not mixed with new
#: ones.
STORE_VERSION = 1


class ScoreStore:
    """A folder of finished shards.

    Parameters
    ----------
    folder : Path or str
        Made when the first shard is saved.
    fingerprint : str, optional
        What identifies the scorer: two scorers that give different numbers must have different ones. If not
        given, `scorer_fingerprint` of the scorer's weights.
    """

    def __init__(self, folder: Path | str, *, fingerprint: str | None = None) -> None:
        self.folder = Path(folder)
        self.fingerprint = fingerprint

    def key(self, settings: Mapping[str, Any], token_ids: Sequence[NDArray[np.integer]]) -> str:
        """Return the name of a shard.

        Parameters
        ----------
        settings : mapping
            Plain JSON data: fingerprint of the scorer, estimator, seed, classes, precision, device.
        token_ids : sequence of ndarray of shape (L,), integer
            Texts of the shard, in order.

        Returns
        -------
        str
            32 hexadecimal digits.
        """
        head = {"version": STORE_VERSION, "torch": torch.__version__, **settings}
        digest = hashlib.blake2b(json.dumps(head, sort_keys=True).encode(), digest_size=16)
        for ids in token_ids:
            # the length in front, else [1], [2, 3] and [1, 2], [3] would be one key
            digest.update(len(ids).to_bytes(8, "little"))
            digest.update(np.asarray(ids, dtype="<i8").tobytes())
        return digest.hexdigest()

    def load(self, key: str, shape: tuple[int, ...]) -> NDArray[np.float64] | None:
        """Return the samples of a finished shard, or None when it has to be computed.

        Parameters
        ----------
        key : str
        shape : tuple of int
            What the shard must have: (n texts, C, K).

        Returns
        -------
        ndarray of float64, nats, or None
        """
        path = self._path(key)
        if not path.is_file():
            return None
        try:
            # from memory: a damaged file would else stay open
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
                samples: NDArray[np.float64] = archive["samples"]
            if samples.shape != shape or samples.dtype != np.float64:
                raise ValueError(f"shape {samples.shape} and {samples.dtype} instead of {shape} and float64")
        except Exception as error:  # a damaged zip raises nearly anything
            logger.warning("%s is damaged (%s); its texts are scored again.", path.name, error)
            return None
        return samples

    def save(self, key: str, samples: NDArray[np.float64]) -> Path:
        """Write the samples of a shard, atomically.

        Parameters
        ----------
        key : str
        samples : ndarray of shape (n texts, C, K), float64, nats

        Returns
        -------
        Path
        """
        buffer = io.BytesIO()
        np.savez(buffer, samples=samples)
        return write_atomic(self._path(key), buffer.getvalue())

    def settle(self, name: str, choose: Callable[[], str], allowed: Sequence[str]) -> str:
        """Return a choice that was made for this folder before, or make and keep it.

        A choice by measurement (which precision is faster) may fall the other way in the process that
        resumes; the shards of both would then not fit together.
        """
        path = self.folder / f"{name}.json"
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept in allowed:
                return str(kept)
            logger.warning("%s holds none of %s; chosen again.", path.name, list(allowed))
        except FileNotFoundError:
            pass
        except ValueError as error:
            logger.warning("%s is damaged (%s); chosen again.", path.name, error)
        chosen = choose()
        write_atomic(path, json.dumps(chosen).encode())
        return chosen

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.npz"


def scorer_fingerprint(module: object) -> str:
    """Return a digest of a module's class, and the names, types, shapes and bytes of its state.

    Parameters
    ----------
    module : torch.nn.Module

    Returns
    -------
    str
        32 hexadecimal digits. Equal weights give equal ones on every device.

    Raises
    ------
    TypeError
        If it is no module, so that it has no weights to tell it by.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(
            three_parts(
                "a torch module as the scorer of a store without a fingerprint",
                type(module).__name__,
                "Give the store one: ScoreStore(folder, fingerprint=...).",
            )
        )
    digest = hashlib.blake2b(type(module).__qualname__.encode(), digest_size=16)
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"|{name}|{value.dtype}|{tuple(value.shape)}|".encode())
        # as raw bytes: numpy has no bfloat16
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
