r"""Whole long texts: scored in chunks whose samples add up.

.. math:: \log p(x) = \sum_k \log p(x_{\text{chunk } k} \mid \text{the tokens before it})

Every chunk sees the end of the one before it, visible and not scored, and every token is scored in one chunk
(`gencls.diffusion.tokens.chunks`). A sum of bounds is a bound. Draw k of a text is the sum of its chunks' draws k.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gencls.diffusion.tokens import chunks
from gencls.likelihood.engine import Scores, TokenScorer, score_texts
from gencls.likelihood.estimators import Estimator

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def score_long_texts(
    scorer: TokenScorer,
    token_ids: Sequence[NDArray[np.integer]],
    estimator: Estimator,
    *,
    max_length: int,
    overlap: int,
    **options: Any,
) -> Scores:
    """Score texts of any length under classes.

    Parameters
    ----------
    scorer : TokenScorer
    token_ids : sequence of N ndarray of shape (L,), integer
        Scorable tokens of the whole texts. A text of at most `max_length` tokens gets the same bits as from
        `score_texts`.
    estimator : Estimator
        Of each chunk.
    max_length : int
        Most tokens of a chunk, its context included.
    overlap : int
        Context tokens of every chunk but the first; 0 <= overlap < max_length.
    **options
        Of `score_texts`, all but `n_context`; `seed` is required.

    Returns
    -------
    Scores
        `n_forwards` over all chunks of a text; `steps`, if asked for, are summed over them step by step.

    Raises
    ------
    ValueError
        If the overlap leaves no room, or as `score_texts`; before any work.
    """
    cut = [chunks(ids, max_length=max_length, overlap=overlap) for ids in token_ids]
    pieces = [chunk for parts in cut for chunk in parts]
    scores = score_texts(
        scorer,
        [chunk.token_ids for chunk in pieces],
        estimator,
        n_context=[chunk.n_context for chunk in pieces],
        **options,
    )
    owner = np.repeat(np.arange(len(cut)), [len(parts) for parts in cut])
    return Scores(
        _summed(scores.samples, owner, len(cut)),
        _counted(scores.n_tokens, owner, len(cut)),
        _counted(scores.n_forwards, owner, len(cut)),
        None if scores.steps is None else _summed(scores.steps, owner, len(cut)),
    )


def _summed(values: FloatArray, owner: IntArray, n_texts: int) -> FloatArray:
    """Sum the rows of each text one after the other, so that the rounding depends on the text alone."""
    sums = np.zeros((n_texts, *values.shape[1:]))
    np.add.at(sums, owner, values)
    return sums


def _counted(values: IntArray, owner: IntArray, n_texts: int) -> IntArray:
    counts = np.zeros(n_texts, dtype=np.int64)
    np.add.at(counts, owner, values)
    return counts
