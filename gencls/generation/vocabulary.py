"""The vocabulary as text: how each token reads, which are never written, and which of them may stand side by side."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
_UNUSED = re.compile(r"[\[<](unused|extra_id|reserved)[_ ]?\d+[\]>]", re.IGNORECASE)
#: Scripts that are written without spaces.
UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_BETWEEN_UNSPACED = re.compile(
    rf"(?<=[{UNSPACED}\u3000-\u303f\uff00-\uffef]) +(?=[{UNSPACED}\u3000-\u303f\uff00-\uffef])"
)
_CLOSING = re.compile(r"[.,!?;:)\]}%\u2019\u201d\u3002\uff0c\uff01\uff1f\u3001']")
#: A sign that goes on with a word: none of a script without spaces, where each may begin one.
_GOES_ON = re.compile(rf"(?![{UNSPACED}])\w")


@dataclass(frozen=True)
class Vocabulary:
    """Facts of a tokenizer's tokens; V is the number of the model's logits.

    Attributes
    ----------
    tokenizer : PreTrainedTokenizerBase
    reads : list of V str
        The text of each token, with a space in front of it where it begins a word.
    is_banned : ndarray of shape (V,), bool
        Special, unknown and unused tokens, and ids without a token.
    continues : ndarray of shape (V,), bool
        Tokens that go on with the word before them.
    can_be_continued : ndarray of shape (V,), bool
        Tokens that such a token may follow.
    starts_with_word : bool
        Whether a text's first token begins a word in the sense of `continues`.
    writes_spaces : bool
        Whether the tokens themselves hold the spaces between words (byte-level and sentence pieces).
    """

    tokenizer: Any
    reads: list[str]
    is_banned: BoolArray
    continues: BoolArray
    can_be_continued: BoolArray
    starts_with_word: bool
    writes_spaces: bool

    @cached_property
    def banned_ids(self) -> IntArray:
        """Ids that are never written, int64."""
        return np.flatnonzero(self.is_banned)

    @cached_property
    def continuing_ids(self) -> IntArray:
        """Ids that go on with a word, int64."""
        return np.flatnonzero(self.continues)

    @cached_property
    def closed_ids(self) -> IntArray:
        """Ids that no word goes on after, int64."""
        return np.flatnonzero(~self.can_be_continued)

    def text_of(self, token_ids: IntArray) -> str:
        """Decode tokens; no spaces where a script has none."""
        options = {"skip_special_tokens": False, "clean_up_tokenization_spaces": not self.writes_spaces}
        return _BETWEEN_UNSPACED.sub("", self.tokenizer.decode(token_ids.tolist(), **options))

    def join(self, left: str, right: str) -> str:
        """Put two parts of a text side by side; `left` stays as it is.

        Between words is one space, before a closing sign none.
        """
        if not left or not right:
            return left + right
        if left[-1].isspace():
            return left + right.lstrip()
        glued = self.writes_spaces or right[0].isspace() or _CLOSING.match(right)
        return left + right if glued or _BETWEEN_UNSPACED.search(f"{left[-1]} {right[0]}") else f"{left} {right}"


@lru_cache(maxsize=4)
def vocabulary_of(tokenizer: Any, vocab_size: int) -> Vocabulary:
    """Read a tokenizer.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
        Word pieces (``##``), byte-level pairs, sentence pieces or whole words.
    vocab_size : int
        V, which may be more than the tokenizer's tokens.

    Returns
    -------
    Vocabulary
    """
    tokens = [token or "" for token in tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))]
    tokens += [""] * (vocab_size - len(tokens))
    banned = _banned(tokenizer, tokens)
    sign = _sign(tokens)
    if sign == "##":
        return _word_pieces(tokenizer, tokens, banned)
    if sign is None:
        no, yes = np.zeros(vocab_size, dtype=bool), np.ones(vocab_size, dtype=bool)
        return Vocabulary(tokenizer, [f" {token}" for token in tokens], banned, no, yes, True, False)
    return _spaced_pieces(tokenizer, tokens, banned, sign)


def _sign(tokens: Sequence[str]) -> str | None:
    """What most tokens with a sign begin with: ``##`` that goes on with a word, or one of the two signs of a space.

    Any of them may be a token of its own in another kind of vocabulary: byte-level ones hold Markdown's headings.
    """
    counts = {sign: sum(token.startswith(sign) for token in tokens) for sign in ("##", "\u0120", "\u2581")}
    best = max(counts, key=lambda sign: counts[sign])
    return best if counts[best] else None


def _banned(tokenizer: Any, tokens: Sequence[str]) -> BoolArray:
    banned = np.array([not token or bool(_UNUSED.fullmatch(token)) for token in tokens], dtype=bool)
    special = [*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder]
    banned[special] = True
    return banned


def _word_pieces(tokenizer: Any, tokens: Sequence[str], banned: BoolArray) -> Vocabulary:
    """BERT's pieces: signs and Chinese characters are words of their own, so no piece may go on from or as one."""
    continues = np.array([token.startswith("##") for token in tokens], dtype=bool)
    plain = [token.removeprefix("##") for token in tokens]
    in_word = np.array([_is_in_word(token) for token in plain], dtype=bool)
    reads = [text if goes_on else f" {text}" for text, goes_on in zip(plain, continues, strict=True)]
    return Vocabulary(tokenizer, reads, banned | (continues & ~in_word), continues, in_word & ~banned, True, False)


def _is_in_word(token: str) -> bool:
    return bool(token) and all(sign.isalnum() and not re.match(f"[{UNSPACED}]", sign) for sign in token)


def _spaced_pieces(tokenizer: Any, tokens: Sequence[str], banned: BoolArray, space: str) -> Vocabulary:
    """Pieces that hold the space in front of a word; those without one go on, signs and unspaced scripts apart."""
    reads = [_read(tokenizer, token, space) for token in tokens]
    continues = np.array([bool(_GOES_ON.match(text)) for text in reads], dtype=bool)
    return Vocabulary(tokenizer, reads, banned, continues, np.ones(len(tokens), dtype=bool), space == "\u2581", True)


def _read(tokenizer: Any, token: str, space: str) -> str:
    if space == "\u0120":
        return str(tokenizer.convert_tokens_to_string([token])) if token else ""
    return token.replace(space, " ")
