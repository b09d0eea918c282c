"""How tokens read, for each kind of vocabulary, also where it holds the signs of the others."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from gencls.generation.vocabulary import vocabulary_of

KINDS = {
    "pieces": (["a", "film", "##s", "##ly", "Ġ", "#"], decoders.WordPiece(), [" a", " film", "s", "ly", " Ġ", " #"]),
    "bytes": (
        ["Ġfilm", "Ġa", "Ġb", "##", "####", "Ċ"],
        decoders.ByteLevel(),
        [" film", " a", " b", "##", "####", "\n"],
    ),
    "spaces": (["a", "▁film", "▁a", "##", "Ġ"], decoders.Metaspace(), ["a", " film", " a", "##", "Ġ"]),
    "words": (["a", "film"], decoders.Fuse(), [" a", " film"]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_reads(kind):
    tokens, decoder, reads = KINDS[kind]
    names = ["[PAD]", "[UNK]", "[MASK]", *tokens]
    inner = Tokenizer(models.WordLevel({name: index for index, name in enumerate(names)}, unk_token="[UNK]"))
    inner.decoder = decoder
    options = {"pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]"}
    vocabulary = vocabulary_of(PreTrainedTokenizerFast(tokenizer_object=inner, **options), len(names))
    assert vocabulary.reads[3:] == reads
    assert vocabulary.writes_spaces is (kind in ("bytes", "spaces"))
    assert vocabulary.is_banned[:3].all()
