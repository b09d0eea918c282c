"""The pages in `reports/` are what the code writes from the numbers beside them: generated, never typed."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from pathlib import Path

import pytest

from benchmarks.accuracy import summarise
from benchmarks.accuracy_study_report import study_page

ROOT = Path(__file__).parents[1]
#: Links of Markdown to files, without those to other sites or to a place in the page.
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)[^)]*\)")
STUDIES = sorted((ROOT / "reports" / "accuracy").rglob("study-*.json"))


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


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_study_follows_from_its_numbers(path):
    assert path.with_suffix(".md").read_text(encoding="utf-8") == study_page(path)


def test_the_accuracy_page_follows_from_its_numbers(tmp_path):
    folder = shutil.copytree(ROOT / "reports" / "accuracy", tmp_path / "accuracy")
    before = pages(folder)
    command = json.loads((folder / "run.json").read_text(encoding="utf-8"))["command"]
    summarise(tmp_path / "no-runs", folder, size="cpu", command=command)
    assert pages(folder) == before
