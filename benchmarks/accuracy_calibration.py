"""Ways to calibrate, side by side: fitted on the held-out texts' scores, judged on the test split's.

And what scores are worth once they are calibrated, by texts that took no part in it: `pooled_by_others` and
`decision_losses`.

The scores of the held-out texts are kept beside those of the test texts, so that everything here replays without a
network.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import KFold

from gencls.classifier.bayes import log_posterior, mean_over_draws
from gencls.classifier.calibration import fit_temperature, prior_weights
from gencls.classifier.estimator import DiffusionClassifier
from gencls.classifier.isotonic import fit_isotonic
from gencls.classifier.pool import fit_network_weight, pooled
from gencls.data import held_out
from gencls.data.storage import write_atomic
from gencls.evaluation.runs import load_run_data, names_of
from gencls.likelihood.store import ScoreStore
from gencls.reporting.metrics import classification_metrics

FloatArray = NDArray[np.float64]
Scores = Mapping[str, Any]
Row = dict[str, Any]
#: Scores of the held-out texts, which calibrate, in an evaluation folder.
HELD_OUT = "calibration.npz"
QUARTERS = 4
#: Folds of the held-out texts: the temperature of one is chosen on the others.
N_FOLDS = 5


def write_held_out_scores(run: Path, folder: Path, *, progress: bool = False) -> Path:
    """Score the held-out texts of a run as its test texts were scored, and keep the arrays; returns their path."""
    classifier = DiffusionClassifier.load(run).set_params(progress=progress)
    _, dataset, splits = load_run_data(run)
    held = held_out(splits)
    scores = classifier.score_ids(classifier.scoring_ids(held.texts), store=ScoreStore(run / "scores"))
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        evidence=mean_over_draws(classifier.evidence_of(scores)),
        y=classifier.encode_labels(names_of(dataset, held)),
        n_tokens=scores.n_tokens,
    )
    return write_atomic(folder / HELD_OUT, buffer.getvalue())


def read_held_out_scores(path: Path) -> dict[str, NDArray[Any]]:
    """Read what `write_held_out_scores` wrote."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def quarters_by_length(n_tokens: NDArray[Any]) -> list[NDArray[np.intp]]:
    """Return the rows of the shortest to the longest quarter of the texts."""
    return np.array_split(np.argsort(n_tokens, kind="stable"), QUARTERS)


def _uncalibrated(evidence: FloatArray, lengths: FloatArray, log_prior: FloatArray) -> FloatArray:
    return log_posterior(evidence, log_prior)


def fitted(held: Scores, log_prior: FloatArray) -> dict[str, Callable[..., FloatArray]]:
    """Return each way to calibrate, fitted: evidence (N, C), lengths (N,), log prior (C,) to log-probabilities."""
    arrays = held["evidence"], held["y"], held["n_tokens"], log_prior
    return {
        "none": _uncalibrated,
        "temperature": fit_temperature(*arrays, length_aware=False, lapses=False).log_proba,
        "temperature by length": fit_temperature(*arrays, lapses=False).log_proba,
        "temperature by length, lapses": fit_temperature(*arrays).log_proba,
        "isotonic": fit_isotonic(*arrays).log_proba,
    }


def calibration_rows(held: Scores, test: Scores, *, seed: int = 0) -> list[Row]:
    """Judge each way to calibrate on the test texts.

    Parameters
    ----------
    held : mapping
        ``evidence`` (N, C) nats, ``y`` and ``n_tokens`` (N,) of the held-out texts.
    test : mapping
        As in `scores.npz`.
    seed : int
        Of the bootstrap.

    Returns
    -------
    list of dict
        ``method``, the metrics of `classification_metrics`, and ``quarters``: ECE from the shortest to the longest
        quarter of the texts.
    """
    evidence = mean_over_draws(test["evidence"] if "evidence" in test else test["samples"])
    log_prior, y, lengths = test["log_prior"], test["y"], test["n_tokens"]
    metrics = partial(classification_metrics, generator=np.random.default_rng(seed))
    quarters = quarters_by_length(lengths)
    rows = []
    for method, calibrate in fitted(held, log_prior).items():
        log_proba = calibrate(evidence, lengths, log_prior)
        parts = [metrics(log_proba[part], y[part])["ece"] for part in quarters]
        rows.append({"method": method, **metrics(log_proba, y), "quarters": parts})
    return rows


def pooled_by_others(
    network: FloatArray,
    count_scores: FloatArray,
    labels: NDArray[np.int64],
    lengths: NDArray[np.int64],
    *,
    log_prior: FloatArray,
) -> FloatArray:
    """Evidence (N, C) of a network (N, C) and class tables beside it, by a weight that other folds of the texts chose.

    The rest as `decision_losses`.
    """
    evidence = np.empty_like(network)
    for others, fold in _folds(labels):
        known = (values[others] for values in (network, count_scores, labels, lengths))
        weight = fit_network_weight(*known, log_prior)
        evidence[fold] = pooled(network[fold][:, :, None], count_scores[fold], weight)[:, :, 0]
    return evidence


def _folds(labels: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """The other texts, and those of each fold."""
    return KFold(N_FOLDS, shuffle=True, random_state=0).split(labels)


def decision_losses(
    evidence: FloatArray, labels: NDArray[np.int64], lengths: NDArray[np.int64], *, log_prior: FloatArray
) -> FloatArray:
    """Negative log posterior of the true class, with a temperature by length that other folds of the texts chose.

    So that a level is judged by what its scores tell, and not by how far the recipe's temperature suits them; it sees
    smaller changes than the accuracy. Texts are weighted to stand for the population of the prior, as in the fit: a
    held-out split has a text of every class, however rare.

    Parameters
    ----------
    evidence : array (N, C), nats
    labels : array (N,) of int
    lengths : array (N,), tokens
    log_prior : array (C,), nats

    Returns
    -------
    array (N,), nats
    """
    losses = np.empty(len(labels))
    for others, fold in _folds(labels):
        temperature = fit_temperature(evidence[others], labels[others], lengths[others], log_prior)
        log_proba = temperature.log_proba(evidence[fold], lengths[fold], log_prior)
        losses[fold] = -log_proba[np.arange(len(fold)), labels[fold]]
    return losses * prior_weights(labels, log_prior)
