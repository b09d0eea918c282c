"""Rules that a text keeps while it grows: whole words, no repeats, no forbidden words.

Two ways to keep them. Tokens that cannot stand at a place, given what is visible, get no probability (`bans`). What
several tokens do together, revealed in one step or spelled in pieces, is seen when a token is placed (`Rules.allow`):
a token that breaks a rule stays hidden, and is not tried at that place again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gencls.generation.vocabulary import UNSPACED, Vocabulary

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
#: Before and behind a word is none of its signs; one of a script without spaces is another word's.
WORD_BEGINS, WORD_ENDS = rf"(?<![^\W{UNSPACED}])", rf"(?![^\W{UNSPACED}])"


@dataclass(frozen=True)
class JoinBans:
    """Places, shape (B, L) bool, where a token that goes on with a word, or one that no word goes on after, is out."""

    no_continuation: BoolArray
    must_be_continued: BoolArray


@dataclass(frozen=True)
class Rules:
    """What must not come up.

    Parameters
    ----------
    vocabulary : Vocabulary
    no_repeat_ngram : int
        Length of the runs of tokens that stand once; 0 is no rule.
    forbid : sequence of str
        Words or phrases, as `spelled` reads them.
    """

    vocabulary: Vocabulary
    no_repeat_ngram: int = 0
    forbid: Sequence[str] = ()

    def join_bans(self, token_ids: IntArray, visible: BoolArray, given: BoolArray) -> JoinBans:
        """Return where word pieces may not go on, or have to.

        A given token ends its word: otherwise the text that the caller gave would read as another.

        Parameters
        ----------
        token_ids : ndarray of shape (B, L), int64
        visible, given : ndarray of shape (B, L), bool

        Returns
        -------
        JoinBans
        """
        words = self.vocabulary
        no_continuation, must_be_continued = (np.zeros(visible.shape, dtype=bool) for _ in range(2))
        closed = given | (visible & ~words.can_be_continued[token_ids])
        no_continuation[:, 1:] = closed[:, :-1]
        no_continuation[:, 0] = words.starts_with_word
        goes_on = visible & ~given & words.continues[token_ids]
        must_be_continued[:, :-1] = goes_on[:, 1:]
        return JoinBans(no_continuation, must_be_continued)

    @cached_property
    def forbidden_ids(self) -> IntArray:
        """Tokens that are a forbidden word by themselves, int64."""
        words = {word.strip().casefold() for word in self.forbid}
        is_word = [text.strip().casefold() in words for text in self.vocabulary.reads] if words else []
        return np.flatnonzero(np.array(is_word, dtype=bool) & ~self.vocabulary.continues[: len(is_word)])

    @cached_property
    def _pattern(self) -> re.Pattern[str] | None:
        return word_pattern(self.forbid) if self.forbid else None

    def allow(self, token_ids: IntArray, visible: BoolArray, given: BoolArray, place: int) -> bool:
        """Tell whether the token that was just written at a place of one text (L,) keeps all rules."""
        return (
            self._joins(token_ids, visible, given, place)
            and not self._repeats(token_ids, visible, place)
            and not self._spells_forbidden(token_ids, visible, place)
        )

    def _joins(self, token_ids: IntArray, visible: BoolArray, given: BoolArray, place: int) -> bool:
        first = max(place - 1, 0)
        around, offset = slice(first, place + 2), place - first
        bans = self.join_bans(token_ids[None, around], visible[None, around], given[None, around])
        words, token = self.vocabulary, token_ids[place]
        if words.continues[token] and bans.no_continuation[0, offset]:
            return False
        return bool(words.can_be_continued[token] or not bans.must_be_continued[0, offset])

    def _repeats(self, token_ids: IntArray, visible: BoolArray, place: int) -> bool:
        n = self.no_repeat_ngram
        if n < 1 or n > len(token_ids):
            return False
        runs = np.lib.stride_tricks.sliding_window_view(token_ids, n)
        whole = np.asarray(np.lib.stride_tricks.sliding_window_view(visible, n).all(axis=1))
        own = np.arange(max(place - n + 1, 0), min(place, len(runs) - 1) + 1)
        own, others = own[whole[own]], np.flatnonzero(whole)
        differs = (runs[own][:, None] != runs[others][None]).any(axis=2)
        return bool(np.any(~(differs | (own[:, None] == others[None]))))

    def _spells_forbidden(self, token_ids: IntArray, visible: BoolArray, place: int) -> bool:
        if self._pattern is None:
            return False
        reach = max(map(len, self.forbid))  # no word has more tokens than signs
        start, stop = place, place + 1
        while start > max(place - reach, 0) and visible[start - 1]:
            start -= 1
        while stop < min(place + reach + 1, len(token_ids)) and visible[stop]:
            stop += 1
        pieces = [self.vocabulary.reads[index] for index in token_ids[start:stop]]
        begin = sum(map(len, pieces[: place - start]))
        end = begin + len(pieces[place - start])
        return any(match.start() < end and match.end() > begin for match in self._pattern.finditer("".join(pieces)))


def word_pattern(words: Sequence[str]) -> re.Pattern[str]:
    """Return a pattern that finds any of some words or phrases, whole and whatever their case.

    In scripts without spaces a word has no bounds to look for, and is found inside others.
    """
    found = []
    for word in map(str.strip, words):
        begins, ends = (re.match(f"[{UNSPACED}]", sign) for sign in (word[:1], word[-1:]))
        found.append(f"{'' if begins else WORD_BEGINS}{re.escape(word)}{'' if ends else WORD_ENDS}")
    return re.compile("|".join(found), re.IGNORECASE)


def spelled(words: Sequence[str], vocabulary: Vocabulary) -> tuple[str, ...]:
    """Return words or phrases as their tokens read ("don't" may read "don ' t")."""
    encoded = (vocabulary.tokenizer(word, add_special_tokens=False)["input_ids"] for word in words)
    return tuple(
        "".join(vocabulary.reads[index] for index in ids).strip() or word
        for ids, word in zip(encoded, words, strict=True)
    )
