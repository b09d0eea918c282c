"""The poem benchmark in parts: by length of the poem, by author, and by number of decoding steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.poem_results import accuracy_by_group
from benchmarks.poem_study import Task

if TYPE_CHECKING:
    from benchmarks.poem_completion import Study

LEVEL = 0.3
N_AUTHORS = 8


def by_group(study: Study, size: str, levels: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return accuracy of both sides by third of length, and by the authors with most holes."""
    level = min(levels, key=lambda one: abs(float(one) - LEVEL))
    task = Task("test", "tokens", float(level))
    holes, chosen = study.answers.holes(task), levels[level]["chosen"]
    poems = [study.material.splits.test[place] for place in holes.places]
    lengths = np.array([len(poem.text) for poem in poems])
    edges = np.quantile(lengths, [1 / 3, 2 / 3])
    titles = [f"up to {edges[0]:.0f}", f"up to {edges[1]:.0f}", f"up to {lengths.max()}"]
    authors = Counter(poem.author for poem in poems)
    common = [name for name, _ in authors.most_common(N_AUTHORS)]
    # "all others" is the last group
    of_author = np.array([common.index(poem.author) if poem.author in common else len(common) for poem in poems])
    groups = {
        "length": (np.digitize(lengths, edges, right=True), titles),
        "author": (of_author, [*common, "all others"]),
    }
    answers = {side: study.best(size, chosen[side], task) for side in ("diffusion", "rival")}
    found = {}
    for name, (group, names) in groups.items():
        of_hole = group[holes.poem_of]
        rows = {side: accuracy_by_group(best, holes.targets, of_hole, len(names)) for side, best in answers.items()}
        found[name] = [
            {
                "group": title,
                "n_holes": rows["diffusion"][number]["n_holes"],
                "diffusion": rows["diffusion"][number]["accuracy"],
                "rival": rows["rival"][number]["accuracy"],
            }
            for number, title in enumerate(names)
            if rows["diffusion"][number]["n_holes"]
        ]
    return found


def by_steps(study: Study, size: str) -> dict[str, dict[str, dict[str, float]]]:
    """Return the diffusion model's accuracy on validation poems in every way of filling, by level."""
    found = {}
    for level in study.config.ratios:
        names, _ = study.contenders(size, level)
        task = Task("validation", "tokens", level, study.config.n_validation)
        found[f"{level:g}"] = study.accuracy(size, task, names)
    return found
