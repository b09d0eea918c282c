"""Texts to ids: whatever a user writes is text, never a special token; both truncations; odd texts."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import BertTokenizer, PreTrainedTokenizerFast

from gencls.diffusion import tokens as tokens_module
from gencls.diffusion.tokens import TokenFrame, chunks, frame_of, tiny_tokenizer, tokenize

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


WORDS = ["good", "film", "goods", "a", "mask", "<s>", "\n", "bad" * 9, "[MASK]", "goodgood", "", "x" * 90]
LONG = " ".join(np.random.default_rng(0).choice(WORDS, 400))


@pytest.mark.parametrize("truncation", ["tail", "head"])
@pytest.mark.parametrize("max_length", [1, 2, 5, 30])
@pytest.mark.parametrize(
    "text",
    [
        LONG,
        LONG.replace(" ", "  "),
        "a" * 2000 + " good",
        "good " + "a" * 2000,
        "x" * 4000,
        " " * 3000 + "a b",
        "a" * 99,
    ],
    ids=["words", "double spaces", "long word first", "long word last", "one word", "spaces", "short"],
)
def test_a_long_text_has_the_ids_of_the_whole_text(tokenizer, text, max_length, truncation):
    """Tokenising one end only is faster and may change nothing, in any of the four kinds of tokenizer."""
    whole = tokenize([text], tokenizer, max_length=10**9).ids[0]
    cut = tokenize([text], tokenizer, max_length=max_length, truncation=truncation)
    np.testing.assert_array_equal(cut.ids[0], whole[-max_length:] if truncation == "tail" else whole[:max_length])
    assert cut.is_cut.tolist() == [len(whole) > max_length]


@pytest.mark.parametrize("truncation", ["tail", "head"])
def test_a_million_characters_cut_to_a_row_are_little_work(tokenizer, truncation):
    """Milliseconds, where the whole text takes about a second and half a gigabyte."""
    text = "good film " * 100_000
    start = time.thread_time()
    tracemalloc.start()
    ids = tokenize([text], tokenizer, max_length=128, truncation=truncation).ids[0]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(ids) == 128
    assert time.thread_time() - start < 1
    assert peak < 2e6


def test_a_million_characters_are_all_scored_in_chunks(bert):
    tokens = tokenize(["good film " * 100_000], bert, max_length=10**6)
    assert len(tokens.ids[0]) == 200_000
    assert not tokens.is_cut.any()
    parts = chunks(tokens.ids[0], max_length=254, overlap=64)
    assert sum(len(part.token_ids) - part.n_context for part in parts) == 200_000


def test_many_calls_of_the_tokenizer_are_one_result(tokenizer, monkeypatch):
    texts = ["good film", "", "a" * 50, "b", "", "film " * 30, ""]
    expected = tokenize(texts, tokenizer, max_length=16).ids
    for characters in (1, 7, 60):
        monkeypatch.setattr(tokens_module, "CHARACTERS_PER_CALL", characters)
        for ids, wanted in zip(tokenize(texts, tokenizer, max_length=16).ids, expected, strict=True):
            np.testing.assert_array_equal(ids, wanted)


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


@pytest.mark.parametrize("max_length", [1, 2, 3, 8, 13])
def test_every_token_is_scored_in_exactly_one_chunk(max_length):
    for overlap in range(max_length):
        for n_tokens in range(60):
            ids = np.random.default_rng(n_tokens).integers(0, 1000, n_tokens)
            parts = chunks(ids, max_length=max_length, overlap=overlap)
            scored = [part.token_ids[part.n_context :] for part in parts]
            np.testing.assert_array_equal(np.concatenate(scored), ids)
            assert parts[0].n_context == 0
            before = np.cumsum([len(new) for new in scored])
            for part, end in zip(parts[1:], before, strict=False):
                assert part.n_context == overlap
                np.testing.assert_array_equal(part.token_ids[:overlap], ids[end - overlap : end])


@pytest.mark.parametrize("max_length", [1, 2, 3, 8, 13])
def test_chunks_are_few_and_equally_long(max_length):
    for overlap in range(max_length):
        for n_tokens in range(1, 60):
            parts = chunks(np.arange(n_tokens), max_length=max_length, overlap=overlap)
            lengths = [len(part.token_ids) for part in parts]
            assert max(lengths) <= max_length
            assert max(lengths) - min(lengths) <= 1
            assert min(length - part.n_context for length, part in zip(lengths, parts, strict=True)) >= 1
            # one chunk fewer has no room for all tokens
            fewer = len(parts) - 1
            assert fewer == 0 or max_length + (fewer - 1) * (max_length - overlap) < n_tokens


def test_no_token_of_a_chunk_is_left_alone():
    """The first chunk as long as it can be would leave one token for the second."""
    assert [len(chunk.token_ids) for chunk in chunks(np.arange(255), max_length=254, overlap=32)] == [143, 144]


def test_a_text_that_fits_is_one_chunk():
    for n_tokens in (0, 1, 5):
        (chunk,) = chunks(np.arange(n_tokens, dtype=np.int32), max_length=5, overlap=4)
        assert chunk.n_context == 0
        assert chunk.token_ids.dtype == np.int64
        np.testing.assert_array_equal(chunk.token_ids, np.arange(n_tokens))


def test_chunks_of_a_million_characters_are_quick():
    ids = np.arange(250_000)
    seconds = []
    for _ in range(5):  # a millisecond each; a collection of garbage may fall into one of them
        start = time.thread_time()
        parts = chunks(ids, max_length=254, overlap=64)
        seconds.append(time.thread_time() - start)
    assert min(seconds) < 0.1
    assert len(parts) == 1 + -(-(250_000 - 254) // (254 - 64))
    assert all(np.shares_memory(part.token_ids, ids) for part in parts)


@pytest.mark.parametrize(("max_length", "overlap"), [(4, 4), (4, 5), (4, -1), (0, 0)])
def test_an_overlap_without_room_is_refused(max_length, overlap):
    with pytest.raises(ValueError, match=r"Expected an overlap in 0 <= overlap < max_length; got .*\. Make"):
        chunks(np.arange(9), max_length=max_length, overlap=overlap)
