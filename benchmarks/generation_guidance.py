"""Class guidance: what share of the texts that a class's model writes does an independent classifier give to the class?

The independent classifier is the pretrained encoder, fine-tuned to discriminate on the same training split with another
seed; it shares nothing with the generator but the weights that both started from. The weight of the guidance is chosen
on one half of the seeds and judged on the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.generation_material import Texts
from gencls.baselines.encoder import EncoderClassifier
from gencls.baselines.finetuning import Budget
from gencls.data import TextSplit
from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.language_model import LanguageModel
from gencls.diffusion.parts import without_dropout
from gencls.diffusion.tokens import tokenize
from gencls.generation.config import GenerationConfig
from gencls.generation.writing import generate
from gencls.reporting.metrics import wilson_interval

IntArray = NDArray[np.int64]


class Referee:
    """The independent classifier.

    Parameters
    ----------
    texts : Texts
    backbone : str
    length : int
        Tokens of a text, from its beginning: as many as are generated.
    n_steps, batch_size, seed : int
        Of its training.
    bf16 : bool
    """

    def __init__(
        self, texts: Texts, backbone: str, *, length: int, n_steps: int, batch_size: int, seed: int, bf16: bool
    ) -> None:
        loaded = load_backbone(backbone, texts=texts.train.texts)
        self.tokenizer, self.length = loaded.tokenizer, length
        frame = loaded.frame
        self.model = EncoderClassifier(
            without_dropout(loaded.encoder),
            cls_id=frame.bos,
            sep_id=frame.eos,
            pad_id=frame.pad,
            budget=Budget(max_steps=n_steps),
            batch_size=batch_size,
            bf16=bf16,
            random_state=seed,
            progress=False,
        )
        chosen = np.random.default_rng(seed).permutation(len(texts.train))[: n_steps * batch_size]
        self.model.fit(self._ids([texts.train.texts[place] for place in chosen]), texts.train.labels[chosen])

    def _ids(self, texts: Sequence[str]) -> list[IntArray]:
        return tokenize(texts, self.tokenizer, max_length=self.length, truncation="head").ids

    def predict(self, texts: Sequence[str]) -> IntArray:
        """Return the class of each text (N,), int64."""
        return np.asarray(self.model.predict_log_proba(self._ids(texts)).argmax(axis=1))

    def accuracy(self, split: TextSplit, n_texts: int, seed: int) -> dict[str, Any]:
        """Return how many human texts, cut to the same length, it gives to their own class."""
        chosen = np.random.default_rng([seed, 7]).permutation(len(split))[:n_texts]
        correct = self.predict([split.texts[place] for place in chosen]) == split.labels[chosen]
        return share(correct)


def share(values: Sequence[bool] | NDArray[np.bool_]) -> dict[str, Any]:
    """Return a share with Wilson's 95 % interval.

    Examples
    --------
    >>> share([True, True])["value"]
    1.0
    """
    low, high = wilson_interval(int(np.sum(values)), len(values))
    return {"value": float(np.mean(values)), "low": float(low), "high": float(high), "n": len(values)}


def write_guided(
    model: LanguageModel, base: GenerationConfig, guidance: float, *, n_samples: int, seed: int
) -> list[dict[str, Any]]:
    """Write texts of every class, without a prefix: which class was wanted, the text, the model's own posterior."""
    rows = []
    for label in model.classes:
        config = replace(base, label=label, guidance=guidance)
        for written in generate(model, config, seed=seed, n_samples=n_samples):
            posterior = written.extras.get("class_proba", {}).get(label)
            rows.append({"label": label, "seed": written.extras["seed"], "text": written.text, "posterior": posterior})
    return rows


def guided_shares(rows: Sequence[dict[str, Any]], predicted: Sequence[str], half: int) -> dict[str, dict[str, Any]]:
    """Return the share of texts that the referee gives to the wanted class, on either half of the seeds.

    Parameters
    ----------
    rows : sequence of N dict
        Of `write_guided`.
    predicted : sequence of N str
        The referee's classes.
    half : int
        Texts of a lower seed are there to choose by.
    """
    right = np.array([row["label"] == name for row, name in zip(rows, predicted, strict=True)])
    to_choose = np.array([row["seed"] < half for row in rows])
    own = [row["posterior"] > 0.5 for row in rows if row["posterior"] is not None]
    return {
        "chosen_by": share(right[to_choose]),
        "judged_by": share(right[~to_choose]),
        **({"own": share(own)} if own else {}),
    }
