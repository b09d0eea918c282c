"""The pretrained pair of the poem benchmark: a masked and a causal model with one vocabulary, fine-tuned alike.

In the vocabulary of the Chinese BERTs a character is a token. Poems are mapped character by character, so the places of
a poem are those of the models from scratch; a character that the vocabulary does not have is never asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from benchmarks.poem_material import Material, build_material
from benchmarks.poem_models import Recipe
from gencls.baselines.causal import is_reachable
from gencls.data.errors import three_parts
from gencls.data.storage import read_json, write_json
from gencls.diffusion.backbones import load_tokenizer
from gencls.diffusion.scratch import SPECIAL, tokenizer_over

#: The size's name in the report, and the files that say whose models a run has.
PRETRAINED = "pretrained"
PAIR, TOKENIZER = "pair.json", "tokenizer"


@dataclass(frozen=True)
class Pair:
    """Two pretrained models, and how both are fine-tuned.

    Attributes
    ----------
    masked, causal : str
        A name of the hub or a folder.
    n_steps, batch_size, learning_rate, seed
        As in `Recipe`.
    """

    masked: str
    causal: str
    n_steps: int = 10_000
    batch_size: int = 64
    learning_rate: float = 1e-4
    seed: int = 0

    def recipe(self, kind: str) -> Recipe:
        """Return the recipe of one model: without counts, which a pretrained model has no use for."""
        backbone = self.masked if kind == "diffusion" else self.causal
        rate = self.learning_rate
        return Recipe(0, 0, self.n_steps, self.batch_size, rate, with_counts=False, seed=self.seed, backbone=backbone)


def out_of_reach(pair: Pair, folder: Path) -> str | None:
    """Return, in three parts, why the pair cannot be had; None if it can, or if the run's folder has it."""
    missing = [name for name in (pair.masked, pair.causal) if not is_reachable(name)]
    if not missing or (folder / PAIR).exists():
        return None
    got = f"{' and '.join(map(repr, missing))}, and no hub answers"
    return three_parts("pretrained models that this machine can reach", got, "Give folders (--pretrained), or a hub.")


def pretrained_material(pair: Pair, material: Material, folder: Path, *, smoothing: float, seed: int) -> Material:
    """Return the same poems in the tokens of the pair.

    Parameters
    ----------
    pair : Pair
    material : Material
        Of the models from scratch.
    folder : Path
        What was checked is kept there, so that a finished run needs no hub.
    smoothing, seed
        As in `build_material`.

    Raises
    ------
    ValueError
        If the two are no pair, one is too short for the poems, or the folder is of another pair.
    """
    if (folder / PAIR).exists():
        _check_same(pair, folder)
    else:
        characters = {sign for part in ("train", "validation", "test") for sign in _signs(material, part)}
        vocabulary = shared_vocabulary(pair, characters)
        _check_positions(pair, material.max_length)
        tokenizer_over(vocabulary).save_pretrained(folder / TOKENIZER)
        write_json(folder / PAIR, asdict(pair))
    options: dict[str, Any] = {"max_length": material.max_length, "smoothing": smoothing, "seed": seed}
    return build_material(material.splits, material.facts, tokenizer=load_tokenizer(folder / TOKENIZER), **options)


def _signs(material: Material, part: str) -> set[str]:
    return {sign for poem in getattr(material.splits, part) for sign in poem.text}


def shared_vocabulary(pair: Pair, characters: Iterable[str]) -> dict[str, int]:
    """Return the masked model's vocabulary, if the causal one agrees on some characters and on the special tokens.

    Raises
    ------
    ValueError
        If a character or special token has another id in the two, or a special token has none.
    """
    masked, causal = (load_tokenizer(name).get_vocab() for name in (pair.masked, pair.causal))
    for name, vocabulary in ((pair.masked, masked), (pair.causal, causal)):
        if lost := [token for token in SPECIAL if token not in vocabulary]:
            todo = "Use models with the vocabulary of the Chinese BERTs."
            raise ValueError(three_parts(f"a vocabulary with {', '.join(SPECIAL)}", f"{name!r} without {lost}", todo))
    differing = sorted(token for token in {*SPECIAL, *characters} if masked.get(token) != causal.get(token))
    if differing:
        one = differing[0]
        got = f"{one!r} as {masked.get(one)} and as {causal.get(one)}, and {len(differing) - 1} more like it"
        todo = "Use two models with the same vocabulary."
        raise ValueError(three_parts("a pair in which a character has one id", got, todo))
    return dict(masked)


def _check_positions(pair: Pair, max_length: int) -> None:
    """Refuse a model that a poem of the benchmark does not fit in, before anything is trained."""
    for name in (pair.masked, pair.causal):
        limit = getattr(AutoConfig.from_pretrained(name), "max_position_embeddings", None)
        if limit is not None and limit < max_length + 2:
            got = f"{limit} in {name!r}"
            todo = "Use another model, or a shorter max_length."
            raise ValueError(three_parts(f"a model with {max_length + 2} positions", got, todo))


def _check_same(pair: Pair, folder: Path) -> None:
    if (kept := read_json(folder / PAIR)) != asdict(pair):
        got = f"{kept['masked']!r} and {kept['causal']!r}, or other steps, in {folder.parent.name}"
        raise ValueError(three_parts("a run of the same pretrained pair", got, "Give another folder (--run)."))
