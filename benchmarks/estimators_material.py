"""What the studies of `benchmarks.estimators` work on: a trained run, its held-out texts, and how they are scored."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.agreement import Score
from gencls.classifier.estimator import DiffusionClassifier
from gencls.data import TextDataset, TextSplit
from gencls.data.errors import three_parts
from gencls.data.splits import stratified_sample
from gencls.evaluation.runs import load_run_data, names_of
from gencls.likelihood.adaptive import StoppingRule, score_adaptively
from gencls.likelihood.engine import Scores, score_texts
from gencls.likelihood.estimators import Estimator
from gencls.likelihood.store import ScoreStore, scorer_fingerprint

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
#: Splits of the measured texts, in the order in which they are used up.
MEASURED = ("validation", "test")
STORE = "estimator-scores"


@dataclass(frozen=True)
class Material:
    """A classifier, the texts that are measured, and the options of their scoring.

    Attributes
    ----------
    classifier : DiffusionClassifier
    dataset : TextDataset
    splits : mapping from name to TextSplit
    samples : mapping from name to TextSplit
        What of each split of `MEASURED` is used.
    token_ids : list of N ndarray of shape (L,), int64
    labels : ndarray of shape (N,), int64
    options : dict
        Of `score_texts`: store, precision, progress.
    """

    classifier: DiffusionClassifier
    dataset: TextDataset
    splits: Mapping[str, TextSplit]
    samples: Mapping[str, TextSplit]
    token_ids: list[IntArray]
    labels: IntArray
    options: dict[str, Any] = field(repr=False)

    @classmethod
    def load(cls, run: Path, n_texts: int, *, seed: int, progress: bool) -> Material:
        """Load a run, with a stratified sample of its validation texts, and of its test texts if these are too few."""
        classifier = DiffusionClassifier.load(run)
        if classifier.denoiser_.is_gate_closed:
            todo = "Train one without counts_beside."
            raise ValueError(three_parts("a run that decides by its likelihood", "one with tables beside it", todo))
        _, dataset, splits = load_run_data(run)
        samples: dict[str, TextSplit] = {}
        for name in MEASURED:
            missing = n_texts - sum(len(part) for part in samples.values())
            if missing > 0:
                samples[name] = stratified_sample(splits[name], missing, seed=seed)
        ids = [row for part in samples.values() for row in classifier.tokenize(part.texts).ids]
        labels = [classifier.encode_labels(names_of(dataset, part)) for part in samples.values()]
        fingerprint = scorer_fingerprint(classifier.denoiser_)
        store = ScoreStore(run / STORE, fingerprint=fingerprint)
        options = {"store": store, "precision": classifier.precision_, "progress": progress}
        return cls(classifier, dataset, splits, samples, ids, np.concatenate(labels), options)

    @property
    def scorer(self) -> Any:
        """The denoiser."""
        return self.classifier.denoiser_

    @property
    def log_prior(self) -> FloatArray:
        """Of the classes, nats."""
        return self.classifier.log_prior_

    @property
    def precision(self) -> Any:
        """Type of the matrix products, for us and the rivals alike."""
        return self.classifier.precision_

    @property
    def max_length(self) -> int:
        """Tokens of a text that is cut."""
        return self.classifier.max_length

    def draws(self, estimator: Estimator, *, seed: int, token_ids: Sequence[IntArray] | None = None) -> Score:
        """Return a function that scores some draws of some of the texts, and keeps their forward passes."""
        return _drawing(self.scorer, self.token_ids if token_ids is None else token_ids, estimator, seed, self.options)

    def fresh_decisions(
        self, estimator: Estimator, rule: StoppingRule, n_texts: int, *, seed: int
    ) -> Callable[[], IntArray]:
        """Return a function that scores the first texts anew, by the rule and without a store, and decides them."""
        options = {"precision": self.precision}
        draw = _drawing(self.scorer, self.token_ids[:n_texts], estimator, seed, options)

        def decide() -> IntArray:
            scores = score_adaptively(draw, n_texts, log_prior=self.log_prior, rule=rule)
            return np.asarray((scores.mean() + self.log_prior).argmax(axis=1), dtype=np.int64)

        return decide

    def calibration(self, n_texts: int) -> tuple[list[IntArray], IntArray]:
        """Return the ids and labels of calibration texts."""
        part = stratified_sample(self.splits["calibration"], n_texts, seed=0)
        return self.classifier.tokenize(part.texts).ids, self.classifier.encode_labels(names_of(self.dataset, part))

    def whole(self, n_texts: int) -> tuple[list[IntArray], IntArray]:
        """Return all tokens of the first texts, and their labels."""
        uncut = copy.copy(self.classifier)
        uncut.long_texts = "chunks"
        texts = [text for part in self.samples.values() for text in part.texts][:n_texts]
        return uncut.scoring_ids(texts), self.labels[: len(texts)]

    def facts(self) -> dict[str, Any]:
        """Return what the record says of the texts."""
        counts = np.bincount(self.labels, minlength=len(self.classifier.classes_))
        return {
            "data": self.dataset.name,
            "data_source": self.dataset.source,
            "n_texts": len(self.token_ids),
            "splits": {name: len(part) for name, part in self.samples.items()},
            "class_counts": dict(zip(map(str, self.classifier.classes_), counts.tolist(), strict=True)),
            "mean_tokens": float(np.mean([len(ids) for ids in self.token_ids])),
            "max_length": self.max_length,
            "mode": self.classifier.mode,
            "precision": self.precision,
            "n_threads": torch.get_num_threads(),
        }


def _drawing(
    scorer: Any, token_ids: Sequence[IntArray], estimator: Estimator, seed: int, options: Mapping[str, Any]
) -> Score:
    def score(rows: IntArray, first_draw: int, n_draws: int) -> Scores:
        texts = [token_ids[row] for row in rows]
        return score_texts(scorer, texts, estimator, seed=seed, first_draw=first_draw, n_draws=n_draws, **options)

    return score
