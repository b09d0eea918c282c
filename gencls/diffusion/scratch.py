"""A backbone from scratch over single characters: for scripts without spaces, where no pretrained one is at hand."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import ModernBertConfig, ModernBertForMaskedLM

from gencls.data.errors import three_parts

SCRATCH = "scratch"
#: Width and layers of the plain name.
WIDTH, N_LAYERS = 256, 4
#: Positions of a row; they are rotary, so more cost nothing.
N_POSITIONS = 1024
HEAD_WIDTH = 16
#: Widths are multiples of it.
WIDTH_UNIT = 64
#: Where the heads look before they have learned anything, over and over.
OFFSETS = (-1, 1, -2, 2, -3, 3, -4, 4)
#: Size of the biases that make them look there: the token at the offset then has most of a head's attention.
NEARBY = 4.0
#: Standard deviation of the first weights: the usual 0.02 is that of widths of a thousand.
INITIALIZER_RANGE = 0.06
#: Of the rotary positions: rows are short.
ROPE_BASE = 10_000.0
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_NAME = re.compile(r"scratch(?:-(\d+)x(\d+))?")


def size_of(name: str) -> tuple[int, int] | None:
    """Return width and layers of a name such as ``scratch`` or ``scratch-256x4``; None for other names.

    >>> size_of("scratch"), size_of("scratch-128x3"), size_of("minilm")
    ((256, 4), (128, 3), None)
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    return (int(match[1]), int(match[2])) if match[1] else (WIDTH, N_LAYERS)


def character_tokenizer(texts: Iterable[str], *, min_count: int = 2) -> Any:
    """Make a tokenizer whose tokens are the characters of texts, spaces included.

    Parameters
    ----------
    texts : iterable of str
        Training texts.
    min_count : int
        Characters seen less often are unknown.

    Returns
    -------
    PreTrainedTokenizerFast
        Frequent characters first; `save_pretrained` and `AutoTokenizer` keep it as any other.

    Raises
    ------
    ValueError
        If no character is left.
    """
    counts = Counter(sign for text in texts for sign in text)
    kept = sorted((sign for sign, count in counts.items() if count >= min_count), key=lambda one: (-counts[one], one))
    if not kept:
        got = f"none among {len(counts)}"
        raise ValueError(three_parts(f"a character seen {min_count} times", got, "Give more texts."))
    return tokenizer_over({token: place for place, token in enumerate(SPECIAL + kept)})


def tokenizer_over(vocabulary: Mapping[str, int]) -> Any:
    """Make a tokenizer that looks up single characters in a vocabulary, which has the special tokens of BERT too.

    Parameters
    ----------
    vocabulary : mapping of str to int

    Returns
    -------
    PreTrainedTokenizerFast
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel(dict(vocabulary), unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    inner.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        clean_up_tokenization_spaces=False,
    )


def scratch_model(tokenizer: Any, width: int, n_layers: int, *, seed: int = 0) -> Any:
    """Build a masked LM with random weights: rotary positions, gated feed-forward, tied embeddings, no dropout.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
    width, n_layers : int
        A gated feed-forward layer of 4/3 of the width twice over has as many parameters as that of `new_causal`.
    seed : int
        Of the weights; the process's random state stays as it is.

    Raises
    ------
    ValueError
        If the width is no multiple of `WIDTH_UNIT`, or there is no layer.
    """
    if width % WIDTH_UNIT or width < 1 or n_layers < 1:
        got = f"{width}x{n_layers}"
        raise ValueError(three_parts(f"a width in multiples of {WIDTH_UNIT}, and a layer", got, "Use scratch-256x4."))
    config = ModernBertConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=8 * round(width / 3),
        num_hidden_layers=n_layers,
        num_attention_heads=width // HEAD_WIDTH,
        attention_bias=True,
        initializer_range=INITIALIZER_RANGE,
        max_position_embeddings=N_POSITIONS,
        layer_types=["full_attention"] * n_layers,
        rope_parameters={"full_attention": {"rope_type": "default", "rope_theta": ROPE_BASE}},
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
        cls_token_id=tokenizer.cls_token_id,
        sep_token_id=tokenizer.sep_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ModernBertForMaskedLM(config)
    heads = itertools.cycle(OFFSETS)
    for layer in model.model.layers:
        query_bias, key_bias, _ = layer.attn.Wqkv.bias.chunk(3)
        look_nearby(query_bias, key_bias, heads)
    return model


@torch.no_grad()
def look_nearby(query_bias: Tensor, key_bias: Tensor, offsets: Iterator[int]) -> None:
    r"""Set biases so that each head starts by looking at the token at an offset from its own place.

    Rotary positions leave of a constant query and a constant key nothing but their distance: with the key turned back
    by the offset, their product is :math:`s^2 \sum_j \cos(\theta_j (n - m - \text{offset}))`, largest at the offset
    (Su et al. 2021, arXiv:2104.09864, eq. 16). From random weights a masked language model stays at the unigram for the
    first millions of tokens, because it has to find out first that neighbours matter; this tells it.

    Parameters
    ----------
    query_bias, key_bias : Tensor of shape (D,)
        Of all heads of a layer, each of `HEAD_WIDTH`; written to.
    offsets : iterator of int
        One is taken for each head.
    """
    half = HEAD_WIDTH // 2
    angles = ROPE_BASE ** (-torch.arange(half) / half)
    for query, key, offset in zip(query_bias.split(HEAD_WIDTH), key_bias.split(HEAD_WIDTH), offsets, strict=False):
        query.copy_(torch.cat([torch.full((half,), NEARBY), torch.zeros(half)]))
        key.copy_(NEARBY * torch.cat([(angles * offset).cos(), -(angles * offset).sin()]))
