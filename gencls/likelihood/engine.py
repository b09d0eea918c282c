r"""Scoring of many texts: plans to rows, rows to log-probabilities, log-probabilities to samples (N, C, K).

What is computed once:

* a forward pass that several draws or steps of a text share (the *blank* one, which hides everything, above all);
* the blank pass of all texts of one length: its input is the same for all of them;
* whatever a `ScoreStore` knows already.

Promise: the samples of a text depend on the text, the seed, the estimator and the scorer only. They are the
same bits in another order, subset, batch or process, or after a kill and resume. Matrix kernels may round differently
for another *shape* (a smaller last batch is enough), and the fused attention takes another path when no
position is padding. So

* a text's row is padded to a length that depends on its own length only (its bucket);
* every micro-batch of a bucket has the same number of rows, on a device a constant; the last one is filled up
  with copies of its first row, in which nothing is asked;
* texts that fill their bucket to the last position never share a micro-batch with texts that do not;
* the vocabulary side works on chunks of a constant number of positions;
* log-probabilities are summed one after the other, in float64, in the order of the text.

Under another set of classes a score is the same up to rounding: in mode ``adapter`` the rows of a few classes share one
matrix product, and how many they are is part of its shape.

The promise holds for one machine and device, and to the last bit for processors only: on a GPU two neighbours' pairs
may be added to one logit in either order. Memory is bounded: texts, plans and masks are made as they are needed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from gencls.likelihood.checks import check_classes, check_counts, check_precision, checked_contexts, checked_ids
from gencls.likelihood.estimators import Estimator
from gencls.likelihood.parallel import run_spans
from gencls.likelihood.passes import Passes, TokenScorer, device_of, evaluating
from gencls.likelihood.precision import Precision, resolve_precision
from gencls.likelihood.rows import Bucket, Row, bucket_of, check_lengths, row_limit
from gencls.likelihood.scores import Scores
from gencls.likelihood.store import ForwardStore, ScoreStore, StoredForward, forward_key, scorer_fingerprint
from gencls.likelihood.work import Forward, TextWork, sum_in_order

__all__ = ["Scores", "TokenScorer", "score_texts"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
#: Rows that are planned at once: bounds the memory of masks.
PLANNED_ROWS = 2048
#: Texts that share one blank row at most: bounds the questions of a batch.
BLANK_TEXTS = 64


def score_texts(
    scorer: TokenScorer,
    token_ids: Sequence[NDArray[np.integer]],
    estimator: Estimator,
    *,
    seed: int,
    classes: Sequence[int] | None = None,
    precision: Precision = "auto",
    first_draw: int = 0,
    n_draws: int | None = None,
    n_context: Sequence[int] | None = None,
    by_step: bool = False,
    n_jobs: int = 1,
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
    precision : {"auto", "float32", "bfloat16", "float16"}
        "auto" times a matrix product in each and takes the fastest; "float32" runs the scorer as it is.
    first_draw, n_draws : int, optional
        Only these draws of the estimator (of its plan); all K by default.
    n_context : sequence of N int, optional
        Tokens at the front of each text that are always visible and never scored: chunks of a long text.
    by_step : bool
        Also return `Scores.steps`.
    n_jobs : int
        Worker processes on a CPU, through joblib; each has its share of the threads. Under `accelerate launch` the
        texts are divided between the processes without it, and every process gets all scores.
    progress : bool
        Show a progress bar (never where the variable CI is set).
    store : ScoreStore, optional
        Where forward passes are kept, to resume after a kill and to add draws or steps later.

    Returns
    -------
    Scores

    Raises
    ------
    ValueError
        If a text is longer than the scorer's positions, or an argument makes no sense; before any work.
    """
    columns = list(range(scorer.n_classes)) if classes is None else [int(index) for index in classes]
    texts = [checked_ids(ids) for ids in token_ids]
    contexts = checked_contexts(n_context, texts)
    draws = first_draw, estimator.n_plan_draws if n_draws is None else int(n_draws)
    check_classes(columns, scorer.n_classes)
    check_precision(precision)
    check_counts(n_jobs, draws)
    limit = row_limit(scorer)
    check_lengths(texts, scorer.frame, limit)
    device = device_of(scorer)
    settled = resolve_precision(precision, device, store)
    forwards = _opened(store, scorer, columns, settled)
    passes = Passes(scorer, columns, settled)
    job = _Job(passes, estimator, int(seed), draws, limit, by_step, forwards)
    order = np.array(sorted(range(len(texts)), key=lambda row: (len(texts[row]), contexts[row], row)), dtype=np.int64)
    hidden = not progress or bool(os.environ.get("CI"))
    with evaluating(scorer), tqdm(total=len(texts), unit="text", desc="scoring", disable=hidden) as bar:
        scorer_of_spans = _SpanScorer(job, texts, contexts)
        results = run_spans(scorer_of_spans, order, n_jobs=n_jobs, on_done=bar.update)
    return _joined(results, np.array([len(ids) for ids in texts]) - np.array(contexts, dtype=np.int64), job)


@dataclass(frozen=True)
class _Job:
    """What stays the same over all texts."""

    passes: Passes
    estimator: Estimator
    seed: int
    draws: tuple[int, int]
    row_limit: int | None
    by_step: bool
    store: ForwardStore | None

    @property
    def n_classes(self) -> int:
        return len(self.passes.classes)

    def work(self, index: int, token_ids: IntArray, n_context: int) -> TextWork:
        """Plan a text."""
        first, n_draws = self.draws
        plan = self.estimator.plan(token_ids[n_context:], seed=self.seed, first_draw=first, n_draws=n_draws)
        return TextWork.start(index, token_ids, n_context, plan, self.n_classes)


#: Row, number of forward passes, and sums: (C, K, R), or (C, K) without steps.
_Finished = tuple[int, int, FloatArray]


@dataclass(frozen=True)
class _SpanScorer:
    """Scores some of the texts; sent to worker processes as it is."""

    job: _Job
    texts: list[IntArray]
    contexts: list[int]

    @property
    def takes_threads(self) -> bool:
        """Whether several threads may score at once."""
        return self.job.passes.takes_threads

    def prepare(self) -> None:
        """Work out what is derived from the weights."""
        self.job.passes.prepare()

    def __call__(self, rows: IntArray, on_done: Callable[[int], Any]) -> list[_Finished]:
        """Score the texts of some rows."""
        finished: list[_Finished] = []
        with evaluating(self.job.passes.scorer):
            for works in self._planned(rows):
                for batch in self.job.passes.run(_asked(self.job, works)):
                    _deliver(self.job, batch)
                finished += [(work.index, work.n_forwards, self._result(work)) for work in works]
                on_done(len(works))
        return finished

    def _planned(self, rows: IntArray) -> Iterator[list[TextWork]]:
        """Plan the texts in groups whose masks fit in memory."""
        held: list[TextWork] = []
        n_rows = 0
        for row in rows.tolist():
            held.append(self.job.work(row, self.texts[row], self.contexts[row]))
            n_rows += held[-1].n_forwards
            if n_rows >= PLANNED_ROWS:
                yield held
                held, n_rows = [], 0
        if held:
            yield held

    def _result(self, work: TextWork) -> FloatArray:
        return work.sums if self.job.by_step else sum_in_order(work.sums)


#: For each text of a row: its work, and which of its forward passes the row is.
_Tag = list[tuple[TextWork, Forward]]


def _asked(job: _Job, works: Sequence[TextWork]) -> Iterator[tuple[Bucket, Row, _Tag]]:
    """Yield the rows that have to be run, sorted by bucket; what the store knows is received at once."""
    missing = _unknown(job, works)
    for length, group in groupby(missing, key=lambda pair: len(pair[0].token_ids)):
        bucket = bucket_of(length, job.passes.scorer.frame, job.row_limit)
        pairs = list(group)
        shared = [pair for pair in pairs if pair[1].is_blank and job.passes.shares_blank_rows]
        for start in range(0, len(shared), BLANK_TEXTS):
            yield bucket, *_blank_row(shared[start : start + BLANK_TEXTS])
        for work, forward in pairs:
            if not (forward.is_blank and job.passes.shares_blank_rows):
                targets = work.token_ids[None, forward.places]
                yield bucket, Row(work.token_ids, forward.hidden, forward.places, targets), [(work, forward)]


def _blank_row(pairs: _Tag) -> tuple[Row, _Tag]:
    """One row for texts of one length, asked for all tokens: the positions then do not depend on the texts."""
    token_ids = pairs[0][0].token_ids
    places = np.arange(len(token_ids))
    tag = [(work, replace(forward, places=places)) for work, forward in pairs]
    return Row(token_ids, pairs[0][1].hidden, places, np.stack([work.token_ids for work, _ in pairs])), tag


def _unknown(job: _Job, works: Sequence[TextWork]) -> _Tag:
    pairs = [(work, forward) for work in works for forward in work.forwards]
    if job.store is None:
        return pairs
    unknown = []
    for (work, forward), stored in zip(pairs, job.store.get([_key(*pair) for pair in pairs]), strict=True):
        log_probs = None if stored is None else stored.at(forward.places)
        if log_probs is None:
            unknown.append((work, forward))
        else:
            work.receive(forward, log_probs)
    return unknown


def _deliver(job: _Job, batch: Sequence[tuple[_Tag, FloatArray]]) -> None:
    """Hand the answers to their texts, and keep them."""
    answered = [
        (work, forward, values) for tag, parts in batch for (work, forward), values in zip(tag, parts, strict=True)
    ]
    for work, forward, values in answered:
        work.receive(forward, values)
    if job.store is not None:
        job.store.put(
            [_key(work, forward) for work, forward, _ in answered],
            [StoredForward(forward.places.astype(np.int32), values) for _, forward, values in answered],
        )


def _key(work: TextWork, forward: Forward) -> bytes:
    return forward_key(work.token_ids, forward.hidden, work.n_context)


def _joined(results: Sequence[_Finished], n_tokens: IntArray, job: _Job) -> Scores:
    """Put the texts' results in the caller's order."""
    n_texts, n_draws, n_classes = len(n_tokens), job.draws[1], job.n_classes
    n_forwards = np.zeros(n_texts, dtype=np.int64)
    samples = np.zeros((n_texts, n_classes, n_draws))
    steps = None
    if job.by_step:
        n_steps = max((sums.shape[2] for _, _, sums in results), default=1)
        steps = np.zeros((n_texts, n_classes, n_draws, n_steps))
    for row, count, sums in results:
        n_forwards[row] = count
        if steps is not None:
            steps[row, ..., : sums.shape[2]] = sums
        samples[row] = sum_in_order(sums) if job.by_step else sums
    return Scores(job.estimator.combine(samples), n_tokens, n_forwards, steps)


def _opened(store: ScoreStore | None, scorer: TokenScorer, classes: list[int], precision: str) -> ForwardStore | None:
    if store is None:
        return None
    fingerprint = store.fingerprint or scorer_fingerprint(scorer)
    device = device_of(scorer).type
    return store.open({"scorer": fingerprint, "classes": classes, "precision": precision, "device": device})
