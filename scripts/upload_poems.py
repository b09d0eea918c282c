"""Upload a JSONL file of poems to the Hugging Face hub as a data set, split by author as the benchmark splits it.

    python scripts/upload_poems.py poems.jsonl NAME/chinese_modern_poems

The hub's client asks for the token of the machine (`hf auth login`). Near-copies across the splits are left out.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gencls.data.poems import SHARES, read_poems, split_poems


def rows_of(path: Path) -> dict[str, list[dict[str, str]]]:
    """Return title, author and text of the poems of each split."""
    splits = split_poems(read_poems(path).poems)
    return {name: [dataclasses.asdict(poem) for poem in getattr(splits, name)] for name in SHARES}


def upload(path: Path, name: str, *, private: bool, push: Callable[..., Any] | None = None) -> None:
    """Upload the splits under a name; `push` is the hub's call, for tests."""
    import datasets

    parts = {split: datasets.Dataset.from_list(rows) for split, rows in rows_of(path).items() if rows}
    send = push or datasets.DatasetDict.push_to_hub
    send(datasets.DatasetDict(parts), name, private=private)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="upload poems to the hub")
    parser.add_argument("poems", type=Path, help="JSONL with title, author and content")
    parser.add_argument("name", help="name of the data set on the hub")
    parser.add_argument("--public", action="store_true", help="let everybody read it")
    arguments = parser.parse_args()
    upload(arguments.poems, arguments.name, private=not arguments.public)
