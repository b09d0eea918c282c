"""The fast way through a denoiser, for scoring: all classes at once, without gradients.

`Reader.encode` runs the encoder, in bfloat16 by a copy of the network in that type. `Reader.read` answers for the
positions of many rows at once. Both together equal the plain `Denoiser.forward` up to rounding. What is derived from
the weights is kept as long as these do not change.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from gencls.diffusion.adapters import GroupedEncoder, grouped_encoder, without_adapters
from gencls.diffusion.attention import PRODUCTS
from gencls.diffusion.batches import EncodedPositions, RowBatch, filled, visible_neighbours
from gencls.diffusion.conditioning import Adapter, Conditional, Conditioning
from gencls.diffusion.neighbours import NeighbourBias
from gencls.diffusion.tokens import TokenFrame
from gencls.diffusion.vocabulary import (
    PROJECTION_ROWS,
    TILE,
    VocabularyTable,
    class_inputs,
    log_normalisers,
    target_logits,
)

Module = TypeVar("Module", bound=nn.Module)
#: Sets of classes whose adapters are kept ready to be run at once.
KEPT_GROUPED = 2


class Reader(nn.Module):
    """Base of `Denoiser`, which has these parts."""

    frame: TokenFrame
    n_classes: int
    network: Conditioning
    bias: nn.Parameter
    class_bias: Tensor
    pairs: NeighbourBias
    gate: nn.Linear

    def __init__(self) -> None:
        super().__init__()
        self._vocabulary: tuple[Any, VocabularyTable] | None = None
        self._short: tuple[Any, Conditioning] | None = None
        self._grouped: tuple[tuple[Any, GroupedEncoder], ...] = ()

    @property
    def projection(self) -> nn.Parameter:
        """Vocabulary projection (V, D)."""
        raise NotImplementedError

    def forget(self) -> None:
        """Drop what is derived from the weights, because they will change."""
        self._vocabulary = self._short = None
        self._grouped = ()

    def __getstate__(self) -> dict[str, Any]:
        """Copies and worker processes make what is derived from the weights themselves."""
        return {**self.__dict__, "_vocabulary": None, "_short": None, "_grouped": ()}

    def encode(self, batch: RowBatch, class_ids: Sequence[int], dtype: torch.dtype = torch.float32) -> EncodedPositions:
        """Run the encoder, without the vocabulary; see `read`.

        Parameters
        ----------
        batch : RowBatch
        class_ids : sequence of C int
        dtype : torch.dtype
            bfloat16 runs a copy of the network in that type: casting in every layer, as autocast does, costs a fifth
            of a pass.

        Returns
        -------
        EncodedPositions
        """
        with torch.autocast(batch.input_ids.device.type, enabled=dtype == torch.float16, dtype=torch.float16):
            hidden = self._hidden(batch, class_ids, dtype)
        return EncodedPositions(hidden, visible_neighbours(batch, self.frame.mask))

    def _hidden(self, batch: RowBatch, class_ids: Sequence[int], dtype: torch.dtype) -> Tensor:
        inputs = batch.input_ids, batch.attention_mask, batch.scored
        if isinstance(self.network, Adapter):
            grouped: Tensor = self._grouped_encoder(class_ids, dtype)(*inputs)
            return grouped
        network = self._short_network() if dtype == torch.bfloat16 else self.network
        indices = class_ids[:1] if network.shares_hidden else class_ids
        return torch.stack([network.hidden(*inputs, index) for index in indices])

    def prepare(self, dtype: torch.dtype, class_ids: Sequence[int]) -> None:
        """Work out all that `encode` and `read` derive from the weights, for use by several threads."""
        if isinstance(self.network, Adapter):
            self._grouped_encoder(class_ids, dtype)
        elif dtype == torch.bfloat16:
            self._short_network()
        self._vocabulary_table(dtype)
        self.pairs.prepare(TILE)

    def _short_network(self) -> Conditioning:
        """The network in bfloat16, made anew when a weight has changed."""
        key = _versions(self.network.parameters())
        if self._short is None or self._short[0] != key:
            self._short = key, _in_bfloat16(self.network)
        return self._short[1]

    def _grouped_encoder(self, class_ids: Sequence[int], dtype: torch.dtype) -> GroupedEncoder:
        """The encoder with the adapters of some classes; the last ones are kept until a weight changes."""
        versions = _versions(self.network.encoder.parameters())
        key = tuple(class_ids), dtype == torch.bfloat16
        kept = [(known, encoder) for known, encoder in self._grouped if known[0] == versions]
        for known, encoder in kept:
            if known == (versions, key):
                return encoder
        shared = without_adapters(self.network.encoder)
        shared = _in_bfloat16(shared) if dtype == torch.bfloat16 else shared
        made = grouped_encoder(self.network.encoder, shared, class_ids)
        self._grouped = (((versions, key), made), *kept[: KEPT_GROUPED - 1])
        return made

    def read(self, positions: EncodedPositions, class_ids: Sequence[int], places: Tensor, token_ids: Tensor) -> Tensor:
        """Return the log-probabilities of asked tokens under each class; fast, and without gradients.

        Equal to `forward` up to rounding. What classes share is computed once: in mode ``conditional`` the encoder
        and the projection of the head's features.

        Parameters
        ----------
        positions : EncodedPositions
            Of `encode` with the same classes; as many as a multiple of `PROJECTION_ROWS`.
        class_ids : sequence of C int
        places : Tensor of shape (Q,), int64
            A position for each question. Rows that hide everything serve all texts of their length.
        token_ids : Tensor of shape (Q,), int64

        Returns
        -------
        Tensor of shape (C, Q), float32, nats
        """
        groups = [list(class_ids)] if self.network.shares_hidden else [[index] for index in class_ids]
        parts = [
            self._read_group(hidden, positions, group, places, token_ids)
            for hidden, group in zip(positions.hidden, groups, strict=True)
        ]
        return torch.cat(parts)

    def _read_group(
        self, hidden: Tensor, positions: EncodedPositions, group: list[int], places: Tensor, token_ids: Tensor
    ) -> Tensor:
        """Read classes that share hidden states (n, D)."""
        network, neighbours = self.network, positions.neighbours
        chunks = hidden.split(PROJECTION_ROWS)  # how many positions are read together must not change a kernel
        device = hidden.device.type
        short = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        # on some devices autocast leaves a layer norm, which ends some heads, in float32
        features = torch.cat([network.head_of(group[0])(chunk) for chunk in chunks]).to(short)
        gate = torch.cat([self.gate(chunk) for chunk in chunks]).float()
        added = [(features[:, :0], features)]
        if isinstance(network, Conditional):
            parts = (zip(*(network.low_rank(chunk, index) for chunk in chunks), strict=True) for index in group)
            added = [(torch.cat(low), features + torch.cat(own)) for low, own in parts]
        inputs = [class_inputs(low.to(features.dtype), gate[:, :1]) for low, _ in added]
        table = self._vocabulary_table(features.dtype)
        log_z = log_normalisers(table, features, inputs, group, self.pairs, neighbours, gate[:, 1])
        logits = [
            self._query_logits(own, gate, neighbours, places, token_ids, index)
            for (_, own), index in zip(added, group, strict=True)
        ]
        # in a short type the largest term of a sum is rounded, and the true token's own logit is not
        return (torch.stack(logits) - log_z[:, places]).clamp_max_(0.0)

    def _query_logits(
        self,
        features: Tensor,
        gate: Tensor,
        neighbours: Tensor,
        places: Tensor,
        targets: Tensor,
        index: int,
    ) -> Tensor:
        """The logits of the asked tokens, in chunks of a fixed size."""
        parts = []
        for start in range(0, len(places), PROJECTION_ROWS):
            size = min(PROJECTION_ROWS, len(places) - start)
            at, tokens = (filled(value[start : start + size], PROJECTION_ROWS) for value in (places, targets))
            pairs = self.pairs.lookup(neighbours[at], tokens, index)
            weights = (self.projection, self.bias, self.class_bias[index][tokens])
            parts.append(target_logits(features[at], gate[at], tokens, *weights, pairs)[:size])
        return torch.cat(parts) if parts else gate.new_zeros(0)

    def _vocabulary_table(self, dtype: torch.dtype) -> VocabularyTable:
        maps = list(self.network.class_maps()) if isinstance(self.network, Conditional) else []
        sources = (self.projection, self.class_bias, self.bias, *maps)
        key = dtype, _versions(sources)
        if self._vocabulary is None or self._vocabulary[0] != key:
            with torch.no_grad(), torch.autocast(self.bias.device.type, enabled=False):
                self._vocabulary = key, VocabularyTable.build(self.projection, self._class_columns(), dtype)
        return self._vocabulary[1]

    def _class_columns(self) -> list[Tensor]:
        """What each class adds to the logits, as columns over V: low-rank map, class deviation, bias."""
        columns = []
        for index in range(self.n_classes + 1):
            maps = [self.projection[:, :0].float()]
            bias: Tensor = self.bias
            if isinstance(self.network, Conditional):
                up, embedding = self.network.class_map(index)
                maps = [self.projection.float() @ up.float()]
                bias = bias + self.projection.float() @ embedding.float()
            columns.append(torch.cat([*maps, self.class_bias[index][:, None], bias[:, None]], dim=1).detach())
        return columns


def _in_bfloat16(network: Module) -> Module:
    """Return a copy for scoring in bfloat16; what is worked out from the config, as rotary frequencies, stays."""
    copied = copy.deepcopy(network).to(torch.bfloat16).eval()
    for part, own in zip(copied.modules(), network.modules(), strict=True):
        for name in own._non_persistent_buffers_set:
            part._buffers[name] = copy.deepcopy(own._buffers[name])
    if next(copied.parameters()).device.type == "cpu":
        attend_by(copied, PRODUCTS)
    return copied


def attend_by(network: nn.Module, name: str) -> None:
    """Set the attention of every model of transformers in a network."""
    for module in network.modules():
        if hasattr(module, "set_attn_implementation"):
            cast(Any, module).set_attn_implementation(name)


def _versions(weights: Iterable[Tensor]) -> tuple[tuple[int, int], ...]:
    """What changes when weights are replaced or written to."""
    return tuple((value.data_ptr(), value._version) for value in weights)
