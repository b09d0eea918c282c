"""Scores of a run's test texts, and the files that they are written to."""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gencls.classifier.bayes import log_posterior, mean_over_draws
from gencls.classifier.estimator import DiffusionClassifier
from gencls.data.storage import write_atomic
from gencls.evaluation.rival_data import RivalData
from gencls.likelihood.adaptive import AdaptiveScores
from gencls.likelihood.engine import Scores
from gencls.likelihood.store import ScoreStore


def score_test_texts(classifier: DiffusionClassifier, test: RivalData, run: Path) -> tuple[Scores, float]:
    """Return scores, kept in the run's store, and the seconds that they took."""
    start = time.monotonic()
    scores = classifier.score_ids(classifier.scoring_ids(test.texts), store=ScoreStore(run / "scores"))
    return scores, time.monotonic() - start


def score_arrays(classifier: DiffusionClassifier, scores: Scores, test: RivalData) -> dict[str, NDArray[Any]]:
    """Return the arrays of `scores.npz` that the classifier gives; see `gencls.reporting.evaluation`."""
    evidence = classifier.evidence_of(scores)
    arrays = {
        "samples": scores.samples,
        "y": test.labels,
        "n_tokens": scores.n_tokens,
        "log_proba": classifier.log_proba_of(scores),
        "log_proba_uncalibrated": log_posterior(mean_over_draws(evidence), classifier.log_prior_),
        "log_odds_se": classifier.log_odds_standard_error(scores),
        "log_prior": classifier.log_prior_,
        "n_forwards": scores.n_forwards,
        "class_names": np.array([str(name) for name in classifier.classes_]),
    }
    if classifier.level_weighting_.needs_steps or scores.count_scores is not None:
        arrays["evidence"] = evidence
    if isinstance(scores, AdaptiveScores) and scores.n_draws is not None:
        return {**arrays, "n_draws": scores.n_draws, "is_open": scores.is_open}
    return {**arrays, "forwards": _cumulative_forwards(classifier, scores)}


def _cumulative_forwards(classifier: DiffusionClassifier, scores: Scores) -> NDArray[Any]:
    """Forward passes per text and class of the first k draws, for k = 1..K."""
    estimator = classifier.scoring_estimator()
    per_sample = estimator.n_plan_draws // estimator.n_mc_samples
    n_tokens = max(round(float(scores.n_tokens.mean())), 1)
    counts = [estimator.n_forwards(k * per_sample, n_tokens=n_tokens) for k in range(1, scores.samples.shape[2] + 1)]
    if estimator.name != "chain" and classifier.long_texts != "chunks":
        return np.array(counts)
    # longer texts take more: the curve ends at what was counted, on average
    return np.array(counts) * (scores.n_forwards.mean() / counts[-1])


def write_scores(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write `scores.npz`, whole or not at all."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **dict(arrays))  # type: ignore[arg-type]
    write_atomic(path, buffer.getvalue())


def text_digest(text: str) -> str:
    """Return what names a text in `predictions.jsonl`: its SHA-256 in hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def write_predictions(
    path: Path, classifier: DiffusionClassifier, test: RivalData, arrays: Mapping[str, NDArray[Any]]
) -> None:
    """Write one JSON line for each text, which names it by its digest."""
    proba = np.exp(arrays["log_proba"])
    names = [str(name) for name in classifier.classes_]
    lines = [
        json.dumps(
            {
                "text_sha256": text_digest(text),
                "label": names[label],
                "prediction": names[int(row.argmax())],
                "proba": {name: round(float(value), 6) for name, value in zip(names, row, strict=True)},
                "n_tokens": int(n_tokens),
            },
            ensure_ascii=False,
        )
        for text, label, row, n_tokens in zip(test.texts, test.labels, proba, arrays["n_tokens"], strict=True)
    ]
    write_atomic(path, "\n".join(lines) + "\n")


def read_digests(path: Path) -> list[str]:
    """Return the digests of the texts that `write_predictions` named, in their order."""
    return [json.loads(line)["text_sha256"] for line in path.read_text(encoding="utf-8").splitlines()]
