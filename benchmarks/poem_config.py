"""Options of the poem benchmark and its presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.poem_models import Recipe
from benchmarks.poem_pretrained import Pair


@dataclass(frozen=True)
class PoemConfig:
    """Everything that decides the benchmark besides the poems.

    Attributes
    ----------
    sizes : mapping of str to Recipe
        The last one is the size of the headline.
    max_length : int
        Tokens of a window, and of a held-out poem.
    max_poems : int, optional
        At most so many poems (classical ones are many).
    ratios : tuple of float
        Shares of hidden tokens.
    iterated_up_to : float
        Highest share at which the causal model's candidates are scored again: it costs most where most is hidden.
    n_validation : int
        Validation poems that choose how the diffusion model fills.
    steps : tuple of int
        Numbers of steps that the diffusion model may fill in.
    smoothing : float
        Of the counts of neighbours.
    leaks : tuple of float
        Shares of the test poems that are trained on, on purpose, for the curve of leakage.
    variants : bool
        Whether the first size is also trained without the counts, and with a prefix that is never hidden.
    seed : int
    pretrained : Pair, optional
        Pretrained models that are fine-tuned as one more size, which is never that of the headline.
    """

    sizes: Mapping[str, Recipe]
    max_length: int = 128
    max_poems: int | None = 6000
    ratios: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    iterated_up_to: float = 0.6
    n_validation: int = 100
    steps: tuple[int, ...] = (1, 2, 4, 8)
    smoothing: float = 1.0
    leaks: tuple[float, ...] = (0.5, 1.0)
    variants: bool = True
    seed: int = 0
    pretrained: Pair | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    def identity(self) -> dict[str, Any]:
        """Return what makes a run another run: the pretrained pair can be added to one, and has an identity itself."""
        data = self.as_dict()
        del data["pretrained"]
        return data


PRESETS = {
    "cpu": PoemConfig(
        {
            "small": Recipe(64, 2, n_steps=500, batch_size=32, learning_rate=3e-3),
            "base": Recipe(128, 3, n_steps=1000, batch_size=32, learning_rate=2e-3),
        }
    ),
    "gpu": PoemConfig(
        {
            "small": Recipe(256, 6, n_steps=20_000, batch_size=64, learning_rate=1e-3),
            "base": Recipe(512, 12, n_steps=40_000, batch_size=64, learning_rate=6e-4),
        },
        # 512 positions of a BERT, without the two around a text
        max_length=510,
        max_poems=None,
        n_validation=300,
        pretrained=Pair("hfl/chinese-roberta-wwm-ext", "uer/gpt2-chinese-cluecorpussmall"),
    ),
}
