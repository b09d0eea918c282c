"""The choice of a token from its logits: greedy, temperature, top-k, nucleus, repetition penalty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from gencls.generation.config import GenerationConfig

#: Tokens whose probabilities are added up before the cumulative sum: it then runs over V / 128 numbers.
BLOCK = 128
#: Tokens that a nucleus is first looked for among.
FIRST_CANDIDATES = 128


@dataclass(frozen=True)
class Choice:
    """Chosen tokens of n places.

    Attributes
    ----------
    token_ids : Tensor of shape (n,), int64
    probability : Tensor of shape (n,), float
        Of the chosen token under the model, before temperature and truncation.
    sureness : Tensor of shape (n,), float
        What the order goes by: higher is surer.
    """

    token_ids: Tensor
    probability: Tensor
    sureness: Tensor


def choose(logits: Tensor, uniforms: Tensor, config: GenerationConfig) -> Choice:
    """Choose a token for every place.

    Parameters
    ----------
    logits : Tensor of shape (n, V)
        Minus infinity for tokens that must not be chosen.
    uniforms : Tensor of shape (n,), in [0, 1)
        All the randomness of the choice: one number a place, so that it depends on no other place.
    config : GenerationConfig

    Returns
    -------
    Choice
    """
    largest, greedy = logits.max(dim=1)
    weights = (logits - largest[:, None]).exp_()
    sums = _block_sums(weights)
    log_z = sums.sum(dim=1).log() + largest
    if config.temperature == 0:
        token_ids = greedy
    elif config.temperature == 1 and config.top_k is None and config.top_p is None:
        token_ids = _inverted(weights, sums, greedy, uniforms)  # nothing is computed twice: the arrays are large
    else:
        token_ids = draw(logits / config.temperature, uniforms, config)
    probability = (logits.gather(1, token_ids[:, None])[:, 0] - log_z).exp()
    return Choice(token_ids, probability, _sureness(logits, log_z, probability, config.order))


def draw(logits: Tensor, uniforms: Tensor, config: GenerationConfig) -> Tensor:
    """Draw a token for every place; the parameters are those of `choose`, the temperature already applied."""
    if config.top_k is None and config.top_p is None:
        return draw_from(logits, uniforms)
    values, candidates = truncated(logits, config.top_k, config.top_p)
    return candidates.gather(1, draw_from(values, uniforms)[:, None])[:, 0]


def draw_from(logits: Tensor, uniforms: Tensor) -> Tensor:
    """Return where the cumulative probability first exceeds a uniform number, shape (n,), int64."""
    largest, greedy = logits.max(dim=1)
    weights = (logits - largest[:, None]).exp_()
    return _inverted(weights, _block_sums(weights), greedy, uniforms)


def _block_sums(weights: Tensor) -> Tensor:
    """Sum weights (n, V) by blocks of tokens, the last one shorter or empty."""
    n_whole = weights.shape[1] // BLOCK
    whole = weights[:, : n_whole * BLOCK].unflatten(1, (n_whole, BLOCK)).sum(dim=2)
    return torch.cat([whole, weights[:, n_whole * BLOCK :].sum(dim=1, keepdim=True)], dim=1)


def _inverted(weights: Tensor, sums: Tensor, greedy: Tensor, uniforms: Tensor) -> Tensor:
    """Find the token at which the cumulative weight exceeds a share: first its block, then its place in it."""
    wide, vocab_size = widest(weights.device), weights.shape[1]
    cumulative = sums.to(wide).cumsum(dim=1)
    wanted = (uniforms.to(cumulative) * cumulative[:, -1])[:, None]
    block = torch.searchsorted(cumulative, wanted, right=True).clamp_max_(sums.shape[1] - 1)
    before = functional.pad(cumulative, (1, 0)).gather(1, block)
    places = block * BLOCK + torch.arange(BLOCK, device=weights.device)
    inside = weights.gather(1, places.clamp_max(vocab_size - 1)).to(wide).masked_fill_(places >= vocab_size, 0.0)
    place = torch.searchsorted(inside.cumsum(dim=1), wanted - before, right=True).clamp_max_(BLOCK - 1)
    chosen = places.gather(1, place)[:, 0].clamp_max_(vocab_size - 1)
    # rounding at the end of a block may point behind its last token with a chance
    has_chance = weights.gather(1, chosen[:, None])[:, 0] > 0
    return torch.where(has_chance, chosen, greedy)


def widest(device: torch.device) -> torch.dtype:
    """Return the type of cumulative sums: Apple's MPS has no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def truncated(logits: Tensor, top_k: int | None, top_p: float | None) -> tuple[Tensor, Tensor]:
    """Return the likeliest tokens, likeliest first; the others at minus infinity.

    Parameters
    ----------
    logits : Tensor of shape (n, V)
    top_k : int, optional
        Keep the k likeliest.
    top_p : float, optional
        Of these, keep the fewest whose probability is at least p: the token that crosses p is kept (Holtzman et al.
        2020, arXiv:1904.09751, section 3.1).

    Returns
    -------
    values : Tensor of shape (n, K)
    token_ids : Tensor of shape (n, K), int64

    Examples
    --------
    >>> values, token_ids = truncated(torch.tensor([[0.2, 0.5, 0.3]]).log(), None, 0.6)
    >>> token_ids[values > -torch.inf].tolist()
    [1, 2]
    """
    vocab_size = logits.shape[1]
    size = min(top_k or FIRST_CANDIDATES, vocab_size)
    while True:
        values, token_ids = logits.topk(size, dim=1)
        if top_p is None:
            return values, token_ids
        # of the k likeliest, p is a share of what they have together
        log_z = (values if top_k else logits).logsumexp(dim=1, keepdim=True)
        cumulative = (values - log_z).exp().cumsum(dim=1)
        if top_k or size == vocab_size or bool((cumulative[:, -1] >= top_p).all()):
            before = functional.pad(cumulative[:, :-1], (1, 0))
            is_out = before >= top_p
            is_out[:, 0] = False
            return values.masked_fill(is_out, -torch.inf), token_ids
        size = min(4 * size, vocab_size)


def penalise(logits: Tensor, seen: Sequence[Tensor], penalty: float) -> None:
    """Multiply the log-probabilities of seen tokens, in place.

    Keskar et al. (2019, arXiv:1909.05858, section 4.1) divide logits, whose zero is arbitrary; log-probabilities have
    one sign.

    Parameters
    ----------
    logits : Tensor of shape (n, V)
    seen : sequence of n Tensor of int64
        Tokens that the text of each place has already.
    penalty : float
    """
    log_z = logits.logsumexp(dim=1)
    for row, ids in enumerate(seen):
        logits[row, ids] = penalty * (logits[row, ids] - log_z[row]) + log_z[row]


def _sureness(logits: Tensor, log_z: Tensor, probability: Tensor, order: str) -> Tensor:
    if order == "margin":
        first, second = (logits.topk(2, dim=1).values - log_z[:, None]).exp().unbind(dim=1)
        return first - second
    if order == "entropy":
        log_probs = logits - log_z[:, None]
        return torch.special.entr(log_probs.exp()).sum(dim=1).neg()
    return probability
