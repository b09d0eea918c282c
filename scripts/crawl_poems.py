"""Crawl poems of one host, politely, to a JSONL file that `gencls benchmark poems --poems` reads.

    python scripts/crawl_poems.py START --links "/poem/" --output poems.jsonl

robots.txt is obeyed, pages are asked for one at a time with a delay, and the same command goes on where it stopped.
Mind the rights of those who wrote the poems: what is crawled for research is not yours to publish.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from gencls.data.crawl import crawl

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="crawl poems of one host")
    parser.add_argument("start", help="address of the first page")
    parser.add_argument("--output", type=Path, default=Path("poems.jsonl"))
    parser.add_argument("--links", default=".", metavar="REGEX", help="paths that are followed")
    parser.add_argument("--delay", type=float, default=2.0, metavar="SECONDS", help="between two pages, at least")
    parser.add_argument("--max-pages", type=int, default=1000)
    for name in ("title", "author", "content"):
        parser.add_argument(f"--{name}-class", default=name, metavar="CLASS", help=f"class of the {name}'s element")
    arguments = parser.parse_args()
    classes = {name: getattr(arguments, f"{name}_class") for name in ("title", "author", "content")}
    options = {"delay": arguments.delay, "max_pages": arguments.max_pages}
    print(crawl(arguments.start, arguments.output, link_pattern=arguments.links, classes=classes, **options), "poems")
