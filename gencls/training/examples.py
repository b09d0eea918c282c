"""Training examples in a fixed order: which text is visited when, under which class, with which masks.

The whole schedule follows from the seed. Item i of a stage is the same in a run that was killed and resumed, in a run
with other workers, and in a run with a longer log; no random state has to be carried over.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from gencls.data.errors import three_parts
from gencls.diffusion.collator import Example
from gencls.diffusion.unigram import assign_folds
from gencls.training.config import TrainConfig
from gencls.training.rivals import Rivals

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class TrainingTexts:
    """Tokenised training texts.

    Attributes
    ----------
    token_ids : sequence of N ndarray of shape (L,), int64; every text has a token
    labels, folds : ndarray of shape (N,), int64
    n_classes : int
    has_found_labels : bool
        Whether some labels were found by the counts of the other texts, and not told.
    """

    token_ids: Sequence[IntArray]
    labels: IntArray
    folds: IntArray
    n_classes: int
    has_found_labels: bool = False

    @property
    def class_sizes(self) -> IntArray:
        """The number of texts of each class, (C,), int64."""
        return np.bincount(self.labels, minlength=self.n_classes)

    @property
    def log_prior(self) -> NDArray[np.float64]:
        """The log of the classes' shares of the texts, (C,), nats."""
        return np.asarray(np.log(self.class_sizes / len(self.labels)))


@dataclass(frozen=True)
class TokenizedSplit:
    """Scorable ids and class indices of a split."""

    token_ids: list[IntArray]
    labels: IntArray


def training_texts(train: TokenizedSplit, n_classes: int, config: TrainConfig) -> TrainingTexts:
    """Return the texts that have tokens, in the folds of their cross-fitting.

    Parameters
    ----------
    train : TokenizedSplit
    n_classes : int
    config : TrainConfig
        For ``n_folds`` and ``seed``.

    Returns
    -------
    TrainingTexts

    Raises
    ------
    ValueError
        If a class has no text with a token.
    """
    keep = [place for place, ids in enumerate(train.token_ids) if len(ids)]
    labels = train.labels[keep]
    missing = sorted(set(range(n_classes)) - set(labels.tolist()))
    if missing:
        raise ValueError(
            three_parts("training texts with tokens in every class", f"none in classes {missing}", "Add texts.")
        )
    token_ids = [train.token_ids[place] for place in keep]
    generator = np.random.default_rng([config.seed, 1])
    folds = assign_folds(token_ids, config.n_folds, labels=labels, generator=generator)
    return TrainingTexts(token_ids, labels, folds, n_classes)


def uniform_schedule(n_texts: int, n_examples: int, *, generator: np.random.Generator) -> IntArray:
    """Visit all texts once before any is visited again."""
    epochs = max(-(-n_examples // n_texts), 1)
    order = np.concatenate([generator.permutation(n_texts) for _ in range(epochs)])
    return order[:n_examples].astype(np.int64)


def balanced_schedule(labels: IntArray, n_examples: int, *, generator: np.random.Generator) -> IntArray:
    """Visit the classes in turn, each class's texts once before any is visited again.

    Classes then get equal numbers of texts and steps whatever their sizes: inequality would bias every ratio.
    """
    classes = np.unique(labels)
    per_class = -(-n_examples // len(classes))
    columns = []
    for label in classes:
        members = np.flatnonzero(labels == label)
        columns.append(members[uniform_schedule(len(members), per_class, generator=generator)])
    rows = np.stack(columns, axis=1)
    return generator.permuted(rows, axis=1).reshape(-1)[:n_examples].astype(np.int64)


class ScheduledExamples(Dataset[Example]):
    """The examples of one training stage.

    Parameters
    ----------
    texts : TrainingTexts
    schedule : ndarray of shape (n_examples,), int64
        Text of each example.
    class_dropout : float
        Share of examples without their class; 1 trains the class-free model.
    seed : int
    rivals : Rivals, optional
        Of the texts, where a decision is trained among few of the classes.
    """

    def __init__(
        self,
        texts: TrainingTexts,
        schedule: IntArray,
        *,
        class_dropout: float,
        seed: int,
        rivals: Rivals | None = None,
    ) -> None:
        self.texts = texts
        self.rivals = rivals
        self.schedule = schedule
        generator = np.random.default_rng(seed)
        self.is_dropped = _dropped(texts.labels[schedule], class_dropout)
        self.seeds = generator.integers(0, 2**63 - 1, size=len(schedule))

    def first(self, n_examples: int) -> ScheduledExamples:
        """Return the stage cut to its first examples."""
        cut = copy.copy(self)
        for name in ("schedule", "is_dropped", "seeds"):
            setattr(cut, name, getattr(self, name)[:n_examples])
        return cut

    def __len__(self) -> int:
        return len(self.schedule)

    def __getitem__(self, index: int) -> Example:
        text = int(self.schedule[index])
        label, seed = int(self.texts.labels[text]), int(self.seeds[index])
        return Example(
            token_ids=self.texts.token_ids[text],
            class_id=self.texts.n_classes if self.is_dropped[index] else label,
            fold_id=int(self.texts.folds[text]),
            label=label,
            seed=seed,
            candidates=self._candidates(text, label, seed),
        )

    def _candidates(self, text: int, label: int, seed: int) -> IntArray | None:
        if self.rivals is None:
            return None
        generator = np.random.default_rng([seed, 1])  # the masks have one of the seed alone
        return self.rivals.candidates(text, label, generator=generator)


def _dropped(labels: IntArray, share: float) -> NDArray[np.bool_]:
    """Mark the visits without their class: evenly spaced and equally many in every class, not drawn."""
    is_dropped = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        visits = np.flatnonzero(labels == label)
        steps = np.floor(np.arange(len(visits) + 1) * share)
        is_dropped[visits] = np.diff(steps) > 0
    return is_dropped


def token_budget(examples: ScheduledExamples) -> dict[str, list[int]]:
    """Return texts and tokens seen with their class, per class: the record that the budgets were equal."""
    texts, schedule = examples.texts, examples.schedule[~examples.is_dropped]
    labels = texts.labels[schedule]
    lengths = np.array([len(texts.token_ids[index]) for index in schedule])
    classes: Sequence[int] = range(texts.n_classes)
    return {
        "texts": [int((labels == label).sum()) for label in classes],
        "tokens": [int(lengths[labels == label].sum()) for label in classes],
    }
