"""Scores of the texts of one setting of `benchmarks.generation`, under a judge and beside human texts.

The judge is a causal model that wrote none of them, or says that it did. Its perplexity is lowest for repetitive text:
`distinct`, `repetition` and the divergence belong beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gencls.baselines.causal import CausalLM
from gencls.baselines.causal_likelihood import hidden_states, token_log_likelihood
from gencls.reporting.copied_runs import TrainingRuns
from gencls.reporting.text_metrics import bootstrap_interval, distinct, feature_divergence, repetition, self_bleu

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
#: Copied tokens from which on a text counts as copied.
LONG_COPY = 12


@dataclass(frozen=True)
class Sample:
    """One written text.

    Attributes
    ----------
    prefix, continuation : str
        What was given, and what was written behind it.
    token_ids : list of int
        The continuation in the tokens of the training texts.
    given_kept : bool
        Whether every given token is as it was, and the text begins with the prefix.
    seconds : float
        Wall time of its batch, over the texts of the batch.
    """

    prefix: str
    continuation: str
    token_ids: list[int]
    given_kept: bool
    seconds: float


@dataclass(frozen=True)
class Judgement:
    """What the judge says of some texts.

    Attributes
    ----------
    nats : ndarray of shape (N,), float64
        -log p(continuation | prefix).
    n_tokens, n_characters : ndarray of shape (N,), int64
        Of the continuation; tokens of the judge.
    features : ndarray of shape (N, D), float64
        Last hidden state at the last token.
    """

    nats: FloatArray
    n_tokens: IntArray
    n_characters: IntArray
    features: FloatArray


def judge(model: CausalLM, samples: Sequence[Sample]) -> Judgement:
    """Ask the judge for the likelihood of each continuation given its prefix, and for its features.

    The whole text is tokenised, as a tokenizer may join the end of the prefix with what follows; tokens that reach
    beyond the prefix are the continuation's.
    """
    rows = [_split(model.tokenizer, sample) for sample in samples]
    log_probs = token_log_likelihood(model.model, [ids for ids, _ in rows], context=(model.start_id,))
    own = [part[first:] for part, (_, first) in zip(log_probs, rows, strict=True)]
    return Judgement(
        nats=np.array([-part.sum() for part in own]),
        n_tokens=np.array([len(part) for part in own]),
        n_characters=np.array([len(sample.continuation) for sample in samples]),
        features=np.stack([_last_state(model, ids) for ids, _ in rows]),
    )


def _split(tokenizer: Any, sample: Sample) -> tuple[IntArray, int]:
    """The tokens of the whole text, and how many of them end inside the prefix."""
    found = tokenizer(
        sample.prefix + sample.continuation, add_special_tokens=False, return_offsets_mapping=True, verbose=False
    )
    ends = np.array([end for _, end in found["offset_mapping"]], dtype=np.int64)
    return np.array(found["input_ids"], dtype=np.int64), int((ends <= len(sample.prefix)).sum())


@torch.inference_mode()
def _last_state(model: CausalLM, token_ids: IntArray) -> FloatArray:
    ids = torch.tensor([[model.start_id, *token_ids.tolist()]], device=next(model.model.parameters()).device)
    return hidden_states(model.model, ids)[0, -1].double().cpu().numpy()


def score(
    samples: Sequence[Sample], judged: Judgement, human: FloatArray, runs: TrainingRuns, *, n_clusters: int, seed: int
) -> dict[str, Any]:
    """Return all scores of the texts of one setting, plain data.

    Parameters
    ----------
    samples : sequence of N Sample
    judged : Judgement
    human : ndarray of shape (M, D), float64
        Features of human texts that none of the samples was begun with.
    runs : TrainingRuns
    n_clusters : int
        Of the divergence.
    seed : int
        Of the clusters and the bootstrap.
    """
    words = [sample.continuation.lower().split() for sample in samples]
    copied = np.array([runs.longest(np.array(sample.token_ids, dtype=np.int64)) for sample in samples])
    repeated = np.array([repetition(text) for text in words])
    return {
        "n_samples": len(samples),
        **perplexity(judged, seed=seed),
        **{f"distinct_{n}": distinct(words, n) for n in (1, 2, 3)},
        "self_bleu": self_bleu(words),
        "divergence": feature_divergence(judged.features, human, n_clusters=n_clusters, seed=seed),
        "repetition": float(repeated.mean()),
        "repetition_interval": bootstrap_interval(repeated, seed=seed),
        "copied_tokens": float(copied.mean()),
        "copied_tokens_interval": bootstrap_interval(copied, seed=seed),
        "long_copies": float((copied >= LONG_COPY).mean()),
        "prefix_respected": float(np.mean([sample.given_kept for sample in samples])),
        "seconds_per_text": float(np.mean([sample.seconds for sample in samples])),
        "nats_per_token_of_texts": judged.nats / np.maximum(1, judged.n_tokens),
    }


def perplexity(judged: Judgement, *, seed: int) -> dict[str, Any]:
    """Return the judge's perplexity per token and nats per character of all texts together, with its interval.

    The interval is of the ratio of sums: texts are drawn again, each with its nats and its tokens.
    """
    rows = np.random.default_rng(seed).integers(len(judged.nats), size=(2000, len(judged.nats)))
    ratios = judged.nats[rows].sum(axis=1) / np.maximum(1, judged.n_tokens[rows].sum(axis=1))
    return {
        "perplexity": float(np.exp(judged.nats.sum() / max(1, judged.n_tokens.sum()))),
        "perplexity_interval": tuple(np.exp(np.quantile(ratios, [0.025, 0.975])).tolist()),
        "nats_per_character": float(judged.nats.sum() / max(1, judged.n_characters.sum())),
    }


def paired_difference(ours: Sequence[float], other: Sequence[float], *, seed: int) -> dict[str, Any]:
    """Return the mean difference of nats per token of two settings on the same prefixes and seeds, with its interval.

    Below zero, the judge prefers `ours`.
    """
    differences = np.asarray(ours, dtype=np.float64) - np.asarray(other, dtype=np.float64)
    return {"value": float(differences.mean()), "interval": bootstrap_interval(differences, seed=seed)}
