"""Poems: read with patience, lines joined by `LINE_BREAK`, split by author, near-copies never on both sides."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gencls.data.errors import three_parts
from gencls.data.fingerprint import digest_of
from gencls.data.near_duplicates import letters, near_copies
from gencls.data.text import normal_form

LINE_BREAK = "/"
FIELDS = ("title", "author", "content")
#: The environment variable with the path of a JSONL file of modern poems.
POEMS_VARIABLE = "GENCLS_POEMS"
#: Shares of the splits, by the hash of the author.
SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}
_BREAKS = re.compile(r"[\n\r\v\f\x85\u2028\u2029]+")
_SPACES = re.compile(r"[\s\u200b\ufeff]+")


@dataclass(frozen=True)
class Poem:
    """One poem.

    Attributes
    ----------
    title, author : str
    text : str
        Its lines, joined by `LINE_BREAK`; a slash that the poem had itself is a full-width one.
    """

    title: str
    author: str
    text: str

    @property
    def lines(self) -> list[str]:
        """The lines of the poem."""
        return self.text.split(LINE_BREAK)


@dataclass(frozen=True)
class Poems:
    """Poems and where they came from.

    Attributes
    ----------
    poems : list of Poem
    source : str
        One line.
    skipped : dict from str to int
        Records that are no poem, by reason.
    """

    poems: list[Poem]
    source: str
    skipped: dict[str, int]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of authors and texts, in order."""
        parts = [f"{len(poem.author)}:{poem.author}{len(poem.text)}:{poem.text}" for poem in self.poems]
        return hashlib.sha256("".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def joined_lines(content: str) -> str:
    """Return the lines of a poem joined by `LINE_BREAK`, without empty lines and indents.

    >>> joined_lines("\\u3000\\u3000归巢的鸟儿，\\n\\n 尽管  是倦了 ")
    '归巢的鸟儿，/尽管 是倦了'
    """
    whole = content.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace(LINE_BREAK, "\uff0f")
    lines = (_SPACES.sub(" ", line).strip() for line in _BREAKS.split(whole))
    return LINE_BREAK.join(line for line in lines if line)


def poem_of(record: Any) -> Poem | str:
    """Return a record as a poem, or the reason why it is none."""
    if not isinstance(record, Mapping):
        return "no object"
    if missing := [name for name in FIELDS if not isinstance(record.get(name), str)]:
        return f"no text in the field {missing[0]!r}"
    author, text = _SPACES.sub(" ", record["author"]).strip(), joined_lines(record["content"])
    if not author:
        return "no author"
    if not text:
        return "empty"
    if sum(map(str.isalnum, text)) < 2:
        return "fewer than two letters"
    return Poem(_SPACES.sub(" ", record["title"]).strip(), author, text)


def collect(records: Iterable[Any], source: str) -> Poems:
    """Return the poems among records; a record may itself be the reason (a str) why it could not be read.

    Raises
    ------
    ValueError
        If there is no poem at all.
    """
    poems, skipped = [], Counter[str]()
    for record in records:
        poem = record if isinstance(record, str) else poem_of(record)
        if isinstance(poem, Poem):
            poems.append(poem)
        else:
            skipped[poem] += 1
    if not poems:
        reasons = ", ".join(f"{count} x {reason}" for reason, count in skipped.items()) or "an empty file"
        todo = f"Give JSON lines with the fields {', '.join(FIELDS)}."
        raise ValueError(three_parts(f"a poem in {source}", reasons, todo))
    return Poems(poems, source, dict(sorted(skipped.items())))


def read_poems(path: Path | str) -> Poems:
    """Read a JSONL file of poems; lines that are no poem are counted and left out.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        There is no poem in it.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        todo = f"Check the path (an option, or the variable {POEMS_VARIABLE})."
        raise FileNotFoundError(three_parts("a JSONL file of poems", f"no file {path.name!r}", todo))
    return collect(_json_lines(path.read_bytes()), f"local file {path.name}")


def _json_lines(content: bytes) -> Iterator[Any]:
    for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        if not line.strip():
            continue
        try:
            value = json.loads(line.decode("utf-8"))
        except UnicodeDecodeError:
            yield "no UTF-8"
        except (ValueError, RecursionError):
            yield "no JSON"
        else:
            # a bare JSON string must not pass for a reason
            yield value if not isinstance(value, str) else None


def poems_path(path: Path | str | None) -> Path | None:
    """Return the path of the user's poems: the given one, else that of the environment, else none."""
    chosen = path or os.environ.get(POEMS_VARIABLE)
    return Path(chosen) if chosen else None


def author_key(author: str) -> str:
    """Return what names of one author have in common.

    >>> author_key(" 余光中 ") == author_key("余光中"), author_key("W. S. Merwin") == author_key("w.s. merwin")
    (True, True)
    """
    return normal_form(author).replace(" ", "")


def split_of(author: str, *, seed: int = 0) -> str:
    """Return the split of an author: "train", "validation" or "test".

    A stable hash of the name and nothing else decides, so that an author stays in place when poems are added. The
    shares hold for authors on average; those of the poems differ by as much as authors differ in size.
    """
    place = int.from_bytes(digest_of(seed, author_key(author))[:8], "big") / 2**64
    for name, share in SHARES.items():
        if place < share:
            return name
        place -= share
    return "test"


@dataclass(frozen=True)
class PoemSplits:
    """Poems by split, and what was left out on the way.

    Attributes
    ----------
    train, validation, test : list of Poem
    dropped : dict from str to int
        ``copies`` within a split, and ``train``, ``validation``: near-copies of a poem in a later split.
    """

    train: list[Poem]
    validation: list[Poem]
    test: list[Poem]
    dropped: dict[str, int]


def split_poems(poems: Iterable[Poem], *, seed: int = 0) -> PoemSplits:
    """Split by author; a training poem that is a near-copy of a held-out one is dropped, and so are copies in a split.

    Parameters
    ----------
    poems : iterable of Poem
    seed : int
        Of the hash.

    Returns
    -------
    PoemSplits
    """
    everything = list(poems)
    names = list(SHARES)
    rank = [names.index(split_of(poem.author, seed=seed)) for poem in everything]
    dropped = dict.fromkeys(("copies", "train", "validation"), 0)
    gone: set[int] = set()
    # the earlier split gives way, also to a poem that has itself given way to a still later one
    for first, second in near_copies([poem.text for poem in everything]):
        if rank[first] != rank[second]:
            loser, reason = (first if rank[first] < rank[second] else second), names[min(rank[first], rank[second])]
        elif letters(everything[first].text) == letters(everything[second].text):
            loser, reason = second, "copies"
        else:
            continue
        dropped[reason] += loser not in gone
        gone.add(loser)
    train, validation, test = (
        [poem for place, poem in enumerate(everything) if rank[place] == number and place not in gone]
        for number in range(len(names))
    )
    return PoemSplits(train, validation, test, dropped)


def contamination(splits: PoemSplits) -> dict[str, Any]:
    """Return facts on what the splits have in common, found anew from the splits as they are.

    Returns
    -------
    dict
        Poems and authors of each split, what was dropped, and for each pair of splits the authors, copies and
        near-copies that it shares; zeros if all is well.
    """
    parts = {name: getattr(splits, name) for name in SHARES}
    texts = [poem.text for part in parts.values() for poem in part]
    owners = [name for name, part in parts.items() for _ in part]
    authors = {name: {author_key(poem.author) for poem in part} for name, part in parts.items()}
    pairs = [("train", "validation"), ("train", "test"), ("validation", "test")]
    shared = {f"{a}-{b}": {"authors": len(authors[a] & authors[b]), "copies": 0, "near_copies": 0} for a, b in pairs}
    for first, second in near_copies(texts):
        if owners[first] != owners[second]:
            kind = "copies" if letters(texts[first]) == letters(texts[second]) else "near_copies"
            shared[f"{owners[first]}-{owners[second]}"][kind] += 1
    sizes = {name: {"poems": len(part), "authors": len(authors[name])} for name, part in parts.items()}
    return {"splits": sizes, "dropped": splits.dropped, "shared": shared}
