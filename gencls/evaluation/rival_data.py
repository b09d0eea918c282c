"""What a rival is given and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gencls.classifier.estimator import DiffusionClassifier
from gencls.data import TextSplit

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class RivalData:
    """One split for the baselines: full texts, truncated ids and class indices."""

    texts: list[str]
    ids: list[NDArray[np.int64]]
    labels: NDArray[np.int64]

    @classmethod
    def of(cls, classifier: DiffusionClassifier, split: TextSplit, names: Sequence[str]) -> RivalData:
        """Return a split as a fitted classifier reads it; `names`: the data set's of its classes."""
        labels = classifier.encode_labels(np.array(names)[split.labels])
        return cls(split.texts, classifier.tokenize(split.texts).ids, labels)

    def scored_by(self, classifier: DiffusionClassifier) -> list[NDArray[np.int64]]:
        """Return the ids that a classifier scores: `ids`, or those of whole texts where it scores these in chunks."""
        return classifier.scoring_ids(self.texts) if classifier.long_texts == "chunks" else self.ids

    def sample(self, n_texts: int | None) -> RivalData:
        """Return some of the texts, always the same ones, in their order; all for None, or where there are no more."""
        if n_texts is None or n_texts >= len(self.texts):
            return self
        rows = np.sort(np.random.default_rng(0).permutation(len(self.texts))[:n_texts])
        return RivalData([self.texts[row] for row in rows], [self.ids[row] for row in rows], self.labels[rows])


@dataclass(frozen=True)
class CausalOptions:
    """Budgets of the causal rivals, which are slow on a CPU: SmolLM2 trains on some hundred tokens a second there.

    Parameters
    ----------
    model : str
        Of `causal_per_class` and `causal_zero_shot`, as `gencls.baselines.causal.load_causal` takes it.
    n_steps : int, optional
        Steps of each class's model. None gives all classes together as many training texts as the run's stages.
    max_seconds : float, optional
        Lowers the steps of a rival to what fits in this time, all classes together.
    adapter_rank : int
        Of the adapters on `model`.
    batch_size : int
        Texts per step.
    learning_rate : float, optional
        None takes the usual one: 5e-4 for adapters, 1e-3 from scratch.
    calibration_texts : int, optional
        Calibration texts that are scored; None scores all.
    """

    model: str = "smollm2"
    n_steps: int | None = None
    max_seconds: float | None = 1800.0
    adapter_rank: int = 8
    batch_size: int = 8
    learning_rate: float | None = None
    calibration_texts: int | None = 500

    def __post_init__(self) -> None:
        for name in ("n_steps", "max_seconds", "adapter_rank", "batch_size", "learning_rate", "calibration_texts"):
            limit = getattr(self, name)
            if limit is not None and not limit > 0:
                raise ValueError(f"Expected a positive {name}; got {limit!r}. Use None for the usual one.")


#: A way to predict log P(class | text), (N, C), and what was chosen on the way and what it cost;
#: ``seconds_before`` are those of earlier lives of a resumed training.
Fitted = tuple[Callable[[RivalData], FloatArray], dict[str, Any]]
