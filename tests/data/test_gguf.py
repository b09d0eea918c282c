"""The unpacking of a pretrained causal model from GGUF, up to the call."""

from __future__ import annotations

import pytest
import torch

from gencls.data import gguf
from gencls.data.artefacts import ARTEFACTS
from gencls.data.gguf import REGISTRY_CAUSAL


def test_registry_models_are_pinned():
    for known in REGISTRY_CAUSAL.values():
        assert known.artefact in ARTEFACTS
        assert known.member.endswith(".gguf")


class _Call(Exception):
    pass


def test_unpacking_asks_for_plain_float32_weights(monkeypatch, tmp_path):
    calls = []

    class Model:
        @staticmethod
        def from_pretrained(place, **options):
            assert place == str(tmp_path)
            calls.append(options)
            raise _Call

    class Tokenizer:
        @staticmethod
        def from_pretrained(place, **options):
            assert (place, options) == (str(tmp_path), {"gguf_file": "model.gguf"})

    monkeypatch.setattr(gguf, "AutoModelForCausalLM", Model)
    monkeypatch.setattr(gguf, "AutoTokenizer", Tokenizer)
    with pytest.raises(_Call):
        REGISTRY_CAUSAL["smollm2"].unpack(tmp_path / "model.gguf", tmp_path / "whole")
    assert calls[0]["gguf_file"] == "model.gguf"
    assert calls[0]["dtype"] == torch.float32
    assert calls[0]["quantization_config"].dequantize
