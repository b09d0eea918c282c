"""Every model fills every hole: the same holes for all of them, each answer kept on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.poem_fillers import (
    diffusion_nats,
    fill_by_diffusion,
    fill_by_neighbours,
    fill_by_ngrams,
    fill_by_unigram,
    neighbour_log_probs,
)
from benchmarks.poem_masks import mask_of
from benchmarks.poem_material import Material
from benchmarks.poem_rescoring import fill_by_rescored_diffusion
from gencls.baselines.filling import Filled, fill_in_the_middle, fill_left_to_right, infilling_nats
from gencls.baselines.infilling import NeighbourCausal
from gencls.baselines.ngrams import NeighbourBigram, WittenBell
from gencls.baselines.rescoring import Rescoring, rescore
from gencls.data.storage import write_atomic
from gencls.diffusion.language_model import LanguageModel

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]
Fill = Callable[[Sequence[IntArray], Sequence[BoolArray]], list[Filled]]
Nats = Callable[[Sequence[IntArray], Sequence[BoolArray]], FloatArray]
#: (n, 2): 1 where the drawn token is right, and the probability of the right one.
Draw = Callable[[Sequence[IntArray], Sequence[BoolArray]], FloatArray]
#: Steps of the path that gives the diffusion model's log-probability.
NATS_STEPS = 8
RESCORED, ITERATED = Rescoring(), Rescoring(n_sweeps=2, sees_guesses=True)


@dataclass(frozen=True)
class Task:
    """A split, a kind of holes and their level.

    Attributes
    ----------
    split : {"validation", "test"}
    kind, level
        As in `benchmarks.poem_masks.mask_of`.
    n_poems : int, optional
        The first poems only.
    n_protected : int
        Tokens at the front of each poem that are not hidden; the level is a share of the others.
    """

    split: str
    kind: str
    level: float
    n_poems: int | None = None
    n_protected: int = 0

    @property
    def name(self) -> str:
        """As a file's name."""
        few = "" if self.n_poems is None else f"-{self.n_poems}"
        return f"{self.split}-{self.kind}-{self.level:g}{few}" + (
            f"-behind-{self.n_protected}" * bool(self.n_protected)
        )


@dataclass(frozen=True, eq=False)
class Holes:
    """The poems of a task with their holes; poems without any are left out.

    Attributes
    ----------
    places : list of N int
        Of the poems in their split.
    texts : list of N ndarray of shape (L,), int64
    hidden : list of N ndarray of shape (L,), bool
    """

    places: list[int]
    texts: list[IntArray]
    hidden: list[BoolArray]

    @property
    def targets(self) -> IntArray:
        """The hidden tokens of all poems, one after the other."""
        return np.concatenate([ids[hole] for ids, hole in zip(self.texts, self.hidden, strict=True)])

    @property
    def poem_of(self) -> IntArray:
        """Which poem (0 to N - 1) each of `targets` is of."""
        return np.repeat(np.arange(len(self.texts)), [int(hole.sum()) for hole in self.hidden])


def holes_of(material: Material, task: Task, *, seed: int, drawn_for: Material | None = None) -> Holes:
    """Return the holes of a task; they depend on nothing but the poems, the task and the seed.

    Holes that are drawn for other tokens of the same poems are kept where the character is known in both.
    """
    ids = getattr(material, task.split)[: task.n_poems]
    drawn = [_drawn(drawn_for or material, task, place, seed) for place in range(len(ids))]
    hidden = [hole & material.is_known(task.split, place) for place, hole in enumerate(drawn)]
    kept = [place for place, hole in enumerate(hidden) if hole.any()]
    return Holes(kept, [ids[place] for place in kept], [hidden[place] for place in kept])


def _drawn(material: Material, task: Task, place: int, seed: int) -> BoolArray:
    free = material.is_known(task.split, place)
    free[: task.n_protected] = False
    return mask_of(material.text(task.split, place), task.kind, task.level, seed=seed, free=free)


@dataclass(frozen=True)
class Ways:
    """How holes are filled and scored, by name."""

    fills: Mapping[str, Fill]
    nats: Mapping[str, Nats]


def joined(parts: Sequence[Ways]) -> Ways:
    """Return the ways of several models."""
    fills = {name: fill for part in parts for name, fill in part.fills.items()}
    return Ways(fills, {name: nats for part in parts for name, nats in part.nats.items()})


def floor_ways(material: Material) -> Ways:
    """Return the ways of the counts."""
    neighbours = NeighbourBigram.fit(material.train, material.vocab_size)
    grams = WittenBell(material.vocab_size).fit(material.train)
    fills: dict[str, Fill] = {
        "unigram": partial(fill_by_unigram, material.log_unigram),
        "bigram": partial(fill_by_neighbours, neighbours),
        "5-gram": partial(fill_by_ngrams, grams),
    }
    nats: dict[str, Nats] = {
        "unigram": lambda texts, hidden: _each(lambda ids, hole: material.log_unigram[None, :], texts, hidden),
        "bigram": lambda texts, hidden: _each(partial(neighbour_log_probs, neighbours), texts, hidden),
    }
    return Ways(fills, nats)


def _each(
    log_probs: Callable[[IntArray, BoolArray], FloatArray], texts: Sequence[IntArray], hidden: Sequence[BoolArray]
) -> FloatArray:
    def one(ids: IntArray, hole: BoolArray) -> float:
        values = np.broadcast_to(log_probs(ids, hole), (int(hole.sum()), log_probs(ids, hole).shape[1]))
        return -float(np.take_along_axis(values, ids[hole][:, None], axis=1).sum())

    return np.array([one(ids, hole) for ids, hole in zip(texts, hidden, strict=True)])


def diffusion_ways(
    model: LanguageModel, steps: Sequence[int], *, prefix: str = "diffusion", rescored: bool = False
) -> Ways:
    """Return the ways of a diffusion model: filling in some numbers of steps, and scored again by neighbours."""
    fills: dict[str, Fill] = {f"{prefix} {n}": partial(fill_by_diffusion, model.denoiser, n_steps=n) for n in steps}
    if rescored:
        fills[f"{prefix} rescored"] = partial(fill_by_rescored_diffusion, model.denoiser)
    return Ways(fills, {prefix: partial(diffusion_nats, model.denoiser, n_steps=NATS_STEPS)})


def causal_ways(network: NeighbourCausal, material: Material, *, prefix: str = "causal") -> Ways:
    """Return the ways of a plain causal model, from weak to strong."""
    left: Fill = partial(_left, network, material)
    fills: dict[str, Fill] = {
        f"{prefix} left": left,
        f"{prefix} rescored": partial(_again, network, material, RESCORED, left),
        f"{prefix} iterated": partial(_again, network, material, ITERATED, left),
    }
    nats = partial(infilling_nats, network, specials=material.specials, in_the_middle=False)
    return Ways(fills, {f"{prefix} left": nats})


def middle_ways(network: NeighbourCausal, material: Material) -> Ways:
    """Return the way of a model that was trained to fill in the middle."""
    nats = partial(infilling_nats, network, specials=material.specials, in_the_middle=True)
    return Ways({"middle": partial(_middle, network, material)}, {"middle": nats})


def _left(network: NeighbourCausal, material: Material, texts: Any, hidden: Any) -> list[Filled]:
    return fill_left_to_right(network, texts, hidden, material.specials)


def _middle(network: NeighbourCausal, material: Material, texts: Any, hidden: Any) -> list[Filled]:
    return fill_in_the_middle(network, texts, hidden, material.specials)


def _again(
    network: NeighbourCausal, material: Material, config: Rescoring, left: Fill, texts: Any, hidden: Any
) -> list[Filled]:
    return rescore(network, left(texts, hidden), hidden, material.specials, config)


class Answers:
    """Answers on disk: what was filled once is read back.

    Parameters
    ----------
    folder : Path
    material : Material
    seed : int
        Of the holes.
    drawn_for : Material, optional
        See `holes_of`.
    """

    def __init__(self, folder: Path, material: Material, *, seed: int = 0, drawn_for: Material | None = None) -> None:
        self.folder = folder
        self.material = material
        self.seed = seed
        self.drawn_for = drawn_for
        self._holes: dict[Task, Holes] = {}

    def holes(self, task: Task) -> Holes:
        """Return the holes of a task."""
        if task not in self._holes:
            self._holes[task] = holes_of(self.material, task, seed=self.seed, drawn_for=self.drawn_for)
        return self._holes[task]

    def best(self, model: str, way: str, fill: Fill, task: Task) -> IntArray:
        """Return the alternatives (n, 5) for all holes of a task, as a model fills them in a way."""

        def work(holes: Holes) -> IntArray:
            return np.concatenate([filled.best for filled in fill(holes.texts, holes.hidden)])

        return self._kept(f"{model}/{task.name}/{way}", lambda: work(self.holes(task)))

    def nats(self, model: str, way: str, score: Nats, task: Task) -> FloatArray:
        """Return -log p of the hidden tokens of each poem of a task, (N,), nats."""

        def work(holes: Holes) -> FloatArray:
            return score(holes.texts, holes.hidden)

        return self._kept(f"{model}/{task.name}/nats {way}", lambda: work(self.holes(task)))

    def draws(self, model: str, draw: Draw, task: Task) -> FloatArray:
        """Return whether a drawn token is right, and the probability of the right one, for all holes of a task."""

        def work(holes: Holes) -> FloatArray:
            return draw(holes.texts, holes.hidden)

        return self._kept(f"{model}/{task.name}/draws", lambda: work(self.holes(task)))

    def _kept(self, name: str, work: Callable[[], Any]) -> Any:
        path = self.folder / f"{name.replace(' ', '-')}.npy"
        if not path.exists():
            _save(path, work())
        return np.load(path, allow_pickle=False)


def _save(path: Path, values: NDArray[Any]) -> None:
    import io

    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    write_atomic(path, buffer.getvalue())
