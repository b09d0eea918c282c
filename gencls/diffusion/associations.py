r"""How much more often two tokens stand side by side than chance has it: the second floor of a class-free model.

With n(u, v) the count of the pair, :math:`e(u, v) = n(u)\, n(v) / N` what independent neighbours would have, and
:math:`\kappa` the smoothing,

.. math:: \epsilon(u, v) = \log\left(1 + \frac{n(u, v)}{\kappa\, e(u, v)}\right).

Added to the log unigram of v beside a visible left neighbour u it is the bigram model
:math:`p(v \mid u) \propto n(u, v) + \kappa\, n(u)\, p(v)`: counts smoothed towards the unigram. An unseen pair adds
nothing, so the table is sparse. With both neighbours visible the softmax gives :math:`p(v \mid u)\, p(w \mid v)`
normalised, the bigram model of both sides. `NeighbourBias` adds the entries, and the denoiser's gate learns how much
they count beside the network.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from gencls.diffusion.denoiser import Denoiser
from gencls.diffusion.ngrams import FloatArray, NgramCounts, count_ngrams
from gencls.diffusion.unigram import class_counts

IntArray = NDArray[np.int64]
#: Added to the count of every token, so that no expectation is zero.
SMOOTHING = 0.5


def associations(pairs: NgramCounts, counts: FloatArray, unigram: FloatArray, smoothing: float) -> FloatArray:
    """Return the association of each pair.

    Parameters
    ----------
    pairs : NgramCounts
        For the keys.
    counts : ndarray of shape (..., P)
        Counts of the pairs to use.
    unigram : ndarray of shape (..., V)
        Counts of the tokens in the same texts.
    smoothing : float
        Kappa, > 0.

    Returns
    -------
    ndarray of shape (..., P), nats, >= 0
    """
    left, right = np.divmod(pairs.keys, pairs.vocab_size)
    tokens = unigram + SMOOTHING
    expected = tokens[..., left] * tokens[..., right] / tokens.sum(axis=-1, keepdims=True)
    return np.asarray(np.log1p(counts / (smoothing * expected)))


def association_table(
    token_ids: Sequence[IntArray], folds: IntArray, vocab_size: int, smoothing: float, *, min_count: int = 1
) -> tuple[IntArray, FloatArray, FloatArray]:
    """Count the neighbours of training texts.

    Parameters
    ----------
    token_ids : sequence of N ndarray of shape (L,), int64
    folds : ndarray of shape (N,), int64
    vocab_size : int
        V.
    smoothing : float
        Kappa.
    min_count : int
        Pairs seen less often are left out.

    Returns
    -------
    keys : ndarray of shape (P,), int64
        ``left * V + right``, ascending.
    values : ndarray of shape (P,), nats
        Associations in all texts.
    training_values : ndarray of shape (F, P), nats
        Associations in the texts outside each fold.
    """
    pairs = count_ngrams(token_ids, np.zeros_like(folds), folds, 1, vocab_size, min_count=min_count)
    counts, unigram = pairs.counts[:, 0], class_counts(token_ids, folds, int(folds.max()) + 1, vocab_size)
    values = associations(pairs, counts.sum(axis=0), unigram.sum(axis=0), smoothing)
    others = associations(pairs, counts.sum(axis=0) - counts, unigram.sum(axis=0) - unigram, smoothing)
    return pairs.keys, values, others


def set_associations(denoiser: Denoiser, token_ids: Sequence[IntArray], folds: IntArray, smoothing: float) -> None:
    """Give a class-free denoiser the associations of its training texts, cross-fitted while it trains.

    In training, a text's pairs come from the other folds: its own would give it away. Parameters are those of
    `association_table`.
    """
    keys, values, others = association_table(token_ids, folds, denoiser.vocab_size, smoothing)
    device, n_folds = denoiser.bias.device, len(others)
    denoiser.pairs.set_table(torch.from_numpy(keys).to(device), torch.from_numpy(values[None]))
    nothing = torch.zeros(n_folds, 0, denoiser.vocab_size)
    denoiser.use_training_tables(nothing, torch.from_numpy(others[:, None]).float().to(device))
