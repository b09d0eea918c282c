"""Forward passes on disk, so that a killed scoring goes on where it stopped and ends with the same bits.

What is kept is not a score but what scores are made of: the log-probabilities of one forward pass, filed under
everything that decides them and nothing else. That is the settings (fingerprint of the scorer's weights, classes,
precision, device), the token ids and the mask. Seed, estimator, draw and step are *in* the mask. So 16 draws begin with
the 4 that are there already, 16 steps find the masks of 4, and one folder can serve many scorers and settings.

All is in one SQLite file (`gencls.likelihood.database`), one transaction per batch: a kill loses the batch that was
being written, nothing more. Every record has a checksum (`gencls.likelihood.forwards`). A damaged record is scored
again, a damaged file is left aside and a new one begun; both with a warning.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gencls.data.errors import three_parts
from gencls.likelihood.database import Database, transaction
from gencls.likelihood.forwards import StoredForward, decode, encode, forward_key

__all__ = ["ForwardStore", "ScoreStore", "StoredForward", "forward_key", "scorer_fingerprint"]

logger = logging.getLogger("gencls.likelihood")
#: Part of every key. Raise it when the engine's arithmetic or the records change, so that old numbers are not mixed
#: with new ones.
STORE_VERSION = 2
FILE = "scores.sqlite"
TABLES = {
    # for people: which settings the file has served; the keys of `forwards` have the digest in them
    "settings": "digest BLOB PRIMARY KEY, json TEXT NOT NULL",
    "forwards": "key BLOB PRIMARY KEY, record BLOB NOT NULL",
    "choices": "name TEXT PRIMARY KEY, value TEXT NOT NULL",
}
#: Keys of one SELECT; SQLite before 3.32 takes 999.
KEYS_PER_SELECT = 500


class ScoreStore:
    """A folder of forward passes.

    Parameters
    ----------
    folder : Path or str
        Made when the first settings are opened.
    fingerprint : str, optional
        What identifies the scorer: two scorers that give different numbers must have different ones. If not
        given, `scorer_fingerprint` of the scorer's weights.
    """

    def __init__(self, folder: Path | str, *, fingerprint: str | None = None) -> None:
        self.folder = Path(folder)
        self.fingerprint = fingerprint
        self._database = Database(self.folder / FILE, TABLES)

    def open(self, settings: Mapping[str, Any]) -> ForwardStore:
        """Return the forwards of some settings.

        Parameters
        ----------
        settings : mapping
            Plain JSON data, everything but text and mask that decides a log-probability: fingerprint of the scorer,
            classes, precision, device. The versions of this module and of torch are added.

        Returns
        -------
        ForwardStore

        Raises
        ------
        OSError
            If the folder cannot be written to; before any scoring.
        """
        return ForwardStore(self._database, {"version": STORE_VERSION, "torch": torch.__version__, **settings})

    def settle(self, name: str, choose: Callable[[], str], allowed: Sequence[str]) -> str:
        """Return a choice that was made for this folder before, or make and keep it.

        A choice by measurement (which precision is faster) may fall the other way in the process that
        resumes; the forwards of both would then not fit together. Of two processes that choose at the same time,
        the first one decides.
        """
        kept = self._database.run(lambda connection: _choice(connection, name))
        if kept in allowed:
            return str(kept)
        if kept is not None:
            logger.warning("The store's %s is %r and none of %s; chosen again.", name, kept, list(allowed))
        chosen = choose()
        return self._database.run(lambda connection: _keep_choice(connection, name, chosen, allowed))


class ForwardStore:
    """The forwards of one scorer under one setting; `ScoreStore.open` makes it.

    It holds no open file, so that it can be pickled, and used by many threads and processes at once.
    """

    def __init__(self, database: Database, settings: Mapping[str, Any]) -> None:
        self._database = database
        self._json = json.dumps(settings, sort_keys=True)
        self._digest = hashlib.blake2b(self._json.encode(), digest_size=16).digest()
        database.run(self._sign)

    def get(self, keys: Sequence[bytes]) -> list[StoredForward | None]:
        """Return the forwards that are known.

        Parameters
        ----------
        keys : sequence of n bytes
            See `forward_key`.

        Returns
        -------
        list of n StoredForward or None
            None where the forward has to be computed. Ask each one for its places with `StoredForward.at`: it may
            know fewer than are wanted.
        """
        names = [self._name(key) for key in keys]
        found = self._database.run(lambda connection: _select(connection, names))
        n_damaged = sum(forward is None for forward in found.values())
        if n_damaged:
            logger.warning("%d records of %s are damaged; they are scored again.", n_damaged, self._database.path.name)
        return [found.get(name) for name in names]

    def put(self, keys: Sequence[bytes], forwards: Sequence[StoredForward]) -> None:
        """Keep forwards, all of them or (when killed) none.

        Of a key that is there already, the places of both are kept.

        Parameters
        ----------
        keys : sequence of n bytes
        forwards : sequence of n StoredForward

        Raises
        ------
        OSError
            If the disk is full or the folder cannot be written to.
        """
        fresh: dict[bytes, StoredForward] = {}
        for key, forward in zip(keys, forwards, strict=True):
            name = self._name(key)
            fresh[name] = fresh[name].union(forward) if name in fresh else forward
        self._database.run(lambda connection: self._merge(connection, fresh))

    def _name(self, key: bytes) -> bytes:
        """Key and settings in one: no row number of `settings`, which a file begun anew could give to others."""
        return hashlib.blake2b(key, key=self._digest, digest_size=16).digest()

    def _merge(self, connection: sqlite3.Connection, fresh: Mapping[bytes, StoredForward]) -> None:
        with transaction(connection):
            self._sign(connection)
            stored = _select(connection, list(fresh))
            merged = ((name, _merged(stored.get(name), forward)) for name, forward in fresh.items())
            rows = ((name, encode(name, forward)) for name, forward in merged if forward is not None)
            connection.executemany("INSERT OR REPLACE INTO forwards VALUES (?, ?)", rows)

    def _sign(self, connection: sqlite3.Connection) -> None:
        """Write the settings down, unless they are: a finished store can be read in a read-only folder."""
        if connection.execute("SELECT 1 FROM settings WHERE digest = ?", [self._digest]).fetchone() is None:
            connection.execute("INSERT OR IGNORE INTO settings VALUES (?, ?)", [self._digest, self._json])


def _select(connection: sqlite3.Connection, names: Sequence[bytes]) -> dict[bytes, StoredForward | None]:
    """Return what is there under some names; None where the record is damaged."""
    found: dict[bytes, StoredForward | None] = {}
    for start in range(0, len(names), KEYS_PER_SELECT):
        part = names[start : start + KEYS_PER_SELECT]
        marks = ",".join("?" * len(part))
        rows = connection.execute(f"SELECT key, record FROM forwards WHERE key IN ({marks})", part)
        found.update((name, decode(name, record)) for name, record in rows)
    return found


def _merged(stored: StoredForward | None, fresh: StoredForward) -> StoredForward | None:
    """Return what has to be written, or None when the stored forward knows it all."""
    if stored is None:
        return fresh
    return None if stored.at(fresh.places) is not None else stored.union(fresh)


def _choice(connection: sqlite3.Connection, name: str) -> str | None:
    row = connection.execute("SELECT value FROM choices WHERE name = ?", [name]).fetchone()
    return None if row is None else row[0]


def _keep_choice(connection: sqlite3.Connection, name: str, chosen: str, allowed: Sequence[str]) -> str:
    """Write a choice down unless another process was faster; returns the one that holds."""
    with transaction(connection):
        kept = _choice(connection, name)
        if kept not in allowed:
            connection.execute("INSERT OR REPLACE INTO choices VALUES (?, ?)", [name, chosen])
            kept = chosen
    return str(kept)


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
        if not value.numel():  # an empty one may have strides that no view has
            continue
        # as raw bytes: numpy has no bfloat16
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
