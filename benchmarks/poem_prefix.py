"""A prefix that is never hidden, in training and here: the original's variant, on holes behind the prefix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.poem_results import accuracy_row, margin_row
from benchmarks.poem_study import Task

if TYPE_CHECKING:
    from benchmarks.poem_completion import Study

#: Tokens at the front of a poem.
N_PREFIX = 16
PREFIX_WAY = f"diffusion prefix {N_PREFIX}"
LEVELS = (0.1, 0.3, 0.6)


def behind_prefix(study: Study) -> dict[str, Any] | None:
    """Return accuracies on the holes behind the prefix, the smallest size, one step; None without the variants.

    Returns
    -------
    dict
        ``size``; for each level the ``ways``, and the ``margin`` of the model with the prefix over the one without.
    """
    if not study.config.variants:
        return None
    size, n_steps = next(iter(study.config.sizes)), study.config.steps[0]
    ours, plain = f"{PREFIX_WAY} {n_steps}", f"diffusion {n_steps}"
    names = [ours, plain, "causal left", "middle"]
    levels = {}
    for level in LEVELS:
        task = Task("test", "tokens", level, n_protected=N_PREFIX)
        holes, weights = study.answers.holes(task), study.weights(size, task)
        if not holes.texts:
            continue  # no poem is longer than the prefix
        best = {name: study.best(size, name, task) for name in names}
        levels[f"{level:g}"] = {
            "ways": {name: accuracy_row(one, holes.targets, holes.poem_of, weights) for name, one in best.items()},
            "margin": margin_row(best[ours], best[plain], holes.targets, holes.poem_of, weights),
        }
    return {"size": size, "levels": levels}
