"""A vocabulary of many languages, cut to the pieces that the training texts are made of.

A multilingual tokenizer has a quarter of a million pieces, of which texts of one language use a few thousand. The
projection over all of them would cost many times the rest of the network. What is cut away is read in the smaller
pieces that are left, and in characters; a character that no training text has is unknown.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from gencls.data.errors import three_parts
from gencls.diffusion.tokens import encode_all


def cut_tokenizer(tokenizer: Any, texts: Iterable[str]) -> Any:
    """Keep the pieces that texts are made of, their characters, and the special tokens, in their order.

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
        raise ValueError(three_parts("a unigram tokenizer, to be cut to texts", kind, "Use another backbone."))
    vocabulary = state["model"]["vocab"]
    seen = {int(place) for ids in encode_all(list(texts), tokenizer) for place in np.unique(ids)}
    characters = {sign for place in seen for sign in vocabulary[place][0]}
    special = set(tokenizer.all_special_tokens)
    kept = [
        (piece, score)
        for place, (piece, score) in enumerate(vocabulary)
        if place in seen or piece in special or piece in characters
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


def cut_embeddings(model: Any, before: Any, after: Any) -> None:
    """Keep the rows of a model's embeddings, and of its output, whose pieces a cut tokenizer has; in place.

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
