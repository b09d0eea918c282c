"""The four-bit BERT of an artefact: read exactly, as a folder that Transformers load.

The small file here is written after the format's description, from weights that four bits hold exactly.
"""

from __future__ import annotations

import struct

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel

from gencls.data.artefacts import ARTEFACTS
from gencls.data.four_bit_bert import REGISTRY_FOUR_BIT, read_file

PIECES = [
    *[("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)],
    *[(piece, -2.0) for piece in ("▁", "酒店", "很好", "的", "▁hotel", "s")],
    *[(piece, -5.0) for piece in "酒店很好不差,hotel1"],
    ("不好", -2.5),
    ("<mask>", 0.0),
]
NAMES = {
    "embeddings.word_embeddings.weight": "emb.word",
    "embeddings.position_embeddings.weight": "emb.pos",
    "embeddings.token_type_embeddings.weight": "emb.type",
    "embeddings.LayerNorm.weight": "emb.ln.w",
    "embeddings.LayerNorm.bias": "emb.ln.b",
}
MODULES = {
    "attention.self.query": "q",
    "attention.self.key": "k",
    "attention.self.value": "v",
    "attention.output.dense": "ao",
    "attention.output.LayerNorm": "aln",
    "intermediate.dense": "fi",
    "output.dense": "fo",
    "output.LayerNorm": "oln",
}


def name_in_file(name: str) -> str:
    if name in NAMES:
        return NAMES[name]
    _, _, layer, rest = name.split(".", 3)
    module, kind = rest.rsplit(".", 1)
    return f"l{layer}.{MODULES[module]}.{kind[0]}"


def is_packed(name: str, values: torch.Tensor) -> bool:
    return values.ndim == 2 and name_in_file(name) not in ("emb.pos", "emb.type")


def small_model(vocab_size: int = len(PIECES) + 3) -> BertModel:
    """A BERT whose matrices are multiples of a power of two in -8 to 7; more rows than pieces, as the real one has."""
    config = BertConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=48,
        layer_norm_eps=1e-12,
        pad_token_id=1,
    )
    model = BertModel(config, add_pooling_layer=False).eval()
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, values in model.named_parameters():
            if is_packed(name, values):
                values.copy_(torch.randint(-8, 8, values.shape, generator=draws) / 16)
            else:
                values.copy_(torch.rand(values.shape, generator=draws))
    return model


def blocks(values: np.ndarray) -> bytes:
    """Scale 1/16 and half bytes: weight j low and weight j + 16 high in byte j."""
    levels = (values.reshape(-1, 32) * 16 + 8).astype(np.uint8)
    scale = np.full((len(levels), 1), 1 / 16, dtype="<f2").view(np.uint8).reshape(len(levels), 2)
    return np.concatenate([scale, levels[:, :16] | (levels[:, 16:] << 4)], axis=1).tobytes()


def four_bit_file(model: BertModel) -> bytes:
    config = model.config
    texts = [piece.encode() for piece, _ in PIECES]
    ends = np.cumsum([0, *map(len, texts)]).astype("<u4").tobytes()
    scores = np.array([score for _, score in PIECES], dtype="<f4").tobytes()
    normal = struct.pack("<IBI", 0xFF0C, 1, 0x2C)
    sizes = (config.hidden_size, config.num_hidden_layers, config.num_attention_heads, config.intermediate_size)
    sizes += (config.vocab_size, config.max_position_embeddings, config.type_vocab_size)
    head = b"E5S1" + struct.pack("<8ifi", 1, *sizes, config.layer_norm_eps, 32)
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, len(b"".join(texts))) + ends + scores + b"".join(texts)
    head += struct.pack("<iI", 1, len(normal)) + normal
    found = []
    for name, values in model.state_dict().items():
        numbers = values.numpy().astype("<f4")
        content = blocks(numbers) if is_packed(name, values) else numbers.tobytes()
        found.append((name_in_file(name).encode(), is_packed(name, values), numbers.size, content))
    start = len(head) + 4 + sum(2 + len(name) + 21 for name, *_ in found)
    directory = struct.pack("<i", len(found))
    for name, packed, size, content in found:
        directory += struct.pack("<H", len(name)) + name + struct.pack("<BIQQ", packed, size, start, len(content))
        start += len(content)
    return head + directory + b"".join(content for *_, content in found)


def test_registry_models_are_pinned():
    for known in REGISTRY_FOUR_BIT.values():
        assert known.artefact in ARTEFACTS
        assert known.member.endswith("-q4.bin")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("packed")
    (place / "small-q4.bin").write_bytes(four_bit_file(small_model()))
    return REGISTRY_FOUR_BIT["multilingual-e5"].unpack(place / "small-q4.bin", place / "whole")


def test_the_weights_are_those_that_were_packed(folder):
    model, expected = AutoModel.from_pretrained(folder, add_pooling_layer=False), small_model()
    assert not [path.name for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pkl")]
    assert model.config.layer_norm_eps == 1e-12
    for name, values in expected.state_dict().items():
        assert torch.equal(model.state_dict()[name], values), name


def test_texts_are_cut_in_the_likeliest_pieces(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.tokenize("酒店很好") == ["▁", "酒店", "很好"]
    assert tokenizer.tokenize("酒店不好，hotels") == ["▁", "酒店", "不好", ",", "h", "o", "t", "e", "l", "s"]
    assert tokenizer.tokenize("  hotels\t\x01 hotel\n") == ["▁hotel", "s", "▁hotel"]
    assert tokenizer.tokenize("１～") == ["▁", "1", "～"], "of the signs that NFKC replaces, XLM-R keeps this one"
    ids = tokenizer("酒店猫").input_ids
    assert [PIECES[place][0] for place in ids] == ["<s>", "▁", "酒店", "<unk>", "</s>"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "酒店"
    assert (tokenizer.pad_token_id, tokenizer.mask_token_id) == (1, len(PIECES) - 1)
    assert tokenizer.model_max_length == 48


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: b"GGUF" + content[4:], id="another magic"),
        pytest.param(lambda content: content[:-1], id="a byte short"),
        pytest.param(lambda content: content[:200], id="cut in the pieces"),
        pytest.param(lambda content: content[:40] + b"\x40" + content[41:], id="blocks of 64"),
        pytest.param(lambda content: b"", id="empty"),
    ],
)
def test_what_is_no_such_file_is_said(damage):
    content = four_bit_file(small_model())
    with pytest.raises(ValueError, match=r"four-bit BERT .*; got .*Fetch the artefact again"):
        read_file(damage(content))
