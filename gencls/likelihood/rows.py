"""Rows and micro-batches: what the network sees. Its shape is decided here; see `gencls.likelihood.engine` for why
that matters.

A row is one forward pass: a text with some of its tokens hidden, and the places that are asked about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from gencls.data.errors import three_parts
from gencls.diffusion.batches import RowBatch, frame_rows
from gencls.diffusion.conditioning import Prompt
from gencls.diffusion.tokens import TokenFrame

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

#: Positions of a micro-batch by device, padding included. Constants and not options: another shape rounds
#: differently. Small on a CPU, where more gain nothing: the last batch of a bucket is filled up with copies.
MICRO_BATCH_TOKENS = {"cpu": 1024, "cuda": 16384}
MIN_ROWS = 2
#: A row is padded to a multiple of a step that grows with its length: by less than 1/64 of it. Short ones are not
#: padded at all.
STEPS_PER_OCTAVE = 64


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
    framed = max(n_tokens + frame.n_special, 1)
    step = 1 << max(0, framed.bit_length() - STEPS_PER_OCTAVE.bit_length())
    padded = -(-framed // step) * step
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
class Row:
    """One forward pass and its questions.

    Attributes
    ----------
    token_ids : ndarray of shape (L,), int64
        Of the text; where hidden, only its length matters.
    hidden : ndarray of shape (L,), bool
    places : ndarray of shape (n,), int64
        Hidden tokens that are asked about, ascending.
    targets : ndarray of shape (m, n), int64
        Tokens that are asked for at the places: those of one text, or of all texts of a length that share a row in
        which everything is hidden.
    """

    token_ids: IntArray
    hidden: BoolArray
    places: IntArray
    targets: IntArray


@dataclass(frozen=True)
class MicroBatch:
    """One call of the encoder.

    Attributes
    ----------
    batch : RowBatch
        Only asked places are marked as scored.
    rows : sequence of Row
        The real ones; the others are copies of the first in which nothing is asked.
    """

    batch: RowBatch
    rows: Sequence[Row]


def micro_batch(rows: Sequence[Row], frame: TokenFrame, shape: tuple[int, int]) -> MicroBatch:
    """Build the tensors of some rows.

    Parameters
    ----------
    rows : sequence of Row
        At most as many as `shape` has.
    frame : TokenFrame
    shape : tuple of int
        Rows and positions.

    Returns
    -------
    MicroBatch
    """
    scored = [np.isin(np.arange(len(row.hidden)), row.places) for row in rows]
    batch = frame_rows([row.token_ids for row in rows], [row.hidden for row in rows], scored, frame, shape)
    for tensor in (batch.input_ids, batch.attention_mask, batch.target_ids):
        tensor[len(rows) :] = tensor[0]
    return MicroBatch(batch, rows)


def questions(rows: Sequence[Row]) -> tuple[IntArray, IntArray]:
    """Return the place among all asked positions, and the token, of every question of some rows, row after row."""
    sizes = [len(row.places) for row in rows]
    starts = np.cumsum([0, *sizes])[:-1]
    places = [
        np.tile(np.arange(start, start + size), len(row.targets))
        for start, size, row in zip(starts, sizes, rows, strict=True)
    ]
    return np.concatenate(places), np.concatenate([row.targets.ravel() for row in rows])


def answers(rows: Sequence[Row], values: FloatArray) -> list[FloatArray]:
    """Cut the answers (C, Q) to `questions` in one array (m, C, n) for each row."""
    ends = np.cumsum([row.targets.size for row in rows])[:-1]
    parts = np.split(values, ends, axis=1)
    return [
        part.reshape(len(values), *row.targets.shape).transpose(1, 0, 2) for part, row in zip(parts, rows, strict=True)
    ]
