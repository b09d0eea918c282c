r"""The confidence estimator: log p(text | class) of the sampler that unmasks where it is surest.

Everything is hidden at first. At each step the denoiser gives its distribution at every hidden position, and the
positions with the largest margins between their two likeliest tokens are revealed:

.. math:: A_s = \operatorname*{arg\,max}_{i \in M_s} \left( q_{(1)}(i) - q_{(2)}(i) \right), \qquad
          \log p_c(x) = \sum_s \sum_{i \in A_s} \log q_c(x_i \mid x_{\bar M_s}), \qquad M_{s+1} = M_s \setminus A_s .

The rule never looks at the token that is scored. So the order is a function of the tokens revealed before, every text
has exactly one way to be made, and the sum is no bound and has no Monte-Carlo noise: it is the exact log-probability of
the text under that sampler, normalised over the texts of its length (Turok, De Sa and Kuleshov 2026, arXiv:2603.01367).
That stays so when several positions are revealed at once; the sampler is another one then.

The order follows the class's own distributions. So there are no masks in common between classes: a log-ratio compares
two samplers that may walk through the text in different orders. And no forward pass is known in advance, so nothing
can be planned, stored or topped up: this is a study of the model, not the default of the classifier. A text takes a
forward pass for each of its ceil(L / tokens_per_step) steps under each class.

The promise of `gencls.likelihood.engine` holds: the same bits whatever other texts are scored.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from gencls.data.errors import three_parts
from gencls.diffusion.batches import RowBatch
from gencls.diffusion.tokens import TokenFrame
from gencls.likelihood.checks import check_classes, check_precision, checked_ids
from gencls.likelihood.engine import Scores
from gencls.likelihood.passes import device_of, evaluating
from gencls.likelihood.precision import Precision, autocast, resolve_precision
from gencls.likelihood.rows import Row, bucket_of, check_lengths, micro_batch, row_limit
from gencls.likelihood.work import sum_in_order

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
#: Longest text: it takes one forward pass a token.
MAX_CONFIDENCE_TOKENS = 512


class MarginScorer(Protocol):
    """A denoiser that says how sure it is; a `Denoiser` is one.

    Attributes
    ----------
    frame : TokenFrame
    n_classes : int
        C; class index C is "no class".
    """

    frame: TokenFrame
    n_classes: int

    def log_probs_and_margins(self, batch: RowBatch, class_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return two tensors (n_scored,) for `batch.scored`, row-major.

        The log-probabilities of `batch.target_ids` in nats, and the differences between the two largest probabilities,
        which must not depend on `batch.target_ids`.
        """
        ...


def score_by_confidence(
    scorer: MarginScorer,
    token_ids: Sequence[NDArray[np.integer]],
    *,
    classes: Sequence[int] | None = None,
    tokens_per_step: int = 1,
    precision: Precision = "float32",
    progress: bool = False,
) -> Scores:
    """Score texts under classes, each by the sampler that reveals the largest margins first.

    Parameters
    ----------
    scorer : MarginScorer
        It is switched to evaluation and back.
    token_ids : sequence of N ndarray of shape (L,), integer
        Scorable tokens; at most `MAX_CONFIDENCE_TOKENS` of them. An empty text gets zero.
    classes : sequence of int, optional
        Class indices, C for "no class"; all C classes if not given.
    tokens_per_step : int
        Positions that are revealed at once: those with the largest margins, the left one first where two are equal.
    precision : {"float32", "auto", "bfloat16", "float16"}
        Rounding may change an order, not that the scores are those of one sampler.
    progress : bool
        Show a progress bar (never where the variable CI is set).

    Returns
    -------
    Scores
        One sample for each text and class: shape (N, C, 1), float64, nats.

    Raises
    ------
    ValueError
        If a text is too long or no array of integers, or an argument makes no sense; before any work.
    """
    columns = list(range(scorer.n_classes)) if classes is None else [int(index) for index in classes]
    texts = [checked_ids(ids) for ids in token_ids]
    _check(scorer, columns, texts, tokens_per_step, precision)
    settled = resolve_precision(precision, device_of(scorer))
    sampler = _Sampler(scorer, settled, row_limit(scorer), int(tokens_per_step))
    n_tokens = np.array([len(ids) for ids in texts], dtype=np.int64)
    samples = np.zeros((len(texts), len(columns), 1))
    hidden = not progress or bool(os.environ.get("CI"))
    with evaluating(scorer), tqdm(total=samples.size, unit="score", desc="scoring", disable=hidden) as bar:
        for column, class_id in enumerate(columns):
            for text in sampler.finished(texts, class_id):
                samples[text.index, column, 0] = sum_in_order(text.log_probs) if len(text.log_probs) else 0.0
                bar.update()
    return Scores(samples, n_tokens, -(-n_tokens // int(tokens_per_step)))


@dataclass(frozen=True)
class _Text:
    """A text on its way.

    Attributes
    ----------
    index : int
        Place in the caller's list.
    token_ids : ndarray of shape (L,), int64
    hidden : ndarray of shape (L,), bool
    log_probs : ndarray of shape (L,), float64, nats
        Of the tokens revealed so far, each at the step that revealed it.
    """

    index: int
    token_ids: IntArray
    hidden: BoolArray
    log_probs: FloatArray

    @classmethod
    def start(cls, index: int, token_ids: NDArray[np.integer]) -> _Text:
        n_tokens = len(token_ids)
        return cls(index, np.asarray(token_ids, dtype=np.int64), np.ones(n_tokens, dtype=bool), np.zeros(n_tokens))

    def row(self) -> Row:
        places = np.flatnonzero(self.hidden)
        return Row(self.token_ids, self.hidden, places, self.token_ids[None, places])

    def reveal(self, log_probs: FloatArray, margins: FloatArray, n_revealed: int) -> None:
        """Take the answers at the hidden positions, and reveal the surest of these."""
        first = np.argsort(-margins, kind="stable")[:n_revealed]
        places = np.flatnonzero(self.hidden)[first]
        self.log_probs[places] = log_probs[first]
        self.hidden[places] = False


@dataclass(frozen=True)
class _Sampler:
    """The sampler whose texts are scored."""

    scorer: MarginScorer
    precision: str
    row_limit: int | None
    tokens_per_step: int

    def finished(self, texts: Sequence[NDArray[np.integer]], class_id: int) -> Iterator[_Text]:
        """Yield every text when it is fully revealed.

        A bucket's batches have one shape and one class; they hold texts at any stage of their way, and the next text
        takes the row of one that is done.
        """
        frame, device = self.scorer.frame, device_of(self.scorer)
        buckets = [bucket_of(len(ids), frame, self.row_limit) for ids in texts]
        order = sorted(range(len(texts)), key=buckets.__getitem__)
        for bucket, rows in groupby(order, key=buckets.__getitem__):
            waiting = (_Text.start(row, texts[row]) for row in rows)
            shape = bucket.n_rows(device.type), bucket.length
            active = list(islice(waiting, shape[0]))
            while active:
                going = [text for text in active if text.hidden.any()]
                if going:
                    self._step(going, shape, class_id)
                yield from (text for text in active if not text.hidden.any())
                active = [text for text in going if text.hidden.any()]
                active += islice(waiting, shape[0] - len(active))

    def _step(self, texts: Sequence[_Text], shape: tuple[int, int], class_id: int) -> None:
        device = device_of(self.scorer)
        batch = micro_batch([text.row() for text in texts], self.scorer.frame, shape).batch.to(device)
        class_ids = torch.full_like(batch.input_ids[:, 0], class_id)
        with autocast(self.precision, device):
            answers = self.scorer.log_probs_and_margins(batch, class_ids)
        counts = [int(text.hidden.sum()) for text in texts]
        log_probs, margins = (np.split(values, np.cumsum(counts)[:-1]) for values in _checked(answers, sum(counts)))
        for text, own_log_probs, own_margins in zip(texts, log_probs, margins, strict=True):
            text.reveal(own_log_probs, own_margins, self.tokens_per_step)


def _checked(answers: tuple[Tensor, Tensor], n_expected: int) -> list[FloatArray]:
    """Return the answers as float64; refuse another number of them than asked for, and what is not finite."""
    arrays = [values.cpu().double().numpy() for values in answers]
    if any(values.shape != (n_expected,) or not np.isfinite(values).all() for values in arrays):
        got = ", ".join(f"shape {values.shape}, {int((~np.isfinite(values)).sum())} not finite" for values in arrays)
        expected = f"{n_expected} finite log-probabilities and margins from the scorer"
        raise ValueError(three_parts(expected, got, "Check the model and its weights."))
    return arrays


def _check(
    scorer: MarginScorer, classes: list[int], texts: Sequence[IntArray], tokens_per_step: int, precision: str
) -> None:
    longest = max((len(ids) for ids in texts), default=0)
    if longest > MAX_CONFIDENCE_TOKENS:
        expected = f"at most {MAX_CONFIDENCE_TOKENS} tokens for the confidence estimator"
        raise ValueError(three_parts(expected, str(longest), "Use the path for long texts."))
    check_lengths(texts, scorer.frame, row_limit(scorer))
    if tokens_per_step < 1:
        raise ValueError(three_parts("tokens_per_step >= 1", str(tokens_per_step), "The default is 1."))
    check_precision(precision)
    check_classes(classes, scorer.n_classes)
