"""The sections of the poem report: words, tables and figures as data, for Markdown and HTML alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gencls.reporting.tables import p_value

Metrics = Mapping[str, Any]
GROUPS = {"length": "characters", "author": "author"}
STRUCTURE_TITLES = {
    "lines": "whole lines (30 % of them)",
    "rhymes": "ends of lines (last letter of every line)",
    "last_line": "last line of the excerpt",
    "first_line": "first line (reversal)",
}
#: The best of the ways to fill without a network.
COUNTS = "bigram"
WAY_TITLES = {
    "unigram": "unigram, no position",
    "bigram": "bigram, both sides",
    "5-gram": "5-gram, left side",
    "causal left": "causal, left side",
    "causal rescored": "causal, rescored by the right side",
    "causal iterated": "causal, iterated (greedy Gibbs)",
    "middle": "causal, fill-in-the-middle training",
}
DIFFUSION_TITLES = {"diffusion prefix 16": "diffusion, trained with a prefix of 16"}
INTERVALS = "In brackets 95 % bootstrap intervals over poems."


@dataclass(frozen=True)
class Section:
    """One section of the report.

    Attributes
    ----------
    title : str
    paragraphs : sequence of str
    columns : sequence of str
        Of the table; none without a table.
    rows : sequence of sequences of str
    figure : str
        Name of a PNG; empty without one.
    """

    title: str
    paragraphs: Sequence[str] = ()
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = field(default_factory=list)
    figure: str = ""


def way_title(name: str) -> str:
    """Return how a way of filling is called in the report.

    >>> way_title("diffusion 1"), way_title("diffusion without counts 4")
    ('diffusion, 1 step', 'without counts: diffusion, 4 steps')
    >>> way_title("diffusion prefix 16 1")
    'diffusion, trained with a prefix of 16, 1 step'
    >>> way_title("diffusion rescored")
    'diffusion, rescored by the neighbours'
    """
    kind, plain, way = name.partition(" without counts")
    if plain:
        return f"without counts: {way_title(kind + way)}"
    if name.startswith("diffusion"):
        words, number = name.rsplit(" ", 1)
        if number == "rescored":
            return f"{words}, rescored by the neighbours"
        return f"{DIFFUSION_TITLES.get(words, words)}, {number} step" + ("s" if number != "1" else "")
    return WAY_TITLES.get(name, name)


def level_title(level: str) -> str:
    """Return a share of hidden tokens in percent.

    >>> level_title("0.3")
    '30 %'
    """
    return f"{100 * float(level):.0f} %"


def percent(row: Mapping[str, float] | None, key: str = "accuracy") -> str:
    """Return an accuracy in percent, with its interval where the row has one."""
    if row is None:
        return "–"
    interval = f" [{100 * row['low']:.1f}, {100 * row['high']:.1f}]" if key == "accuracy" else ""
    return f"{100 * row[key]:.2f}{interval}"


def points(margin: Mapping[str, float]) -> str:
    """Return a margin in percentage points."""
    return f"{100 * margin['margin']:+.2f}"


def points_interval(margin: Mapping[str, float], kind: str = "") -> str:
    """Return the interval of a margin in percentage points: over poems, or over authors (kind "author_")."""
    return f"[{100 * margin[kind + 'low']:+.2f}, {100 * margin[kind + 'high']:+.2f}]"


def accuracy_section(metrics: Metrics, size: str, key: str = "accuracy") -> Section:
    """Accuracy (or top-5 accuracy) of every way against the share of hidden tokens."""
    levels = metrics["sizes"][size]
    # the diffusion model's ways are one row, as was chosen at each level
    chosen = {row["chosen"]["diffusion"] for row in levels.values()}
    names = list(dict.fromkeys(name for row in levels.values() for name in row["ways"] if name not in chosen))
    ours = [percent(row["ways"][row["chosen"]["diffusion"]], key) for row in levels.values()]
    rows = [[way_title(name), *(percent(row["ways"].get(name), key) for row in levels.values())] for name in names]
    rows.insert(0, ["diffusion, as chosen", *ours])
    what = "Right among the hidden tokens" if key == "accuracy" else "Right token among the five likeliest"
    note = f"{what}, in percent. A dash: the slow protocols are not run there."
    note = f"{note} {INTERVALS}" if key == "accuracy" else note
    columns = ["way to fill", *(f"{level_title(level)} hidden" for level in levels)]
    return Section(f"{'Accuracy' if key == 'accuracy' else 'Top-5 accuracy'}: size {size}", [note], columns, rows)


def margin_section(metrics: Metrics, size: str) -> Section:
    """Diffusion minus the strongest causal protocol."""
    rows = [
        [
            level_title(level),
            way_title(row["chosen"]["diffusion"]),
            way_title(row["chosen"]["rival"]),
            points(row["margin"]),
            points_interval(row["margin"]),
            points_interval(row["margin"], "author_"),
            p_value(row["margin"]["mcnemar_p"]),
            verdict(row["margin"]),
        ]
        for level, row in metrics["sizes"][size].items()
    ]
    columns = [
        "hidden",
        "diffusion",
        "strongest causal protocol",
        "margin, points",
        "95 % interval",
        "over authors",
        "McNemar p",
        "verdict",
    ]
    note = (
        "Accuracy of diffusion minus that of the rival, in percentage points, over the same holes of the test poems. "
        "How diffusion fills was chosen on validation poems at each level. The rival is, of all causal protocols in "
        "the accuracy table, the one over which the lower end of the interval is lowest on these test poems: the "
        "choice favours it. The interval is a bootstrap over poems, the next one over authors with all their poems, "
        "who are few. McNemar's test takes holes for independent, which those of one poem are not. Holes at a lower "
        "level are among those at a higher one, so that the rows are not independent; and each model was trained "
        "once: what another training would change is in no interval. Above 60 % the rival is the best of the left "
        "side and fill-in-the-middle training: the slow protocols are not run there."
    )
    notes = [note, *_below_counts(metrics["sizes"][size])]
    return Section(f"Diffusion against the strongest causal protocol: size {size}", notes, columns, rows)


def _below_counts(levels: Mapping[str, Any]) -> list[str]:
    """Say where the rival is worse than counts without a network: a margin over it is then little praise."""
    ahead = {}
    for level, row in levels.items():
        ways, chosen = row["ways"], row["chosen"]
        if COUNTS in ways and ways[chosen["rival"]]["accuracy"] < ways[COUNTS]["accuracy"]:
            ahead[level] = ways[chosen["diffusion"]]["accuracy"] - ways[COUNTS]["accuracy"]
    if not ahead:
        return []
    where = ", ".join(level_title(level) for level in ahead)
    leads = ", ".join(f"{100 * lead:+.1f}" for lead in ahead.values())
    return [
        f"At {where} every causal protocol is below the counts of neighbours without a network ({way_title(COUNTS)}): "
        f"there the margin is the rival's weakness. Diffusion minus these counts, in points: {leads}."
    ]


def verdict(margin: Mapping[str, float]) -> str:
    """Say which side is ahead, outside the interval.

    >>> verdict({"low": 0.0, "high": 0.1}), verdict({"low": 0.01, "high": 0.1})
    ('no difference shown', 'diffusion ahead')
    """
    if margin["low"] > 0:
        return "diffusion ahead"
    return "causal ahead" if margin["high"] < 0 else "no difference shown"


def structure_section(metrics: Metrics) -> Section:
    """Lines, rhymes, the first and the last line."""
    kinds = metrics["structures"]
    names = list(dict.fromkeys(name for row in kinds.values() for name in row["ways"]))
    rows = [[way_title(name), *(percent(row["ways"].get(name)) for row in kinds.values())] for name in names]
    margins = [f"{points(row['margin'])} {points_interval(row['margin'])}" for row in kinds.values()]
    rows.append(["diffusion minus the strongest causal protocol", *margins])
    columns = ["way to fill", *(STRUCTURE_TITLES[kind] for kind in kinds)]
    note = (
        "Accuracy in percent, headline size; diffusion fills as was chosen at 30 % of hidden tokens. The last line is "
        f"that of the part of the poem that is used. {INTERVALS}"
    )
    return Section("Lines and their ends", [note], columns, rows)


def groups_section(metrics: Metrics) -> list[Section]:
    """By length of the poem, by author, and by decoding steps."""
    groups, note = (
        metrics["groups"],
        "Accuracy in percent at 30 % of hidden tokens, headline size, of the sides that were chosen there. Shares of "
        "few holes are rough: the standard error of 20 % among 300 holes is 2.3 points, and more where they are of few "
        "poems.",
    )
    sections = []
    for name, title in (("length", "By length of the poem"), ("author", "By author")):
        rows = [
            [row["group"], str(row["n_holes"]), f"{100 * row['diffusion']:.2f}", f"{100 * row['rival']:.2f}"]
            for row in groups[name]
        ]
        sections.append(Section(title, [note], [GROUPS[name], "holes", "diffusion", "strongest causal"], rows))
    steps = metrics["steps"]
    columns = ["way to fill", *(f"{level_title(level)} hidden" for level in steps)]
    names = list(next(iter(steps.values())))
    rows = [[way_title(name), *(percent(steps[level].get(name)) for level in steps)] for name in names]
    words = (
        "On validation poems, where the way of filling was chosen: accuracy in percent, headline size. In steps, the "
        "surest holes first; rescored, the likeliest tokens scored again by the neighbours in sight, each hidden in "
        f"turn. {INTERVALS}"
    )
    return [*sections, Section("How diffusion fills", [words], columns, rows)]


def model_section(metrics: Metrics) -> Section:
    """Sizes, steps and minutes of the models."""
    rows = [
        [
            name,
            row["recipe"].get("backbone") or "random",
            f"{row['recipe']['width']} x {row['recipe']['n_layers']}",
            f"{row['parameters']:,}",
            str(row["training"]["steps"]),
            str(row["recipe"]["batch_size"]),
            f"{row['training']['seconds'] / 60:.1f}",
        ]
        for name, row in metrics["models"].items()
    ]
    note = (
        "From scratch over the characters of the training poems, where they start at random; their heads start by "
        "looking at the nearest tokens that they may see. Models of one size visit the same number of the same "
        "windows, and predict every token of a visited window once; for that the diffusion model reads a window "
        "twice, the second time with the other tokens hidden, fill-in-the-middle one and a half times, the causal "
        "model once. Models start at the unigram and, unless it says plain or pretrained, have the counts of "
        "neighbouring characters in their sight, with a learned gate; in training these counts leave out the poem at "
        "hand. Leaked: the share of the test poems that was trained on, on purpose. Middle: the causal model that was "
        "trained to fill in the middle."
    )
    columns = ["model", "start", "width x layers", "parameters", "steps", "windows a step", "minutes of training"]
    notes = [note, *([f"Pretrained models are left out. {metrics['left_out']}"] if metrics["left_out"] else [])]
    return Section("Models", notes, columns, rows)


def data_section(facts: Mapping[str, Any]) -> Section:
    """Splits and contamination."""
    report = facts["contamination"]
    rows = [[name, str(row["poems"]), str(row["authors"])] for name, row in report["splits"].items()]
    shared = "; ".join(
        f"{pair}: {row['authors']} authors, {row['copies']} copies, {row['near_copies']} near-copies"
        for pair, row in report["shared"].items()
    )
    skipped = ", ".join(f"{count} x {reason}" for reason, count in facts["skipped"].items()) or "none"
    paragraphs = [
        f"Source: {facts['source']}; {facts['poems']} poems, {facts['poems_used']} of them read. Skipped: {skipped}.",
        f"Split by a stable hash of the author. Shared by the splits: {shared}.",
        f"Dropped: {report['dropped']['copies']} copies within a split, {report['dropped']['train']} training and "
        f"{report['dropped']['validation']} validation poems that are near-copies of a held-out one (a common run of "
        "half the shorter poem's letters).",
        f"{facts['characters']} tokens in the vocabulary, {facts['train_tokens']} tokens in training. Of a held-out "
        f"poem the first lines are used, up to {facts['max_length']} characters; "
        f"{100 * facts['test_poems_cut']:.0f} % of the test poems are "
        "longer. Characters seen less than twice in training are never hidden.",
    ]
    return Section("Poems", paragraphs, ["split", "poems", "authors"], rows)
