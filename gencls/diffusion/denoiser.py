r"""The denoiser: log p(x_i | visible tokens, class) of a masked LM, at asked positions only.

.. math:: \log p_c(v \mid x_{\bar M}) = \log\mathrm{softmax}_v\left(
          W f_c(h_i) + b_v + g_1(h_i)\, \delta_{cv} + g_2(h_i)\, \epsilon_{cv}(x_{i-1}, x_{i+1})\right)

:math:`h_i` is the class-conditioned hidden state, :math:`f_c` the head, :math:`W` the (tied) projection, :math:`b`
the class-free output bias, :math:`\delta_c` the class deviation of the unigram and :math:`\epsilon_c` that of pairs
with a visible neighbour (fixed tables, see `unigram` and `pairs`). The gates :math:`g` are learned and start at one:
where the context already says what the class is, the class's counts must count less. Closed for good, they leave the
likelihood to the network, and the tables can join it from outside (`Denoiser.count_scores`). The vocabulary projection
is computed for scored positions only, in chunks; a (B, L, V) tensor never exists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from gencls.diffusion.batches import RowBatch, ScoredPositions, visible_neighbours
from gencls.diffusion.conditioning import Conditional, ConditioningConfig, make_conditioning
from gencls.diffusion.neighbours import NeighbourBias
from gencls.diffusion.ngrams import NgramCounts
from gencls.diffusion.parts import Backbone, without_dropout
from gencls.diffusion.reader import Reader, attend_by
from gencls.diffusion.statistics import count_scores
from gencls.diffusion.true_token import Additions, row_chunks, true_token_log_probs
from gencls.diffusion.vocabulary import PROJECTION_ROWS


class Denoiser(Reader):
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
        # every visit of a text hides other tokens, and random numbers were a third of a step
        without_dropout(self.network)
        tied = self._input_embeddings() is backbone.projection
        self.untied_projection = None if tied else backbone.projection
        self.bias = nn.Parameter(backbone.bias.clone().float())
        self.pairs = NeighbourBias(n_classes, self.vocab_size)
        self.gate = nn.Linear(width, 2)
        nn.init.zeros_(self.gate.weight)
        nn.init.ones_(self.gate.bias)
        self.register_buffer("class_bias", torch.zeros(n_classes + 1, self.vocab_size))
        self._training_bias: Tensor | None = None

    def _input_embeddings(self) -> nn.Parameter:
        weight: nn.Parameter = self.network.encoder.get_input_embeddings().weight  # type: ignore[operator,union-attr]
        return weight

    @property
    def projection(self) -> nn.Parameter:
        """Vocabulary projection (V, D), the input embeddings where the backbone ties them."""
        return self._input_embeddings() if self.untied_projection is None else self.untied_projection

    def word_embeddings(self) -> NDArray[np.float32]:
        """Return what the vocabulary is projected with, (V, D): tokens that are used alike lie close to each other."""
        return np.asarray(self.projection.detach().float().cpu().numpy())

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

    def use_training_tables(self, deviations: Tensor | None, neighbour_deviations: Tensor | None) -> None:
        """Use cross-fitted tables in training: unigrams (F, C, V), pairs and triples (F, C, P + T); None ends that."""
        self._training_bias = self.pairs.training_values = None
        if deviations is not None:
            empty = deviations.new_zeros(deviations.shape[0], 1, deviations.shape[2])
            self._training_bias = torch.cat([deviations, empty], dim=1).flatten(0, 1).to(self.class_bias)
        if neighbour_deviations is not None:
            self.pairs.training_values = neighbour_deviations.to(self.pairs.values)

    @torch.no_grad()
    def close_gate(self) -> None:
        """Leave the class tables out of the likelihood, in training as well; they stay there for `count_scores`."""
        for value in self.gate.parameters():
            value.zero_()
            value.requires_grad_(False)

    @property
    def is_gate_closed(self) -> bool:
        """Whether the class tables play no part in the likelihood."""
        return not any(bool(value.any()) for value in self.gate.parameters())

    def count_scores(self, token_ids: Sequence[NDArray[np.integer]]) -> NDArray[np.float64]:
        """Return the summed deviations of the tokens, pairs and triples of texts, (N, C), nats: what counts alone say.

        Parameters
        ----------
        token_ids : sequence of N ndarray of shape (L,), integer
        """
        known = self.pairs
        deviations = self.class_bias[:-1].cpu().double().numpy()
        uncounted = np.zeros((0, len(deviations), 0))
        runs = [
            (NgramCounts(keys.cpu().numpy(), uncounted, self.vocab_size, order), values.cpu().double().numpy())
            for order, keys, values in ((2, known.keys, known.values), (3, known.triple_keys, known.triple_values))
        ]
        return count_scores(deviations, runs, token_ids)

    def train(self, mode: bool = True) -> Denoiser:
        """Switch the mode; on a CPU the fused attention is slow backward, the plain one slow forward."""
        super().train(mode)
        if mode:
            self.forget()
        attend_by(self, "eager" if mode and self.bias.device.type == "cpu" else "sdpa")
        return self

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

    def by_class(self, batch: RowBatch, fold_ids: Tensor | None = None, candidates: Tensor | None = None) -> Tensor:
        """Return the log-probabilities of `forward` under every class, shape (C, n_scored), float32, nats.

        What the classes share is computed once, with gradients: in mode ``conditional`` the whole encoder.

        Parameters
        ----------
        batch : RowBatch
        fold_ids : Tensor of shape (B,), int64, optional
            As `forward`.
        candidates : Tensor of shape (B, k), int64, optional
            Instead of all classes, k for each row; the result has shape (k, n_scored).
        """
        if candidates is None:
            columns = [torch.full_like(batch.input_ids[:, 0], index) for index in range(self.n_classes)]
        else:
            columns = list(candidates.unbind(1))
        if not isinstance(self.network, Conditional):
            return torch.stack([self(batch, class_ids, fold_ids) for class_ids in columns])
        hidden = self.network.hidden(batch.input_ids, batch.attention_mask, batch.scored, self.n_classes)
        gate, rows = self.gate(hidden), batch.scored.nonzero()[:, 0]
        features = (self.network.class_features(hidden, class_ids[rows]) for class_ids in columns)
        pairs = zip(columns, features, strict=True)
        return torch.stack([self._at_scored(batch, ids, fold_ids, own, gate) for ids, own in pairs])

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

    def _at_scored(
        self, batch: RowBatch, class_ids: Tensor, fold_ids: Tensor | None, features: Tensor, gate: Tensor
    ) -> Tensor:
        inputs = self._inputs(batch, class_ids, fold_ids, features, gate)
        if torch.is_grad_enabled():
            additions = self._additions(inputs)
            return true_token_log_probs(features, gate, self.projection, self.bias, inputs.targets, additions)
        parts = [self._log_probs(chunk)[:size] for size, chunk in inputs.chunks(PROJECTION_ROWS)]
        return torch.cat(parts) if parts else features.new_zeros(0, dtype=torch.float32)

    def _additions(self, scored: ScoredPositions) -> Additions:
        table, index = self._table_of(scored)
        used, index = index.unique(return_inverse=True)  # of folds times classes, few are in a batch
        neighbours, class_ids, folds = scored.neighbours, scored.class_ids, scored.folds
        entries = [
            self.pairs.entries(neighbours[rows], class_ids[rows], None if folds is None else folds[rows])
            for rows in row_chunks(len(index))
        ]
        return Additions(table[used], index, entries)

    def _table_of(self, scored: ScoredPositions) -> tuple[Tensor, Tensor]:
        """The class deviations (G, V) to use, and the row of each position."""
        if scored.folds is None or self._training_bias is None:
            return self.class_bias, scored.class_ids
        return self._training_bias, scored.folds * (self.n_classes + 1) + scored.class_ids

    def _inputs(
        self, batch: RowBatch, class_ids: Tensor, fold_ids: Tensor | None, features: Tensor, gate: Tensor
    ) -> ScoredPositions:
        rows = batch.scored.nonzero()[:, 0]
        neighbours = visible_neighbours(batch, self.frame.mask)
        folds = None if fold_ids is None else fold_ids[rows]
        return ScoredPositions(features, gate, class_ids[rows], folds, batch.target_ids[batch.scored], neighbours)

    def _log_probs(self, scored: ScoredPositions) -> Tensor:
        logits = self._logits(scored)
        return logits.gather(1, scored.targets[:, None])[:, 0] - logits.logsumexp(dim=1)

    def _logits(self, scored: ScoredPositions) -> Tensor:
        """Return the logits of all tokens, (n, V), float32."""
        table, index = self._table_of(scored)
        # one-hot matmul, not table[index]: the backward of a gather of rows of V is several times slower
        chosen = functional.one_hot(index, table.shape[0]) * scored.gate[:, :1].float()
        chosen = torch.cat([chosen, torch.ones_like(chosen[:, :1])], dim=1)
        logits = functional.linear(scored.features, self.projection).float()
        with torch.autocast(logits.device.type, enabled=False):  # biases of several nats are added in float32
            logits = torch.addmm(logits, chosen, torch.cat([table, self.bias[None]]))
        entries = self.pairs.entries(scored.neighbours, scored.class_ids, scored.folds)
        return self._add_pairs(logits, scored, entries)

    def _add_pairs(self, logits: Tensor, scored: ScoredPositions, entries: tuple[Tensor, Tensor, Tensor]) -> Tensor:
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
