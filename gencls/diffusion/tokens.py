"""Texts to token ids, and token ids to rows: what of a text is scorable.

The scorable tokens of a text are its word pieces. Special tokens are added around them and padding behind them by
`TokenFrame`; a special token's name that is *written in a text* (``[MASK]``) is text and is split like any other.

A text that is longer than a row is either cut (`tokenize` keeps one end) or scored whole, in `chunks`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gencls.data.errors import three_parts

IntArray = NDArray[np.int64]
Truncation = Literal["tail", "head"]
#: Of a text with more characters per asked-for token than this, the end that is kept is tokenised first: a text of a
#: million characters takes milliseconds instead of a second and half a gigabyte.
CHARACTERS_PER_TOKEN = 40
#: Characters of one call of a tokenizer, which needs up to 500 bytes for each.
CHARACTERS_PER_CALL = 1_000_000


@dataclass(frozen=True)
class TokenFrame:
    """Ids of the special tokens; `bos` and `eos` may be absent (None)."""

    bos: int | None
    eos: int | None
    pad: int
    mask: int

    def frame(self, token_ids: NDArray[np.integer]) -> IntArray:
        """Return a text's ids with the special tokens around them."""
        ids = list(token_ids)
        return np.array(
            [*([] if self.bos is None else [self.bos]), *ids, *([] if self.eos is None else [self.eos])],
            dtype=np.int64,
        )

    @property
    def n_before(self) -> int:
        """Special tokens in front of the text."""
        return 0 if self.bos is None else 1

    @property
    def n_special(self) -> int:
        """Special tokens of a row."""
        return self.n_before + (0 if self.eos is None else 1)

    def as_dict(self) -> dict[str, int | None]:
        """Return the ids as plain JSON data."""
        return asdict(self)


def frame_of(tokenizer: Any) -> TokenFrame:
    """Read the special ids of a tokenizer.

    Raises
    ------
    ValueError
        If it has no mask or padding token.
    """
    if tokenizer.mask_token_id is None or tokenizer.pad_token_id is None:
        raise ValueError(
            three_parts(
                "a tokenizer with a mask and a padding token",
                f"mask={tokenizer.mask_token!r}, pad={tokenizer.pad_token!r}",
                "Use a masked language model, or add the tokens.",
            )
        )
    bos = tokenizer.cls_token_id if tokenizer.cls_token_id is not None else tokenizer.bos_token_id
    eos = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
    return TokenFrame(bos=bos, eos=eos, pad=tokenizer.pad_token_id, mask=tokenizer.mask_token_id)


@dataclass(frozen=True)
class TokenizedTexts:
    """Texts as scorable ids.

    Attributes
    ----------
    ids : list of N ndarray of shape (L,), int64
    is_cut : ndarray of shape (N,), bool
        Whether the text was longer than the limit.
    """

    ids: list[IntArray]
    is_cut: NDArray[np.bool_]


def tokenize(
    texts: Sequence[str], tokenizer: Any, *, max_length: int, truncation: Truncation = "tail"
) -> TokenizedTexts:
    """Turn texts into scorable token ids.

    Parameters
    ----------
    texts : sequence of str
    tokenizer : PreTrainedTokenizerBase
    max_length : int
        Most tokens kept of a text.
    truncation : {"tail", "head"}
        Which end is kept. The verdict of a review is at its end.

    Returns
    -------
    TokenizedTexts
    """
    limit = max_length * CHARACTERS_PER_TOKEN
    ends = [_end(text, limit, truncation) for text in texts]
    kept = encode_all(ends, tokenizer)
    # An end that gives too few tokens does not prove that the text has more; and of the tokens it gives, those near
    # its cut may be others than in the text. So there is a margin, and below it the whole text is tokenised.
    unsure = [
        row
        for row, (text, end) in enumerate(zip(texts, ends, strict=True))
        if len(end) < len(text) and len(kept[row]) < 2 * max_length
    ]
    for row, ids in zip(unsure, encode_all([texts[row] for row in unsure], tokenizer), strict=True):
        kept[row] = ids
    window = slice(-max_length, None) if truncation == "tail" else slice(0, max_length)
    is_cut = np.array([len(ids) > max_length for ids in kept], dtype=bool)
    return TokenizedTexts([_as_text(ids[window], tokenizer) for ids in kept], is_cut)


def _end(text: str, limit: int, truncation: Truncation) -> str:
    """Return about `limit` characters of one end of a text, cut at a space; the whole text if there is none."""
    if len(text) <= limit:
        return text
    # Tokenizers split at spaces first, and then word by word; within a word a cut may change every token. The space in
    # front belongs to its word in some vocabularies.
    place = text.find(" ", len(text) - limit) if truncation == "tail" else text.rfind(" ", 0, limit)
    if place < 0:
        return text
    return text[place:] if truncation == "tail" else text[:place]


def encode_all(texts: Sequence[str], tokenizer: Any) -> list[IntArray]:
    """Return all ids of texts, without special tokens around them and without a limit."""
    options = {"add_special_tokens": False, "split_special_tokens": True, "verbose": False}
    options |= {"return_attention_mask": False, "return_token_type_ids": False}
    return [
        np.array(ids, dtype=np.int64)
        for part in _calls(texts)
        for ids in tokenizer([_encodable(text) for text in part], **options)["input_ids"]
    ]


def _calls(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Cut a list of texts in parts of about `CHARACTERS_PER_CALL` characters."""
    ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
    call = np.maximum(ends - 1, 0) // CHARACTERS_PER_CALL
    for rows in np.split(np.arange(len(texts)), np.flatnonzero(np.diff(call)) + 1):
        if len(rows):
            yield texts[rows[0] : rows[-1] + 1]


def _encodable(text: str) -> str:
    """Replace lone surrogates (half of an emoji, as JSON may hold one), which no tokenizer takes."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _as_text(ids: IntArray, tokenizer: Any) -> IntArray:
    """Replace special ids by the unknown token: a Unigram model has their names among its own pieces."""
    unknown = tokenizer.unk_token_id
    is_special = np.isin(ids, [index for index in tokenizer.all_special_ids if index != unknown])
    return ids[~is_special] if unknown is None else np.where(is_special, unknown, ids)


@dataclass(frozen=True, eq=False)
class Chunk:
    """A piece of a text that fits in a row.

    Attributes
    ----------
    token_ids : ndarray of shape (at most max_length,), int64
    n_context : int
        Tokens at its front that belong to the chunk before: always visible, never scored.
    """

    token_ids: IntArray
    n_context: int


def chunks(token_ids: NDArray[np.integer], *, max_length: int, overlap: int) -> list[Chunk]:
    r"""Cut a long text in chunks whose scores add up.

    .. math:: \log p(x) = \sum_k \log p(x_{\text{chunk } k} \mid \text{the } o \text{ tokens before it})

    by the chain rule, where each chunk sees no further back than its overlap o: every token is scored in exactly one
    chunk, so a sum of bounds is a bound. There are as few chunks as possible, and all of them are equally long, to one
    token. So no token is left over in a chunk of its own with little to see, the shortest view of all chunks is as
    long as it can be, and the rows of a text fall in one length bucket, where they make full batches.

    Parameters
    ----------
    token_ids : ndarray of shape (L,), integer
        All tokens of the text.
    max_length : int
        Most tokens of a chunk, its context included.
    overlap : int
        o, context tokens of every chunk but the first; 0 <= overlap < max_length.

    Returns
    -------
    list of Chunk
        In order, views of `token_ids`; one chunk for a text that fits.

    Raises
    ------
    ValueError
        If the overlap leaves no room for tokens to score.

    Examples
    --------
    >>> [(chunk.token_ids.tolist(), chunk.n_context) for chunk in chunks(np.arange(7), max_length=4, overlap=1)]
    [([0, 1, 2, 3], 0), ([3, 4, 5, 6], 1)]
    """
    ids = np.asarray(token_ids, dtype=np.int64)
    if not 0 <= overlap < max_length:
        raise ValueError(
            three_parts(
                "an overlap in 0 <= overlap < max_length",
                f"overlap={overlap} and max_length={max_length}",
                "Make the overlap smaller: a quarter of max_length is a good start.",
            )
        )
    n_chunks = 1 + max(0, -(-(len(ids) - max_length) // (max_length - overlap)))
    # The rows hold the text once and every overlap a second time. With as few chunks as possible, the equal share of a
    # row is more than the overlap and at most max_length.
    bounds = (len(ids) + (n_chunks - 1) * overlap) * np.arange(n_chunks + 1) // n_chunks
    starts = bounds[:-1] - overlap * np.arange(n_chunks)
    lengths = np.diff(bounds)
    return [
        Chunk(ids[start : start + length], overlap if number else 0)
        for number, (start, length) in enumerate(zip(starts.tolist(), lengths.tolist(), strict=True))
    ]


def tiny_tokenizer() -> Any:
    """A tokenizer over single characters, made without any file."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    characters = [chr(code) for code in range(33, 127)]
    vocabulary = {token: index for index, token in enumerate(special + characters)}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split("", "isolated")]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
