"""How tokens read, for each kind of vocabulary, also where it holds the signs of the others."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from gencls.generation.rules import Rules, word_pattern
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


def test_in_scripts_without_spaces_a_piece_begins_a_word():
    tokens = ["▁", "▁film", "s", "酒店", "很好", "的", "。", "カメラ"]
    places = {name: index for index, name in enumerate(["[UNK]", *tokens])}
    inner = Tokenizer(models.WordLevel(places, unk_token="[UNK]"))
    inner.decoder = decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]")
    vocabulary = vocabulary_of(tokenizer, len(tokens) + 1)
    assert [token for token, goes_on in zip(tokens, vocabulary.continues[1:], strict=True) if goes_on] == ["s"]
    given = np.array([[True, True, False]])
    ids = np.array([[places[token] for token in ("酒店", "的", "酒店")]])
    bans = Rules(vocabulary).join_bans(ids, given, given)
    assert bans.no_continuation[0, 2], "'s' would go on with what was given"
    allowed = Rules(vocabulary).allow(ids[0], np.ones(3, dtype=bool), given[0], 2)
    assert allowed, "and a Chinese word does not"


def test_a_word_of_a_script_without_spaces_is_found_inside_others():
    pattern = word_pattern(["差", "good", "dvd机"])
    assert pattern.search("服务很差。")
    assert pattern.search("买了DVD机很好")
    assert not pattern.search("goods")
    assert not pattern.search("hdvd机")
