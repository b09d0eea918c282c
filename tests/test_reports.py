"""The pages in `reports/` are what the code writes from the numbers beside them: generated, never typed."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from pathlib import Path

import pytest

from benchmarks.accuracy import summarise
from benchmarks.accuracy_smoothing import smoothing_page
from benchmarks.accuracy_study_report import study_page

ROOT = Path(__file__).parents[1]
#: Links of Markdown to files, without those to other sites or to a place in the page.
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)[^)]*\)")
PAGES = {"study-*.json": study_page, "smoothing-*.json": smoothing_page}
STUDIES = [(path, page) for name, page in PAGES.items() for path in sorted((ROOT / "reports" / "accuracy").rglob(name))]


def renderers():
    spec = importlib.util.spec_from_file_location("render_reports", ROOT / "scripts" / "render_reports.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.RENDERERS


def pages(folder):
    return {
        path.name: path.read_text(encoding="utf-8") for path in (*folder.glob("*.md"), *folder.glob("targets.json"))
    }


@pytest.mark.parametrize("name", renderers())
def test_a_page_follows_from_its_numbers(name, tmp_path):
    folder = shutil.copytree(ROOT / "reports" / name, tmp_path / name)
    before = pages(folder)
    renderers()[name](folder)
    assert pages(folder) == before


def test_the_links_of_the_pages_lead_somewhere():
    pages = sorted((ROOT / "reports").rglob("*.md"))
    links = [(page, link) for page in pages for link in LINK.findall(page.read_text(encoding="utf-8"))]
    assert len(links) > 50
    broken = [(page.name, link) for page, link in links if not (page.parent / link).exists()]
    assert not broken


@pytest.mark.parametrize(("path", "page"), STUDIES, ids=[f"{path.parent.name}-{path.stem}" for path, _ in STUDIES])
def test_a_study_follows_from_its_numbers(path, page):
    assert path.with_suffix(".md").read_text(encoding="utf-8") == page(path)


def test_the_accuracy_page_follows_from_its_numbers(tmp_path):
    folder = shutil.copytree(ROOT / "reports" / "accuracy", tmp_path / "accuracy")
    before = pages(folder)
    command = json.loads((folder / "run.json").read_text(encoding="utf-8"))["command"]
    summarise(tmp_path / "no-runs", folder, size="cpu", command=command)
    assert pages(folder) == before
