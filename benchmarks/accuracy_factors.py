"""All studies of factors in one table: which change of a recipe buys or costs how much, and which is within chance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.accuracy_study_report import BASE, accuracy_change, changes_of, loss_change
from benchmarks.markdown import table
from gencls.data.storage import read_json

Row = Mapping[str, Any]
_PAGE = """# What buys how much

{text}
"""
_TEXT = """One change of a recipe, as it was at the study's time, on held-out texts, none of the test. Above zero in
points, the change is right more often than the recipe; below zero in nats, its decisions are surer of what is right.
Here are the changes whose paired interval leaves zero out, in accuracy or in the decision's loss, the largest change of
the loss first: {n_moved} of {n_rows}, where at most {n_chance:.1f} are expected by chance alone.

{moved}

Within chance of their recipe:

{level}"""


def factors_page(folder: Path, size: str) -> str:
    """Return the page on all studies below a folder of reports, in Markdown.

    Parameters
    ----------
    folder : Path
        Holds ``study-<data>.json`` of `benchmarks.accuracy_study_report.write_study`, itself or in its folders.
    size : {"cpu", "gpu"}
        Of the recipes; studies of others are left out.
    """
    found = list(_rows(folder, size))
    if not found:
        return _PAGE.format(text="No study of factors is in this folder (`python -m benchmarks.accuracy_study`).")
    moved = sorted((one for one in found if is_beyond_chance(one[0])), key=lambda one: -abs(one[0]["loss_change"]))
    names = ["data", "change of the recipe", "accuracy, points [95 %]", "decision loss, nats [95 %]", "texts"]
    cells = (
        [link, change, accuracy_change(row), loss_change(row), f"{row['n_texts']:,}"] for row, change, link in moved
    )
    within: dict[str, list[str]] = {}
    for row, change, link in found:
        if not is_beyond_chance(row):
            within.setdefault(link, []).append(change)
    text = _TEXT.format(
        n_moved=len(moved),
        n_rows=len(found),
        n_chance=2 * 0.05 * len(found),  # two intervals each
        moved=table(names, cells),
        level="\n".join(f"- {link}: {'; '.join(changes)}." for link, changes in within.items()),
    )
    return _PAGE.format(text=text)


def is_beyond_chance(row: Row) -> bool:
    """Whether the interval of a level's accuracy or of its loss, both paired, leaves zero out."""
    return any(row[f"{name}_low"] > 0 or row[f"{name}_high"] < 0 for name in ("ahead", "loss_change"))


def _rows(folder: Path, size: str) -> Iterator[tuple[Row, str, str]]:
    """Each level with what it changes and a link to its study."""
    for path in sorted(folder.rglob("study-*.json")):
        study, page = read_json(path), path.with_suffix(".md").relative_to(folder)
        config = study["run"]["config"]
        link = f"[{page.with_suffix('').as_posix().replace('study-', '')}]({page.as_posix()})"
        for row in study["rows"] if config["size"] == size else ():
            if row["factor"] != BASE:
                yield row, changes_of(row, config["recipe"]), link
