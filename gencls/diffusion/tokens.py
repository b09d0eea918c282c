"""Texts to token ids, and token ids to rows: what of a text is scorable.

The scorable tokens of a text are its word pieces. Special tokens are added around them and padding behind them by
`TokenFrame`; a special token's name that is *written in a text* (``[MASK]``) is text and is split like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gencls.data.errors import three_parts

IntArray = NDArray[np.int64]
Truncation = Literal["tail", "head"]
#: Characters per asked-for token that are tokenised at most: bounds the work on a text of a million characters.
CHARACTERS_PER_TOKEN = 40


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
    clipped = [_encodable(text[-limit:] if truncation == "tail" else text[:limit]) for text in texts]
    encoded = (
        tokenizer(clipped, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
        if clipped
        else []
    )
    window = slice(-max_length, None) if truncation == "tail" else slice(0, max_length)
    is_cut = np.array(
        [len(ids) > max_length or len(text) > limit for ids, text in zip(encoded, texts, strict=True)],
        dtype=bool,
    )
    return TokenizedTexts([_as_text(ids[window], tokenizer) for ids in encoded], is_cut)


def _encodable(text: str) -> str:
    """Replace lone surrogates (half of an emoji, as JSON may hold one), which no tokenizer takes."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _as_text(ids: Sequence[int], tokenizer: Any) -> IntArray:
    """Replace special ids by the unknown token: a Unigram model has their names among its own pieces."""
    array, unknown = np.array(ids, dtype=np.int64), tokenizer.unk_token_id
    is_special = np.isin(array, [index for index in tokenizer.all_special_ids if index != unknown])
    return array[~is_special] if unknown is None else np.where(is_special, unknown, array)


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
