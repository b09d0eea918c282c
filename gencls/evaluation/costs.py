"""What training and scoring cost, in floating-point operations: one estimate for all models, and a rough one.

A network spends two operations for each weight and token forward, two to send the gradient back through the weight,
and two more for the weight's own gradient if it trains (Kaplan et al. 2020, section 2.1: 6 N D in all). Attention's
products of queries and keys are left out: at width D and L tokens they add about L / (6 D) of the rest, some 5 % at 128
tokens and 384. So are padding, norms, optimizer and whatever is computed a second time to save memory. Linear models
spend two for each non-zero feature and output.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class DenoiserSizes:
    """Weights of a denoiser by how often they multiply.

    Attributes
    ----------
    encoder : int
        Of every token of a row.
    head, projection : int
        Of every scored token; the projection is frozen with the word embeddings it is tied to.
    class_maps : int
        Of every scored token and class, those of one class: its low-rank map, and the map's part of the projection.
    """

    encoder: int
    head: int
    projection: int
    class_maps: int

    @classmethod
    def of(cls, shapes: Mapping[str, Sequence[int]]) -> DenoiserSizes:
        """Read them from the shapes of a saved denoiser's tensors by name (mode ``conditional``)."""
        matrices = {name: math.prod(shape) for name, shape in shapes.items() if len(shape) == 2}

        def total(prefix: str) -> int:
            return sum(n for name, n in matrices.items() if name.startswith(prefix) and not _is_looked_up(name))

        n_words, width = shapes["class_bias"][1], shapes["gate.weight"][1]
        rank = shapes["network.down"][1] if "network.down" in shapes else 0
        return cls(total("network.encoder."), total("network.head."), n_words * width, rank * (2 * width + n_words))


def _is_looked_up(name: str) -> bool:
    """Whether a matrix of an encoder is a table of words or positions, which multiplies nothing, by its usual names."""
    return any(part in name for part in ("embeddings", ".embed_", ".wte.", ".wpe."))


def denoiser_training_flops(
    sizes: DenoiserSizes, n_tokens: float, n_scored: float, *, n_decided: float = 0.0, n_classes: int = 0
) -> float:
    """Return the operations of training a denoiser.

    Parameters
    ----------
    sizes : DenoiserSizes
    n_tokens, n_scored : float
        Tokens of all rows, and those that were scored.
    n_decided : float
        Scored tokens of rows whose decision was trained too (`hybrid`): scored under `n_classes`.
    n_classes : int
        All of them, or the candidates of a decision.

    Examples
    --------
    >>> denoiser_training_flops(DenoiserSizes(100, 10, 50, 0), 8, 2)
    5320.0
    """
    own = training_flops(sizes.encoder, n_tokens) + training_flops(sizes.head + sizes.class_maps, n_scored)
    own += training_flops(sizes.projection, n_scored, n_trainable=0)
    more = max(n_classes - 1, 0) * n_decided
    return own + more * (4.0 * sizes.projection + 6.0 * sizes.class_maps)


def denoiser_scoring_flops(
    sizes: DenoiserSizes, length: float, *, n_forwards: float, n_draws: int, n_classes: int
) -> float:
    """Return the operations of scoring a text under all classes, which share the encoder.

    Parameters
    ----------
    sizes : DenoiserSizes
    length : float
        Tokens of the text; every draw scores each of them once.
    n_forwards : float
        Passes of the encoder.
    n_draws, n_classes : int

    Examples
    --------
    >>> denoiser_scoring_flops(DenoiserSizes(100, 10, 50, 5), 8, n_forwards=3, n_draws=2, n_classes=2)
    7040.0
    """
    scored = n_draws * length * (sizes.head + sizes.projection + n_classes * sizes.class_maps)
    return forward_flops(sizes.encoder, n_forwards * length) + 2.0 * scored


def steps_of_stages(plan: Mapping[str, Any]) -> int:
    """Return the steps of all stages of a classifier's training together; `plan`: of its record, or its recipe."""
    return int(plan["adapt_steps"] + plan["class_steps"])


def mean_length(ids: Sequence[Any]) -> float:
    """Return the mean number of tokens of texts; zero of none."""
    return float(np.mean([len(text) for text in ids])) if len(ids) else 0.0


def mean_features(vectorizer: Any, texts: Sequence[str]) -> float:
    """Return the mean number of non-zero features of (the first 500) texts under a scikit-learn vectorizer."""
    sample = list(texts[:SAMPLE])
    return vectorizer.transform(sample).nnz / len(sample) if sample else 0.0
