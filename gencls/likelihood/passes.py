"""Forward passes: rows in, log-probabilities out.

A scorer works in two stages. The encoder sees micro-batches of a fixed shape. The hidden states of the positions that
are asked about are pooled over micro-batches, and the vocabulary side then works on the pool: its chunks are full
but for the last one, however few tokens each row asks about.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gencls.data.errors import three_parts
from gencls.diffusion.batches import EncodedPositions, RowBatch
from gencls.diffusion.denoiser import Denoiser
from gencls.diffusion.tokens import TokenFrame
from gencls.likelihood.precision import autocast
from gencls.likelihood.rows import Bucket, MicroBatch, Row, answers, micro_batch, questions

FloatArray = NDArray[np.float64]
Tag = TypeVar("Tag")

#: Asked positions that are collected before the vocabulary side runs, over all sets of hidden states.
POOL = 8192
#: Fewer for scorers that answer row by row.
FILL_STEP = 256


class TokenScorer(Protocol):
    """A denoiser, as the engine sees it.

    A `Denoiser` is used through `encode` and `read`. Anything else is called once for each class.

    Attributes
    ----------
    frame : TokenFrame
        Special ids around, behind and in place of the tokens.
    n_classes : int
        C; class index C is "no class".
    """

    frame: TokenFrame
    n_classes: int

    def __call__(self, batch: RowBatch, class_ids: Tensor) -> Tensor:
        """Return the log-probabilities (n_scored,) in nats of `batch.target_ids` where `batch.scored`.

        Row-major order. Some scored positions only fill up the shape (visible tokens, padding); what is
        returned for them is dropped.
        """
        ...


@dataclass(frozen=True)
class Passes:
    """How rows are run.

    Attributes
    ----------
    scorer : TokenScorer
    classes : list of C int
    precision : str
        Type of the matrix products.
    """

    scorer: TokenScorer
    classes: list[int]
    precision: str

    @property
    def device(self) -> torch.device:
        """Where the scorer's weights are."""
        return device_of(self.scorer)

    @property
    def shares_blank_rows(self) -> bool:
        """Whether a row can be asked for the tokens of several texts."""
        return isinstance(self.scorer, Denoiser)

    @property
    def takes_threads(self) -> bool:
        """Whether several threads may run passes at once."""
        return isinstance(self.scorer, Denoiser) and self.device.type == "cpu"

    def prepare(self) -> None:
        """Work out what is derived from the weights, once and before any thread needs it."""
        if isinstance(self.scorer, Denoiser):
            self.scorer.prepare(getattr(torch, self.precision), self.classes)

    def run(self, rows: Iterable[tuple[Bucket, Row, Tag]]) -> Iterator[list[tuple[Tag, FloatArray]]]:
        """Run rows that come sorted by bucket.

        Yields
        ------
        list of (tag, ndarray of shape (m, C, n), float64, nats)
            What one batch answered: for each row its tag and the log-probabilities of its targets.
        """
        pool: list[tuple[list[Row], list[Tag], EncodedPositions]] = []
        for micro, tags in _micro_batches(rows, self.scorer.frame, self.device.type):
            if not isinstance(self.scorer, Denoiser):
                yield list(zip(tags, self._ask(micro), strict=True))
                continue
            encoded = self.scorer.encode(micro.batch.to(self.device), self.classes, getattr(torch, self.precision))
            pool.append((list(micro.rows), tags, encoded))
            if sum(positions.hidden[..., 0].numel() for _, _, positions in pool) >= POOL:
                yield self._read(pool)
                pool = []
        if pool:
            yield self._read(pool)

    def _read(self, pool: Sequence[tuple[list[Row], list[Tag], EncodedPositions]]) -> list[tuple[Tag, FloatArray]]:
        assert isinstance(self.scorer, Denoiser)
        rows = [row for part, _, _ in pool for row in part]
        places, token_ids = (torch.from_numpy(values).to(self.device) for values in questions(rows))
        with self._context():
            positions = EncodedPositions.cat([positions for _, _, positions in pool])
            values = self.scorer.read(positions, self.classes, places, token_ids)
        tags = [tag for _, part, _ in pool for tag in part]
        return list(zip(tags, answers(rows, _checked(values, len(token_ids))), strict=True))

    def _ask(self, micro: MicroBatch) -> list[FloatArray]:
        """Ask a scorer that knows one class and one target at a time."""
        batch = micro.batch
        wanted = batch.scored.numpy()
        filled = _filled_up(wanted)
        batch = RowBatch(batch.input_ids, batch.attention_mask, batch.target_ids, torch.from_numpy(filled))
        batch = batch.to(self.device)
        rows = [torch.full_like(batch.input_ids[:, 0], index) for index in self.classes]
        with self._context():
            values = torch.stack([self.scorer(batch, class_ids) for class_ids in rows])
        log_probs = _checked(values, int(filled.sum()), wanted[filled])
        return answers(micro.rows, log_probs)

    def _context(self) -> AbstractContextManager[Any]:
        return autocast(self.precision, self.device)


@contextmanager
def evaluating(scorer: object) -> Iterator[None]:
    """Evaluation without gradients; the scorer's mode is put back."""
    with ExitStack() as stack:
        if isinstance(scorer, nn.Module) and scorer.training:
            stack.callback(scorer.train)
            scorer.eval()
        stack.enter_context(torch.inference_mode())
        yield


def device_of(scorer: object) -> torch.device:
    """Return where a scorer's weights are; the CPU if it has none."""
    parameter = next(iter(scorer.parameters()), None) if isinstance(scorer, nn.Module) else None
    return torch.device("cpu") if parameter is None else parameter.device


def _micro_batches(
    rows: Iterable[tuple[Bucket, Row, Tag]], frame: TokenFrame, device_type: str
) -> Iterator[tuple[MicroBatch, list[Tag]]]:
    held: list[Row] = []
    tags: list[Tag] = []
    current: Bucket | None = None

    def flush() -> Iterator[tuple[MicroBatch, list[Tag]]]:
        if held and current is not None:
            shape = (current.n_rows(device_type), current.length)
            yield micro_batch(list(held), frame, shape), list(tags)
            held.clear()
            tags.clear()

    for bucket, row, tag in rows:
        if bucket != current or len(held) == bucket.n_rows(device_type):
            yield from flush()
            current = bucket
        held.append(row)
        tags.append(tag)
    yield from flush()


def _filled_up(scored: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mark the last free positions as scored too, up to a multiple of `FILL_STEP` or until none is free.

    A linear layer may round differently for 999 rows than for 1000.
    """
    free = np.flatnonzero(~scored)
    missing = min(-int(scored.sum()) % FILL_STEP, len(free))
    filled = scored.copy()
    filled.flat[free[len(free) - missing :]] = True
    return filled


def _checked(values: Tensor, n_expected: int, wanted: NDArray[np.bool_] | None = None) -> FloatArray:
    """Return log-probabilities as float64; refuse another number of them than asked for, and what is not finite."""
    log_probs: FloatArray = values.cpu().double().numpy()
    expected = three_parts("{} log-probabilities from the scorer", "{}", "Check the model and its weights.")
    if log_probs.shape[1:] != (n_expected,):
        raise ValueError(expected.format(n_expected, f"an array of shape {log_probs.shape[1:]}"))
    log_probs = log_probs if wanted is None else log_probs[:, wanted]
    if not np.isfinite(log_probs).all():
        raise ValueError(expected.format(log_probs.size, f"{int((~np.isfinite(log_probs)).sum())} NaN or infinite"))
    return log_probs
