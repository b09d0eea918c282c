r"""Forward process of masked diffusion: which tokens of a text are hidden.

A text is its scorable tokens :math:`x_1 \dots x_L` (no special token, no padding). The forward process hides a set
:math:`M`; the reverse process predicts the hidden tokens from the visible ones. Three ways to draw :math:`M`:

* exact count: :math:`n \sim U\{1..L\}`, then a uniform set of that size. Every level has the weight :math:`L / n`
  in the bound (Ou et al. 2024, arXiv:2406.03736, any-order form; Nie et al. 2025, arXiv:2502.09992, eq. 14);
* Bernoulli: a level :math:`t \sim U(0, 1]`, every token hidden with probability :math:`t`, weight :math:`1 / t`
  (Sahoo et al. 2024, arXiv:2406.07524, eq. 10). Kept to show why it is not the default: its variance is infinite;
* path: an order cut in S blocks; each block is predicted from the earlier ones.

All randomness comes from a `numpy.random.Generator`. `text_generator` seeds one from the text itself, so that
the same masks serve all classes and no score depends on batch, order or padding. Every draw has a stream of its
own: the first draws of a longer plan are those of a shorter one.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]


def text_key(token_ids: NDArray[np.integer], *, seed: int) -> int:
    """Return 128 bits that depend on nothing but the text and the seed.

    Parameters
    ----------
    token_ids : ndarray of shape (L,), integer
        Scorable tokens of one text.
    seed : int
        Seed of the scorer.

    Returns
    -------
    int
    """
    digest = hashlib.blake2b(np.asarray(token_ids, dtype="<i8").tobytes(), digest_size=16)
    digest.update(int(seed).to_bytes(16, "little", signed=True))
    return int.from_bytes(digest.digest(), "little")


def draw_generator(key: int, draw: int) -> np.random.Generator:
    """Return the random generator of one draw of a text: the streams of two draws never meet.

    Parameters
    ----------
    key : int
        See `text_key`.
    draw : int
        k >= 0.
    """
    # the highest word of the counter: 2**192 numbers lie between two draws
    return np.random.Generator(np.random.Philox(key=key, counter=draw << 192))


def text_generator(token_ids: NDArray[np.integer], *, seed: int, draw: int = 0) -> np.random.Generator:
    """Return the random generator of one draw of a text; see `text_key` and `draw_generator`."""
    return draw_generator(text_key(token_ids, seed=seed), draw)


def spread_level(key: int, draw: int) -> float:
    """Return a level in [0, 1) for one draw: each is uniform, and any first ones of them are spread evenly.

    The van der Corput sequence in base 2, turned by an offset that depends on the text. The spread lies within one
    text: a level that depended on the place in a batch would bias the text's score.
    """
    reflected, scale, number = 0.0, 0.5, draw
    while number:
        reflected += scale * (number & 1)
        number, scale = number >> 1, scale / 2
    # a stream that no draw has
    return float((draw_generator(key, 2**64 - 1).random() + reflected) % 1.0)


def exact_count(n_tokens: int, level: float) -> int:
    """Return a number of hidden tokens in 1..L (0 if L = 0) for a level in [0, 1).

    Floor of a continuous level: a rounded grid would give the two end counts half the weight of the others.
    """
    return min(int(level * n_tokens) + 1, n_tokens)


def random_mask(n_tokens: int, n_hidden: int, *, generator: np.random.Generator) -> BoolArray:
    """Draw a uniform set of `n_hidden` tokens; shape (L,), True where hidden."""
    return random_order(n_tokens, generator=generator) < n_hidden


def bernoulli_mask(n_tokens: int, *, generator: np.random.Generator) -> tuple[BoolArray, float]:
    """Draw a mask with independent tokens at a uniform level t.

    Returns
    -------
    mask : ndarray of shape (L,), bool
        True where hidden; may be empty (its term of the bound is then zero).
    weight : float
        1 / t, its weight in the bound.
    """
    level = 1.0 - generator.random()
    return generator.random(n_tokens) < level, 1.0 / level


def random_order(n_tokens: int, *, generator: np.random.Generator) -> IntArray:
    """Draw a uniform order of the tokens; returns the rank of each token, shape (L,)."""
    return generator.permutation(n_tokens)


def order_blocks(ranks: IntArray, n_steps: int) -> IntArray:
    """Cut an order in `n_steps` blocks of (nearly) equal size.

    Parameters
    ----------
    ranks : ndarray of shape (..., L), int64
        Rank of each token.
    n_steps : int
        S. With S larger than L some blocks are empty.

    Returns
    -------
    ndarray of shape (..., L), int64
        Block of each token, in 0..S-1; block 0 is predicted first.
    """
    return ranks * n_steps // max(ranks.shape[-1], 1)


def spaced_blocks(n_tokens: int, n_steps: int, *, generator: np.random.Generator) -> IntArray:
    """Draw blocks that are spread evenly over the text: of every window of S tokens one in each block.

    A uniform order leaves some hidden tokens without any neighbour in sight and gives others more than they need.
    Here (nearly) every token of a later block has a visible one within S places, which tightens the bound and, because
    all draws see equally much, takes away much of its noise (measured in ``reports/estimators``).

    Parameters
    ----------
    n_tokens : int
        L.
    n_steps : int
        S. If S does not divide L, the last tokens get different blocks as well.
    generator : numpy.random.Generator

    Returns
    -------
    ndarray of shape (L,), int64
        Block of each token, in 0..S-1.
    """
    windows = np.tile(np.arange(n_steps), (-(-n_tokens // n_steps), 1))
    return generator.permuted(windows, axis=1).ravel()[:n_tokens]
