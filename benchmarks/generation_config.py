"""What the generation benchmark trains, writes and measures, by size."""

from __future__ import annotations

from dataclasses import dataclass, replace

from benchmarks.generation_settings import BASE
from gencls.generation.config import GenerationConfig
from gencls.training.config import TrainConfig
from gencls.training.language_model import PRESETS as TRAINING

SHORT = replace(BASE, length=48)


@dataclass(frozen=True)
class Config:
    """What is trained, written and measured.

    Parameters
    ----------
    data : str
    n_prefixes, n_per_prefix : int
        Held-out beginnings, and texts that are written on from each, in one batch.
    n_reference : int
        Other held-out texts that the divergence compares with.
    prefix, length : int
        Tokens.
    training : TrainConfig
    base : GenerationConfig
        Around which one factor is changed at a time.
    n_clusters : int
        Of the divergence.
    n_pretrained : int
        Prefixes that the judge writes on from, which is slow.
    n_guided : int
        Texts of each class and weight.
    n_referee_steps, n_referee_texts : int
        Training of the referee, and human texts that it is tried on.
    n_repeats : int
        Timed rounds.
    seed : int
    """

    data: str = "imdb"
    n_prefixes: int = 20
    n_per_prefix: int = 4
    n_reference: int = 80
    prefix: int = 12
    length: int = 48
    training: TrainConfig = TRAINING["quick"]
    base: GenerationConfig = SHORT
    n_clusters: int = 8
    n_pretrained: int = 8
    n_guided: int = 48
    n_referee_steps: int = 300
    n_referee_texts: int = 500
    n_repeats: int = 3
    seed: int = 0

    def limited(self, limit: int | None) -> Config:
        """Return the config with at most `limit`, and no less than two, of everything that is written."""
        if limit is None:
            return self
        names = ("n_prefixes", "n_per_prefix", "n_reference", "n_pretrained", "n_guided", "n_referee_texts")
        return replace(self, **{name: min(getattr(self, name), max(limit, 2)) for name in names})


SIZES = {
    "small": Config(),
    "full": Config(
        n_prefixes=128,
        n_per_prefix=16,
        n_reference=2048,
        prefix=32,
        length=192,
        training=TRAINING["full"],
        base=replace(BASE, length=192, n_steps=64),
        n_clusters=64,
        n_pretrained=128,
        n_guided=256,
        n_referee_steps=3000,
        n_referee_texts=5000,
        n_repeats=5,
    ),
}
