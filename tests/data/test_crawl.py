"""The crawler against a server on this machine: robots.txt, delay, one host, resume."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gencls.data.crawl import AGENT, crawl
from gencls.data.poems import read_poems

CLASSES = {"title": "title", "author": "by", "content": "text"}
POEM = '<h1 class="title">题{n}</h1><b class="by x">某 &amp; 人</b><div class="text"><p>一行{n}<br>二行</p></div>'
PAGES = {
    "/robots.txt": f"User-agent: {AGENT}\nDisallow: /poem/secret\nCrawl-delay: 3\n",
    "/": '<a href="/poem/1">1</a><a href="poem/2#x">2</a><a href="/poem/secret">s</a><a href="/other">o</a>'
    '<a href="http://example.invalid/poem/9">9</a>',
    "/poem/1": POEM.format(n=1) + '<a href="/poem/3">3</a>',
    "/poem/2": "<p>no poem",
    "/poem/3": POEM.format(n=3),
    "/poem/secret": POEM.format(n=0),
    "/other": POEM.format(n=0),
}


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            found = PAGES.get(self.path)
            self.send_response(200 if found else 404)
            self.end_headers()
            self.wfile.write((found or "").encode())

        def log_message(self, *args: object) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}/", asked
    running.shutdown()
    running.server_close()
    thread.join()


def test_it_takes_what_it_may_and_waits(server: tuple[str, list[str]], tmp_path: Path) -> None:
    (start, asked), waits = server, []
    output = tmp_path / "poems.jsonl"
    assert crawl(start, output, link_pattern="/poem/", classes=CLASSES, delay=1.0, wait=waits.append) == 2
    assert asked == ["/robots.txt", "/", "/poem/1", "/poem/2", "/poem/3"]
    assert waits == [3.0] * 3  # robots.txt asks for more than the caller
    poems = read_poems(output).poems
    assert [(poem.title, poem.author, poem.text) for poem in poems] == [
        ("题1", "某 & 人", "一行1/二行"),
        ("题3", "某 & 人", "一行3/二行"),
    ]


def test_it_goes_on_where_it_stopped(server: tuple[str, list[str]], tmp_path: Path) -> None:
    start, asked = server
    output = tmp_path / "poems.jsonl"
    options = {"link_pattern": "/poem/", "classes": CLASSES, "wait": lambda seconds: None}
    assert crawl(start, output, max_pages=2, **options) == 1
    output.write_bytes(output.read_bytes() + b'{"title": "cut of')  # a kill in the middle of a line
    asked.clear()
    assert crawl(start, output, **options) == 1
    assert asked == ["/robots.txt", "/poem/2", "/poem/3"]
    addresses = [json.loads(line)["address"] for line in output.read_text().splitlines()]
    assert addresses == [f"{start}poem/1", f"{start}poem/3"]
    with pytest.raises(ValueError, match="the start of the crawl so far"):
        crawl(start + "poem/1", output, **options)


def test_a_forbidden_start_is_refused(server: tuple[str, list[str]], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Do not crawl it"):
        crawl(server[0] + "poem/secret", tmp_path / "p.jsonl", link_pattern=".", classes=CLASSES)
