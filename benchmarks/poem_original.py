"""What the original protocol would say: most test poems trained on, drawn tokens, a rival that sees the left side only.

It is reproduced once, beside the honest protocol of the same size of models, and never used for anything else. Where
the original is not to be had, the rival's side is the kinder one: its causal model had not seen a poem, ours has seen
all training poems.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.poem_fillers import TEXTS_PER_BATCH, exact_scorer, hole_log_probs
from benchmarks.poem_leakage import leaked_model
from benchmarks.poem_results import by_poem, poem_weights, share_interval
from benchmarks.poem_study import Answers, Draw, Task
from gencls.baselines.filling import N_BEST, fill_left_to_right
from gencls.baselines.infilling import NeighbourCausal
from gencls.baselines.infilling_rows import Specials
from gencls.diffusion.denoiser import Denoiser

if TYPE_CHECKING:
    from benchmarks.poem_completion import Study

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]
#: Share of the poems of the "test" that are trained on, as a random split of the original's poems had it.
SHARE = 0.9
HIGHEST_LEVEL = 0.6


def draw_by_diffusion(
    denoiser: Denoiser, texts: Sequence[IntArray], hidden: Sequence[BoolArray], *, seed: int
) -> FloatArray:
    """Draw a token for each hole at once from the model's distributions.

    Parameters
    ----------
    denoiser : Denoiser
        Class-free.
    texts : sequence of N ndarray of shape (L,), int64
    hidden : sequence of N ndarray of shape (L,), bool
    seed : int

    Returns
    -------
    ndarray of shape (n_holes, 2), float64
        1 where the drawn token is right, and the probability of the right one.
    """
    scorer, generator = exact_scorer(denoiser), torch.Generator().manual_seed(seed)
    found = []
    for start in range(0, len(texts), TEXTS_PER_BATCH):
        ids, holes = texts[start : start + TEXTS_PER_BATCH], hidden[start : start + TEXTS_PER_BATCH]
        tokens = [np.where(hole, scorer.mask_id, row) for row, hole in zip(ids, holes, strict=True)]
        log_probs = torch.cat(list(hole_log_probs(scorer, tokens, holes)))
        targets = np.concatenate([row[hole] for row, hole in zip(ids, holes, strict=True)])
        drawn, proba = _drawn(log_probs, targets, generator)
        found.append(np.stack([drawn == targets, proba], axis=1))
    return np.concatenate(found)


def draw_left_to_right(
    network: NeighbourCausal,
    specials: Specials,
    texts: Sequence[IntArray],
    hidden: Sequence[BoolArray],
    *,
    seed: int,
) -> FloatArray:
    """Draw a token for each hole given everything on its left, drawn tokens included; returns as `draw_by_diffusion`.

    The probability is that of the right token given what was drawn, so that its mean has the accuracy's expectation.
    """
    generator = torch.Generator().manual_seed(seed)
    proba = np.zeros((len(texts), max(map(len, texts))))

    def choose(log_probs: torch.Tensor, rows: IntArray, place: int) -> IntArray:
        targets = np.array([texts[row][place] for row in rows])
        drawn, proba[rows, place] = _drawn(log_probs, targets, generator)
        return np.repeat(drawn[:, None], N_BEST, axis=1)

    filled = fill_left_to_right(network, texts, hidden, specials, choose=choose)
    parts = []
    for row, (ids, hole, one) in enumerate(zip(texts, hidden, filled, strict=True)):
        parts.append(np.stack([(one.token_ids == ids)[hole], proba[row, : len(ids)][hole]], axis=1))
    return np.concatenate(parts)


def _drawn(log_probs: torch.Tensor, targets: IntArray, generator: torch.Generator) -> tuple[IntArray, FloatArray]:
    """Return a drawn token and the probability of the target, both (n,), of distributions (n, V)."""
    proba = log_probs.double().exp()
    drawn = torch.multinomial(proba, 1, generator=generator)[:, 0].numpy()
    return drawn, proba.gather(1, torch.from_numpy(targets)[:, None])[:, 0].numpy()


def original_protocol(study: Study) -> dict[str, Any] | None:
    """Return both sides' accuracy as the original counted it, the smallest size; None where no model leaks enough.

    Returns
    -------
    dict
        ``size``, ``share`` of the poems trained on, ``n_poems``; for each level and side a row of ``drawn`` and
        ``expected``, each with its interval.
    """
    config = study.config
    if 1.0 not in config.leaks:
        return None
    size, recipe = next(iter(config.sizes.items()))
    mixed, model = leaked_model(study, 1.0)
    causal = study.model("causal", size, recipe)
    n_known = len(mixed.splits.test)
    n_new = min(len(mixed.splits.validation), round(n_known * (1 - SHARE) / SHARE))
    folder, specials = study.folder / "original", study.material.specials
    sides: dict[str, tuple[Answers, Draw]] = {
        "diffusion": (
            Answers(folder, mixed, seed=config.seed),
            partial(draw_by_diffusion, model.denoiser, seed=config.seed),
        ),
        # another seed, so that the rival has other holes
        "causal": (
            Answers(folder, study.material, seed=config.seed + 1),
            partial(draw_left_to_right, causal, specials, seed=config.seed),
        ),
    }
    levels = [level for level in config.ratios if level <= HIGHEST_LEVEL]
    rows = {
        f"{level:g}": {side: _side(side, *parts, level, n_new) for side, parts in sides.items()} for level in levels
    }
    return {"size": size, "share": n_known / (n_known + n_new), "n_poems": n_known + n_new, "levels": rows}


def _side(side: str, answers: Answers, draw: Draw, level: float, n_new: int) -> dict[str, dict[str, float]]:
    """One side at one level: the test poems, which were trained on, and some validation poems, which were not."""
    tasks = [Task("test", "tokens", level), Task("validation", "tokens", level, n_new)]
    tasks = tasks if n_new else tasks[:1]
    values = np.concatenate([answers.draws(side, draw, task) for task in tasks])
    poem_of = [answers.holes(task).poem_of for task in tasks]
    n_test = len(answers.holes(tasks[0]).texts)
    poems = np.concatenate([poem_of[0], *(n_test + rest for rest in poem_of[1:])])
    return {name: _row(values[:, place], poems) for place, name in enumerate(("drawn", "expected"))}


def _row(values: FloatArray, poem_of: IntArray) -> dict[str, float]:
    n_poems = int(poem_of.max()) + 1
    weights = poem_weights(n_poems, generator=np.random.default_rng(0))
    counts = by_poem(np.ones_like(values), poem_of, n_poems)
    accuracy, low, high = share_interval(by_poem(values, poem_of, n_poems), counts, weights)
    return {"accuracy": accuracy, "low": low, "high": high}
