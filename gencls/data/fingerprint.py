"""Fingerprints: a data set is what its texts and labels are, wherever they came from.

The name and the source are left out on purpose: the same texts read from the hub, a wheel or a file under
another path have the same fingerprint. The order of the rows counts, because it decides what a seed
selects.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gencls.data.dataset import TextSplit


def fingerprint(label_names: Sequence[str], splits: Mapping[str, TextSplit]) -> str:
    """SHA-256 over label names, split names, labels and texts.

    Every part goes in with its length in front, so that moving a character across a border changes the
    digest.

    Parameters
    ----------
    label_names : sequence of str, length C
        Names of the classes, in order.
    splits : mapping from str to TextSplit
        The splits; the order of the keys does not matter.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()

    def add(part: str) -> None:
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)

    add(str(len(label_names)))
    for label_name in label_names:
        add(label_name)
    for name in sorted(splits):
        split = splits[name]
        add(name)
        add(str(len(split.texts)))
        for label, text in zip(split.labels.tolist(), split.texts, strict=True):
            add(str(label))
            add(text)
    return digest.hexdigest()


def digest_of_texts(texts: Sequence[str]) -> str:
    """SHA-256 of texts without labels in their order, 64 hexadecimal digits."""
    return hashlib.sha256("\x1f".join(texts).encode("utf-8", "surrogatepass")).hexdigest()


def digest_of(seed: int, text: str) -> bytes:
    """A stable 16-byte digest of (seed, text): the random number that belongs to a text.

    Unlike Python's `hash` it is the same in every process, so whatever is ordered by it is reproducible.

    >>> digest_of(0, "a") == digest_of(0, "a"), digest_of(0, "a") == digest_of(1, "a")
    (True, False)
    """
    return hashlib.blake2b(f"{seed}\x1f{text}".encode("utf-8", "surrogatepass"), digest_size=16).digest()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits; the file is read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
