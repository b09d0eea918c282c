"""Files of the poem report: metrics, targets, figures, and one page in Markdown and in HTML, from the same sections."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment

from benchmarks.markdown import table
from benchmarks.poem_examples import Example, draw_examples, examples
from benchmarks.poem_figures import plot_accuracy, plot_leakage
from benchmarks.poem_pretrained import PRETRAINED
from benchmarks.poem_sections import leakage_section, nats_section, nats_sentences, original_section, prefix_section
from benchmarks.poem_tables import (
    Section,
    accuracy_section,
    data_section,
    groups_section,
    level_title,
    margin_section,
    model_section,
    points,
    points_interval,
    structure_section,
    verdict,
    way_title,
)
from gencls.data.storage import write_atomic, write_json
from gencls.reporting.canvas import to_png
from gencls.reporting.records import target_row, write_targets

if TYPE_CHECKING:
    from benchmarks.poem_completion import Study

TARGET_LEVELS = ("0.1", "0.2", "0.3", "0.4", "0.5", "0.6")
MOST_MINUTES = 60.0
PAGE = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Poem completion · gencls</title>
<style>
body { margin:0 auto; max-width:1100px; padding:2rem 1.25rem 4rem; color:#1d2430; background:#ffffff;
  font:16px/1.6 system-ui,"Segoe UI",Roboto,"Noto Sans CJK SC","PingFang SC","Microsoft YaHei",sans-serif; }
h1 { font-size:1.9rem; } h2 { margin-top:2.6rem; font-size:1.3rem; } img { max-width:100%; height:auto; }
.scroll { overflow-x:auto; } table { border-collapse:collapse; font-size:.86rem; font-variant-numeric:tabular-nums; }
th, td { padding:.4rem .6rem; text-align:right; border-bottom:1px solid #dfe4ea; white-space:nowrap; }
th:first-child, td:first-child { text-align:left; } thead th { color:#5d6878; }
.poem { line-height:1.9; } .right { color:#00795a; font-weight:600; } .wrong { color:#b34700; font-weight:600; }
.quiet { color:#5d6878; font-size:.86rem; }
</style></head><body>
<h1>Poem completion without leakage</h1>
{% for text in summary %}<p>{{ text }}</p>
{% endfor %}
{% for section in sections %}
<h2>{{ section.title }}</h2>
{% for text in section.paragraphs %}<p>{{ text }}</p>
{% endfor %}
{% if section.figure %}<img alt="{{ section.title }}" src="{{ images[section.figure] }}">{% endif %}
{% if section.columns %}<div class="scroll"><table>
<thead><tr>{% for name in section.columns %}<th>{{ name }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in section.rows %}
<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}
</tbody></table></div>{% endif %}
{% endfor %}
{% if examples %}<h2>Examples</h2>
<p>The first {{ examples|length }} test poems in an order of seed 0, 30 % of the characters hidden. Green: right.</p>
{% endif %}{% for one in examples %}
<h3>{{ one.title }} <span class="quiet">{{ one.author }}</span></h3>
<p class="poem">{{ one.shown }}</p>
{% for name, pieces in one.pieces.items() %}
<p class="poem"><span class="quiet">{{ name }}:</span>
{% for kind, text in pieces %}<span class="{{ kind }}">{{ text }}</span>{% endfor %}</p>
{% endfor %}
{% endfor %}
</body></html>
"""


def write_poem_report(
    output: Path, metrics: Mapping[str, Any], record: Mapping[str, Any], study: Study, *, with_examples: bool = True
) -> Path:
    """Write everything; returns the path of ``report.html``. Without examples, no word of a poem is in it."""
    base = metrics["headline"]
    targets = target_rows(metrics, record)
    write_json(output / "metrics.json", metrics)
    write_json(output / "run.json", record)
    write_targets(output / "targets.json", targets)
    row = metrics["sizes"][base][_near(metrics["sizes"][base], 0.3)]
    found = examples(study, base, [row["chosen"]["diffusion"], row["chosen"]["rival"]]) if with_examples else []
    images = {
        "accuracy.png": to_png(plot_accuracy(metrics["sizes"][base])),
        "leakage.png": to_png(plot_leakage(metrics["leakage"])),
    }
    if found and (picture := draw_examples(found)):
        images["examples.png"] = picture
    (output / "examples.png").unlink(missing_ok=True)  # of an earlier report
    for name, png in images.items():
        write_atomic(output / name, png)
    sections, words = page_sections(metrics, record, targets), summary(metrics, base, record)
    write_atomic(output / "report.md", markdown(words, sections, found, has_picture="examples.png" in images))
    write_atomic(output / "report.html", html(words, sections, found, images))
    write_atomic(output / "table.txt", text_table(margin_section(metrics, base)))
    return output / "report.html"


def _near(levels: Mapping[str, Any], wanted: float) -> str:
    return min(levels, key=lambda level: abs(float(level) - wanted))


def target_rows(metrics: Mapping[str, Any], record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of `targets.json`, by the names of the project's promise."""
    levels, command = metrics["sizes"][metrics["headline"]], record["command"]
    rows = [
        target_row(
            f"margin_low_{level}", levels[level]["margin"]["low"] if level in levels else None, 0.0, ">=", command
        )
        for level in TARGET_LEVELS
    ]
    shared = record["data"]["contamination"]["shared"]["train-test"]
    leaks = float(shared["copies"] + shared["near_copies"])
    rows.append(target_row("test_poems_in_training", leaks, 0.0, "<=", command))
    return [*rows, target_row("cpu_minutes", record["minutes"], MOST_MINUTES, "<=", command)]


def summary(metrics: Mapping[str, Any], base: str, record: Mapping[str, Any]) -> list[str]:
    """Say in a few sentences what came out, whatever it is."""
    levels = {level: row for level, row in metrics["sizes"][base].items() if level in TARGET_LEVELS}
    said: dict[str, list[str]] = {}
    for level, row in levels.items():
        said.setdefault(verdict(row["margin"]), []).append(level_title(level))
    verdicts = "; ".join(f"{words} at {', '.join(where)}" for words, where in said.items())
    middle = levels[_near(levels, 0.3)]
    ways, chosen = middle["ways"], middle["chosen"]
    return [
        f"Hidden tokens from 10 to 60 %, models of size {base}, accuracy of diffusion against the strongest causal "
        f"protocol: {verdicts} (95 % interval over {ways[chosen['diffusion']]['n_poems']} test poems).",
        "At 30 %: "
        + ", ".join(
            f"{way_title(name)} {100 * ways[name]['accuracy']:.2f} %"
            for name in dict.fromkeys([chosen["diffusion"], chosen["rival"], "causal left", "bigram"])
        )
        + ".",
        *nats_sentences(metrics),
        *_of_pretrained(metrics),
        f"{_shared(record['data']['contamination'])} {record['minutes']:.0f} minutes by the clock and "
        f"{record['processor_minutes']:.0f} processor minutes, on {record['n_cores']} cores ({record['device']}); made "
        f"by {record['command']}.",
    ]


def _shared(contamination: Mapping[str, Any]) -> str:
    """Say what the splits have in common, as it was counted."""
    pairs = contamination["shared"].values()
    authors, copies = (sum(pair[name] for pair in pairs) for name in ("authors", "copies"))
    near = sum(pair["near_copies"] for pair in pairs)
    if not authors + copies + near:
        return "No author, poem or near-copy is in two splits."
    return f"In two splits: {authors} authors, {copies} poems and {near} near-copies."


def _of_pretrained(metrics: Mapping[str, Any]) -> list[str]:
    """Say how the pretrained pair did, or why it is not there."""
    if metrics["left_out"]:
        return [f"Pretrained models are left out. {metrics['left_out']}"]
    if PRETRAINED not in metrics["sizes"]:
        return []
    levels = metrics["sizes"][PRETRAINED]
    level = _near(levels, 0.3)
    margin = levels[level]["margin"]
    return [
        f"Fine-tuned pretrained models, at {level_title(level)}: {verdict(margin)}, "
        f"{points(margin)} points {points_interval(margin)}."
    ]


def page_sections(
    metrics: Mapping[str, Any], record: Mapping[str, Any], targets: Sequence[Mapping[str, Any]]
) -> list[Section]:
    """Return the sections of the page, in order."""
    base = metrics["headline"]
    sizes = sorted(metrics["sizes"], key=lambda size: size != base)
    words = "Bands are the intervals of single ways; where they overlap, the paired margin below may still be clear."
    figure = Section(f"Accuracy against the share of hidden tokens: size {base}", [words], figure="accuracy.png")
    per_size = [make(metrics, size) for size in sizes for make in (margin_section, accuracy_section)]
    return [
        figure,
        *per_size,
        accuracy_section(metrics, base, "top5"),
        structure_section(metrics),
        nats_section(metrics),
        leakage_section(metrics),
        *original_section(metrics),
        *prefix_section(metrics),
        *groups_section(metrics),
        data_section(record["data"]),
        model_section(metrics),
        _target_section(targets),
    ]


def _target_section(targets: Sequence[Mapping[str, Any]]) -> Section:
    rows = []
    for row in targets:
        value = "–" if row["value"] is None else f"{row['value']:.4f}"
        goal = f"{row['direction']} {row['target']:g}"
        rows.append([row["name"], value, goal, "met" if row["met"] else "not met"])
    note = "Margins are the lower ends of the 95 % intervals, headline size, as fractions and not in points."
    return Section("Targets", [note], ["name", "value", "target", "verdict"], rows)


def markdown(words: Sequence[str], sections: Sequence[Section], found: Sequence[Example], *, has_picture: bool) -> str:
    """Return the page in Markdown."""
    parts = ["# Poem completion without leakage", *words]
    for section in sections:
        parts += [f"## {section.title}", *map(_escaped, section.paragraphs)]
        if section.figure:
            parts.append(f"![{section.title}]({section.figure})")
        if section.columns:
            parts.append(table([*map(_escaped, section.columns)], [[*map(_escaped, row)] for row in section.rows]))
    if found:
        parts += [
            "## Examples",
            f"The first {len(found)} test poems in an order drawn with seed 0, 30 % of the characters hidden.",
        ]
    if has_picture:
        parts.append("![examples](examples.png)")
    for one in found:
        parts += [f"**{_escaped(one.title)}** {_escaped(one.author)}", _escaped(one.shown)]
        parts += [f"{way_title(name)}: {_escaped(text)}" for name, text in one.filled.items()]
    return "\n\n".join(parts) + "\n"


def _escaped(text: str) -> str:
    """Text of data that may not turn into a table's border, HTML or emphasis."""
    for sign in ("\\", "|", "*", "_", "`", "["):
        text = text.replace(sign, f"\\{sign}")
    return text.replace("<", "&lt;").replace("\n", " ")


def html(
    words: Sequence[str], sections: Sequence[Section], found: Sequence[Example], images: Mapping[str, bytes]
) -> str:
    """Return the page in HTML: one file, all text escaped."""
    uris = {name: "data:image/png;base64," + base64.b64encode(png).decode("ascii") for name, png in images.items()}
    shown = [
        {
            "title": one.title,
            "author": one.author,
            "shown": one.shown,
            "pieces": {way_title(name): _pieces(one, text) for name, text in one.filled.items()},
        }
        for one in found
    ]
    template = Environment(autoescape=True).from_string(PAGE)
    return template.render(summary=words, sections=sections, examples=shown, images=uris)


def _pieces(one: Example, text: str) -> list[tuple[str, str]]:
    kinds = [
        "" if not hole else "right" if sign == truth else "wrong"
        for sign, truth, hole in zip(text, one.text, one.hidden, strict=True)
    ]
    return list(zip(kinds, text, strict=True))


def text_table(section: Section) -> str:
    """Return a section's table in plain text, columns aligned."""
    rows = [list(section.columns), *map(list, section.rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(section.columns))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([section.title, *lines]) + "\n"
