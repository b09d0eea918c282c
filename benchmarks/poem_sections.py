"""Sections of the poem report on leakage, on the original's protocol and on its prefix."""

from __future__ import annotations

from benchmarks.poem_tables import INTERVALS, Metrics, Section, percent, points, points_interval, way_title


def leakage_section(metrics: Metrics) -> Section:
    """The curve of leakage."""
    rows = [
        [f"{100 * row['share']:.0f} %", *(percent(level) for level in row["levels"].values())]
        for row in metrics["leakage"]
    ]
    levels = metrics["leakage"][0]["levels"]
    columns = ["test poems in training", *(f"{100 * float(level):.0f} % hidden" for level in levels)]
    note = (
        "Accuracy in percent. TRAINED ON TEST POEMS ON PURPOSE, to show what an unseeded split does to the number: the "
        "smallest diffusion model, one step, as many training poems in every row. The original benchmark, whose "
        "figures cannot stand, had about 90 % of its test poems in training. Nothing else but the next section uses "
        f"these models. {INTERVALS}"
    )
    return Section("What leakage does to the number", [note], columns, rows, "leakage.png")


def original_section(metrics: Metrics) -> list[Section]:
    """The original's protocol, reproduced once, with the honest one beside it."""
    found = metrics["original"]
    if found is None:
        return []
    levels, honest = found["levels"], metrics["sizes"][found["size"]]
    titles = {
        ("diffusion", "drawn"): "ORIGINAL PROTOCOL: diffusion, leaked, a drawn token",
        ("diffusion", "expected"): "the same, on average over draws",
        ("causal", "drawn"): "ORIGINAL PROTOCOL: causal, left side only, a drawn token, other holes",
        ("causal", "expected"): "the same, on average over draws",
    }
    rows = [[title, *(percent(row[side][what]) for row in levels.values())] for (side, what), title in titles.items()]
    for side, title in (("diffusion", "honest protocol: diffusion"), ("rival", "honest protocol: strongest causal")):
        rows.append([title, *(percent(honest[level]["ways"][honest[level]["chosen"][side]]) for level in levels)])
    note = (
        f"Accuracy in percent, models of size {found['size']}. THE FIRST FOUR ROWS ARE NO RESULT: they show what the "
        f"protocol of the original benchmark makes of such models. Its {found['n_poems']} poems are as a random split "
        f"would have them, {100 * found['share']:.0f} % of them trained on; a token is drawn from the model's "
        "distribution, and counted as its answer; the rival sees the left side only, and has other holes than the "
        "diffusion model. The average over draws is the mean probability of the right token; the likeliest token is "
        "right more often, so that drawing costs both sides. The original's rival had not been trained on poems, this "
        f"one has (on none of the {found['n_poems']}): it is the stronger of the two. {INTERVALS}"
    )
    columns = ["protocol", *(f"{100 * float(level):.0f} % hidden" for level in levels)]
    return [Section("What the original protocol would say", [note], columns, rows)]


def prefix_section(metrics: Metrics) -> list[Section]:
    """A prefix that is never hidden, against none."""
    found = metrics["prefix"]
    if found is None or not (levels := found["levels"]):
        return []
    names = next(iter(levels.values()))["ways"]
    rows = [[way_title(name), *(percent(row["ways"][name]) for row in levels.values())] for name in names]
    margins = [f"{points(row['margin'])} {points_interval(row['margin'])}" for row in levels.values()]
    rows.append(["prefix of 16 minus none, points", *margins])
    note = (
        f"Accuracy in percent, models of size {found['size']}. The original's model never had to fill one of the first "
        "16 tokens. Here such a model stands beside one without a prefix, on holes behind the first 16 tokens of the "
        "test poems, which are all in sight; the share hidden is of the tokens behind them. Other tables that show the "
        f"model with the prefix ask for its first tokens too, which it has not learned. {INTERVALS}"
    )
    columns = ["way to fill", *(f"{100 * float(level):.0f} % hidden" for level in levels)]
    return [Section("A prefix of 16 tokens that is never hidden", [note], columns, rows)]
