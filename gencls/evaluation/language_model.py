"""How good the class models are as models of text: nats per token, beside word frequencies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gencls.classifier.estimator import DiffusionClassifier
from gencls.diffusion.unigram import class_counts, log_frequencies
from gencls.evaluation.rival_data import RivalData
from gencls.likelihood.estimators import Estimator

#: Language-model quality is measured with more path steps than the decision needs, on a sample of the texts.
BOUND_STEPS, BOUND_TEXTS = 8, 256


def language_model_metrics(
    classifier: DiffusionClassifier, parts: Mapping[str, RivalData], seed: int, *, progress: bool
) -> dict[str, float]:
    """Nats per token of held-out texts under their own class, beside the unigram of the training texts."""
    generator = np.random.default_rng([seed, 7])
    test = parts["test"]
    usable = np.flatnonzero([len(ids) > 0 for ids in test.ids])
    rows = generator.permutation(usable)[:BOUND_TEXTS]
    ids = [test.ids[row] for row in rows]
    estimator = Estimator("path", n_steps=BOUND_STEPS, n_mc_samples=1)
    samples = classifier.score_ids(ids, estimator=estimator, progress=progress).samples[:, :, 0]
    own = samples[np.arange(len(rows)), test.labels[rows]]
    n_tokens = sum(len(text) for text in ids)
    unigram_nats = _unigram_nats(classifier, parts, ids)
    nats = -float(own.sum()) / n_tokens
    # of a ratio of sums: what a text's nats differ by from those of as many tokens at the ratio
    residuals = own + nats * np.array([len(text) for text in ids])
    return {
        "bound_nats_per_token": nats,
        "bound_nats_per_token_se": float(residuals.std(ddof=1) * len(rows) ** 0.5) / n_tokens,
        "bound_steps": BOUND_STEPS,
        "bound_texts": len(rows),
        "unigram_nats_per_token": unigram_nats,
        "nats_per_token_under_unigram": unigram_nats - nats,
    }


def _unigram_nats(
    classifier: DiffusionClassifier, parts: Mapping[str, RivalData], ids: Sequence[NDArray[np.int64]]
) -> float:
    """Nats per token of texts under the training texts' unigram, smoothed as is best for the validation texts.

    Not with the smoothing of the classifier: that is chosen for its decisions, and too strong for an honest rival.
    """
    train = parts["train"]
    counts = class_counts(train.ids, np.zeros_like(train.labels), 1, classifier.denoiser_.vocab_size)[0]

    def nats(smoothing: float, texts: Sequence[NDArray[np.int64]]) -> float:
        tokens = np.concatenate(texts)
        return -float(log_frequencies(counts, smoothing)[tokens].mean()) if len(tokens) else 0.0

    candidates = classifier.train_config().smoothing
    best = min(candidates, key=lambda smoothing: nats(smoothing, parts["validation"].ids))
    return nats(best, ids)
