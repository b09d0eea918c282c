r"""Useful multiply-adds of scoring and of training, from the shapes of the network and of the texts.

Useful is what the result needs: real tokens and their special ones (no padding, no copies that fill up a batch), the
vocabulary only at positions that are scored, a pass that several texts share once. A linear map of D to D' takes
:math:`D D'` multiply-adds at each position; attention of width D takes :math:`2 L^2 D` for L positions (queries with
keys, weights with values). Backward, a product costs the same again for each of its two sides that needs a gradient;
frozen weights need none, and neither do inputs behind which nothing is trained. Not counted at all: embeddings, norms,
activations, softmax, pairs, the optimiser.

Two floating-point operations for each multiply-add.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from torch import nn

from gencls.diffusion.conditioning import Adapter, Conditional, Independent, Prompt
from gencls.diffusion.denoiser import Denoiser
from gencls.diffusion.parts import layer_stack
from gencls.likelihood.engine import BLANK_TEXTS, PLANNED_ROWS
from gencls.likelihood.estimators import Estimator
from gencls.likelihood.work import TextWork

IntArray = NDArray[np.int64]
#: Columns of a class beside its low-rank map: the unigram's deviation and the bias.
CLASS_COLUMNS = 2


@dataclass(frozen=True)
class Block:
    """A part of the network, in multiply-adds at each position.

    Attributes
    ----------
    forward : int
        Of its linear maps.
    backward : int
        Of their gradients, those that are needed.
    attention : int
        Width of its attention, 0 without.
    trains_attention : bool
        Whether gradients pass through the attention.
    """

    forward: int
    backward: int = 0
    attention: int = 0
    trains_attention: bool = False


@dataclass(frozen=True)
class NetworkShape:
    """The network of one class.

    Attributes
    ----------
    encoder : tuple of Block
    head : Block
        Hidden states to features, and the gates.
    low_rank : Block
        The class map before the projection (mode ``conditional``).
    projection : Block
        Features to logits.
    vocab_size, rank : int
        V, and R of the class map before the projection (0 without).
    n_special : int
        Positions of a row that are no text.
    shares_hidden : bool
        Whether encoder, head and projection serve all classes at once.
    n_shared : int
        First layers of the encoder that serve all classes at once: those below the first adapter.
    """

    encoder: tuple[Block, ...]
    head: Block
    low_rank: Block
    projection: Block
    vocab_size: int
    rank: int
    n_special: int
    shares_hidden: bool
    n_shared: int = 0

    @property
    def class_columns(self) -> int:
        """Multiply-adds by which a further class changes the logits of a position."""
        return self.vocab_size * (self.rank + CLASS_COLUMNS)


@dataclass(frozen=True)
class Rows:
    """Forward passes.

    Attributes
    ----------
    lengths : ndarray of shape (M,), int64
        Real positions of each, special tokens included.
    n_scored : ndarray of shape (M,), int64
    """

    lengths: IntArray
    n_scored: IntArray


def shape_of(denoiser: Denoiser, class_id: int = 0) -> NetworkShape:
    """Read the shape of the network of a class, and what of it is trained, from its modules."""
    network, encoder = denoiser.network, denoiser.network.encoder
    if isinstance(network, Independent) and class_id < denoiser.n_classes:
        encoder = network.encoders[class_id]
    blocks = encoder_blocks(encoder, f"class_{class_id}", trains_prompt=_is_trained(network, "tokens"))
    trains_encoder = any(block.backward for block in blocks)
    vocab_size, width = denoiser.projection.shape
    head = _linear_block([*_linears(network.head_of(class_id)), denoiser.gate], trains_inputs=trains_encoder)
    low_rank = _low_rank(network, trains_inputs=trains_encoder)
    trains_features = bool(trains_encoder or head.backward or low_rank.backward)
    gradients = int(trains_features) + int(denoiser.projection.requires_grad)
    prompt = network.tokens.shape[1] if isinstance(network, Prompt) else 0
    return NetworkShape(
        encoder=tuple(blocks),
        head=head,
        low_rank=low_rank,
        projection=Block(vocab_size * width, gradients * vocab_size * width),
        vocab_size=vocab_size,
        rank=network.down.shape[1] if isinstance(network, Conditional) else 0,
        n_special=denoiser.frame.n_special + prompt,
        shares_hidden=bool(network.shares_hidden),
        n_shared=_n_shared(encoder) if isinstance(network, Adapter) else 0,
    )


def encoder_blocks(encoder: nn.Module, adapter: str = "", *, trains_prompt: bool = False) -> list[Block]:
    """Cut an encoder in its layers.

    An input needs a gradient if an embedding or an earlier layer is trained; what needs one within the first trained
    layer is not counted: too little rather than too much.

    Parameters
    ----------
    encoder : nn.Module
    adapter : str
        Of several low-rank adapters, the one that runs.
    trains_prompt : bool
        Whether trained vectors are put in at its front.
    """
    layers = layer_stack(encoder)
    inside = {id(value) for value in layers.parameters()}
    outside = [value for value in encoder.parameters() if id(value) not in inside]
    trains_inputs = trains_prompt or any(value.requires_grad for value in outside)
    width = int(cast(Any, encoder).config.hidden_size)
    blocks = []
    for layer in layers:
        is_trained = any(value.requires_grad for value in layer.parameters())
        linears = _linear_block(_linears(layer, adapter), trains_inputs=trains_inputs)
        trains_inputs = trains_inputs or is_trained
        blocks.append(Block(linears.forward, linears.backward, width, trains_inputs))
    return blocks


def _n_shared(encoder: nn.Module) -> int:
    """Layers below the first one with adapters."""
    adapters = [any("lora_" in name for name, _ in layer.named_parameters()) for layer in layer_stack(encoder)]
    return adapters.index(True)


def encoder_products(shape: NetworkShape, lengths: IntArray) -> int:
    """Multiply-adds of the encoder for rows of these lengths, (M,)."""
    each = sum(block.forward * lengths + 2 * block.attention * lengths**2 for block in shape.encoder)
    return int(np.sum(each))


def encoder_gradients(shape: NetworkShape, lengths: IntArray) -> int:
    """Multiply-adds of the encoder's backward pass: twice its attention where gradients pass it."""
    each = sum(
        block.backward * lengths + 4 * block.attention * int(block.trains_attention) * lengths**2
        for block in shape.encoder
    )
    return int(np.sum(each))


def scoring_products(shape: NetworkShape, rows: Rows, n_classes: int) -> int:
    """Useful multiply-adds of scoring rows under classes.

    Where the classes share hidden states, the first one pays for encoder, head and projection, or for the layers below
    the first adapter.
    """
    n_networks = 1 if shape.shares_hidden else n_classes
    at_position = n_networks * (shape.head.forward + shape.projection.forward)
    at_position += n_classes * (shape.low_rank.forward + shape.class_columns)
    shared = replace(shape, encoder=shape.encoder[: shape.n_shared])
    encoder = n_networks * encoder_products(shape, rows.lengths)
    encoder -= (n_networks - 1) * encoder_products(shared, rows.lengths)
    return encoder + at_position * int(rows.n_scored.sum())


def training_products(shape: NetworkShape, rows: Rows, *, has_class: bool = True) -> int:
    """Useful multiply-adds of the forward and backward passes of training rows, each of one class or of none."""
    parts = [shape.head, shape.projection, *([shape.low_rank] if has_class else [])]
    at_position = sum(part.forward + part.backward for part in parts) + shape.vocab_size * CLASS_COLUMNS
    encoder = encoder_products(shape, rows.lengths) + encoder_gradients(shape, rows.lengths)
    return encoder + at_position * int(rows.n_scored.sum())


def useful_rows(token_ids: Sequence[NDArray[np.integer]], estimator: Estimator, *, seed: int, n_special: int) -> Rows:
    """Return the passes that texts need, as the engine runs them: a blank one is shared by texts of one length.

    At a shared blank pass only positions count that some of its texts score.
    """
    ordered = sorted((ids for ids in token_ids if len(ids)), key=len)
    plans = [estimator.plan(ids, seed=seed) for ids in ordered]
    works = [TextWork.start(0, np.asarray(i), 0, p, 1) for i, p in zip(ordered, plans, strict=True)]
    lengths, n_scored = list[int](), list[int]()
    for group in planned_groups([work.n_forwards for work in works]):
        for same in _runs_of_one_length(works[group]):
            blanks = [forward for work in same for forward in work.forwards if forward.is_blank]
            for start in range(0, len(blanks), BLANK_TEXTS):
                n_scored.append(len(np.unique(np.concatenate([f.places for f in blanks[start : start + BLANK_TEXTS]]))))
            n_scored += [len(f.places) for work in same for f in work.forwards if not f.is_blank]
            lengths += [len(same[0].token_ids)] * (len(n_scored) - len(lengths))
    return Rows(np.array(lengths, dtype=np.int64) + n_special, np.array(n_scored, dtype=np.int64))


def planned_groups(n_forwards: Iterable[int]) -> list[slice]:
    """Cut texts, by the passes of each, in the groups that the engine plans at once."""
    groups, start, held, end = [], 0, 0, 0
    for end, count in enumerate(n_forwards, start=1):
        held += count
        if held >= PLANNED_ROWS:
            groups.append(slice(start, end))
            start, held = end, 0
    return groups if start == end else [*groups, slice(start, end)]


def _runs_of_one_length(works: Sequence[TextWork]) -> list[list[TextWork]]:
    runs: list[list[TextWork]] = []
    for work in works:
        if not runs or len(runs[-1][0].token_ids) != len(work.token_ids):
            runs.append([])
        runs[-1].append(work)
    return runs


def _linears(module: nn.Module, adapter: str = "") -> list[nn.Module]:
    """The linear maps that run: of low-rank adapters, the asked one."""
    return [
        part
        for name, part in module.named_modules()
        if isinstance(part, nn.Linear) and ("lora_" not in name or name.endswith(f".{adapter}"))
    ]


def _linear_block(linears: Sequence[Any], *, trains_inputs: bool) -> Block:
    sizes = [linear.in_features * linear.out_features for linear in linears]
    weights = sum(size for size, linear in zip(sizes, linears, strict=True) if linear.weight.requires_grad)
    return Block(sum(sizes), weights + sum(sizes) * int(trains_inputs))


def _low_rank(network: nn.Module, *, trains_inputs: bool) -> Block:
    """The two maps of a class: D to R and back."""
    if not isinstance(network, Conditional):
        return Block(0)
    size, is_trained = network.down[0].numel(), network.down.requires_grad
    n_gradients = 2 * is_trained + (is_trained or trains_inputs) + trains_inputs
    return Block(2 * size, n_gradients * size)


def _is_trained(module: nn.Module, name: str) -> bool:
    return bool(getattr(getattr(module, name, None), "requires_grad", False))
