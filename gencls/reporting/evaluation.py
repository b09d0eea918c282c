"""The metrics that replay from `scores.npz` alone.

Keys of `scores.npz`: samples (N, C, K) nats; y (N,); n_tokens (N,); log_proba (N, C) after temperature;
log_proba_uncalibrated (N, C); log_odds_se (N,); log_prior (C,); class_names (C,); forwards (K,), the forward passes
per text and class of the first k draws; n_forwards (N,), those that each text took; baseline_<name> (N, C)
log-probabilities of each baseline. Where levels are weighted, or class tables stand beside the network, also evidence
(N, C, K) nats. Where the number of draws was adapted, n_draws (N,) and is_open (N,), undecided at the cap; then NaN
fills up `samples` behind the draws of a text, and there are no `forwards`. Files of version 0.1 have forwards_per_draw
instead.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gencls.classifier.bayes import mean_over_draws
from gencls.reporting.metrics import classification_metrics, confidence_and_correct, mcnemar_p

BASELINE_PREFIX = "baseline_"
#: The baseline that is the classifier's own count tables: part of the run, and no rival.
OWN_TABLES = "naive_bayes_pairs"
REQUIRED_KEYS = (
    "samples",
    "y",
    "n_tokens",
    "log_proba",
    "log_proba_uncalibrated",
    "log_prior",
    "class_names",
)


def load_scores(path: Path | str) -> dict[str, NDArray[Any]]:
    """Read `scores.npz` whole.

    Raises
    ------
    FileNotFoundError, ValueError
        No such file; a damaged one; one without a required array.
    """
    try:
        # np.load leaves a damaged file open when it is given a path.
        with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as archive:
            scores = {key: archive[key] for key in archive.files}
    except (zipfile.BadZipFile, ValueError, EOFError, AttributeError) as error:
        raise ValueError(
            f"{path}: expected a NumPy archive, got a damaged file ({error}). Run `gencls evaluate` again."
        ) from error
    missing = [key for key in REQUIRED_KEYS if key not in scores]
    if missing:
        raise ValueError(
            f"{path}: expected the arrays {', '.join(REQUIRED_KEYS)}, got none named {', '.join(missing)}. "
            "Run `gencls evaluate` again with this version."
        )
    return scores


def baseline_names(scores: Mapping[str, Any]) -> list[str]:
    """Names of the baselines in `scores`, in the order stored."""
    return [key.removeprefix(BASELINE_PREFIX) for key in scores if key.startswith(BASELINE_PREFIX)]


def bits_per_token(samples: ArrayLike, y: ArrayLike, n_tokens: ArrayLike) -> NDArray[np.float64]:
    """Class x model matrix: bits per token of the texts of class r (row) under the model of class c (column).

    All tokens of a class weigh the same, so it is the total of nats over the total of tokens. If the models
    learned their classes, each row is lowest on the diagonal.

    Parameters
    ----------
    samples : array (N, C, K), nats
    y : array (N,) of int
    n_tokens : array (N,)

    Returns
    -------
    array (C, C) of float64, bits; NaN rows for classes without texts
    """
    log_likelihood = mean_over_draws(samples)
    member = np.eye(log_likelihood.shape[1])[np.asarray(y)]  # (N, C)
    tokens = member.T @ np.asarray(n_tokens, dtype=np.float64)
    nats = -(member.T @ log_likelihood)
    return np.divide(nats, tokens[:, None] * np.log(2), out=np.full(nats.shape, np.nan), where=tokens[:, None] > 0)


def evaluation_metrics(scores: Mapping[str, Any], *, generator: np.random.Generator) -> dict[str, Any]:
    """The content of `metrics.json` that follows from the scores: costs and temperature are merged in by the
    caller.

    Parameters
    ----------
    scores : mapping of arrays, as in `scores.npz`
    generator : numpy.random.Generator

    Returns
    -------
    dict
        "diffusion": `classification_metrics` with "uncalibrated" (the same before temperature),
        "bits_per_token", "nats_per_token" (each text under its own class),
        "forwards_per_text_per_class" (a mean where texts differ) and, where their number was adapted, "draws";
        and each baseline by its name, with "mcnemar_p".
    """
    y = np.asarray(scores["y"])
    result = {"diffusion": _diffusion_metrics(scores, y, generator)}
    _, correct = confidence_and_correct(scores["log_proba"], y)
    for name in baseline_names(scores):
        log_proba = scores[BASELINE_PREFIX + name]
        row = classification_metrics(log_proba, y, generator=generator)
        result[name] = {**row, "mcnemar_p": mcnemar_p(correct, confidence_and_correct(log_proba, y)[1])}
    return result


def _diffusion_metrics(scores: Mapping[str, Any], y: NDArray[Any], generator: np.random.Generator) -> dict[str, Any]:
    samples, n_tokens = np.asarray(scores["samples"], dtype=np.float64), np.asarray(scores["n_tokens"])
    own = mean_over_draws(samples)[np.arange(y.size), y]
    result = {
        **classification_metrics(scores["log_proba"], y, generator=generator),
        "mcnemar_p": None,
        "uncalibrated": classification_metrics(scores["log_proba_uncalibrated"], y, generator=generator),
        "bits_per_token": bits_per_token(samples, y, n_tokens).tolist(),
        "nats_per_token": float(-own.sum() / max(n_tokens.sum(), 1)),
        "forwards_per_text_per_class": _mean_forwards(scores),
    }
    return result if "n_draws" not in scores else {**result, "draws": _draw_facts(scores)}


def cumulative_forwards(scores: Mapping[str, Any]) -> NDArray[Any] | None:
    """Forward passes per text and class of the first k draws, k = 1..K; None where texts differ in their draws."""
    if "n_draws" in scores:
        return None
    if "forwards" in scores:
        return np.asarray(scores["forwards"])
    return np.arange(1, np.shape(scores["samples"])[2] + 1) * int(scores.get("forwards_per_draw", 1))


def _mean_forwards(scores: Mapping[str, Any]) -> float:
    forwards = cumulative_forwards(scores)
    mean = float(np.mean(scores["n_forwards"]) if forwards is None else forwards[-1])
    return int(mean) if mean.is_integer() else mean


def _draw_facts(scores: Mapping[str, Any]) -> dict[str, float]:
    n_draws = np.asarray(scores["n_draws"])
    return {
        "mean": float(n_draws.mean()),
        "median": float(np.median(n_draws)),
        "largest": int(n_draws.max()),
        "share_open": float(np.mean(scores["is_open"])),
    }
