r"""What a denoiser knows on the way up: its layers read by its own head, and where its attention goes.

The logit lens (nostalgebraist 2020; Belrose et al. 2023, arXiv:2303.08112, section 2): the head and the vocabulary
projection, made for the last layer, are put on the hidden states of each layer. Where a layer already has the token,
its logits say so. The class-free model is asked, at hidden tokens only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from gencls.data.errors import three_parts
from gencls.diffusion.batches import RowBatch, frame_rows
from gencls.diffusion.bidirectional import is_opened
from gencls.diffusion.denoiser import Denoiser
from gencls.diffusion.masking import random_order, text_generator
from gencls.diffusion.reader import attend_by
from gencls.generation.trajectory import Step, Trajectory

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
#: Kinds of tokens that attention goes to, in the order of `LayerObservations.attention`.
TARGETS = ("visible", "hidden", "special")
#: Hidden tokens whose logits exist at one time.
LENS_ROWS = 256


@dataclass(frozen=True, eq=False)
class LayerObservations:
    """What was seen inside, for N texts at A levels in the R layers; layer 0 is the embeddings.

    Attributes
    ----------
    levels : ndarray of shape (A,), float64
        Share of hidden tokens.
    n_hidden : ndarray of shape (N, A), int64
    right : ndarray of shape (N, A, R + 1), int64
        Hidden tokens whose likeliest token by this layer is the true one.
    log_prob : ndarray of shape (N, A, R + 1), float64, nats
        Summed log-probability of the true tokens.
    attention : ndarray of shape (N, A, R, 3), float64
        Share of a hidden token's attention that goes to visible, hidden and special tokens, mean over heads and tokens.
    visible_share : ndarray of shape (N, A), float64
        What even attention would give to visible tokens.
    """

    levels: FloatArray
    n_hidden: IntArray
    right: IntArray
    log_prob: FloatArray
    attention: FloatArray
    visible_share: FloatArray


def nested_masks(token_ids: IntArray, levels: Sequence[float], *, seed: int, at_least: int = 0) -> list[BoolArray]:
    """Draw one mask (L,) for each level; what is hidden at a level is hidden at every higher one.

    Parameters
    ----------
    token_ids : ndarray of shape (L,), int64
    levels : sequence of float
        Shares of hidden tokens in [0, 1], rounded to whole tokens.
    seed : int
        With the text, it seeds the order in which tokens are hidden.
    at_least : int
        Tokens that every level hides.

    Raises
    ------
    ValueError
        If a level is outside [0, 1].
    """
    if not levels or not all(0.0 <= level <= 1.0 for level in levels):
        raise ValueError(three_parts("levels in [0, 1]", str(list(levels)), "Give shares such as 0.5."))
    ranks = random_order(len(token_ids), generator=text_generator(token_ids, seed=seed))
    return [ranks < max(round(level * len(token_ids)), at_least) for level in levels]


def forward_process(
    token_ids: IntArray, levels: Sequence[float], *, tokens: Sequence[str], mask_id: int, seed: int, text: str = ""
) -> Trajectory:
    """Hide more and more of a text: the way of generation backwards, for the same pictures.

    Parameters
    ----------
    token_ids : ndarray of shape (L,), int64
    levels : sequence of float
        Shares of hidden tokens, rising.
    tokens : sequence of V str
        How each token reads.
    mask_id, seed : int
    text : str

    Returns
    -------
    Trajectory
        One step for each level, without forwards.
    """
    nothing, unknown = np.zeros(len(token_ids), dtype=bool), np.full(len(token_ids), np.nan)
    masks = nested_masks(token_ids, levels, seed=seed)
    steps = [Step(np.where(mask, mask_id, token_ids), unknown, nothing, nothing, 0, 0.0) for mask in masks]
    names = ", ".join(f"{100 * level:.0f} %" for level in levels)
    return Trajectory(steps, nothing, mask_id, tokens, text, f"hidden: {names}")


def observe_layers(
    denoiser: Denoiser, token_ids: Sequence[IntArray], levels: Sequence[float], *, seed: int
) -> LayerObservations:
    """Read every layer of the class-free model at the hidden tokens of texts.

    Parameters
    ----------
    denoiser : Denoiser
    token_ids : sequence of N ndarray of shape (L,), int64
        None of them empty.
    levels : sequence of A float
        Shares of hidden tokens; at least one token is hidden.
    seed : int

    Returns
    -------
    LayerObservations

    Raises
    ------
    ValueError
        If a level is outside [0, 1], a text is empty, or there is none; or the network is a causal model with its
        attention opened, whose layers speak of the next position and are normed after the last one only.
    """
    if is_opened(denoiser.network.encoder.config):
        todo = "Look into a run of another backbone, such as 'minilm'."
        raise ValueError(three_parts("the layers of a masked language model", "those of a causal one", todo))
    if not token_ids or not all(len(ids) for ids in token_ids):
        got = f"{len(token_ids)} texts, {sum(not len(ids) for ids in token_ids)} of them empty"
        raise ValueError(three_parts("texts with tokens", got, "Leave out empty texts."))
    masks = [nested_masks(ids, levels, seed=seed, at_least=1) for ids in token_ids]
    with _attentive(denoiser):
        rows = [[_observe(denoiser, ids, mask) for mask in own] for ids, own in zip(token_ids, masks, strict=True)]
    fields = ("n_hidden", "right", "log_prob", "attention", "visible_share")
    arrays = {name: np.array([[one[name] for one in row] for row in rows]) for name in fields}
    return LayerObservations(np.array(levels, dtype=np.float64), **arrays)


@torch.no_grad()
def _observe(denoiser: Denoiser, ids: IntArray, mask: BoolArray) -> dict[str, Any]:
    """One text at one level."""
    batch = frame_rows([ids], [mask], [mask], denoiser.frame).to(denoiser.bias.device)
    with _captured(denoiser) as captured:
        denoiser.network.hidden(batch.input_ids, batch.attention_mask, batch.scored, denoiser.n_classes)
    (output,) = captured
    n_extra = output.hidden_states[0].shape[1] - batch.input_ids.shape[1]  # soft tokens of mode ``prompt``
    scored = batch.scored[0].nonzero()[:, 0] + n_extra
    right, log_prob = zip(*(_lens(denoiser, states[0, scored], batch) for states in output.hidden_states), strict=True)
    kinds = _kinds(denoiser, ids, mask, n_extra)
    shares = [_shares(weights[0], scored, kinds) for weights in output.attentions]
    visible = float((kinds == 0).sum()) / len(kinds)
    return {
        "n_hidden": int(mask.sum()),
        "right": right,
        "log_prob": log_prob,
        "attention": shares,
        "visible_share": visible,
    }


def _lens(denoiser: Denoiser, hidden: Tensor, batch: RowBatch) -> tuple[int, float]:
    """Read hidden states (n, D) as the last layer's; how many true tokens are likeliest, and their log-probability."""
    features = denoiser.network.head_of(denoiser.n_classes)(hidden)
    targets = batch.target_ids[batch.scored]
    right, total = 0, 0.0
    for part, wanted in zip(features.split(LENS_ROWS), targets.split(LENS_ROWS), strict=True):
        logits = functional.linear(part, denoiser.projection) + denoiser.bias
        right += int((logits.argmax(dim=1) == wanted).sum())
        total -= float(functional.cross_entropy(logits, wanted, reduction="sum"))
    return right, total


def _kinds(denoiser: Denoiser, ids: IntArray, mask: BoolArray, n_extra: int) -> IntArray:
    """Index in `TARGETS` of every position that attention can go to."""
    frame = denoiser.frame
    text = np.where(mask, 1, 0)
    before, behind = frame.n_before + n_extra, frame.n_special - frame.n_before
    return np.concatenate([np.full(before, 2), text, np.full(behind, 2)])


def _shares(weights: Tensor, queries: Tensor, kinds: IntArray) -> list[float]:
    """Attention (H, L, L) of some queries, by kind of key."""
    received = weights[:, queries].mean(dim=(0, 1)).double().cpu().numpy()
    return [float(received[kinds == kind].sum()) for kind in range(len(TARGETS))]


@contextmanager
def _attentive(denoiser: Denoiser) -> Iterator[None]:
    """Evaluate with an attention that gives its weights away, which the fused one does not."""
    was_training = denoiser.training
    denoiser.eval()
    attend_by(denoiser.network, "eager")
    try:
        yield
    finally:
        denoiser.train(was_training)  # sets the attention that belongs to the mode


@contextmanager
def _captured(denoiser: Denoiser) -> Iterator[list[Any]]:
    """Ask the class-free encoder for its hidden states and attentions, and keep what it answers."""
    outputs: list[Any] = []

    def ask(_: Any, args: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, {**options, "output_hidden_states": True, "output_attentions": True}

    encoder = denoiser.network.encoder
    hooks = [
        encoder.register_forward_pre_hook(ask, with_kwargs=True),
        encoder.register_forward_hook(lambda _, args, output: outputs.append(output)),
    ]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()
