"""Vocabulary trimming: a multilingual model with those of its pieces that the training texts are made of [1]_ [2]_.

A multilingual tokenizer has a quarter of a million pieces, of which texts of one language use a few thousand. The
projection over all of them would cost many times the rest of the network. What is trimmed away is read in the smaller
pieces that are left, and in characters: those of the texts' scripts are kept, whether a text has them or not.

References
----------
.. [1] Abdaoui, Pradel & Sigel 2020, "Load What You Need: Smaller Versions of Multilingual BERT", arXiv:2010.05609.
.. [2] Ushio, Zhou & Camacho-Collados 2023, "An Efficient Multilingual Language Model Compression through Vocabulary
   Trimming", arXiv:2305.15020.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from gencls.data.errors import three_parts
from gencls.diffusion.tokens import encode_all

#: A unigram vocabulary of more pieces is one of many languages.
MANY_PIECES = 100_000


def is_multilingual(tokenizer: Any) -> bool:
    """Whether a tokenizer is one that is trimmed: of unigram pieces, many of them, and no tokens beside them."""
    inner = getattr(tokenizer, "backend_tokenizer", None)
    if inner is None or not isinstance(inner.model, models.Unigram):
        return False
    return len(tokenizer) > MANY_PIECES and inner.get_vocab_size(with_added_tokens=False) == len(tokenizer)


def trim_tokenizer(tokenizer: Any, texts: Iterable[str]) -> Any:
    """Keep the pieces that texts are made of, the characters of their scripts, and the special tokens, in their order.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
        With a unigram model behind it.
    texts : iterable of str

    Returns
    -------
    PreTrainedTokenizerBase

    Raises
    ------
    ValueError
        If the tokenizer is of another kind: pieces of merges cannot be taken out one by one.
    """
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    if (kind := state["model"]["type"]) != "Unigram":
        raise ValueError(three_parts("a unigram tokenizer, to be trimmed to texts", kind, "Use another backbone."))
    vocabulary, special = state["model"]["vocab"], set(tokenizer.all_special_tokens)
    seen = {vocabulary[place][0] for ids in encode_all(list(texts), tokenizer) for place in np.unique(ids)} - special
    scripts = {_script(sign) for piece in seen for sign in piece}
    kept = [
        (piece, score)
        for piece, score in vocabulary
        if piece in seen or piece in special or (len(piece) == 1 and _script(piece) in scripts)
    ]
    places = {piece: place for place, (piece, _) in enumerate(kept)}
    state["model"]["vocab"], state["model"]["unk_id"] = kept, places[vocabulary[state["model"]["unk_id"]][0]]
    for token in state["added_tokens"]:
        token["id"] = places[token["content"]]
    for token in (state["post_processor"] or {}).get("special_tokens", {}).values():
        token["ids"] = [places[piece] for piece in token["tokens"]]
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)),
        model_max_length=tokenizer.model_max_length,
        **tokenizer.special_tokens_map,
    )


def trim_embeddings(model: Any, before: Any, after: Any) -> None:
    """Keep the rows of a model's embeddings, and of its output, whose pieces a trimmed tokenizer has; in place.

    Parameters
    ----------
    model : PreTrainedModel
    before, after : PreTrainedTokenizerBase
        The model's own tokenizer, and one of fewer pieces of it.

    Raises
    ------
    ValueError
        If the second has a piece that the first has not.
    """
    places = before.get_vocab()
    pieces = sorted(after.get_vocab().items(), key=lambda item: item[1])
    if strange := [piece for piece, _ in pieces if piece not in places]:
        got = f"{strange[0]!r} and {len(strange) - 1} more that it has not"
        raise ValueError(three_parts("pieces of the model's own tokenizer", got, "Load the backbone of that run."))
    rows = torch.tensor([places[piece] for piece, _ in pieces])
    output = model.get_output_embeddings()
    embeddings, bias = model.get_input_embeddings(), None if output is None else output.bias
    with torch.no_grad():
        for values in (embeddings.weight, bias):
            if values is not None:
                values[: len(rows)] = values[rows]  # the copy on the right is made first
    model.resize_token_embeddings(len(rows), mean_resizing=False)
    model.config.pad_token_id = after.pad_token_id
    model.get_input_embeddings().padding_idx = after.pad_token_id


def _script(sign: str) -> str:
    """What a character's Unicode name begins with: LATIN, CJK, HIRAGANA; of a sign, a word of its own."""
    return unicodedata.name(sign, sign).partition(" ")[0]
