"""Sections of the poem report on log-probability, on leakage, on the original's protocol and on its prefix."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.poem_study import NATS_STEPS
from benchmarks.poem_tables import (
    INTERVALS,
    Metrics,
    Section,
    level_title,
    percent,
    points,
    points_interval,
    way_title,
)


def nats_section(metrics: Metrics) -> Section:
    """Nats per hidden token."""
    levels = metrics["nats"]
    titles = {
        "unigram": "unigram",
        "bigram": "bigram, both sides (holes apart)",
        "diffusion": f"diffusion, path of {NATS_STEPS} steps given the visible tokens",
        "middle": "causal, fill-in-the-middle (exact)",
        "causal left": "causal, given the true left side and nothing else",
    }
    rows = [[title, *(_nats(row[name]) for row in levels.values())] for name, title in titles.items()]
    note = (
        f"-log p of the hidden tokens, nats per token, headline size: less is better. {INTERVALS} All but the last row "
        "answer the same question, the hidden tokens given the visible ones. The last one is told what the other holes "
        "on the left hide and is not told what stands on the right. Diffusion's value is that of an order drawn for "
        "each poem, on average a bound from above on its nats; the causal ones are exact."
    )
    columns = ["model", *(f"{level_title(level)} hidden" for level in levels)]
    return Section("Log-probability of the hidden tokens", [note, *nats_sentences(metrics)], columns, rows)


def nats_sentences(metrics: Metrics) -> list[str]:
    """Say where fill-in-the-middle gives the hidden tokens more probability than diffusion does."""
    pairs = {level: (row["middle"], row["diffusion"]) for level, row in metrics["nats"].items()}
    behind = [level for level, (middle, ours) in pairs.items() if middle["nats"] < ours["nats"]]
    clear = [level for level in behind if pairs[level][0]["high"] < pairs[level][1]["low"]]
    if not behind:
        return []
    where, apart = (", ".join(level_title(level) for level in found) for found in (behind, clear))
    beyond = f" (at {apart} the intervals do not touch)" if clear else ""
    return [f"In log-probability fill-in-the-middle training is ahead of diffusion at {where}{beyond}."]


def _nats(row: Mapping[str, float]) -> str:
    return f"{row['nats']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def leakage_section(metrics: Metrics) -> Section:
    """The curve of leakage."""
    rows = [
        [f"{100 * row['share']:.0f} %", *(percent(level) for level in row["levels"].values())]
        for row in metrics["leakage"]
    ]
    levels = metrics["leakage"][0]["levels"]
    columns = ["test poems in training", *(f"{level_title(level)} hidden" for level in levels)]
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
    columns = ["protocol", *(f"{level_title(level)} hidden" for level in levels)]
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
    columns = ["way to fill", *(f"{level_title(level)} hidden" for level in levels)]
    return [Section("A prefix of 16 tokens that is never hidden", [note], columns, rows)]
