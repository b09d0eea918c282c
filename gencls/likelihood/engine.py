r"""Scoring of many texts: plans to rows, rows to micro-batches, log-probabilities to samples (N, C, K).

Promise: the samples of a text depend on the text, the seed, the estimator and the scorer only. They are the
same bits in another order, subset, batch size or after a kill and resume. Matrix kernels round differently
for another *shape* (a smaller last batch is enough), and the fused attention takes another path when no
position is padding. So

* a text's row is padded to a length that depends on its own length only (its bucket);
* every micro-batch of a bucket has the same number of rows, on a device a constant; the last one is filled up
  with copies of its first row, whose results are dropped;
* texts that fill their bucket to the last position never share a micro-batch with texts that do not;
* the scored positions of a micro-batch are filled up to a multiple of a constant in the same way;
* log-probabilities are summed one after the other, in float64, in the order of the text.

What a user may set (`batch_texts`) is only how many texts are held and stored at once. The promise holds for
one machine, device and number of threads.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Protocol, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from gencls.data.errors import three_parts
from gencls.diffusion.denoiser import Denoiser, RowBatch
from gencls.diffusion.tokens import TokenFrame
from gencls.likelihood.estimators import Estimator, Plan
from gencls.likelihood.precision import Precision, resolve_precision
from gencls.likelihood.rows import (
    Bucket,
    MicroBatch,
    Rows,
    bucket_of,
    check_lengths,
    micro_batch,
    row_limit,
    rows_to_run,
    weighted_sums,
)
from gencls.likelihood.store import ScoreStore, scorer_fingerprint

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class TokenScorer(Protocol):
    """A denoiser, as the engine sees it.

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
class Scores:
    """What scoring gives.

    Attributes
    ----------
    samples : ndarray of shape (N, C, K), float64, nats
        Draws of log p(text | class), or of a bound on it.
    n_tokens : ndarray of shape (N,), int64
        Scored tokens of each text.
    forwards_per_draw : int
        Forward passes that one draw of one class took.
    """

    samples: FloatArray
    n_tokens: IntArray
    forwards_per_draw: int


def score_texts(
    scorer: TokenScorer,
    token_ids: Sequence[NDArray[np.integer]],
    estimator: Estimator,
    *,
    seed: int,
    classes: Sequence[int] | None = None,
    precision: Precision = "auto",
    batch_texts: int = 256,
    progress: bool = False,
    store: ScoreStore | None = None,
) -> Scores:
    """Score texts under classes, with the same masks for every class.

    Parameters
    ----------
    scorer : TokenScorer
        A `Denoiser`, usually. It is switched to evaluation and back.
    token_ids : sequence of N ndarray of shape (L,), integer
        Scorable tokens. An empty text gets zeros, so that Bayes' rule gives it the prior.
    estimator : Estimator
    seed : int
        Of the masks, together with each text's tokens.
    classes : sequence of int, optional
        Class indices, C for "no class"; all C classes if not given.
    precision : {"auto", "float32", "bfloat16"}
        "auto" times a matrix product in both and takes the faster; "float32" runs the scorer as it is.
    batch_texts : int
        Texts held, and written to the store, at once. Changes no score.
    progress : bool
        Show a progress bar (never where the variable CI is set).
    store : ScoreStore, optional
        Where finished texts are kept, to resume after a kill.

    Returns
    -------
    Scores

    Raises
    ------
    ValueError
        If a text is longer than the scorer's positions, or an argument makes no sense; before any work.
    """
    columns = list(range(scorer.n_classes)) if classes is None else [int(index) for index in classes]
    texts = [_checked_ids(ids) for ids in token_ids]
    limit = row_limit(scorer)
    _check_options(scorer, columns, batch_texts, precision)
    check_lengths(texts, scorer.frame, limit)
    settled = resolve_precision(precision, _device_of(scorer), store)
    fingerprint = "" if store is None else store.fingerprint or scorer_fingerprint(scorer)
    job = _Job(scorer, estimator, int(seed), columns, settled, limit, fingerprint)
    samples = np.zeros((len(texts), len(columns), estimator.n_mc_samples))
    hidden = not progress or bool(os.environ.get("CI"))
    with _scoring(scorer), tqdm(total=len(texts), unit="text", desc="scoring", disable=hidden) as bar:
        for start in range(0, len(texts), batch_texts):
            shard = slice(start, start + batch_texts)
            samples[shard] = _stored_or_scored(job, texts[shard], store, bar)
    n_tokens = np.array([len(ids) for ids in texts], dtype=np.int64)
    return Scores(samples, n_tokens, estimator.forwards_per_draw)


@dataclass(frozen=True)
class _Job:
    """What stays the same over all shards."""

    scorer: TokenScorer
    estimator: Estimator
    seed: int
    classes: list[int]
    precision: str
    row_limit: int | None
    fingerprint: str

    @property
    def device(self) -> torch.device:
        return _device_of(self.scorer)

    def settings(self) -> dict[str, Any]:
        """Everything but the texts that decides the numbers, as JSON data."""
        return {
            "scorer": self.fingerprint,
            "estimator": asdict(self.estimator),
            "seed": self.seed,
            "classes": self.classes,
            "precision": self.precision,
            "device": self.device.type,
        }

    def precision_context(self) -> AbstractContextManager[Any]:
        """Autocast, or its absence also inside a caller's autocast."""
        enabled = self.precision == "bfloat16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled)


def _stored_or_scored(job: _Job, texts: list[IntArray], store: ScoreStore | None, bar: tqdm) -> FloatArray:
    if store is None:
        return _score_shard(job, texts, bar)
    key = store.key(job.settings(), texts)
    samples = store.load(key, (len(texts), len(job.classes), job.estimator.n_mc_samples))
    if samples is None:
        samples = _score_shard(job, texts, bar)
        store.save(key, samples)
    else:
        bar.update(len(texts))
    return samples


def _score_shard(job: _Job, texts: list[IntArray], bar: tqdm) -> FloatArray:
    """Score the texts that are held at once; returns (n texts, C, K)."""
    plans = [job.estimator.plan(ids, seed=job.seed) for ids in texts]
    buckets: dict[Bucket, list[int]] = {}
    for index, ids in enumerate(texts):
        buckets.setdefault(bucket_of(len(ids), job.scorer.frame, job.row_limit), []).append(index)
    samples = np.zeros((len(texts), len(job.classes), job.estimator.n_mc_samples))
    for bucket, members in sorted(buckets.items()):
        rows = rows_to_run(plans, members)
        samples += weighted_sums(rows, _row_sums(job, texts, plans, rows, bucket, bar), plans, samples.shape)
        bar.update(len(members) - int(rows.is_last.sum()))  # empty texts have no row
    return samples


def _row_sums(job: _Job, texts: list[IntArray], plans: list[Plan], rows: Rows, bucket: Bucket, bar: tqdm) -> FloatArray:
    """Return the summed log-probabilities (C, n_rows) of every row under every class, in nats."""
    sums = np.zeros((len(job.classes), len(rows)))
    n_rows = bucket.n_rows(job.device.type)
    for start in range(0, len(rows), n_rows):
        part = slice(start, start + n_rows)
        micro = micro_batch(texts, plans, rows.part(part), job.scorer.frame, (n_rows, bucket.length))
        batch = micro.batch.to(job.device)
        for column, log_probs in enumerate(_log_probs(job, batch, micro)):
            # bincount adds one after the other: the order of a text's terms never changes
            totals = np.bincount(micro.row_of, weights=log_probs, minlength=n_rows)
            sums[column, part] = totals[: len(rows.part(part))]
        bar.update(int(rows.is_last[part].sum()))
    return sums


def _log_probs(job: _Job, batch: RowBatch, micro: MicroBatch) -> FloatArray:
    """Return the log-probabilities that are wanted, (C, n_wanted), in nats."""
    with job.precision_context():
        log_probs = _by_class(job.scorer, batch, job.classes)
    values: FloatArray = log_probs.cpu().double().numpy()
    expected = three_parts("{} log-probabilities from the scorer", "{}", "Check the model and its weights.")
    if values.shape[1:] != micro.is_wanted.shape:
        raise ValueError(expected.format(len(micro.is_wanted), f"an array of shape {values.shape[1:]}"))
    values = values[:, micro.is_wanted]
    if not np.isfinite(values).all():
        raise ValueError(expected.format(values.size, f"{int((~np.isfinite(values)).sum())} NaN or infinite"))
    return values


def _by_class(scorer: TokenScorer, batch: RowBatch, classes: list[int]) -> Tensor:
    """All classes of a batch: in one call where the scorer can share work between classes."""
    if isinstance(scorer, Denoiser):
        return scorer.by_class(batch, classes)
    rows = [torch.full_like(batch.input_ids[:, 0], index) for index in classes]
    return torch.stack([scorer(batch, class_ids) for class_ids in rows])


@contextmanager
def _scoring(scorer: TokenScorer) -> Iterator[None]:
    """Evaluation without gradients; the scorer's mode is put back."""
    with ExitStack() as stack:
        if isinstance(scorer, nn.Module):
            stack.callback(scorer.train, scorer.training)
            scorer.eval()
        stack.enter_context(torch.inference_mode())
        yield


def _device_of(scorer: TokenScorer) -> torch.device:
    parameter = next(iter(scorer.parameters()), None) if isinstance(scorer, nn.Module) else None
    return torch.device("cpu") if parameter is None else parameter.device


def _checked_ids(ids: NDArray[np.integer]) -> IntArray:
    array = np.asarray(ids)
    if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
        raise ValueError(
            three_parts(
                "token ids as one-dimensional integer arrays",
                f"shape {array.shape} of {array.dtype}",
                "Tokenize the texts first (gencls.diffusion.tokens.tokenize).",
            )
        )
    return array.astype(np.int64)


def _check_options(scorer: TokenScorer, classes: list[int], batch_texts: int, precision: str) -> None:
    if precision not in get_args(Precision):
        known = get_args(Precision)
        raise ValueError(three_parts(f"a precision out of {known}", repr(precision), "Use 'auto'."))
    if batch_texts < 1:
        raise ValueError(three_parts("batch_texts >= 1", str(batch_texts), "The default is 256."))
    if not classes or not all(0 <= index <= scorer.n_classes for index in classes):
        raise ValueError(
            three_parts(
                f"class indices in 0..{scorer.n_classes} ({scorer.n_classes} is 'no class')",
                str(classes),
                "Leave `classes` out to score all of them.",
            )
        )
