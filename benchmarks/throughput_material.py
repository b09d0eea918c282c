"""A trained run and its texts, as the throughput benchmark takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gencls.classifier.estimator import DiffusionClassifier
from gencls.diffusion.denoiser import Denoiser
from gencls.diffusion.tokens import tokenize
from gencls.evaluation.runs import load_run_data, names_of
from gencls.likelihood.rows import row_limit
from gencls.training.examples import TokenizedSplit

IntArray = NDArray[np.int64]
#: Tokens of the texts whose rates are measured.
SHORT, LONG = 128, 510


@dataclass(frozen=True)
class Material:
    """A trained run and its texts.

    Attributes
    ----------
    run : Path
    classifier : DiffusionClassifier
    train, validation : TokenizedSplit
        Of at most 510 tokens.
    texts : list of str
        Of the validation split.
    """

    run: Path
    classifier: DiffusionClassifier
    train: TokenizedSplit
    validation: TokenizedSplit
    texts: list[str]

    @property
    def denoiser(self) -> Denoiser:
        """The trained network."""
        return self.classifier.denoiser_

    def cut(self, token_ids: Sequence[IntArray], max_length: int) -> list[IntArray]:
        """Cut texts at the end at which the run cuts them."""
        tail = self.classifier.truncation == "tail"
        return [ids[-max_length:] if tail else ids[:max_length] for ids in token_ids]

    def sample(self, n_texts: int, *, length: int | None = None, seed: int = 0) -> list[IntArray]:
        """Choose validation texts, in any order; `length`: those that have as many tokens, cut to them."""
        texts = [ids for ids in self.validation.token_ids if len(ids)]
        if length is not None:
            longest = max(len(ids) for ids in texts)
            texts = self.cut([ids for ids in texts if len(ids) >= min(length, longest)], length)
        chosen = np.random.default_rng(seed).permutation(len(texts))[:n_texts]
        return [texts[row] for row in chosen]


def load_material(run: Path) -> Material:
    """Read a run, and tokenise its training and validation texts."""
    classifier = DiffusionClassifier.load(run)
    _, dataset, splits = load_run_data(run)
    limit = row_limit(classifier.denoiser_)
    longest = LONG if limit is None else min(LONG, limit - classifier.denoiser_.frame.n_special)
    options: dict[str, Any] = {"max_length": longest, "truncation": classifier.truncation}
    parts = []
    for name in ("train", "validation"):
        ids = tokenize(splits[name].texts, classifier.tokenizer_, **options).ids
        parts.append(TokenizedSplit(ids, classifier.encode_labels(names_of(dataset, splits[name]))))
    train, validation = parts
    return Material(run, classifier, train, validation, list(splits["validation"].texts))
