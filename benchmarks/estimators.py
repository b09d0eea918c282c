"""Path against exact-count ELBO against Bernoulli ELBO at equal numbers of forwards, on a trained run.

For every estimator and number of forwards F (path: F steps and one draw; bounds: F draws) the held-out texts
are scored several times with different seeds. Of the log-odds of two classes then follow

* the Monte-Carlo variance (over seeds, mean over texts): noise of the scorer;
* the spread (over texts, mean over seeds): what the noise has to be small against.

Shared masks are what `score_texts` does. Without them every class of a text has masks of its own: class c of
repeat r is then taken from repeat r + c, and the variance of the log-odds is the sum of the classes'
variances.

    python -m benchmarks.estimators --run runs/imdb-demo --preset small --output reports/estimators
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.estimators_report import MASKS, write_report
from gencls.data.splits import stratified_sample
from gencls.likelihood.engine import TokenScorer, score_texts
from gencls.likelihood.estimators import Estimator, EstimatorName
from gencls.likelihood.store import ScoreStore, scorer_fingerprint
from gencls.reporting.records import run_record

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
NAMES: tuple[EstimatorName, ...] = ("path", "elbo", "bernoulli")


@dataclass(frozen=True)
class Config:
    """What is measured.

    Parameters
    ----------
    n_texts : int
        Held-out texts, a stratified sample.
    n_repeats : int
        Seeds; at least one for each class.
    forwards : tuple of int
        Forward passes per text and class.
    seed : int
        The first of the seeds.
    """

    n_texts: int = 200
    n_repeats: int = 2
    forwards: tuple[int, ...] = (1, 2, 4, 8, 16)
    seed: int = 1000


PRESETS = {"small": Config(), "full": Config(n_texts=2000, n_repeats=4)}


def compare(
    scorer: TokenScorer,
    token_ids: Sequence[IntArray],
    labels: IntArray,
    log_prior: FloatArray,
    config: Config,
    *,
    store: ScoreStore | None = None,
    progress: bool = False,
    precision: Any = "auto",
) -> list[dict[str, Any]]:
    """Measure every estimator at every number of forwards.

    Parameters
    ----------
    scorer : TokenScorer
    token_ids : sequence of N ndarray of shape (L,), int64
    labels : ndarray of shape (N,), int64
        Class indices.
    log_prior : ndarray of shape (C,), float64, nats
    config : Config
    store : ScoreStore, optional
        Makes it resumable.
    progress : bool
    precision : {"auto", "float32", "bfloat16"}

    Returns
    -------
    list of dict
        ``estimator``, ``forwards``, ``nats_per_token``, its ``_se``, and for "shared" and "independent" a
        dict of `log_odds_figures`.
    """
    n_tokens = np.array([len(ids) for ids in token_ids])
    seeds = range(config.seed, config.seed + n_seeds(config, len(log_prior)))
    rows = []
    for name, forwards, estimator in _cases(config):
        options: dict[str, Any] = {"store": store, "progress": progress, "precision": precision}
        repeats = [score_texts(scorer, token_ids, estimator, seed=seed, **options) for seed in seeds]
        scores = np.stack([repeat.samples.mean(axis=2) for repeat in repeats])
        nats, error = nats_per_token(scores, labels, n_tokens)
        figures = {masks: log_odds_figures(scores, labels, log_prior, masks=masks) for masks in MASKS}
        row = {"estimator": name, "forwards": forwards, "nats_per_token": nats, "nats_per_token_se": error}
        rows.append(row | figures)
    return rows


def n_seeds(config: Config, n_classes: int) -> int:
    """Return how many repeats are made: one class must not meet another's masks in `independent`."""
    return max(config.n_repeats, n_classes, 2)


def log_odds_figures(scores: FloatArray, labels: IntArray, log_prior: FloatArray, *, masks: str) -> dict[str, float]:
    """Accuracy, and noise and spread of the log-odds.

    The log-odds of a text are those of its two best classes (mean over repeats), the later class over the
    earlier: with two classes always the same pair.

    Parameters
    ----------
    scores : ndarray of shape (R, N, C), float64, nats
        Repeats with different seeds; the classes of a repeat share their masks.
    labels : ndarray of shape (N,), int64
    log_prior : ndarray of shape (C,), float64, nats
    masks : {"shared", "independent"}

    Returns
    -------
    dict
        accuracy, accuracy_se, mc_variance, mc_variance_se, spread (nats squared).
    """
    joint = scores + log_prior
    pair = np.sort(np.argsort(joint.mean(axis=0), axis=1)[:, -2:], axis=1)
    if masks == "independent":
        joint = _without_shared_masks(joint)
    odds = np.diff(np.take_along_axis(joint, pair[None], axis=2))[..., 0]
    # repeats without shared masks reuse each other's scores, so this variance comes from the classes' own
    own = np.take_along_axis(scores.var(axis=0, ddof=1), pair, axis=1).sum(axis=1)
    variance = odds.var(axis=0, ddof=1) if masks == "shared" else own
    correct = (joint.argmax(axis=2) == labels).mean(axis=0)
    root = np.sqrt(len(labels))
    return {
        "accuracy": float(correct.mean()),
        "accuracy_se": float(correct.std(ddof=1) / root),
        "mc_variance": float(variance.mean()),
        "mc_variance_se": float(variance.std(ddof=1) / root),
        "spread": float(odds.var(axis=1, ddof=1).mean()),
    }


def nats_per_token(scores: FloatArray, labels: IntArray, n_tokens: IntArray) -> tuple[float, float]:
    """Return the bound of the true class in nats per token, all tokens counted alike, and its standard error.

    Parameters
    ----------
    scores : ndarray of shape (R, N, C), float64, nats
    labels, n_tokens : ndarray of shape (N,), int64

    Returns
    -------
    tuple of float
    """
    nats = -scores.mean(axis=0)[np.arange(len(labels)), labels]
    ratio = nats.sum() / n_tokens.sum()
    # of a ratio of sums, by its linearisation
    residual = nats - ratio * n_tokens
    return float(ratio), float(residual.std(ddof=1) * np.sqrt(len(labels)) / n_tokens.sum())


def main(
    config: Config, limit: int | None = None, *, run: Path, output: Path, command: str, progress: bool = True
) -> Path:
    """Measure a trained run and write the report.

    Parameters
    ----------
    config : Config
    limit : int, optional
        Fewer texts, to try it.
    run, output : Path
        Folder of the trained run; folder of the report.
    command : str
        As typed, for the record.
    progress : bool

    Returns
    -------
    Path
        The report.
    """
    from gencls.classifier.estimator import DiffusionClassifier
    from gencls.evaluation.runs import load_run_data, names_of

    started = time.monotonic()
    classifier = DiffusionClassifier.load(run)
    _, dataset, splits = load_run_data(run)
    sample = stratified_sample(splits["validation"], min(limit or config.n_texts, config.n_texts), seed=config.seed)
    labels = classifier.encode_labels(names_of(dataset, sample))
    token_ids, scorer = classifier.tokenize(sample.texts).ids, classifier.denoiser_
    store = ScoreStore(run / "estimator-scores", fingerprint=scorer_fingerprint(scorer))
    rows = compare(scorer, token_ids, labels, classifier.log_prior_, config, store=store, progress=progress)
    facts: dict[str, Any] = {
        "n_texts": len(token_ids),
        "n_seeds": n_seeds(config, len(classifier.classes_)),
        "run": run.name,
    }
    seconds = time.monotonic() - started
    record = run_record(command, asdict(config), config.seed, wall_seconds=seconds, **facts)
    return write_report(rows, record, output)


def _cases(config: Config) -> Iterator[tuple[str, int, Estimator]]:
    for name in NAMES:
        for forwards in config.forwards:
            n_steps, n_draws = (forwards, 1) if name == "path" else (1, forwards)
            yield name, forwards, Estimator(name, n_steps=n_steps, n_mc_samples=n_draws)


def _without_shared_masks(joint: FloatArray) -> FloatArray:
    """Give every class of a repeat the masks of another seed: class c of repeat r is that of repeat r + c."""
    n_repeats, _, n_classes = joint.shape
    return np.stack([joint[(np.arange(n_repeats) + c) % n_repeats, :, c] for c in range(n_classes)], axis=2)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.estimators", description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("runs/imdb-demo"), help="folder of a trained run")
    parser.add_argument("--preset", choices=PRESETS, default="small", help="how many texts and seeds")
    parser.add_argument("--output", type=Path, default=Path("reports/estimators"), help="folder of the report")
    parser.add_argument("--limit", type=int, help="at most this many texts")
    return parser


if __name__ == "__main__":
    arguments = _parser().parse_args()
    typed = " ".join(["python -m benchmarks.estimators", *sys.argv[1:]])
    chosen = PRESETS[arguments.preset]
    report = main(chosen, arguments.limit, run=arguments.run, output=arguments.output, command=typed)
    print(report.read_text(encoding="utf-8"))
    print(report)
