r"""Forward process of masked diffusion: which tokens of a text are hidden.

A text is its scorable tokens :math:`x_1 \dots x_L` (no special token, no padding). The forward process hides a set
:math:`M`; the reverse process predicts the hidden tokens from the visible ones. Three ways to draw :math:`M`:

* exact count: :math:`n \sim U\{1..L\}`, then a uniform set of that size. Every level has the weight :math:`L / n`
  in the bound (Ou et al. 2024, arXiv:2406.03736, any-order form; Nie et al. 2025, arXiv:2502.09992, eq. 14);
* Bernoulli: a level :math:`t \sim U(0, 1]`, every token hidden with probability :math:`t`, weight :math:`1 / t`
  (Sahoo et al. 2024, arXiv:2406.07524, eq. 10). Kept to show why it is not the default: its variance is infinite;
* path: a random order cut in S blocks; each block is predicted from the earlier ones.

All randomness comes from a `numpy.random.Generator`. `text_generator` seeds one from the text itself, so that
the same masks serve all classes and no score depends on batch, order or padding.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]


def text_generator(token_ids: NDArray[np.integer], *, seed: int) -> np.random.Generator:
    """Return a random generator that depends on nothing but the text and the seed.

    Parameters
    ----------
    token_ids : ndarray of shape (L,), integer
        Scorable tokens of one text.
    seed : int
        Seed of the scorer.

    Returns
    -------
    numpy.random.Generator
    """
    digest = hashlib.blake2b(np.asarray(token_ids, dtype="<i8").tobytes(), digest_size=16)
    digest.update(int(seed).to_bytes(16, "little", signed=True))
    return np.random.default_rng(int.from_bytes(digest.digest(), "little"))


def stratified_levels(n_draws: int, *, generator: np.random.Generator) -> NDArray[np.float64]:
    """Draw `n_draws` levels in (0, 1), one in each of `n_draws` equal strata, in random order.

    The strata lie within one text: a level that depended on the place in a batch would bias the text's score.
    """
    levels = (np.arange(n_draws) + generator.random(n_draws)) / n_draws
    return generator.permutation(levels)


def exact_count_masks(n_tokens: int, n_draws: int, *, generator: np.random.Generator) -> BoolArray:
    """Draw masks with a count uniform on 1..L and, given the count, a uniform set.

    Parameters
    ----------
    n_tokens : int
        L, at least 1.
    n_draws : int
        K.
    generator : numpy.random.Generator

    Returns
    -------
    ndarray of shape (K, L), bool
        True where the token is hidden; every row has at least one True.
    """
    # floor of a continuous grid: a rounded grid would give the two end counts half the weight of the others
    counts = np.floor(stratified_levels(n_draws, generator=generator) * n_tokens).astype(np.int64) + 1
    return random_orders(n_tokens, n_draws, generator=generator) < np.minimum(counts, n_tokens)[:, None]


def bernoulli_masks(
    n_tokens: int, n_draws: int, *, generator: np.random.Generator
) -> tuple[BoolArray, NDArray[np.float64]]:
    """Draw masks with independent tokens at a uniform level t.

    Returns
    -------
    masks : ndarray of shape (K, L), bool
        True where hidden; a row may be empty (its term of the bound is then zero).
    weights : ndarray of shape (K,), float64
        1 / t, the weight of each row in the bound.
    """
    levels = 1.0 - generator.random(n_draws)
    return generator.random((n_draws, n_tokens)) < levels[:, None], 1.0 / levels


def random_orders(n_tokens: int, n_draws: int, *, generator: np.random.Generator) -> IntArray:
    """Draw uniform orders of the tokens.

    Returns
    -------
    ndarray of shape (K, L), int64
        The rank of each token in each order. Draws are made one after the other: the first k rows of a larger
        request are those of a smaller one.
    """
    ranks = np.empty((n_draws, n_tokens), dtype=np.int64)
    for row in ranks:
        row[:] = generator.permutation(n_tokens)
    return ranks


def order_blocks(ranks: IntArray, n_steps: int) -> IntArray:
    """Cut orders in `n_steps` blocks of (nearly) equal size.

    Parameters
    ----------
    ranks : ndarray of shape (K, L), int64
        Rank of each token.
    n_steps : int
        S. With S larger than L some blocks are empty.

    Returns
    -------
    ndarray of shape (K, L), int64
        Block of each token, in 0..S-1; block 0 is predicted first.
    """
    return ranks * n_steps // max(ranks.shape[-1], 1)
