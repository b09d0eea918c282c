"""Samples on the generation benchmark's page."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
#: Samples that the page shows of each writer: the first ones, by prefix and seed.
SHOWN = 4
#: Writers that are not the diffusion model, as the page names them.
TITLES = {"human": "human", "causal": "autoregressive, same size", "judge": "SmolLM2 (the judge itself)"}


def example_lines(writers: Sequence[tuple[str, Row]], guidance: Row | None) -> Iterable[str]:
    """Yield the lines of the samples of each writer, by name, and of the guided texts."""
    for name, row in writers:
        yield f"\n### {TITLES.get(name, name)}\n"
        for sample in row["samples"][:SHOWN]:
            yield f"- **{escaped(sample['prefix'])}**{escaped(sample['continuation'])}"
    if guidance is None:
        return
    for weight, rows in guidance["samples"].items():
        yield f"\n### guided, weight {weight}\n"
        for label in dict.fromkeys(row["label"] for row in rows):
            for row in [row for row in rows if row["label"] == label][: SHOWN // 2]:
                yield f"- {escaped(label)}: {escaped(row['text'])}"


def escaped(text: str) -> str:
    """Return a text that Markdown and HTML show as it is, on one line."""
    plain = html.escape(" ".join(text.split()), quote=False)
    return ("" if not text[:1].isspace() else " ") + "".join(
        f"\\{sign}" if sign in "\\`*_{}[]#|~" else sign for sign in plain
    )
