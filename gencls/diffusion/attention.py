"""Attention of a scoring pass on a processor: two batched matrix products and an exponential.

PyTorch's fused kernel saves memory that short rows do not need, and in bfloat16 it is the slower way: for a batch of
seven rows of 136 positions a layer's attention takes a third of its time here (`benchmarks.throughput` has a profile).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

#: Name under which transformers' models find it.
PRODUCTS = "gencls_products"
#: The terms of a sum below this have lost digits: float32 and bfloat16 end at 1e-38.
SMALLEST_SUM = 1e-30


def products_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend to all visible positions, as transformers' `AttentionInterface` asks for it.

    Parameters
    ----------
    module : nn.Module
        The layer; not needed.
    query : Tensor of shape (B, H, L, d)
    key, value : Tensor of shape (B, K, L, d)
        Of H heads, or of fewer that several queries share, one after the other (Ainslie et al. 2023,
        arXiv:2305.13245).
    attention_mask : Tensor of shape (B, 1, L, L) or None
        Boolean, True where seen, or a number to add; None where nothing is hidden.
    scaling : float, optional
        Of the products; 1 / sqrt(d) if not given.

    Returns
    -------
    Tensor of shape (B, L, H, d), None
    """
    if (shared := query.shape[1] // key.shape[1]) > 1:
        key, value = (states.repeat_interleave(shared, dim=1) for states in (key, value))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    # The mean key adds the same to all scores of a query, which the softmax takes away again. Without it, exp of nearly
    # every score is in range, and no maximum has to be searched.
    key = key - key.mean(dim=2, keepdim=True)
    scores = torch.matmul(query * scale, key.transpose(2, 3))
    seen = None if attention_mask is None else _seen_keys(attention_mask)
    if attention_mask is not None and seen is None:
        return _by_softmax(scores, value, attention_mask).transpose(1, 2), None
    # The weights are divided by their sum after the product: a column of ones makes it. Keys out of sight have zeros
    # there and in their values.
    ones = torch.ones_like(value[..., :1])
    values = torch.cat([value, ones], dim=-1)
    if seen is not None:
        values = values * seen.to(values.dtype)[:, None, :, None]
    weighted = torch.matmul(scores.exp(), values)
    context, total = weighted[..., :-1], weighted[..., -1:]
    context = context / total
    # one sum says whether any of them may be wrong: what is not finite is not finite in it
    if not (torch.isfinite(weighted.sum()) and total.amin() > SMALLEST_SUM):
        # the products overflow before their sum does where a value is larger than one
        usable = (torch.isfinite(weighted).all(dim=3) & (total[..., 0] > SMALLEST_SUM)).all(dim=2)
        _repair(context, usable, scores, value, attention_mask)
    return context.transpose(1, 2), None


def _repair(context: Tensor, usable: Tensor, scores: Tensor, value: Tensor, attention_mask: Tensor | None) -> None:
    """Compute the unusable heads of each row again; a row must not depend on its batch mates."""
    heads = (~usable).any(dim=0).nonzero()[:, 0]
    again = _by_softmax(scores[:, heads], value[:, heads], attention_mask)
    context[:, heads] = torch.where(usable[:, heads, None, None], context[:, heads], again)


def _seen_keys(attention_mask: Tensor) -> Tensor | None:
    """Return the keys (B, L) that every query of a row sees, or None if the queries see different ones."""
    if attention_mask.dtype != torch.bool or attention_mask.shape[1] != 1:
        return None
    seen = attention_mask[:, 0, 0]
    return seen if torch.equal(attention_mask[:, 0], seen[:, None].expand_as(attention_mask[:, 0])) else None


def _by_softmax(scores: Tensor, value: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Attention in its usual form, for any mask and any scores."""
    if attention_mask is not None and attention_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attention_mask, torch.finfo(scores.dtype).min)
    elif attention_mask is not None:
        scores = scores + attention_mask
    return torch.matmul(scores.softmax(dim=-1), value)


AttentionInterface.register(PRODUCTS, products_attention)
AttentionMaskInterface.register(PRODUCTS, sdpa_mask)
