"""A labelled text data set, and the checks that every source goes through before a data set exists."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gencls.data.errors import of_rows, three_parts
from gencls.data.fingerprint import fingerprint
from gencls.data.text import clean

logger = logging.getLogger("gencls.data")

RawSplit = tuple[Sequence[Any], Sequence[Any]]
"""Texts and labels as a source gave them, not yet checked; a label is any value, None where it is missing."""


@dataclass(frozen=True)
class TextSplit:
    """Texts with their classes.

    Attributes
    ----------
    texts : list of str, length N
        Cleaned texts.
    labels : ndarray of int64, shape (N,)
        Indices into the data set's `label_names`.
    """

    texts: list[str]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, indices: Sequence[int] | np.ndarray) -> TextSplit:
        """The rows at `indices`, shape (M,) int, in that order."""
        rows = np.asarray(indices, dtype=np.int64)
        return TextSplit([self.texts[row] for row in rows], self.labels[rows])

    def followed_by(self, other: TextSplit) -> TextSplit:
        """These rows and those of another split of the same data set behind them."""
        return TextSplit([*self.texts, *other.texts], np.concatenate([self.labels, other.labels]))


@dataclass(frozen=True)
class TextDataset:
    """A data set with the splits that its publisher made.

    Attributes
    ----------
    name : str
        The name or path it was asked for by.
    source : str
        One line: where it came from, and why from there if that is a fall-back.
    version : str
        The version of the source: a package version, a hub revision or a file's digest.
    label_names : tuple of str, length C
        Names of the classes.
    splits : dict from str to TextSplit
        The official splits: always "train", perhaps "test" and "validation".
    """

    name: str
    source: str
    version: str
    label_names: tuple[str, ...]
    splits: dict[str, TextSplit]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hexadecimal) over label names, labels and texts; the name and the source are not in it."""
        return fingerprint(self.label_names, self.splits)

    def summary(self) -> dict[str, Any]:
        """Facts for a run record: class counts, majority share and length quantiles of every split."""
        return {
            "name": self.name,
            "source": self.source,
            "version": self.version,
            "fingerprint": self.fingerprint,
            "label_names": list(self.label_names),
            "splits": {key: summarise(split, self.label_names) for key, split in self.splits.items()},
        }


def class_counts(split: TextSplit, label_names: Sequence[str]) -> dict[str, int]:
    """Number of texts of every class, zeros included."""
    counts = np.bincount(split.labels, minlength=len(label_names))
    return dict(zip(label_names, counts.tolist(), strict=True))


def summarise(split: TextSplit, label_names: Sequence[str]) -> dict[str, Any]:
    """Facts of one split; lengths are in characters, the majority share is a fraction."""
    counts = class_counts(split, label_names)
    quantiles = np.quantile([len(text) for text in split.texts] or [0], [0.05, 0.5, 0.95, 1.0])
    names = ("q05", "median", "q95", "max")
    return {
        "n_texts": len(split),
        "class_counts": counts,
        "majority_share": max(counts.values()) / max(len(split), 1),
        "characters": {key: float(value) for key, value in zip(names, quantiles, strict=True)},
    }


def build_dataset(
    name: str,
    raw: Mapping[str, RawSplit],
    *,
    source: str,
    version: str,
    label_names: Sequence[str] | None = None,
    min_texts: int = 2,
) -> TextDataset:
    """Check what a source gave, clean the texts and number the classes.

    Parameters
    ----------
    name, source, version : str
        As in `TextDataset`.
    raw : mapping from str to (texts, labels)
        The splits as read; labels of any kind, compared by their text ("1" and 1 are one class).
    label_names : sequence of str, optional
        Order of the classes; by default numbers in numeric order, other labels in alphabetic order. A name
        that no training text bears is left out.
    min_texts : int
        A class with fewer training texts is refused.

    Raises
    ------
    ValueError
        A split is empty, a text is missing or no string, a label is missing, the training split has one
        class or a class of fewer than `min_texts` texts, or another split has one class or a class unknown
        to training.
    """
    named = {key: _checked_rows(name, key, texts, labels) for key, (texts, labels) in raw.items()}
    names = _class_names(Counter(named["train"][1]), label_names)
    for key, (_, labels) in named.items():
        _check_classes(f"{key!r} of {name!r}", Counter(labels), names, min_texts if key == "train" else 1)
    index = {label: number for number, label in enumerate(names)}
    splits = {
        key: TextSplit([clean(text) for text in texts], np.array([index[one] for one in labels], dtype=np.int64))
        for key, (texts, labels) in named.items()
    }
    return TextDataset(name, source, version, names, splits)


def _checked_rows(name: str, key: str, texts: Sequence[Any], labels: Sequence[Any]) -> tuple[list[str], list[str]]:
    """Texts and labels as strings, or a ValueError with the row numbers."""
    where = f"split {key!r} of {name!r}"
    if not len(texts):
        raise ValueError(three_parts("at least one text", f"none in {where}", "Check the file, or give another one."))
    if wrong := [row for row, text in enumerate(texts) if not isinstance(text, str)]:
        kinds = ", ".join(sorted({_kind(texts[row]) for row in wrong}))
        raise ValueError(
            three_parts(
                "a string as text in every row",
                f"{kinds} in {of_rows(wrong, len(texts), where)}",
                "Fill or remove these rows, or name another text column.",
            )
        )
    if wrong := [row for row, label in enumerate(labels) if is_missing(label) or not _label_name(label)]:
        raise ValueError(
            three_parts(
                "a label in every row",
                f"none in {of_rows(wrong, len(labels), where)}",
                "Fill or remove these rows, or name another label column.",
            )
        )
    return list(texts), [_label_name(label) for label in labels]


def is_missing(value: Any) -> bool:
    """Tell whether a cell of a table is empty: None, NaN, pandas' NA."""
    # NaN is the one value that differs from itself; pandas.NA compares to neither True nor False.
    return value is None or type(value).__name__ == "NAType" or (isinstance(value, float) and value != value)


def _kind(value: Any) -> str:
    return "missing text (NaN or empty)" if is_missing(value) else type(value).__name__


def _label_name(label: Any) -> str:
    """A label's name; 1.0 is "1", because a column of numbers with a gap is read as floats."""
    if isinstance(label, (float, np.floating)) and float(label).is_integer():
        return str(int(label))
    return str(label).strip()


def _class_names(counts: Counter[str], order: Sequence[str] | None) -> tuple[str, ...]:
    if order is not None:
        return tuple(label for label in order if counts[label])
    try:
        return tuple(sorted(counts, key=lambda label: (float(label), label)))
    except ValueError:
        return tuple(sorted(counts))


def _check_classes(where: str, counts: Counter[str], names: tuple[str, ...], min_texts: int) -> None:
    if unknown := sorted(set(counts) - set(names)):
        raise ValueError(
            three_parts(
                f"the classes of the training split ({', '.join(names[:8])})",
                f"{', '.join(map(repr, unknown[:5]))} in {where}",
                "Remove these rows, or add training texts of these classes.",
            )
        )
    if len(counts) < 2:
        raise ValueError(
            three_parts(
                "texts of at least two classes",
                f"only {next(iter(counts), None)!r} in {where}",
                "Check the label column; a file sorted by label must not be cut to its first rows.",
            )
        )
    if rare := {label: n for label, n in counts.items() if n < min_texts}:
        label, n = min(rare.items(), key=lambda item: (item[1], item[0]))
        raise ValueError(
            three_parts(
                f"at least {min_texts} texts of every class",
                f"{n} of class {label!r} in {where}" + (f" (and {len(rare) - 1} more such classes)" * (len(rare) > 1)),
                "Add texts of this class or remove it: one text cannot be both learnt from and held out.",
            )
        )
