"""What training and scoring cost, in floating-point operations: one estimate for all models, and a rough one.

A network spends two operations for each weight and token forward, two to send the gradient back through the weight,
and two more for the weight's own gradient if it trains (Kaplan et al. 2020, section 2.1: 6 N D in all). Attention's
products of queries and keys are left out: at width D and L tokens they add about L / (6 D) of the rest, some 5 % at 128
tokens and 384. So are padding, norms, optimizer and whatever is computed a second time to save memory. Linear models
spend two for each non-zero feature and output.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import nn

#: Texts whose mean number of features stands for all.
SAMPLE = 500


def matrix_parameters(network: nn.Module) -> int:
    """Return the weights that every token is multiplied by: all but lookup tables.

    An embedding whose matrix is also the vocabulary projection is counted, once: the projection multiplies by it.
    """
    tied = {id(module.weight) for module in network.modules() if isinstance(module, nn.Linear)}
    lookups = {
        id(module.weight)
        for module in network.modules()
        if isinstance(module, nn.Embedding) and id(module.weight) not in tied
    }
    return sum(weight.numel() for weight in network.parameters() if id(weight) not in lookups)


def trainable_parameters(network: nn.Module) -> int:
    """Return the weights that take a gradient."""
    return sum(weight.numel() for weight in network.parameters() if weight.requires_grad)


def forward_flops(n_parameters: int, n_tokens: float) -> float:
    """Return the operations of a forward pass over `n_tokens` in all.

    Examples
    --------
    >>> forward_flops(1_000_000, 100)
    200000000.0
    """
    return 2.0 * n_parameters * n_tokens


def training_flops(n_parameters: int, n_tokens: float, *, n_trainable: int | None = None) -> float:
    """Return the operations of training on `n_tokens` in all; by default every weight trains.

    Examples
    --------
    >>> training_flops(1_000_000, 100), training_flops(1_000_000, 100, n_trainable=0)
    (600000000.0, 400000000.0)
    """
    trainable = n_parameters if n_trainable is None else n_trainable
    return (4.0 * n_parameters + 2.0 * trainable) * n_tokens


def linear_flops(n_features: float, n_outputs: int) -> float:
    """Return the operations of a linear model on a text of `n_features` non-zero features."""
    return 2.0 * n_features * n_outputs


def mean_length(ids: Sequence[Any]) -> float:
    """Return the mean number of tokens of texts; zero of none."""
    return float(np.mean([len(text) for text in ids])) if len(ids) else 0.0


def mean_features(vectorizer: Any, texts: Sequence[str]) -> float:
    """Return the mean number of non-zero features of (the first 500) texts under a scikit-learn vectorizer."""
    sample = list(texts[:SAMPLE])
    return vectorizer.transform(sample).nnz / len(sample) if sample else 0.0
