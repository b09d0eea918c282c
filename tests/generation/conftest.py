"""Toy trajectories: words that come out of the masks in a seeded order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from gencls.generation.trajectory import Step, Trajectory

#: Pieces as a tokenizer has them: markup, a terminal's escape sequence and a line's end are tokens like any other.
PIECES = (" the", " film", " was", " un", "believ", "able", ".", " </script><b>", "\x1b[31m", "\n", " [red]", " 诗")


def make_trajectory(
    pieces: Sequence[str] = PIECES,
    *,
    n_given: int = 2,
    per_step: int = 4,
    remasks: bool = True,
    seconds: float = 0.5,
    label: str = "toy <i>",
) -> Trajectory:
    """Reveal the pieces from the right, some each step; with `remasks`, step 2 hides again one token of step 1."""
    tokens = ["[MASK]", *dict.fromkeys(pieces)]
    final = np.array([tokens.index(piece) for piece in pieces], dtype=np.int64)
    given = np.arange(len(pieces)) < n_given
    ids, confidence, nothing = np.where(given, final, 0), np.full(len(pieces), np.nan), np.zeros(len(pieces), bool)
    steps = [Step(ids, confidence, nothing, nothing, 0, 0.0)]
    todo = np.flatnonzero(~given)[::-1].tolist()
    while todo:
        ids, confidence, revealed, remasked = ids.copy(), confidence.copy(), nothing.copy(), nothing.copy()
        now, todo = todo[:per_step], todo[per_step:]
        ids[now], confidence[now], revealed[now] = final[now], np.linspace(0.0, 1.0, len(now)), True
        if remasks and len(steps) == 2:
            ids[-1], confidence[-1], remasked[-1] = 0, np.nan, True
            todo.append(len(pieces) - 1)
        steps.append(Step(ids, confidence, revealed, remasked, len(steps), seconds * len(steps)))
    return Trajectory(steps, given, 0, tokens, "".join(pieces), label, {"class_proba": {"<b>": 0.25}})


@pytest.fixture(scope="session")
def toy_trajectory() -> Callable[..., Trajectory]:
    return make_trajectory
