"""The errors of the data room: every message has three parts (expected, got, what to do)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class ArtefactError(OSError):
    """A published artefact could not be had: no network, no pip, no disk space, or the wrong bytes."""


class HubError(OSError):
    """The Hugging Face hub did not give a data set."""


def three_parts(expected: str, got: str, todo: str) -> str:
    """One message of the house's form.

    >>> three_parts("a number", "'x'", "Give a number.")
    "Expected a number; got 'x'. Give a number."
    """
    return f"Expected {expected}; got {got}. {todo}"


def nearest(name: str, known: Iterable[str]) -> str:
    """The known names closest to a mistyped one, as words for a message.

    >>> nearest("imbd", ["imdb", "r8"])
    "nearest: 'imdb'"
    >>> nearest("tfidf", ["tfidf_logistic_regression", "encoder"])
    "nearest: 'tfidf_logistic_regression'"
    >>> nearest("zzzzzz", ["imdb", "r8"])
    "known: 'imdb', 'r8'"
    """
    names = list(known)
    close = difflib.get_close_matches(name, names, n=3) or [one for one in names if name and name in one]
    return f"{'nearest' if close else 'known'}: " + ", ".join(repr(one) for one in (close or names[:20]))


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise ValueError with the nearest names if the value of an option is none of its choices."""
    if value not in choices:
        raise ValueError(three_parts(f"{name} out of {choices}", repr(value), f"Use {nearest(str(value), choices)}."))


def of_rows(wrong: Sequence[int], n_rows: int, where: str = "") -> str:
    """Which of how many rows, for a message.

    >>> of_rows([0, 4], 9, "the file")
    '2 of 9 rows of the file (rows 1, 5)'
    """
    place = f" of {where}" if where else ""
    return f"{len(wrong)} of {n_rows} rows{place} (rows {some_rows(wrong)})"


def some_rows(rows: Iterable[int], *, limit: int = 5) -> str:
    """Row numbers for a message, counted from 1 and cut after `limit`.

    >>> some_rows([0, 4])
    '1, 5'
    >>> some_rows(range(9), limit=2)
    '1, 2 and 7 more'
    """
    numbers = [row + 1 for row in rows]
    shown = ", ".join(str(number) for number in numbers[:limit])
    return shown if len(numbers) <= limit else f"{shown} and {len(numbers) - limit} more"
