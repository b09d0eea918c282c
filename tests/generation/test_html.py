"""The viewer as a file: one page, nothing loaded, nothing of a text read as markup."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from gencls.generation.html import to_html


class Reader(HTMLParser):
    """Collects the tags, their attributes and the data of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.data = ""
        self._in_data = False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._in_data = ("id", "data") in attrs

    def handle_endtag(self, tag):
        self._in_data = False

    def handle_data(self, data):
        self.data += data if self._in_data else ""


@pytest.fixture(scope="module")
def page(toy_trajectory):
    hostile = toy_trajectory(label="</title></script><img src=x onerror=alert(1)>")
    return to_html([hostile, toy_trajectory(per_step=2)], title="<b>&'\"", ms_per_frame=321)


def test_texts_and_labels_make_no_element(page):
    allowed = "html head meta title style body h1 div button label span input select option p main noscript section i"
    allowed += " kbd script"
    tags = {tag for tag, _ in Reader(page).tags}
    assert tags <= set(allowed.split())
    assert not {"b", "img"} & tags
    assert page.count("</script") == 2  # the data's and the program's own


def test_the_data_are_whole(page, toy_trajectory):
    data = json.loads(Reader(page).data)
    assert data["ms_per_frame"] == 321
    assert data["frames"] == [[0, 0], [1, 1], [2, 2], [3, 3], [3, 4], [3, 5], [3, 6]]
    cells = data["panels"][0]["steps"][2]["cells"]
    assert cells[7] == ["</script><b>", "new", 0.0, 2]
    assert cells[0] == ["the", "given", None, None]
    assert cells[11] == [None, "remasked", None, None]
    assert data["panels"][0]["facts"] == [["class_proba", "<b>: 0.25"]]
    assert data["panels"][0]["text"].endswith("</script><b>\ufffd[31m\n [red] 诗")


def test_nothing_is_loaded(page):
    reader = Reader(page)
    assert not [attrs for _, attrs in reader.tags if {"src", "href", "action", "style"} & set(attrs)]
    policy = next(attrs["content"] for tag, attrs in reader.tags if attrs.get("http-equiv"))
    assert policy.startswith("default-src 'none'")
    assert not re.search(r"https?:|url\(|@import|innerHTML|insertAdjacentHTML|document\.write|eval\(", page)


def test_every_control_has_a_name(page):
    reader = Reader(page)
    named = [attrs["id"] for tag, attrs in reader.tags if tag in ("button", "input", "select")]
    assert named == ["replay", "back", "play", "forward", "slider", "speed", "frames"]
    assert ("p", "polite") in [(tag, attrs.get("aria-live")) for tag, attrs in reader.tags]


def test_the_legend_names_what_occurs(toy_trajectory, page):
    assert "hidden again</span>" in page
    assert "hidden again</span>" not in to_html([toy_trajectory(remasks=False)])
