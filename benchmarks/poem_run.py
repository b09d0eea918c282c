"""The folder of a poem benchmark: whose models it holds, and how long they took."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gencls.data.errors import three_parts
from gencls.data.storage import plain, read_json, write_json

RUN = "benchmark.json"


def now() -> tuple[float, float]:
    """Return seconds by the clock, and of the processors."""
    return time.monotonic(), time.process_time()


class Clock:
    """Minutes of a benchmark, by the clock and of its processors; what a kill ended is counted up to the last tick.

    Parameters
    ----------
    folder : Path
        Of the run.
    identity : mapping
        The options and the poems' fingerprint, plain data.
    started : tuple of float
        `now`, as it was when the benchmark began.

    Raises
    ------
    ValueError
        If the folder holds the models of other poems or options, which would be taken for these.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], started: tuple[float, float]) -> None:
        self.path = folder / RUN
        self.identity = plain(identity)
        before = read_json(self.path) if self.path.exists() else {"identity": self.identity, "minutes": [0.0, 0.0]}
        if before["identity"] != self.identity:
            todo = "Give another folder (--run), or remove it."
            raise ValueError(three_parts("a run of the same poems and options", f"another one in {folder}", todo))
        self.before = before["minutes"]
        self.started = started
        self.tick()

    def tick(self) -> None:
        """Write down how long it took so far."""
        write_json(self.path, {"identity": self.identity, "minutes": list(self.minutes)})

    @property
    def minutes(self) -> tuple[float, float]:
        """Minutes by the clock, and of the processors."""
        wall, work = (
            before + (end - start) / 60 for before, end, start in zip(self.before, now(), self.started, strict=True)
        )
        return wall, work
