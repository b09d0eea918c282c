r"""Oracles: masked diffusion on a space so small that everything is a finite sum.

A *joint table* holds :math:`p(x)` for all :math:`V^L` texts. A *denoiser* is a dictionary of conditionals

.. math:: q(v \mid i, x_{\bar M}), \qquad i \in M,\ v \in \{0..V-1\},

keyed by the position and the text with its hidden tokens written as `HIDDEN`. With
:math:`D(i \mid M) = \log q(x_i \mid i, x_{\bar M})`, what the package estimates is here enumerated:

.. math::

    \mathrm{ELBO}(x) &= \frac1L \sum_{n=1}^{L} \binom{L}{n}^{-1} \sum_{|M| = n}
        \frac{L}{n} \sum_{i \in M} D(i \mid M) \\
    \mathrm{path}(x; B_1..B_S) &= \sum_{s=1}^{S} \sum_{i \in B_s} D(i \mid B_s \cup \dots \cup B_S) \\
    \mathrm{ELBO}_S(x) &= \frac{1}{L!} \sum_{\text{orders}} \mathrm{path}(x; \text{the order cut in } S)

(Uria, Murray and Larochelle 2014, arXiv:1310.1757, eq. 8-9; Ou et al. 2024, arXiv:2406.03736; Hoogeboom et
al. 2022, arXiv:2110.02037, section 3.) With the conditionals of the joint itself, the first equals
:math:`\log p(x)`, and so does every path of L blocks, whatever its order. For any normalised denoiser
:math:`\sum_x \exp \mathrm{path}(x; B) = 1`.

This module imports nothing of the package: it shares no code with what it checks. Axis legend: L tokens,
V vocabulary. All arrays are float64, all logarithms natural (nats).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float64]
Text: TypeAlias = tuple[int, ...]
#: (position, text with hidden tokens) -> probabilities (V,) of the token at the position.
Conditionals: TypeAlias = dict[tuple[int, Text], FloatArray]
#: Stands for a hidden token in a context.
HIDDEN = -1


def random_joint(vocab_size: int, n_tokens: int, *, generator: np.random.Generator) -> FloatArray:
    """Draw a joint table with dependent tokens.

    Parameters
    ----------
    vocab_size, n_tokens : int
        V and L.
    generator : numpy.random.Generator

    Returns
    -------
    ndarray of shape (V,) * L, float64
        Probabilities: positive, sum one. Uniform on the simplex, so that no token is independent of another.
    """
    return generator.dirichlet(np.ones(vocab_size**n_tokens)).reshape((vocab_size,) * n_tokens)


def unigram_joint(frequencies: FloatArray, n_tokens: int) -> FloatArray:
    """Return the joint table (V,) * L of independent tokens with the same frequencies (V,)."""
    joint = np.ones(())
    for _ in range(n_tokens):
        joint = np.multiply.outer(joint, frequencies)
    return joint


def all_texts(vocab_size: int, n_tokens: int) -> Iterator[Text]:
    """Iterate over the V^L texts."""
    return itertools.product(range(vocab_size), repeat=n_tokens)


def all_masks(n_tokens: int) -> Iterator[tuple[int, ...]]:
    """Iterate over the 2^L - 1 non-empty sets of hidden positions, each in rising order."""
    sizes = range(1, n_tokens + 1)
    return itertools.chain.from_iterable(itertools.combinations(range(n_tokens), size) for size in sizes)


def hide(text: Sequence[int], masked: Sequence[int]) -> Text:
    """Return the context of a mask: the text with `HIDDEN` at the positions `masked`."""
    return tuple(HIDDEN if place in masked else int(token) for place, token in enumerate(text))


def log_probability(joint: FloatArray, text: Sequence[int]) -> float:
    """Return log p(x) in nats."""
    return math.log(joint[tuple(text)])


def exact_conditionals(joint: FloatArray) -> Conditionals:
    r"""Return the denoiser :math:`p(x_i \mid x_{\bar M})` of a joint table, for every mask and every context.

    Parameters
    ----------
    joint : ndarray of shape (V,) * L

    Returns
    -------
    Conditionals
        The best denoiser there is for this joint.
    """
    table: Conditionals = {}
    for context in itertools.product(range(HIDDEN, joint.shape[0]), repeat=joint.ndim):
        slice_of = joint[tuple(slice(None) if token == HIDDEN else token for token in context)]
        hidden = [place for place, token in enumerate(context) if token == HIDDEN]
        for axis, place in enumerate(hidden):
            mass = slice_of.sum(axis=tuple(other for other in range(len(hidden)) if other != axis))
            table[place, context] = mass / mass.sum()
    return table


def perturbed_conditionals(
    conditionals: Conditionals, strength: float, *, generator: np.random.Generator
) -> Conditionals:
    """Return a wrong but normalised denoiser: each conditional reweighted at random on its own.

    No joint has these conditionals, as is so for every trained network: two orders of one text disagree.

    Parameters
    ----------
    conditionals : Conditionals
    strength : float
        Standard deviation of the change, in nats.
    generator : numpy.random.Generator

    Returns
    -------
    Conditionals
    """
    weighted = {
        key: mass * np.exp(strength * generator.standard_normal(len(mass))) for key, mass in conditionals.items()
    }
    return {key: mass / mass.sum() for key, mass in weighted.items()}


def denoiser_log_probs(conditionals: Conditionals, text: Sequence[int], masked: Sequence[int]) -> FloatArray:
    """Return D(i | M).

    Returns
    -------
    ndarray of shape (L,), float64, nats
        NaN at visible positions: they have no such value, and a sum over one is a mistake.
    """
    context = hide(text, masked)
    values = np.full(len(text), np.nan)
    for place in masked:
        values[place] = math.log(conditionals[place, context][text[place]])
    return values


def enumerated_elbo(conditionals: Conditionals, text: Sequence[int]) -> float:
    """Return the ELBO of a text in nats: the module's first equation, summed over all counts and sets."""
    n_tokens = len(text)
    total = 0.0
    for masked in all_masks(n_tokens):
        size = len(masked)
        probability = 1.0 / (n_tokens * math.comb(n_tokens, size))
        total += probability * n_tokens / size * np.nansum(denoiser_log_probs(conditionals, text, masked))
    return float(total)


def path_score(conditionals: Conditionals, text: Sequence[int], blocks: Sequence[Sequence[int]]) -> float:
    """Return the path score of a text in nats.

    Parameters
    ----------
    conditionals : Conditionals
    text : sequence of L int
    blocks : sequence of S sequences of int
        Positions by step: each is predicted given the earlier ones. Together they hold each position once.
    """
    total = 0.0
    for step, block in enumerate(blocks):
        masked = [place for later in blocks[step:] for place in later]
        log_probs = denoiser_log_probs(conditionals, text, masked)
        total += sum(log_probs[place] for place in block)
    return float(total)


def cut_order(order: Sequence[int], n_steps: int) -> list[list[int]]:
    """Cut an order (positions, first predicted first) in `n_steps` blocks, longer ones first."""
    return [part.tolist() for part in np.array_split(np.asarray(order, dtype=np.int64), n_steps)]


def enumerated_path_score(conditionals: Conditionals, text: Sequence[int], n_steps: int) -> float:
    """Return the S-step ELBO of a text in nats: the path score averaged over all L! orders."""
    orders = itertools.permutations(range(len(text)))
    return float(np.mean([path_score(conditionals, text, cut_order(order, n_steps)) for order in orders]))


def unigram_elbo_variance(log_probs: FloatArray) -> float:
    r"""Return the variance of one draw of the exact-count ELBO when no token depends on another.

    Let :math:`a_i` be the tokens' log-probabilities. Given the count n, the draw is :math:`L` times the mean of
    n of the L values without replacement: mean :math:`\sum_i a_i` whatever n is, and variance
    :math:`L^2 \frac{s^2}{n} (1 - \frac nL)`, where

    .. math:: s^2 = \frac{1}{L-1} \sum_i (a_i - \bar a)^2

    is the *sample* variance (``ddof=1``; finite-population correction, Cochran 1977, theorem 2.2). As the
    mean does not depend on n, only the expected variance is left (law of total variance), and with
    :math:`E[1/n] = H_L / L`

    .. math:: \mathrm{Var} = L^2 s^2 \left(\frac{H_L}{L} - \frac 1L\right) = L (H_L - 1) s^2 .

    For the same reason the mean of K draws has exactly this over K, also with counts stratified over
    the draws.

    Parameters
    ----------
    log_probs : ndarray of shape (L,), nats

    Returns
    -------
    float
        nat². Zero for L <= 1.
    """
    n_tokens = len(log_probs)
    if n_tokens <= 1:
        return 0.0
    harmonic = sum(1.0 / count for count in range(1, n_tokens + 1))
    return float(n_tokens * (harmonic - 1.0) * np.var(log_probs, ddof=1))
