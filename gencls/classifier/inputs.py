"""Checks of what a user hands to `fit` and `predict`: before any long work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.multiclass import check_classification_targets

from gencls.data.dataset import is_missing
from gencls.data.errors import of_rows, some_rows, three_parts


def check_texts(X: Any, *, empty_allowed: bool = False) -> list[str]:
    """Return texts as a list.

    Parameters
    ----------
    X : sequence of str
        A list, array or Series.
    empty_allowed : bool
        Whether no text at all is fine.

    Raises
    ------
    TypeError
        A single string, or items that are not strings.
    ValueError
        No text.
    """
    if isinstance(X, str | bytes) or not hasattr(X, "__len__"):
        raise TypeError(three_parts("a sequence of texts", type(X).__name__, "Pass a list of strings."))
    if getattr(X, "ndim", 1) != 1:
        raise ValueError(three_parts("one text per row (1-D)", f"shape {X.shape}", "Pass the text column."))
    texts = list(X)
    wrong = [row for row, text in enumerate(texts) if not isinstance(text, str)]
    if wrong:
        raise TypeError(
            three_parts(
                "strings",
                f"{type(texts[wrong[0]]).__name__} in rows {some_rows(wrong)} (counted from 1)",
                "Drop the rows or convert them to str.",
            )
        )
    if not texts and not empty_allowed:
        raise ValueError(three_parts("at least one text", "none", "Check the data."))
    return [str(text) for text in texts]


def hold_out(labels: NDArray[np.int64], share: float, *, generator: np.random.Generator) -> NDArray[np.bool_]:
    """Choose a share of the texts of every class, at least one where two are left, never the last one.

    Returns
    -------
    ndarray of shape (N,), bool
    """
    if not 0 <= share < 1:
        raise ValueError(three_parts("a held-out share of at least 0 and under 1", str(share), "Give 0.1."))
    is_held = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        is_held[members[: min(max(1, round(share * len(members))), len(members) - 1)]] = True
    return is_held


#: Texts and the class index of each.
Part = tuple[list[str], NDArray[np.int64]]


def split_parts(
    train: Part, given: Mapping[str, Part | None], shares: Mapping[str, float], *, generator: np.random.Generator
) -> dict[str, Part]:
    """Split off the held-out parts that were not given.

    Parameters
    ----------
    train : (texts, class indices)
    given : mapping of name to (texts, class indices) or None
        In the order in which they are served: a class of few texts may not have enough for the last one.
    shares : mapping of name to float
        Share of the texts of each class.
    generator : numpy.random.Generator

    Returns
    -------
    dict of name to (texts, class indices)
        ``train`` is what is left.
    """
    parts = {"train": train}
    for name, part in given.items():
        if part is not None:
            parts[name] = part
            continue
        texts, labels = parts["train"]
        is_held = hold_out(labels, shares[name], generator=generator)
        for one, chosen in ((name, is_held), ("train", ~is_held)):
            parts[one] = ([texts[row] for row in np.flatnonzero(chosen)], labels[chosen])
    return parts


def checked_parts(
    train: Part,
    classes: NDArray[Any],
    given: Mapping[str, tuple[Sequence[str], ArrayLike] | None],
    shares: Mapping[str, float],
    *,
    generator: np.random.Generator,
) -> dict[str, Part]:
    """Return training and held-out parts, `check_part` of those that were given and `split_parts` of the others.

    Where no text is left for validation, the calibration texts are validation texts too. Where neither
    was given, the validation texts calibrate too: they have only helped to choose between a few settings.
    """
    checked = {
        name: None if pair is None else check_part(name, pair[0], pair[1], classes) for name, pair in given.items()
    }
    parts = split_parts(train, checked, shares, generator=generator)
    if not parts["validation"][0]:
        parts["validation"] = parts["calibration"]
    elif given["calibration"] is None and given["validation"] is None:
        (texts, labels), (more, more_labels) = parts["calibration"], parts["validation"]
        parts["calibration"] = [*texts, *more], np.concatenate([labels, more_labels])
    return parts


def check_part(name: str, X: Sequence[str], y: ArrayLike, classes: NDArray[Any]) -> Part:
    """Return a held-out part that a user gave; ValueError unless it has one label out of `classes` for each text."""
    labels = label_indices(y, classes)
    texts = check_texts(X)
    if labels.shape != (len(texts),):
        raise ValueError(
            three_parts(f"{len(texts)} labels of the {name} texts", f"shape {labels.shape}", "Pair them up.")
        )
    return texts, labels


def check_labels(y: ArrayLike, n_texts: int, *, fewest: int = 2) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the sorted classes and the class index of each text.

    Parameters
    ----------
    y : array-like of shape (N,)
    n_texts : int
        N.
    fewest : int
        Texts that a class must have: two, of which one can be held out, or one where the held-out texts are given.

    Raises
    ------
    ValueError
        A missing label, another number of labels than texts, fewer than two classes, or a class with fewer texts than
        `fewest`.
    """
    values = np.asarray(y)
    if wrong := _missing_labels(y, values):
        got = f"none in {of_rows(wrong, len(values))}"
        raise ValueError(three_parts("a label in every row", got, "Fill or remove these rows."))
    if values.ndim != 1 or len(values) != n_texts:
        raise ValueError(
            three_parts(f"{n_texts} labels, one per text", f"shape {values.shape}", "Pass one label per text.")
        )
    check_classification_targets(values)
    classes, labels, counts = np.unique(values, return_inverse=True, return_counts=True)
    if len(classes) < 2:
        raise ValueError(three_parts("at least two classes", f"{classes.tolist()}", "Add texts of another class."))
    if counts.min() < fewest:  # then fewest is two: every class that `np.unique` finds has a text
        few = classes[counts < fewest][:5].tolist()
        todo = "Add texts, drop the class, or give held-out texts of your own."
        raise ValueError(three_parts(f"at least {fewest} texts in every class", f"one text in {few}", todo))
    return classes, labels.astype(np.int64)


def _missing_labels(y: ArrayLike, values: NDArray[Any]) -> list[int]:
    """Rows without a label; looked for among the labels as they were given: numpy makes "nan" of NaN among strings."""
    given: Any = y
    if values.ndim != 1 or values.dtype.kind not in "fOUT" or not hasattr(given, "__iter__"):
        return []
    return [row for row, label in enumerate(given) if is_missing(label)]


def label_indices(y: ArrayLike, classes: NDArray[Any]) -> NDArray[np.int64]:
    """Return the index of each label (N,) among the sorted classes (C,); ValueError on one that is not among them."""
    values = np.asarray(y)
    kinds = {_kind(values), _kind(classes)} - {"O"}  # objects are compared one by one, as they are
    if values.size and len(kinds) > 1:  # numpy would compare 10 with "10" as strings, or not, as it finds it faster
        got = f"labels of the type {values.dtype}"
        raise ValueError(three_parts(f"labels of the type of classes_, {classes.dtype}", got, "Give them as to fit."))
    unknown = sorted({repr(value) for value in values[~np.isin(values, classes)].tolist()})
    if unknown:
        raise ValueError(
            three_parts(f"labels out of {classes.tolist()}", ", ".join(unknown[:5]), "Fit on all classes.")
        )
    return np.asarray(np.searchsorted(classes, values), dtype=np.int64)


def _kind(labels: NDArray[Any]) -> str:
    """The letter of a type, the same for all numbers."""
    return "number" if labels.dtype.kind in "biuf" else labels.dtype.kind


def check_n_jobs(n_jobs: object) -> None:
    """Raise a ValueError unless it is a number of processes."""
    if not isinstance(n_jobs, Integral) or int(n_jobs) < 1:
        raise ValueError(three_parts("n_jobs as an integer >= 1", repr(n_jobs), "The default is 1."))
