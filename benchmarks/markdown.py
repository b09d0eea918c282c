"""Tables of the reports, in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gencls.data.errors import three_parts


def targets_table(rows: Iterable[Mapping[str, Any]], digits: str = ".4f") -> str:
    """Return the rows of `targets.json` as a table; `digits`: how the measured values are written."""
    return table(["target", "measured", "wanted", "met"], (_target(row, digits) for row in rows))


def _target(row: Mapping[str, Any], digits: str) -> list[str]:
    value = "not measured" if row["value"] is None else format(row["value"], digits)
    return [row["name"], value, f"{row['direction']} {row['target']:g}", "yes" if row["met"] else "no"]


def table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of rows of cells; the first column is left-aligned.

    Raises
    ------
    ValueError
        If a row has more or fewer cells than there are names.
    """
    lines = ["| " + " | ".join(names) + " |", "|---|" + "--:|" * (len(names) - 1)]
    for cells in rows:
        if len(cells) != len(names):
            expected, got = f"{len(names)} cells, one for each of {list(names)}", f"{len(cells)}: {list(cells)}"
            raise ValueError(three_parts(expected, got, "Give every column a cell."))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
