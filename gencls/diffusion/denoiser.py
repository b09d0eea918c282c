r"""The denoiser: log p(x_i | visible tokens, class) of a masked LM, at asked positions only.

.. math:: \log p_c(v \mid x_{\bar M}) = \log\mathrm{softmax}_v\left(
          W f_c(h_i) + b_v + g_1(h_i)\, \delta_{cv} + g_2(h_i)\, \epsilon_{cv}(x_{i-1}, x_{i+1})\right)

:math:`h_i` is the class-conditioned hidden state, :math:`f_c` the head, :math:`W` the (tied) projection, :math:`b`
the class-free output bias, :math:`\delta_c` the class deviation of the unigram and :math:`\epsilon_c` that of pairs
with a visible neighbour (fixed tables, see `unigram` and `pairs`). The gates :math:`g` are learned and start at one:
where the context already says what the class is, the class's counts must count less. The vocabulary projection is
computed for scored positions only, in chunks; a (B, L, V) tensor never exists.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from gencls.diffusion.attention import PRODUCTS
from gencls.diffusion.backbones import Backbone
from gencls.diffusion.conditioning import Conditional, Conditioning, ConditioningConfig, make_conditioning
from gencls.diffusion.pairs import PairBias
from gencls.diffusion.true_token import Additions, row_chunks, true_token_log_probs
from gencls.diffusion.vocabulary import (
    PROJECTION_ROWS,
    TILE,
    VocabularyTable,
    class_inputs,
    log_normalisers,
    target_logits,
)


@dataclass
class RowBatch:
    """Rows for the network.

    Attributes
    ----------
    input_ids : Tensor of shape (B, L), int64
        Framed and padded tokens, hidden ones already replaced by the mask token.
    attention_mask : Tensor of shape (B, L), int64
    target_ids : Tensor of shape (B, L), int64
        The tokens before hiding.
    scored : Tensor of shape (B, L), bool
        Positions whose log-probability is asked for; row-major order is the order of every result.
    """

    input_ids: Tensor
    attention_mask: Tensor
    target_ids: Tensor
    scored: Tensor

    def to(self, device: torch.device) -> RowBatch:
        """Return the batch on a device."""
        return RowBatch(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


@dataclass
class EncodedPositions:
    """Scored positions between the encoder and the vocabulary.

    Attributes
    ----------
    hidden : Tensor of shape (G, n, D)
        Hidden states: G = 1 where all classes share them, else one set for each asked class.
    left, right : Tensor of shape (n,), int64
        Visible neighbours, -1 where there is none.
    """

    hidden: Tensor
    left: Tensor
    right: Tensor

    def __len__(self) -> int:
        return len(self.left)

    @classmethod
    def cat(cls, parts: Sequence[EncodedPositions]) -> EncodedPositions:
        """Join positions; their number is filled up to a multiple of `PROJECTION_ROWS` with copies of the first."""
        left, right = (torch.cat([getattr(part, name) for part in parts]) for name in ("left", "right"))
        hidden = torch.cat([part.hidden for part in parts], dim=1)
        n_rows = -(-len(left) // PROJECTION_ROWS) * PROJECTION_ROWS
        filled = _filled(hidden.transpose(0, 1), n_rows).transpose(0, 1)
        return cls(filled, _filled(left, n_rows), _filled(right, n_rows))


@dataclass
class _Scored:
    """What the output layer needs of the n scored positions; the first dimension of every tensor is n."""

    features: Tensor
    gate: Tensor
    class_ids: Tensor
    folds: Tensor | None
    targets: Tensor
    left: Tensor
    right: Tensor

    def chunks(self, n_rows: int) -> Iterator[tuple[int, _Scored]]:
        """Cut in chunks of exactly `n_rows`, the last one filled up; also give how many rows of each are real."""
        for start in range(0, len(self.targets), n_rows):
            size = min(n_rows, len(self.targets) - start)
            parts = [
                None if value is None else _filled(value[start : start + n_rows], n_rows)
                for value in (getattr(self, name) for name in self.__dataclass_fields__)
            ]
            yield size, _Scored(*parts)  # type: ignore[arg-type]


def _filled(part: Tensor, n_rows: int) -> Tensor:
    return torch.cat([part, part[:1].expand(n_rows - len(part), *part.shape[1:])])


def _without_dropout(network: nn.Module) -> None:
    """No dropout in training: every visit of a text hides other tokens, and random numbers were a third of a step."""
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name in ("attention_dropout", "hidden_dropout", "dropout_prob"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)


def _attend_by(network: nn.Module, name: str) -> None:
    for module in network.modules():
        if hasattr(module, "set_attn_implementation"):
            cast(Any, module).set_attn_implementation(name)


def _versions(weights: Iterable[Tensor]) -> tuple[tuple[int, int], ...]:
    """What changes when weights are replaced or written to."""
    return tuple((value.data_ptr(), value._version) for value in weights)


def visible_neighbours(batch: RowBatch, mask_id: int) -> tuple[Tensor, Tensor]:
    """Return the visible token to the left and to the right of each scored position, -1 where it is hidden."""
    seen = torch.where(batch.input_ids == mask_id, -1, batch.input_ids)
    nothing = seen.new_full((len(seen), 1), -1)
    left = torch.cat([nothing, seen[:, :-1]], dim=1)[batch.scored]
    right = torch.cat([seen[:, 1:], nothing], dim=1)[batch.scored]
    return left, right


class Denoiser(nn.Module):
    """Class-conditional masked LM.

    Parameters
    ----------
    backbone : Backbone
    n_classes : int
        C. Class index C stands for "no class": the class-free model of the domain.
    conditioning : ConditioningConfig
        How the class enters the network.
    """

    def __init__(self, backbone: Backbone, n_classes: int, conditioning: ConditioningConfig) -> None:
        super().__init__()
        self.n_classes = n_classes
        self.frame = backbone.frame
        self.vocab_size = backbone.projection.shape[0]
        width = backbone.config.hidden_size
        self.network = make_conditioning(conditioning, backbone.encoder, backbone.head, n_classes, width)
        _without_dropout(self.network)
        tied = self._input_embeddings() is backbone.projection
        self.untied_projection = None if tied else backbone.projection
        self.bias = nn.Parameter(backbone.bias.clone().float())
        self.pairs = PairBias(n_classes, self.vocab_size)
        self.gate = nn.Linear(width, 2)
        nn.init.zeros_(self.gate.weight)
        nn.init.ones_(self.gate.bias)
        self.register_buffer("class_bias", torch.zeros(n_classes + 1, self.vocab_size))
        self._training_bias: Tensor | None = None
        # derived from the weights, and kept as long as these do not change
        self._vocabulary: tuple[Any, VocabularyTable] | None = None
        self._short: tuple[Any, Conditioning] | None = None

    class_bias: Tensor

    def _input_embeddings(self) -> nn.Parameter:
        weight: nn.Parameter = self.network.encoder.get_input_embeddings().weight  # type: ignore[operator,union-attr]
        return weight

    @property
    def projection(self) -> nn.Parameter:
        """Vocabulary projection (V, D), the input embeddings where the backbone ties them."""
        return self._input_embeddings() if self.untied_projection is None else self.untied_projection

    @torch.no_grad()
    def set_unigram(self, log_frequencies: Tensor | None, deviations: Tensor) -> None:
        """Set the output bias to the class unigrams.

        Parameters
        ----------
        log_frequencies : Tensor of shape (V,) or None
            Class-free log unigram; None keeps the pretrained output bias.
        deviations : Tensor of shape (C, V), nats
            log p(v | c) - log p(v).
        """
        if log_frequencies is not None:
            self.bias.copy_(log_frequencies)
        self.class_bias[:-1] = deviations.to(self.class_bias)

    def use_training_tables(self, deviations: Tensor | None, pair_deviations: Tensor | None) -> None:
        """Use cross-fitted tables while training: unigrams (F, C, V) and pairs (F, C, P); None ends that."""
        self._training_bias = self.pairs.training_values = None
        if deviations is not None:
            empty = deviations.new_zeros(deviations.shape[0], 1, deviations.shape[2])
            self._training_bias = torch.cat([deviations, empty], dim=1).flatten(0, 1).to(self.class_bias)
        if pair_deviations is not None:
            self.pairs.training_values = pair_deviations.to(self.pairs.values)

    def train(self, mode: bool = True) -> Denoiser:
        """Switch the mode; on a CPU the fused attention is slow backward, the plain one slow forward."""
        super().train(mode)
        if mode:
            self._vocabulary = self._short = None  # the weights will change
        _attend_by(self, "eager" if mode and self.bias.device.type == "cpu" else "sdpa")
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Copies and worker processes make what is derived from the weights themselves."""
        return {**self.__dict__, "_vocabulary": None, "_short": None}

    def features(self, batch: RowBatch, class_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return head features (n_scored, D) and gates (n_scored, 2) at the scored positions."""
        hidden, features = self.network(batch.input_ids, batch.attention_mask, batch.scored, class_ids)
        return features, self.gate(hidden)

    def forward(self, batch: RowBatch, class_ids: Tensor, fold_ids: Tensor | None = None) -> Tensor:
        """Return the log-probability of the true token at every scored position.

        Parameters
        ----------
        batch : RowBatch
        class_ids : Tensor of shape (B,), int64
            Class of each row, C for none.
        fold_ids : Tensor of shape (B,), int64, optional
            Fold of each row's text, with `use_training_tables`.

        Returns
        -------
        Tensor of shape (n_scored,), float32, nats
        """
        features, gate = self.features(batch, class_ids)
        return self._at_scored(batch, class_ids, fold_ids, features, gate)

    @torch.no_grad()
    def log_probs_and_margins(self, batch: RowBatch, class_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return the log-probability of the true token at every scored position, and how sure the model is there.

        Head and vocabulary see arrays of one shape, however many positions are scored.

        Parameters
        ----------
        batch : RowBatch
        class_ids : Tensor of shape (B,), int64
            Class of each row, C for none.

        Returns
        -------
        log_probs : Tensor of shape (n_scored,), float32, nats
        margins : Tensor of shape (n_scored,), float32
            Probability of the likeliest token minus that of the second; the true token plays no part in it.
        """
        everywhere = self.features(replace(batch, scored=torch.ones_like(batch.scored)), class_ids)
        features, gate = (values[batch.scored.flatten()] for values in everywhere)
        parts = [features.new_zeros(2, 0, dtype=torch.float32)]
        for size, chunk in self._inputs(batch, class_ids, None, features, gate).chunks(PROJECTION_ROWS):
            log_probs = self._logits(chunk).log_softmax(dim=1)
            first, second = log_probs.topk(2).values.exp().unbind(dim=1)
            chosen = log_probs.gather(1, chunk.targets[:, None])[:, 0]
            parts.append(torch.stack([chosen, first - second])[:, :size])
        true, margins = torch.cat(parts, dim=1)
        return true, margins

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
        network = self._short_network() if dtype == torch.bfloat16 else self.network
        indices = class_ids[:1] if network.shares_hidden else class_ids
        inputs = batch.input_ids, batch.attention_mask, batch.scored
        with torch.autocast(batch.input_ids.device.type, enabled=dtype == torch.float16, dtype=torch.float16):
            hidden = torch.stack([network.hidden(*inputs, index) for index in indices])
        return EncodedPositions(hidden, *visible_neighbours(batch, self.frame.mask))

    def prepare(self, dtype: torch.dtype) -> None:
        """Work out all that `encode` and `read` derive from the weights, for use by several threads."""
        if dtype == torch.bfloat16:
            self._short_network()
        self._vocabulary_table(dtype)
        self.pairs.prepare(TILE)

    def _short_network(self) -> Conditioning:
        """The network in bfloat16, made anew when a weight has changed."""
        key = _versions(self.network.parameters())
        if self._short is None or self._short[0] != key:
            network = copy.deepcopy(self.network).to(torch.bfloat16).eval()
            if self.bias.device.type == "cpu":
                _attend_by(network, PRODUCTS)
            self._short = key, network
        return self._short[1]

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
        network, neighbours = self.network, (positions.left, positions.right)
        chunks = hidden.split(PROJECTION_ROWS)  # how many positions are read together must not change a kernel
        features = torch.cat([network.head_of(group[0])(chunk) for chunk in chunks])
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
        return torch.stack(logits) - log_z[:, places]

    def _query_logits(
        self,
        features: Tensor,
        gate: Tensor,
        neighbours: tuple[Tensor, Tensor],
        places: Tensor,
        targets: Tensor,
        index: int,
    ) -> Tensor:
        """The logits of the asked tokens, in chunks of a fixed size."""
        parts, (left, right) = [], neighbours
        for start in range(0, len(places), PROJECTION_ROWS):
            size = min(PROJECTION_ROWS, len(places) - start)
            at, tokens = (_filled(value[start : start + size], PROJECTION_ROWS) for value in (places, targets))
            pairs = self.pairs.lookup(left[at], tokens, index) + self.pairs.lookup(tokens, right[at], index)
            weights = (self.projection, self.bias, self.class_bias[index])
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

    def _at_scored(
        self, batch: RowBatch, class_ids: Tensor, fold_ids: Tensor | None, features: Tensor, gate: Tensor
    ) -> Tensor:
        inputs = self._inputs(batch, class_ids, fold_ids, features, gate)
        if torch.is_grad_enabled():
            additions = self._additions(inputs)
            return true_token_log_probs(features, gate, self.projection, self.bias, inputs.targets, additions)
        parts = [self._log_probs(chunk)[:size] for size, chunk in inputs.chunks(PROJECTION_ROWS)]
        return torch.cat(parts) if parts else features.new_zeros(0, dtype=torch.float32)

    def _additions(self, scored: _Scored) -> Additions:
        table, index = self._table_of(scored)
        left, right, class_ids, folds = scored.left, scored.right, scored.class_ids, scored.folds
        entries = [
            self.pairs.entries(left[rows], right[rows], class_ids[rows], None if folds is None else folds[rows])
            for rows in row_chunks(len(index))
        ]
        return Additions(table, index, entries)

    def _table_of(self, scored: _Scored) -> tuple[Tensor, Tensor]:
        """The class deviations (G, V) to use, and the row of each position."""
        if scored.folds is None or self._training_bias is None:
            return self.class_bias, scored.class_ids
        return self._training_bias, scored.folds * (self.n_classes + 1) + scored.class_ids

    def _inputs(
        self, batch: RowBatch, class_ids: Tensor, fold_ids: Tensor | None, features: Tensor, gate: Tensor
    ) -> _Scored:
        rows = batch.scored.nonzero()[:, 0]
        left, right = visible_neighbours(batch, self.frame.mask)
        folds = None if fold_ids is None else fold_ids[rows]
        return _Scored(features, gate, class_ids[rows], folds, batch.target_ids[batch.scored], left, right)

    def _log_probs(self, scored: _Scored) -> Tensor:
        logits = self._logits(scored)
        return logits.gather(1, scored.targets[:, None])[:, 0] - logits.logsumexp(dim=1)

    def _logits(self, scored: _Scored) -> Tensor:
        """Return the logits of all tokens, (n, V), float32."""
        table, index = self._table_of(scored)
        # one-hot matmul, not table[index]: the backward of a gather of rows of V is several times slower
        chosen = functional.one_hot(index, table.shape[0]) * scored.gate[:, :1].float()
        chosen = torch.cat([chosen, torch.ones_like(chosen[:, :1])], dim=1)
        logits = functional.linear(scored.features, self.projection).float()
        with torch.autocast(logits.device.type, enabled=False):  # biases of several nats are added in float32
            logits = torch.addmm(logits, chosen, torch.cat([table, self.bias[None]]))
        entries = self.pairs.entries(scored.left, scored.right, scored.class_ids, scored.folds)
        return self._add_pairs(logits, scored, entries)

    def _add_pairs(self, logits: Tensor, scored: _Scored, entries: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        rows, columns, values = entries
        added = (values * scored.gate[:, 1].float()[rows]).to(logits.dtype)
        flat, cells = logits.flatten(), rows * self.vocab_size + columns
        # in place where no gradient needs the old logits: a copy of (n, V) costs as much as the addition
        total = flat.index_add(0, cells, added) if torch.is_grad_enabled() else flat.index_add_(0, cells, added)
        return total.view_as(logits)

    def class_parameter_names(self) -> set[str]:
        """Return the names of the parameters that belong to classes, not to the class-free model."""
        return {"gate.weight", "gate.bias"} | {f"network.{name}" for name in self.network.class_parameter_names()}

    def parameter_groups(
        self, *, learning_rate: float, head_learning_rate: float, class_learning_rate: float
    ) -> list[dict[str, Any]]:
        """Return optimiser groups: network, head without pretraining, small class parts (trainable ones only)."""
        small = self.class_parameter_names() if self.network.has_small_class_parts else {"gate.weight", "gate.bias"}
        head = {f"network.head.{name}" for name in ("weight", "bias")}  # of a LinearHead
        rates = {"network": learning_rate, "head": head_learning_rate, "class": class_learning_rate}
        groups: dict[str, list[nn.Parameter]] = {name: [] for name in rates}
        for name, value in self.named_parameters():
            if value.requires_grad:
                groups["class" if name in small else "head" if name in head else "network"].append(value)
        return [{"params": groups[name], "lr": rates[name]} for name in rates if groups[name]]
