r"""Training loss: the negative bound per token, and the optional discriminative term.

For a text with n hidden of L tokens the bound's term is :math:`(L/n) \sum_{i \in M} -\log p(x_i \mid x_{\bar M})`
(Ou et al. 2024, arXiv:2406.03736). Divided by L it is the mean over the hidden tokens, and a mean over any random
subset of them has the same expectation: scoring a few positions of every text is unbiased, and the vocabulary
projection is most of the cost. With levels uniform on (0, 1] the mean over texts is the negative ELBO per token.

The hybrid term is the cross-entropy of the Bayes posterior from shared masks (Raina et al. 2003): the class
log-likelihoods of the same hidden tokens, summed per text, softmax over classes. It makes the decision better and the
language model no better; with weight zero training is purely generative.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

N_LEVEL_BINS = 10


def sum_rows(values: Tensor, rows: Tensor, n_rows: int) -> Tensor:
    """Sum values (n_scored,) by row, to (B,)."""
    return values.new_zeros(n_rows).index_add(0, rows, values)


def negative_elbo_per_token(log_probs: Tensor, rows: Tensor, n_rows: int) -> Tensor:
    """Return the loss of each text, shape (B,), nats per token.

    Parameters
    ----------
    log_probs : Tensor of shape (n_scored,), nats
        At the scored positions.
    rows : Tensor of shape (n_scored,), int64
        Row of each scored position.
    n_rows : int
        B; every row has at least one scored position.
    """
    counts = sum_rows(torch.ones_like(log_probs), rows, n_rows)
    return -sum_rows(log_probs, rows, n_rows) / counts


def posterior_cross_entropy(
    log_probs: Tensor, rows: Tensor, weights: Tensor, labels: Tensor, stands_for: Tensor | None = None
) -> Tensor:
    """Return the cross-entropy of the Bayes posterior under shared masks, shape (B,), nats.

    Parameters
    ----------
    log_probs : Tensor of shape (C, n_scored), nats
        Of the same positions under every class, or under C candidates.
    rows : Tensor of shape (n_scored,), int64
    weights : Tensor of shape (B,)
        Hidden tokens per scored token: scales the scored subset up to all hidden tokens.
    labels : Tensor of shape (B,), int64
        Place of the true class among the C.
    stands_for : Tensor of shape (C,), nats, optional
        Log of the number of classes for which each one stands, where C are chosen of more.
    """
    n_rows = labels.shape[0]
    joint = torch.stack([sum_rows(values, rows, n_rows) * weights for values in log_probs], dim=1)
    if stands_for is not None:
        joint = joint + stands_for.to(joint)
    return functional.cross_entropy(joint, labels, reduction="none")


@dataclass
class LevelLosses:
    """Running loss by masking level (share of hidden tokens in ten equal bins)."""

    total: Tensor
    count: Tensor

    @classmethod
    def empty(cls) -> LevelLosses:
        """Return the empty record."""
        return cls(torch.zeros(N_LEVEL_BINS, dtype=torch.float64), torch.zeros(N_LEVEL_BINS, dtype=torch.float64))

    def add(self, losses: Tensor, levels: Tensor) -> None:
        """Add the losses (B,) of texts at their levels (B,) in (0, 1]."""
        bins = (levels * N_LEVEL_BINS).ceil().long().clamp(1, N_LEVEL_BINS).cpu() - 1
        self.total.index_add_(0, bins, losses.detach().cpu().double())
        self.count.index_add_(0, bins, torch.ones(len(bins), dtype=torch.float64))

    def pop(self) -> dict[str, float]:
        """Return the mean loss (nats per token) by the upper end of each level bin, and start again."""
        means = {
            f"loss_level_{(place + 1) / N_LEVEL_BINS:.1f}": float(total / count)
            for place, (total, count) in enumerate(zip(self.total, self.count, strict=True))
            if count > 0
        }
        self.total.zero_()
        self.count.zero_()
        return means
