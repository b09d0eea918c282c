"""A polite crawler of poems: obeys robots.txt, waits between pages, stays on its host, goes on where it stopped."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
import urllib.robotparser
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag, urljoin, urlsplit

from gencls.data.errors import three_parts
from gencls.data.storage import read_json, write_json

AGENT = "gencls-poem-crawler"
#: Seconds for a page to answer, and most bytes read of one.
TIMEOUT, MOST_BYTES = 20.0, 2_000_000
_BREAKS = {"br", "p", "div", "li"}
_VOID = {"br", "img", "hr", "input", "meta", "link"}


@dataclass
class PoemPage(HTMLParser):
    """Links of a page, and the text of the elements whose class names a field of a poem.

    Attributes
    ----------
    classes : dict from str to str
        Field of a poem to the class of its element.
    """

    classes: dict[str, str]
    links: list[str] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)
    _open: list[str | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note links, line breaks and the beginning of a field."""
        values = dict(attrs)
        if tag == "a" and values.get("href"):
            self.links.append(str(values["href"]))
        if tag in _BREAKS:
            self.handle_data("\n")
        if tag not in _VOID:
            names = (values.get("class") or "").split()
            self._open.append(next((name for name, wanted in self.classes.items() if wanted in names), None))

    def handle_endtag(self, tag: str) -> None:
        """Note the end of an element."""
        if tag not in _VOID and self._open:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        """Add text to the innermost field that is open."""
        name = next((one for one in reversed(self._open) if one), None)
        if name:
            self.fields[name] = self.fields.get(name, "") + data


def crawl(
    start: str,
    output: Path,
    *,
    link_pattern: str,
    classes: dict[str, str],
    delay: float = 2.0,
    max_pages: int = 1000,
    wait: Callable[[float], None] = time.sleep,
) -> int:
    """Crawl one host from a page and append its poems to a JSONL file; returns how many were added.

    Parameters
    ----------
    start : str
        Address of the first page.
    output : Path
        Poems, one JSON object a line, with the address they came from. Beside it, ``NAME.state.json`` keeps which pages
        are still to be asked for, so that the same call goes on where a kill ended it.
    link_pattern : str
        Regular expression of the paths that are followed.
    classes : dict from str to str
        The fields title, author and content to the classes of their elements.
    delay : float
        Seconds between two pages, at least; more where robots.txt asks for more.
    max_pages : int
        Most pages asked for.
    wait : callable
        Sleeps.

    Raises
    ------
    ValueError
        If robots.txt forbids the first page, or the output is of a crawl that began elsewhere.
    """
    robots = _robots(start)
    if not robots.can_fetch(AGENT, start):
        raise ValueError(three_parts("a page that robots.txt allows", start, "Do not crawl it."))
    pause = max(delay, float(robots.crawl_delay(AGENT) or 0))
    known, added = _known(output), 0
    for address, page in _pages(start, re.compile(link_pattern), robots, classes, pause, max_pages, output, wait):
        if address not in known and all(page.fields.get(name, "").strip() for name in classes):
            poem = {name: text.strip() for name, text in page.fields.items()}
            with output.open("a", encoding="utf-8") as file:
                file.write(json.dumps({**poem, "address": address}, ensure_ascii=False) + "\n")
            added += 1
    return added


def _pages(
    start: str,
    pattern: re.Pattern[str],
    robots: urllib.robotparser.RobotFileParser,
    classes: dict[str, str],
    pause: float,
    max_pages: int,
    output: Path,
    wait: Callable[[float], None],
) -> Iterator[tuple[str, PoemPage]]:
    state_path = output.with_suffix(".state.json")
    state: dict[str, Any] = {"start": start, "queue": [start], "seen": [start]}
    if state_path.exists():
        state = read_json(state_path)
    if state["start"] != start:
        todo = "Give another --output, or start there."
        raise ValueError(three_parts(f"the start of the crawl so far, {state['start']}", start, todo))
    for asked in range(max_pages):
        if not state["queue"]:
            return
        if asked:
            wait(pause)
        address, page = state["queue"][0], PoemPage(classes)
        page.feed(_fetch(address) or "")
        yield address, page
        links = [urldefrag(urljoin(address, link)).url for link in page.links]
        new = [
            goal
            for goal in dict.fromkeys(links)
            if goal not in state["seen"] and _is_wanted(goal, start, pattern) and robots.can_fetch(AGENT, goal)
        ]
        # written after the page's poem: a kill in between asks for the page again, and knows its poem
        state = {"start": start, "queue": state["queue"][1:] + new, "seen": state["seen"] + new}
        write_json(state_path, state)


def _is_wanted(goal: str, start: str, pattern: re.Pattern[str]) -> bool:
    return urlsplit(goal)[:2] == urlsplit(start)[:2] and bool(pattern.search(urlsplit(goal).path))


def _robots(start: str) -> urllib.robotparser.RobotFileParser:
    robots = urllib.robotparser.RobotFileParser()
    text = _fetch(urljoin(start, "/robots.txt"))
    robots.parse((text or "").splitlines())
    return robots


def _fetch(address: str) -> str | None:
    """The text of a page; None where there is none to be had."""
    request = urllib.request.Request(address, headers={"User-Agent": AGENT})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            return str(answer.read(MOST_BYTES).decode(answer.headers.get_content_charset() or "utf-8", "replace"))
    except (OSError, ValueError, LookupError):  # urllib's errors are OSErrors; LookupError: an unknown charset
        return None


def _known(output: Path) -> set[str]:
    """Addresses of the poems that are there; a last line that a kill cut off is removed."""
    if not output.exists():
        output.parent.mkdir(parents=True, exist_ok=True)
        return set()
    lines = output.read_bytes().splitlines(keepends=True)
    if lines and not lines[-1].endswith(b"\n"):
        output.write_bytes(b"".join(lines[:-1]))
        lines.pop()
    return {json.loads(line)["address"] for line in lines}
