r"""Log-probabilities of true tokens with their gradient: the vocabulary side of training.

Automatic differentiation of a softmax over V tokens keeps and passes over half a dozen arrays (n, V) in float32;
that is more than half of a training step on a processor. Written out, one such array in the type of the matrix products
is enough. With :math:`l_i` the logits, :math:`t_i` the true token and :math:`g_i` the gradient that arrives,

.. math:: \log p_i = l_{i t_i} - \log \sum_v e^{l_{iv}}, \qquad
          \frac{\partial}{\partial l_{iv}} = g_i \left([v = t_i] - \frac{e^{l_{iv}}}{\sum_u e^{l_{iu}}}\right),

and the exponentials are what is kept. (The same idea on a GPU: Hsu et al. 2024, arXiv:2410.10989, section 3.2.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from gencls.diffusion.vocabulary import rounding_and_rest, row_sums, target_logits

#: Rows at once: their logits should stay in the processor's cache.
ROWS = 256


@dataclass(frozen=True)
class Additions:
    """What is added to the logits besides the projection, with n rows.

    Attributes
    ----------
    table : Tensor of shape (G, V), nats
        Class deviations of the unigram; fixed.
    index : Tensor of shape (n,), int64
        Row of `table` for each position.
    entries : list of (rows, columns, values)
        Pair deviations, for `ROWS` positions after the other; rows are counted in their chunk. Fixed.
    """

    table: Tensor
    index: Tensor
    entries: list[tuple[Tensor, Tensor, Tensor]]


def true_token_log_probs(
    features: Tensor, gate: Tensor, projection: Tensor, bias: Tensor, targets: Tensor, additions: Additions
) -> Tensor:
    r"""Return :math:`\log p_i` of the targets, with gradients for features, gate, projection and bias.

    Parameters
    ----------
    features : Tensor of shape (n, D)
        Under autocast the products run in its type.
    gate : Tensor of shape (n, 2)
        Factors of the unigram's deviations, and of those of pairs and triples.
    projection : Tensor of shape (V, D)
    bias : Tensor of shape (V,), float32, nats
    targets : Tensor of shape (n,), int64
    additions : Additions

    Returns
    -------
    Tensor of shape (n,), float32 (float64 for such features), nats
    """
    device = features.device.type
    if torch.is_autocast_enabled(device):
        features = features.to(torch.get_autocast_dtype(device))
    with torch.autocast(device, enabled=False):
        exact = torch.promote_types(features.dtype, torch.float32)
        log_probs: Tensor = _TrueTokenLogProbs.apply(
            features, gate.to(exact), projection, bias.to(exact), targets, additions
        )
    return log_probs


class _TrueTokenLogProbs(torch.autograd.Function):
    """See the module; all in the type of the features but what is n or V numbers long."""

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        gate: Tensor,
        projection: Tensor,
        bias: Tensor,
        targets: Tensor,
        additions: Additions,
    ) -> Tensor:
        weights = projection.to(features.dtype)
        fixed = torch.cat(
            [*rounding_and_rest(additions.table, weights.dtype), *rounding_and_rest(bias[None], weights.dtype)]
        )
        terms = features.new_empty(len(features), len(projection))
        log_sums, scales = torch.empty_like(gate[:, 0]), torch.empty_like(gate[:, 0])
        for number, rows in enumerate(row_chunks(len(features))):
            chosen = _chosen(gate[rows, 0], additions.index[rows], len(additions.table)).to(weights.dtype)
            chunk = _Chunk(features[rows], weights, chosen, fixed, additions.entries[number], gate[rows, 1])
            log_sums[rows], scales[rows] = chunk.exponentials(terms[rows])
        ctx.save_for_backward(features, gate, projection, weights, targets, terms, scales)
        ctx.additions = additions
        pairs = _target_pairs(targets, additions, gate.dtype)
        unigram = additions.table[additions.index, targets]
        return target_logits(features, gate, targets, projection, bias, unigram, pairs) - log_sums

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        features, gate, projection, weights, targets, terms, scales = ctx.saved_tensors
        needs_projection = ctx.needs_input_grad[2]
        d_features, d_gate = torch.zeros_like(features), torch.zeros_like(gate)
        d_projection = torch.zeros_like(projection) if needs_projection else None
        d_bias = torch.zeros(len(projection), dtype=gate.dtype, device=gate.device)
        table = ctx.additions.table.to(terms.dtype)
        for number, rows in enumerate(row_chunks(len(features))):
            d_logits = terms[rows] * (-grad[rows] * scales[rows]).to(terms.dtype)[:, None]
            places = torch.arange(len(d_logits), device=grad.device)
            d_logits[places, targets[rows]] += grad[rows].to(terms.dtype)
            d_features[rows] = d_logits @ weights
            d_bias += (torch.ones_like(d_logits[:1, :1]).expand(1, len(d_logits)) @ d_logits)[0]
            if d_projection is not None:
                d_projection += d_logits.t() @ features[rows]
            index = ctx.additions.index[rows]
            d_gate[rows, 0] = (d_logits @ table.t())[places, index].to(gate.dtype)
            at, columns, values = ctx.additions.entries[number]
            d_gate[rows, 1] = d_gate[rows, 1].index_add(0, at, d_logits[at, columns].to(gate.dtype) * values)
        return d_features, d_gate, d_projection, d_bias, None, None


@dataclass(frozen=True)
class _Chunk:
    """What the logits of some rows are made of."""

    features: Tensor
    weights: Tensor
    chosen: Tensor
    fixed: Tensor
    entries: tuple[Tensor, Tensor, Tensor]
    pair_gate: Tensor

    def exponentials(self, out: Tensor) -> tuple[Tensor, Tensor]:
        """Fill `out` (rows, V) with the softmax's terms; returns the log of their sum and what makes it one."""
        self._logits(out)
        sums = row_sums(out.exp_()).to(self.pair_gate.dtype)
        if torch.isfinite(sums).all() and (sums > 0).all():
            return sums.log(), 1 / sums
        self._logits(out)
        log_sums = out.to(self.pair_gate.dtype).logsumexp(dim=1)
        out.sub_(log_sums[:, None].to(out.dtype)).exp_()
        return log_sums, torch.ones_like(log_sums)

    def _logits(self, out: Tensor) -> None:
        torch.mm(self.features, self.weights.t(), out=out)
        out.addmm_(self.chosen, self.fixed)
        rows, columns, values = self.entries
        added = (values * self.pair_gate[rows]).to(out.dtype)
        out.view(-1).index_add_(0, rows * out.shape[1] + columns, added)


def _chosen(gate: Tensor, index: Tensor, n_rows: int) -> Tensor:
    """What `fixed` is multiplied with: the gate at a position's row of the table, twice, and ones for the bias."""
    hot = functional.one_hot(index, n_rows) * gate[:, None]
    ones = torch.ones_like(gate)[:, None]
    return torch.cat([hot, hot, ones, ones], dim=1)


def _target_pairs(targets: Tensor, additions: Additions, dtype: torch.dtype) -> Tensor:
    """The deviations of pairs and triples at the true tokens, (n,)."""
    parts = []
    for rows, (at, columns, values) in zip(row_chunks(len(targets)), additions.entries, strict=True):
        own = targets[rows]
        is_target = columns == own[at]
        parts.append(torch.zeros_like(own, dtype=dtype).index_add(0, at[is_target], values[is_target].to(dtype)))
    return torch.cat(parts) if parts else targets.new_zeros(0, dtype=dtype)


def row_chunks(n: int) -> list[slice]:
    """Cut n rows in chunks of `ROWS`."""
    return [slice(start, min(start + ROWS, n)) for start in range(0, n, ROWS)]
