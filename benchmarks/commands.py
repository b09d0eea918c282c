"""The command of a benchmark, as it stands on its page, and what it says while it runs."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from typing import Any

#: Folders of the machine that ran it: they change no number.
PLACES = ("runs", "output")


def as_typed(parser: argparse.ArgumentParser, arguments: Mapping[str, Any], *, always: Sequence[str] = ()) -> str:
    """Return the command with the options that were typed and change something.

    Parameters
    ----------
    parser : ArgumentParser
        Its `prog` is how the benchmark is called.
    arguments : mapping
        What it parsed.
    always : sequence of str
        Options that are named even at their default.

    Examples
    --------
    >>> parser = argparse.ArgumentParser(prog="python -m benchmarks.some")
    >>> _ = parser.add_argument("--data", default="imdb")
    >>> _ = parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    >>> as_typed(parser, {"data": "imdb", "seeds": [3, 4]}, always=("data",))
    'python -m benchmarks.some --data imdb --seeds 3 4'
    """
    words = [parser.prog]
    for name, value in arguments.items():
        if name not in PLACES and (name in always or value != parser.get_default(name)):
            words += [f"--{name.replace('_', '-')}", *_words(value)]
    return " ".join(words)


def log_to_stderr(*names: str) -> None:
    """Show warnings of all loggers, and what those of these names say from INFO on, with the time."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", stream=sys.stderr)
    for name in names:
        logging.getLogger(name).setLevel(logging.INFO)


def _words(value: Any) -> list[str]:
    if value is True:
        return []
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]
