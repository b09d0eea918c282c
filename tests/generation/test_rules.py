"""Rules: whole words, no repeats, no forbidden words, and a reading of the vocabulary."""

from __future__ import annotations

import numpy as np
import pytest

from gencls.diffusion.tokens import tiny_tokenizer
from gencls.generation.constraints import place_words
from gencls.generation.rules import Rules, spelled, word_pattern
from gencls.generation.vocabulary import vocabulary_of


@pytest.fixture(scope="module")
def words(model):
    return vocabulary_of(model.tokenizer, model.denoiser.vocab_size)


@pytest.fixture(scope="module")
def allow(words):
    """Whether the last written of some tokens (None: hidden) is allowed at its place."""

    def check(tokens, place, *, given=(), **rules):
        ids = np.array([0 if token is None else words.tokenizer.convert_tokens_to_ids(token) for token in tokens])
        visible = np.array([token is not None for token in tokens])
        is_given = np.isin(np.arange(len(tokens)), given)
        return Rules(words, **rules).allow(ids, visible, is_given, place)

    return check


def test_special_unused_unknown_and_missing_tokens_are_banned(words):
    names = words.tokenizer.convert_ids_to_tokens(words.banned_ids.tolist())
    assert set(names) >= {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]", "[unused1]"}
    assert "##!" in names, "a sign never goes on with a word"
    assert names.count(None) == 3, "ids behind the tokenizer's"
    assert not {"the", "##s", "."} & set(names)


def test_reading_of_word_pieces(words):
    ids = words.tokenizer("The unknown cat, terrible!", add_special_tokens=False)["input_ids"]
    assert "".join(words.reads[index] for index in ids) == " the unknown cat , terrible !"
    assert words.text_of(np.array(ids)) == "the unknown cat, terrible!"


def test_joining_texts(words):
    assert words.join("A film", "that") == "A film that"
    assert words.join("A film", ", that") == "A film, that"
    assert words.join("A film ", "that") == "A film that"
    assert words.join("", "that") == "that"
    assert words.join("\u4f60", "\u597d") == "\u4f60\u597d"


def test_a_word_goes_on_only_where_one_can(allow):
    assert not allow(["##s", None], 0), "a text does not start within a word"
    assert allow(["cat", "##s"], 1)
    assert not allow(["cat", "##s"], 1, given=[0]), "a given word stays as it is"
    assert not allow([".", "##s"], 1)
    assert not allow([".", "##s"], 0), "the sign came second"
    assert allow([None, "##s"], 1)
    assert allow(["un", "##known", "##s"], 1)
    assert allow(["cat", "the"], 1, given=[0])


def test_bans_say_before_what_allow_says_after(words, allow):
    tokens = ["cat", None, ".", None, "##s", None]
    ids = np.array([[0 if token is None else words.tokenizer.convert_tokens_to_ids(token) for token in tokens]])
    visible = np.array([[token is not None for token in tokens]])
    for given in ([], [0]):
        is_given = np.isin(np.arange(6), given)[None]
        bans = Rules(words).join_bans(ids, visible, is_given)
        for place in (1, 3, 5):
            for token in ("##ly", ".", "dog"):
                index = words.tokenizer.convert_tokens_to_ids(token)
                banned = (bans.no_continuation[0, place] and words.continues[index]) or (
                    bans.must_be_continued[0, place] and not words.can_be_continued[index]
                )
                filled = [*tokens[:place], token, *tokens[place + 1 :]]
                assert allow(filled, place, given=given) == (not banned)


def test_no_run_of_tokens_twice(allow):
    text = ["the", "cat", "was", "the", "cat"]
    assert not allow(text, 4, no_repeat_ngram=2)
    assert not allow(text, 3, no_repeat_ngram=2), "the run may be completed from its front"
    assert allow(text, 4, no_repeat_ngram=3)
    assert allow(["the", "cat", None, "cat", "the"], 4, no_repeat_ngram=2)
    assert not allow(["the", "the", "the"], 2, no_repeat_ngram=2), "runs may overlap"
    assert allow(["the", "cat"], 1, no_repeat_ngram=5)


def test_forbidden_words_across_pieces_and_signs(allow, words):
    forbid = spelled(["terrible", "very bad", "don't"], words)
    assert not allow(["the", "ter", "##rible"], 2, forbid=forbid)
    assert not allow(["the", "ter", "##rible"], 1, forbid=forbid), "its front came second"
    assert allow(["the", "ter", "##rible", "##ly"], 3, forbid=forbid), "another word"
    assert not allow(["very", "bad"], 1, forbid=forbid)
    assert allow(["very", None, "bad"], 2, forbid=forbid)
    assert not allow(["d", "##o", "##n", "'", "t"], 3, forbid=forbid)
    assert allow(["ter", "##rible", "the"], 2, forbid=forbid), "a forbidden word elsewhere is not this token's doing"


def test_a_forbidden_token_is_banned_before_it_is_drawn(words):
    ids = Rules(words, forbid=("GOOD", "ly")).forbidden_ids
    assert words.tokenizer.convert_ids_to_tokens(ids.tolist()) == ["good"], "##ly is no word"


def test_patterns_find_whole_words_only():
    pattern = word_pattern(["art", "C++"])
    assert pattern.search("ART.")
    assert not pattern.search("party")
    assert pattern.search("in C++ and")


def test_required_words_are_placed_apart_and_left_out_where_they_do_not_fit():
    given = np.array([False] * 8 + [True])
    seen = set()
    for seed in range(40):
        forced = place_words([np.array([5, 6]), np.array([7])], given, generator=np.random.default_rng(seed))
        assert sorted(forced[forced >= 0].tolist()) == [5, 6, 7]
        first, other = int(np.flatnonzero(forced == 5)[0]), int(np.flatnonzero(forced == 7)[0])
        assert forced[first + 1] == 6
        assert other not in range(first - 1, first + 3), "a token between them"
        assert forced[8] == -1
        seen.add(first)
    assert seen == set(range(7))
    too_long = place_words([np.arange(9)], given, generator=np.random.default_rng(0))
    assert (too_long == -1).all()


def test_words_of_whole_tokens_need_no_joins():
    words = vocabulary_of(tiny_tokenizer(), 99)
    assert not words.continues.any()
    assert words.can_be_continued.all()
    assert words.reads[words.tokenizer.convert_tokens_to_ids("a")] == " a"


BYTES = ["\u0120the", "\u0120cat", "s", ".", "\u0120was", "The"]


@pytest.fixture(scope="module")
def byte_words():
    """A byte-level vocabulary, as RoBERTa's."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    inner = Tokenizer(models.BPE({token: index for index, token in enumerate([*special, *BYTES])}, []))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    names = {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"}
    options = {f"{name}_token": token for name, token in names.items()}
    return vocabulary_of(PreTrainedTokenizerFast(tokenizer_object=inner, **options), 12)


def test_byte_level_tokens_hold_their_spaces(byte_words):
    ids = {token: index + 5 for index, token in enumerate(BYTES)}
    assert byte_words.writes_spaces
    assert [byte_words.reads[ids[token]] for token in BYTES] == [" the", " cat", "s", ".", " was", "The"]
    assert byte_words.banned_ids.tolist() == [0, 1, 2, 3, 4, 11]
    assert byte_words.join("A cat", byte_words.text_of(np.array([ids["\u0120was"], ids["."]]))) == "A cat was."
    given = np.array([True, False])
    rules, visible = Rules(byte_words), np.array([True, True])
    for token, is_allowed in (("s", False), ("\u0120was", True), (".", True)):
        row = np.array([ids["\u0120cat"], ids[token]])
        assert rules.allow(row, visible, given, 1) == is_allowed, "a given word does not go on"
        assert rules.allow(row, visible, ~visible, 1), "one that was written does"
    first = np.array([ids["The"], ids["s"]])
    assert rules.allow(first, visible, ~visible, 0), "a text may begin without a space"
