"""Texts without labels: what a class-free language model is trained on."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gencls.data.catalog import CATALOG
from gencls.data.errors import HubError, nearest, three_parts
from gencls.data.files import TABLE_SUFFIXES, load_texts, missing_file
from gencls.data.fingerprint import digest_of_texts
from gencls.data.hub import hub_reachable
from gencls.data.sources import load_dataset
from gencls.data.text import clean

logger = logging.getLogger("gencls.data")


@dataclass(frozen=True)
class HubCorpus:
    """A corpus of the hub: its repository and the configuration in it."""

    path: str
    config: str | None = None


#: Short names of corpora that are read from the hub as a stream.
HUB_CORPORA = {
    "wikitext": HubCorpus("Salesforce/wikitext", "wikitext-103-raw-v1"),
    "openwebtext": HubCorpus("Skylion007/openwebtext"),
}


@dataclass(frozen=True)
class Corpus:
    """Texts without labels.

    Attributes
    ----------
    name : str
        As it was asked for.
    source : str
        One line: where it came from.
    open : callable
        Returns an iterator over the cleaned texts, from the first.
    is_stream : bool
        Whether the texts come over the network and do not fit in memory.
    fingerprint : str
        SHA-256 of the texts; of the source's name and version, if they are streamed.
    """

    name: str
    source: str
    open: Callable[[], Iterator[str]]
    is_stream: bool
    fingerprint: str


def load_corpus(name_or_path: str, *, source: str = "auto", text_column: str = "text") -> Corpus:
    """Load texts by name or path.

    Parameters
    ----------
    name_or_path : str
        A text file (paragraphs, between empty lines), a table with a column of texts (labels are not needed), a name
        of the catalogue (the texts of its training split), ``wikitext``, ``openwebtext``, or any data set of the hub
        (streamed).
    source : {"auto", "hub", "registry", "file"}
        As in `load_dataset`.
    text_column : str
        Column of a table or of a data set of the hub.

    Returns
    -------
    Corpus

    Raises
    ------
    ValueError
        Unknown name, or no text.
    FileNotFoundError
        A path that does not exist.
    HubError
        No hub answers, and the corpus lies nowhere else.
    """
    path = Path(name_or_path).expanduser()
    if source == "file" or (source == "auto" and path.is_file()):
        return _in_memory(name_or_path, f"local file {path.name}", load_texts(path, text_column=text_column))
    if name_or_path in CATALOG or path.is_dir():
        dataset = load_dataset(name_or_path, source=source, text_column=text_column)
        return _in_memory(name_or_path, f"{dataset.source}; training split", dataset.splits["train"].texts)
    return _from_hub(name_or_path, source, text_column)


def _in_memory(name: str, source: str, raw: list[str]) -> Corpus:
    texts = [text for text in map(clean, raw) if text]
    if not texts:
        raise ValueError(three_parts("a corpus with text in it", f"none in {name!r}", "Give another one."))
    return Corpus(name, source, lambda: iter(texts), False, digest_of_texts(texts))


def _from_hub(name: str, source: str, text_column: str) -> Corpus:
    if source == "auto" and _looks_like_path(name):
        raise FileNotFoundError(missing_file(Path(name).expanduser()))
    if source == "registry" or (source == "auto" and "/" not in name and name not in HUB_CORPORA):
        known = nearest(name, [*CATALOG, *HUB_CORPORA])
        raise ValueError(three_parts("a corpus's name or a file", repr(name), f"Use another one ({known})."))
    if not hub_reachable():
        todo = "Check the network, or use a local file or a name of 'gencls data list'."
        raise HubError(three_parts(f"a Hugging Face hub, where {name!r} would lie", "no answer", todo))
    place = HUB_CORPORA.get(name, HubCorpus(name))
    logger.info("corpus %s: streamed from the Hugging Face hub, %s", name, place.path)
    digest = hashlib.sha256(f"{place.path}\x1f{place.config}\x1f{text_column}".encode()).hexdigest()
    source_line = f"Hugging Face hub, {place.path}, streamed; training split"
    return Corpus(name, source_line, lambda: _stream(place, text_column), True, digest)


def _looks_like_path(name: str) -> bool:
    suffixes = (*TABLE_SUFFIXES, ".txt")
    return Path(name).suffix.lower() in suffixes or name.startswith(("/", "./", "../", "~")) or name.count("/") > 1


def _stream(place: HubCorpus, text_column: str) -> Iterator[str]:
    for row in _rows(place):
        if text_column not in row:
            columns = ", ".join(map(repr, row))
            todo = "Give its name with text_column= (--text-column)."
            raise ValueError(three_parts(f"a column {text_column!r}", f"the columns {columns} of {place.path}", todo))
        if text := clean(str(row[text_column])):
            yield text


def _rows(place: HubCorpus) -> Iterator[dict[str, Any]]:
    import datasets

    try:
        yield from datasets.load_dataset(place.path, place.config, split="train", streaming=True)
    except Exception as error:
        # the hub's clients raise errors of many libraries: all mean the same here
        got = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
        todo = "Check the name and the network; the same command resumes."
        raise HubError(three_parts(f"the corpus {place.path!r} from the hub", got, todo)) from error
