"""What the caller gave and what is to be written: a template of texts and holes, as tokens and back."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gencls.data.errors import three_parts
from gencls.diffusion.tokens import tokenize
from gencls.generation.vocabulary import Vocabulary

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
#: A hole of a template, whatever the tokenizer calls its mask.
HOLE = "[MASK]"
#: Most tokens of a given text; the network's positions are fewer.
LONGEST = 100_000


@dataclass(frozen=True)
class Template:
    """Given texts and holes.

    Attributes
    ----------
    parts : tuple of str and int
        Given texts, and numbers of hidden tokens between them.
    lengths : tuple of int
        Tokens of each part.
    token_ids : ndarray of shape (L,), int64
        The mask token's id in the holes.
    given : ndarray of shape (L,), bool
    """

    parts: tuple[str | int, ...]
    lengths: tuple[int, ...]
    token_ids: IntArray
    given: BoolArray

    def text(self, token_ids: IntArray, vocabulary: Vocabulary) -> str:
        """Return a result (L,) as text: given parts as the caller wrote them, holes decoded."""
        text, start = "", 0
        for part, length in zip(self.parts, self.lengths, strict=True):
            own = token_ids[start : start + length]
            text = vocabulary.join(text, part if isinstance(part, str) else vocabulary.text_of(own))
            start += length
        # tokens that hold spaces may begin a text with one, which the caller did not give
        return text if isinstance(self.parts[0], str) else text.lstrip(" ")


def template_of(parts: Sequence[str | int], vocabulary: Vocabulary, mask_id: int) -> Template:
    """Tokenise a template.

    Parameters
    ----------
    parts : sequence of str and int
        Given texts and numbers of hidden tokens.
    vocabulary : Vocabulary
    mask_id : int

    Returns
    -------
    Template

    Raises
    ------
    ValueError
        If there is nothing to write.
    """
    kept = _merged(parts)
    if not any(isinstance(part, int) for part in kept):
        todo = f"Write {HOLE} where tokens are wanted, or give a length."
        raise ValueError(three_parts("a template with a hole", repr("".join(map(str, kept))), todo))
    pieces = [
        np.full(part, mask_id, dtype=np.int64) if isinstance(part, int) else _encoded(part, vocabulary) for part in kept
    ]
    given = [np.full(len(piece), isinstance(part, str)) for piece, part in zip(pieces, kept, strict=True)]
    return Template(tuple(kept), tuple(map(len, pieces)), np.concatenate(pieces), np.concatenate(given))


def parts_of(text: str, mask_token: str) -> list[str | int]:
    """Cut a text with holes in its parts.

    >>> parts_of("The [MASK] [MASK] was good.", "[MASK]")
    ['The ', 1, ' ', 1, ' was good.']
    """
    holes = "|".join(re.escape(name) for name in {HOLE, mask_token})
    return [1 if re.fullmatch(holes, part) else part for part in re.split(f"({holes})", text) if part]


def _merged(parts: Sequence[str | int]) -> list[str | int]:
    """Leave out what is empty, and make one hole of neighbouring ones."""
    kept: list[str | int] = []
    for part in parts:
        if part == 0 or (isinstance(part, str) and not part.strip()):
            continue
        if isinstance(part, int) and kept and isinstance(kept[-1], int):
            kept[-1] += part
        else:
            kept.append(part)
    return kept


def _encoded(text: str, vocabulary: Vocabulary) -> IntArray:
    # a space at its end belongs to the word that is not yet there
    stripped = text.rstrip() if vocabulary.writes_spaces else text
    return tokenize([stripped], vocabulary.tokenizer, max_length=LONGEST, truncation="head").ids[0]
