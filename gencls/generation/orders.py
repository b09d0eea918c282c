"""Orders of unmasking: which hidden tokens a step asks about, and which of them it reveals.

* ``random``: a uniform order, drawn at the start: any-order autoregression, the reverse process that the bound on the
  likelihood belongs to (Hoogeboom et al. 2022, arXiv:2110.02037);
* ``left_to_right``;
* ``confidence``: the chosen tokens with the highest probability first (Chang et al. 2022, arXiv:2202.04200, section
  3.2);
* ``margin``: the places where the likeliest token is furthest ahead of the second (Kim et al. 2025,
  arXiv:2502.06768, section 4);
* ``entropy``: the places with the lowest entropy;
* ``blocks``: blocks from left to right, within a block by confidence (Nie et al. 2025, arXiv:2502.09992,
  semi-autoregressive remasking).

The first two know their places before the model is asked, which then answers for those alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gencls.generation.config import EARLY_ORDERS, GenerationConfig

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]


def start_ranks(n_tokens: int, order: str, *, generator: np.random.Generator) -> IntArray:
    """Return the rank of each token, shape (L,): lower is revealed earlier where the order is known early.

    Every order draws as many random numbers, so that a seed gives the other draws the same numbers in all of them.
    """
    ranks = generator.permutation(n_tokens)
    return ranks if order == "random" else np.arange(n_tokens)


def asked_places(hidden: BoolArray, ranks: IntArray, n_reveal: int, config: GenerationConfig) -> BoolArray:
    """Return the places of one text that a step asks about.

    Parameters
    ----------
    hidden : ndarray of shape (L,), bool
    ranks : ndarray of shape (L,), int64
        See `start_ranks`.
    n_reveal : int
        Tokens that the step is to reveal.
    config : GenerationConfig

    Returns
    -------
    ndarray of shape (L,), bool
    """
    if config.order in EARLY_ORDERS:
        last = np.sort(ranks[hidden])[n_reveal - 1]
        return hidden & (ranks <= last)
    if config.order == "blocks":
        # the block in which the last token to reveal lies, and those before it
        last = np.flatnonzero(hidden)[n_reveal - 1] // config.block_size
        return hidden & (np.arange(len(hidden)) // config.block_size <= last)
    return hidden


def reveal_order(asked: BoolArray, sureness: FloatArray, ranks: IntArray, config: GenerationConfig) -> IntArray:
    """Return the asked places of one text, first to reveal first, shape (n_asked,), int64.

    Parameters
    ----------
    asked : ndarray of shape (L,), bool
    sureness : ndarray of shape (L,), float64
        Of the asked places; see `gencls.generation.choice`.
    ranks : ndarray of shape (L,), int64
    config : GenerationConfig
    """
    places = np.flatnonzero(asked)
    if config.order in EARLY_ORDERS:
        return places[np.argsort(ranks[places])]
    surest = places[np.argsort(-sureness[places], kind="stable")]
    if config.order == "blocks":
        return surest[np.argsort(surest // config.block_size, kind="stable")]
    return surest


def remasked_places(
    candidates: BoolArray, confidence: FloatArray, n_remasked: int, *, generator: np.random.Generator
) -> BoolArray:
    """Draw revealed tokens to hide again, unsure ones more often.

    The weight of a token is the softmax of minus its confidence (Wang et al. 2025, arXiv:2503.00307, section 4.1,
    "confidence-based"); drawn without replacement.

    Parameters
    ----------
    candidates : ndarray of shape (L,), bool
        Revealed tokens.
    confidence : ndarray of shape (L,), float64
        Probability of each when it was revealed.
    n_remasked : int
    generator : numpy.random.Generator

    Returns
    -------
    ndarray of shape (L,), bool
    """
    # the largest of log-weights plus Gumbel noise are a draw without replacement
    keys = np.where(candidates, generator.gumbel(size=len(candidates)) - confidence, -np.inf)
    chosen = np.zeros(len(candidates), dtype=bool)
    chosen[np.argsort(-keys, kind="stable")[:n_remasked]] = True
    return chosen & candidates
