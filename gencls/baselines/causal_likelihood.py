"""Exact log-likelihoods under a causal language model, in nats.

The vocabulary projection is by far the largest array of a language model: (B, L, V) float32 of a batch of 32 rows of
256 tokens over 49 152 words is 1.6 GB. Only positions that are asked for are projected, a few hundred at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from tqdm.auto import tqdm

from gencls.data.errors import three_parts

#: Positions of one projection.
PROJECTION_ROWS = 512


def without_wrapper(model: Any) -> Any:
    """Return the Transformers model itself, with its adapters in place, out of peft's wrapper."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def head_of(model: Any) -> nn.Module:
    """Return the vocabulary projection."""
    return without_wrapper(model).get_output_embeddings()


def device_of(model: Any) -> torch.device:
    """Return where the model is."""
    return next(head_of(model).parameters()).device


def hidden_states(model: Any, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
    """Return the last hidden states, (B, L, D): what the projection reads."""
    return (
        without_wrapper(model)
        .base_model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
        .last_hidden_state
    )


def target_log_probs(model: Any, input_ids: Tensor, attention_mask: Tensor, scored: Tensor) -> Tensor:
    """Return log p(token | everything left of it) of the scored tokens.

    Parameters
    ----------
    model : PreTrainedModel or PeftModel
        Causal.
    input_ids, attention_mask : Tensor of shape (B, L), int64
    scored : Tensor of shape (B, L), bool
        Tokens that are asked for; never the first of a row, which has nothing on its left.

    Returns
    -------
    Tensor of shape (n,), float32, nats
        In row-major order. Keeps the gradient, and projects again in the backward pass instead of keeping (n, V).
    """
    hidden = hidden_states(model, input_ids, attention_mask)[:, :-1][scored[:, 1:]]
    targets, head = input_ids[:, 1:][scored[:, 1:]], head_of(model)
    parts = [
        checkpoint(_chunk_log_probs, head, *chunk, use_reentrant=False)
        if torch.is_grad_enabled()
        else _chunk_log_probs(head, *chunk)
        for chunk in zip(hidden.split(PROJECTION_ROWS), targets.split(PROJECTION_ROWS), strict=True)
    ]
    return torch.cat(parts)


def _chunk_log_probs(head: nn.Module, hidden: Tensor, targets: Tensor) -> Tensor:
    logits = head(hidden).float()
    return logits.gather(1, targets[:, None])[:, 0] - logits.logsumexp(dim=1)


def collate(sequences: Sequence[NDArray[np.integer]], context: Sequence[int], pad_id: int = 0) -> dict[str, Tensor]:
    """Make a batch of texts behind a common context.

    Parameters
    ----------
    sequences : sequence of B int arrays of shape (L,)
    context : sequence of int
        Tokens in front of every text, seen and never scored; at least one.
    pad_id : int
        Any valid id: padding is on the right, where no token of a causal model looks.

    Returns
    -------
    dict
        "input_ids", "attention_mask" (B, len(context) + longest), int64, and "scored", bool.
    """
    rows = [torch.as_tensor(np.concatenate([context, ids]).astype(np.int64)) for ids in sequences]
    input_ids = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=pad_id)
    place = torch.arange(input_ids.shape[1])
    # from the lengths, not from the padding id: a text may contain that token itself
    real = place < torch.tensor([len(row) for row in rows])[:, None]
    return {"input_ids": input_ids, "attention_mask": real.long(), "scored": real & (place >= len(context))}


@torch.inference_mode()
def token_log_likelihood(
    model: Any,
    sequences: Sequence[NDArray[np.integer]],
    *,
    context: Sequence[int],
    batch_tokens: int = 4096,
    bf16: bool = False,
    progress: bool = False,
) -> list[NDArray[np.float64]]:
    """Return log p(x_i | context, x_1 .. x_{i-1}) of every token of every text.

    Parameters
    ----------
    model : PreTrainedModel or PeftModel
        Causal; used in evaluation mode and left as it was.
    sequences : sequence of N int arrays of shape (L,)
        Token ids without special tokens; empty ones are allowed.
    context : sequence of int
        Tokens in front of every text: the start token, or a prompt that begins with it.
    batch_tokens : int
        Rows times longest row of one forward pass; texts of like length go together.
    bf16 : bool
        Autocast to bfloat16: half the time where the machine has it, and rounding of about 1e-2 nats per token.
    progress : bool
        Draw a bar on a terminal.

    Returns
    -------
    list of N float64 arrays of shape (L,), nats

    Raises
    ------
    ValueError
        If the context is empty or a text is longer than the model's positions.
    """
    lengths = np.array([len(ids) for ids in sequences], dtype=np.int64) + len(context)
    check_rows(model, lengths, context)
    device, was_training = device_of(model), model.training
    scores = [np.zeros(0)] * len(sequences)
    model.eval()
    with tqdm(total=len(sequences), desc="causal likelihood", unit="text", disable=None if progress else True) as bar:
        for rows in batches_by_length(lengths, batch_tokens):
            batch = collate([sequences[row] for row in rows], context)
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                flat = target_log_probs(model, **{name: value.to(device) for name, value in batch.items()})
            ends = np.cumsum(lengths[rows] - len(context))[:-1]
            for row, part in zip(rows, np.split(flat.double().cpu().numpy(), ends), strict=True):
                scores[row] = part
            bar.update(len(rows))
    model.train(was_training)
    return scores


def log_likelihood(
    model: Any, sequences: Sequence[NDArray[np.integer]], *, context: Sequence[int], **options: Any
) -> NDArray[np.float64]:
    """Return log p(x | context) of every text, shape (N,), float64, nats; options as `token_log_likelihood`."""
    return np.array([part.sum() for part in token_log_likelihood(model, sequences, context=context, **options)])


def batches_by_length(lengths: NDArray[np.int64], batch_tokens: int) -> Iterator[NDArray[np.int64]]:
    """Cut the rows, longest first, in batches of at most `batch_tokens` padded tokens (one row at least).

    Examples
    --------
    >>> [rows.tolist() for rows in batches_by_length(np.array([2, 9, 4, 3]), 8)]
    [[1], [2, 3], [0]]
    """
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        rows = order[start : start + max(1, batch_tokens // int(lengths[order[start]]))]
        yield rows
        start += len(rows)


def check_rows(model: Any, lengths: NDArray[np.int64], context: Sequence[int]) -> None:
    """Raise a ValueError if there is no context or a row of `lengths` tokens is longer than the model's positions."""
    if len(context) == 0:
        raise ValueError(three_parts("a context of at least one token", "none", "Pass (start_id,)."))
    limit = getattr(without_wrapper(model).config, "max_position_embeddings", None)
    longest = int(lengths.max(initial=0))
    if limit is not None and longest > limit:
        raise ValueError(
            three_parts(f"rows of at most {limit} tokens", f"{longest} with the context", "Truncate the texts.")
        )
