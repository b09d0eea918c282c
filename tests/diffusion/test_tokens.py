"""Texts to ids: whatever a user writes is text, never a special token; both truncations; odd texts."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import BertTokenizer, PreTrainedTokenizerFast

from gencls.diffusion.tokens import TokenFrame, frame_of, tiny_tokenizer, tokenize

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ODD_TEXTS = {
    "empty": "",
    "spaces": " \t\n\u00a0\u3000",
    "emoji": "👩‍👩‍👧‍👦 great 🎬🍿",
    "right to left": "סרט נהדר فيلم رائع \u202eevil\u202c",
    "control": "a\x00b\x07c\x1b[31m\x7f\u200b\ufeffd",
    "combining": "Z̸͑a̴l̷g̶o̵ e\u0301",
    "private and unassigned": "\ue000 \U000f0000 \uffff",
    "mask": "[MASK] [mask] [PAD][CLS] [SEP] [UNK] <mask> <s>",
    "only a mask": "[MASK]",
}


@pytest.fixture(scope="module")
def bert():
    words = ["[", "]", "mask", "cls", "sep", "pad", "unk", "good", "film", "##s", "a", "b", "<", ">", "s"]
    vocab = {token: index for index, token in enumerate(SPECIAL + words)}
    return BertTokenizer(vocab=vocab)


@pytest.fixture(scope="module")
def byte_bpe():
    """RoBERTa's kind: bytes, `<mask>` takes the space before it."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: index for index, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", "<mask>", *letters])}
    inner = Tokenizer(models.BPE(vocab, [], unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "mask_token": "<mask>"}
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", **names)


@pytest.fixture(scope="module")
def unigram():
    """XLM-R's kind: the special names are pieces of the model's own vocabulary, of the best score."""
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces += [("▁", -2.0), *((letter, -4.0) for letter in "<>amskgood[]MASK/unp"), ("<mask>", 0.0)]
    inner = Tokenizer(models.Unigram(pieces, unk_id=3))
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "mask_token": "<mask>"}
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", **names)


@pytest.fixture(params=["tiny", "bert", "byte_bpe", "unigram"])
def tokenizer(request):
    return tiny_tokenizer() if request.param == "tiny" else request.getfixturevalue(request.param)


def special_ids(tokenizer):
    """Ids that no text may have; the unknown token stands for text."""
    return set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}


@pytest.mark.parametrize("name", ODD_TEXTS)
def test_no_text_becomes_a_special_token(tokenizer, name):
    tokens = tokenize([ODD_TEXTS[name], "good"], tokenizer, max_length=64)
    assert len(tokens.ids) == 2
    assert len(tokens.ids[1]) > 0
    for ids in tokens.ids:
        assert ids.dtype == np.int64
        assert not special_ids(tokenizer) & set(ids.tolist())


def test_the_name_of_the_mask_is_split_like_any_text(bert, byte_bpe):
    ids = tokenize(["good [MASK] film"], bert, max_length=64).ids[0]
    assert bert.convert_ids_to_tokens(ids) == ["good", "[", "mask", "]", "film"]
    ids = tokenize(["a<mask>"], byte_bpe, max_length=64).ids[0]
    assert byte_bpe.convert_ids_to_tokens(ids) == list("a<mask>")


def test_the_users_tokenizer_still_knows_its_special_tokens(bert):
    """`tokenize` may not leave the tokenizer in another state."""
    tokenize(["[MASK]"], bert, max_length=8)
    assert bert("[MASK]", add_special_tokens=False)["input_ids"] == [bert.mask_token_id]


def test_a_lone_surrogate_is_text_too(tokenizer):
    """json.loads('"\\ud83d"') gives such a text: half of an emoji, which no UTF-8 encoder takes."""
    tokens = tokenize(["good \ud83d film", "good"], tokenizer, max_length=64)
    assert len(tokens.ids[0]) >= len(tokens.ids[1]) > 0


@pytest.mark.parametrize("truncation", ["tail", "head"])
def test_truncation_keeps_the_asked_end(truncation):
    tokenizer = tiny_tokenizer()
    letters = "abcdefghij"
    whole = tokenize([letters], tokenizer, max_length=10, truncation=truncation)
    cut = tokenize([letters], tokenizer, max_length=4, truncation=truncation)
    expected = letters[-4:] if truncation == "tail" else letters[:4]
    assert "".join(tokenizer.convert_ids_to_tokens(cut.ids[0])) == expected
    assert whole.is_cut.tolist() == [False]
    assert cut.is_cut.tolist() == [True]


@pytest.mark.parametrize("truncation", ["tail", "head"])
def test_a_hundred_thousand_characters(truncation):
    text = "start " + "x" * 100_000 + " end"
    tokens = tokenize([text, "x"], tiny_tokenizer(), max_length=128, truncation=truncation)
    assert [len(ids) for ids in tokens.ids] == [128, 1]
    assert tokens.is_cut.tolist() == [True, False]
    end = "end" if truncation == "tail" else "start"
    kept = "".join(tiny_tokenizer().convert_ids_to_tokens(tokens.ids[0]))
    assert kept.endswith(end) if truncation == "tail" else kept.startswith(end)


def test_a_text_depends_on_no_other_text_of_the_call(tokenizer):
    texts = [*ODD_TEXTS.values(), "good film", "a" * 50]
    together = tokenize(texts, tokenizer, max_length=16).ids
    for text, ids in zip(texts, together, strict=True):
        np.testing.assert_array_equal(tokenize([text], tokenizer, max_length=16).ids[0], ids)


def test_no_texts_and_empty_texts():
    none = tokenize([], tiny_tokenizer(), max_length=4)
    assert none.ids == []
    assert none.is_cut.shape == (0,)
    empty = tokenize(["", "  "], tiny_tokenizer(), max_length=4)
    assert [ids.shape for ids in empty.ids] == [(0,), (0,)]
    assert {ids.dtype for ids in empty.ids} == {np.dtype(np.int64)}
    assert not empty.is_cut.any()


def test_frames(bert, byte_bpe):
    frame = frame_of(bert)
    assert frame == TokenFrame(bos=2, eos=3, pad=0, mask=4)
    assert frame.frame(np.array([7, 8])).tolist() == [2, 7, 8, 3]
    assert frame.frame(np.array([], dtype=np.int64)).tolist() == [2, 3]
    assert (frame.n_before, frame.n_special) == (1, 2)
    assert TokenFrame(**frame.as_dict()) == frame
    bare = TokenFrame(bos=None, eos=None, pad=0, mask=4)
    assert bare.frame(np.array([7])).tolist() == [7]
    assert (bare.n_before, bare.n_special) == (0, 0)
    assert frame_of(byte_bpe) == TokenFrame(bos=0, eos=2, pad=1, mask=4)


def test_a_tokenizer_without_a_mask_is_refused(bert):
    inner = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    with pytest.raises(ValueError, match="mask and a padding token"):
        frame_of(PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]"))
