"""From plans to rows and micro-batches, and from the rows' sums back to samples.

A row is one forward pass of one text: a draw and a step of its plan that score at least one token. The shape
of what the network sees is decided here, see `gencls.likelihood.engine` for why it matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gencls.data.errors import three_parts
from gencls.diffusion.conditioning import Prompt
from gencls.diffusion.denoiser import PROJECTION_ROWS, RowBatch
from gencls.diffusion.tokens import TokenFrame
from gencls.likelihood.estimators import Plan

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Positions of a micro-batch by device, padding included. Constants and not options: another shape rounds
#: differently.
MICRO_BATCH_TOKENS = {"cpu": 4096, "cuda": 16384}
MIN_ROWS = 16
BUCKET_STEP = 16
#: Scored positions are filled up to a multiple of this. The denoiser's head and gate see (n_scored, D)
#: arrays, and a linear layer rounds differently for 999 rows than for 1000. The projection works in chunks of
#: this size anyway.
SCORED_STEP = PROJECTION_ROWS


@dataclass(frozen=True, order=True)
class Bucket:
    """What texts must have in common to share micro-batches.

    Attributes
    ----------
    length : int
        Positions of a row, padding included.
    is_full : bool
        Whether the text fills the row to its last position. Attention takes another kernel when no position
        of a batch is padding, so a full row must not depend on its batch mates for that.
    """

    length: int
    is_full: bool

    def n_rows(self, device_type: str) -> int:
        """Return the number of rows of every micro-batch."""
        return max(MIN_ROWS, MICRO_BATCH_TOKENS.get(device_type, MICRO_BATCH_TOKENS["cpu"]) // self.length)


def bucket_of(n_tokens: int, frame: TokenFrame, limit: int | None) -> Bucket:
    """Return the bucket of a text, which its length alone decides.

    Parameters
    ----------
    n_tokens : int
        L.
    frame : TokenFrame
    limit : int or None
        Most positions that the scorer takes.

    Returns
    -------
    Bucket
    """
    framed = n_tokens + frame.n_special
    padded = max(-(-framed // BUCKET_STEP), 1) * BUCKET_STEP
    length = padded if limit is None else min(padded, limit)
    return Bucket(length, framed == length)


def row_limit(scorer: object) -> int | None:
    """Return the most positions, special tokens included, of a row; None if the scorer has no such limit.

    Tables of absolute positions are looked for (RoBERTa's and MPNet's start behind the padding index); models
    with relative or rotary positions say in their config what they were trained for.
    """
    if not isinstance(scorer, nn.Module):
        return None
    tables = [
        module
        for name, module in scorer.named_modules()
        if isinstance(module, nn.Embedding) and name.endswith("position_embeddings")
    ]
    limits = [t.num_embeddings - (0 if t.padding_idx is None else t.padding_idx + 1) for t in tables]
    if not limits:
        configs = [getattr(module, "config", None) for module in scorer.modules()]
        limits = [n for config in configs if (n := getattr(config, "max_position_embeddings", None))]
    n_prompt = max((m.tokens.shape[1] for m in scorer.modules() if isinstance(m, Prompt)), default=0)
    return min(limits) - n_prompt if limits else None


def check_lengths(texts: Sequence[IntArray], frame: TokenFrame, limit: int | None) -> None:
    """Refuse texts that do not fit in a row of at most `limit` positions."""
    longest = max((len(ids) for ids in texts), default=0)
    if limit is not None and longest + frame.n_special > limit:
        raise ValueError(
            three_parts(
                f"at most {limit - frame.n_special} tokens in a text",
                str(longest),
                "Cut the texts (`max_length` of tokenize) or use a backbone with more positions.",
            )
        )


@dataclass(frozen=True)
class Rows:
    """Text (its index), draw and step of each row.

    Attributes
    ----------
    text, draw, step : ndarray of shape (n_rows,), int64
    """

    text: IntArray
    draw: IntArray
    step: IntArray

    def __len__(self) -> int:
        return len(self.text)

    def part(self, where: slice) -> Rows:
        """Return some of the rows."""
        return Rows(self.text[where], self.draw[where], self.step[where])

    @property
    def is_last(self) -> NDArray[np.bool_]:
        """Whether a row is the last of its text."""
        return np.append(self.text[1:] != self.text[:-1], True)[: len(self)]


def rows_to_run(plans: Sequence[Plan], members: Sequence[int]) -> Rows:
    """List the forward passes of some texts that score at least one token, text by text."""
    places = [np.argwhere(plans[index].scored.any(axis=-1)) for index in members]
    text = np.repeat(np.array(members, dtype=np.int64), [len(place) for place in places])
    draw, step = np.concatenate(places).astype(np.int64).T
    return Rows(text, draw, step)


@dataclass(frozen=True)
class MicroBatch:
    """One call of the network.

    Attributes
    ----------
    batch : RowBatch
    is_wanted : ndarray of shape (n_scored,), bool
        False for scored positions that only fill up the shape.
    row_of : ndarray of shape (n_wanted,), int64
        Row of each wanted position.
    """

    batch: RowBatch
    is_wanted: NDArray[np.bool_]
    row_of: IntArray


def micro_batch(
    texts: Sequence[IntArray], plans: Sequence[Plan], rows: Rows, frame: TokenFrame, shape: tuple[int, int]
) -> MicroBatch:
    """Build the tensors of some rows.

    Parameters
    ----------
    texts : sequence of ndarray of shape (L,), int64
    plans : sequence of Plan
    rows : Rows
        At most as many as `shape` has; the missing ones are copies of the first in which nothing is scored.
    frame : TokenFrame
    shape : tuple of int
        Rows and positions.

    Returns
    -------
    MicroBatch
    """
    targets = np.full(shape, frame.pad, dtype=np.int64)
    attended, scored = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=bool)
    hidden = np.zeros(shape, dtype=bool)
    for place, (text, draw, step) in enumerate(zip(rows.text, rows.draw, rows.step, strict=True)):
        framed = frame.frame(texts[text])
        span = slice(frame.n_before, frame.n_before + len(texts[text]))
        targets[place, : len(framed)] = framed
        attended[place, : len(framed)] = 1
        hidden[place, span] = plans[text].masked[draw, step]
        scored[place, span] = plans[text].scored[draw, step]
    for array in (targets, attended, hidden):
        array[len(rows) :] = array[0]
    inputs, filled = np.where(hidden, frame.mask, targets), _filled_up(scored)
    tensors = (torch.from_numpy(array) for array in (inputs, attended, targets, filled))
    return MicroBatch(RowBatch(*tensors), scored[filled], scored.nonzero()[0])


def _filled_up(scored: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mark the last free positions as scored too, up to a multiple of `SCORED_STEP` or until none is free."""
    free = np.flatnonzero(~scored)
    missing = min(-int(scored.sum()) % SCORED_STEP, len(free))
    filled = scored.copy()
    filled.flat[free[len(free) - missing :]] = True
    return filled


def weighted_sums(rows: Rows, row_sums: FloatArray, plans: Sequence[Plan], shape: tuple[int, int, int]) -> FloatArray:
    """Add up each draw's forward passes with their weights.

    Parameters
    ----------
    rows : Rows
    row_sums : ndarray of shape (C, n_rows), float64, nats
    plans : sequence of n_texts Plan
    shape : tuple of int
        (n_texts, C, K).

    Returns
    -------
    ndarray of shape (n_texts, C, K), float64, nats
        Zero for texts without rows.
    """
    n_texts, n_classes, n_draws = shape
    samples = np.zeros(shape)
    if len(rows) == 0:
        return samples
    places = zip(rows.text, rows.draw, rows.step, strict=True)
    weights = np.array([plans[text].weights[draw, step] for text, draw, step in places])
    flat = rows.text * n_draws + rows.draw
    for column in range(n_classes):
        # bincount adds one after the other, so the order of a draw's terms never changes
        sums = np.bincount(flat, weights=weights * row_sums[column], minlength=n_texts * n_draws)
        samples[:, column] = sums.reshape(n_texts, n_draws)
    return samples
