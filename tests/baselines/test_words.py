"""What a word is: runs of letters, and single characters of scripts without spaces."""

from __future__ import annotations

import re

import pytest

from gencls.baselines.words import FEW_TEXTS, WORD_PATTERN, word_counter


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I don't, 2 cats_x", ["I", "don", "t", "2", "cats_x"]),
        ("这本书iPhone很好", ["这", "本", "书", "iPhone", "很", "好"]),
        ("カタ 한국어 ёж", ["カ", "タ", "한국어", "ёж"]),
        ("\U00020000a!?", ["\U00020000", "a"]),
        ("。，!  ", []),
    ],
)
def test_words(text, words):
    assert re.findall(WORD_PATTERN, text) == words


def test_pairs_cross_scripts_and_binary_counts_once():
    counter = word_counter(1, longest=2, binary=True)
    counts = counter.fit_transform(["好 好 Go"])
    assert set(counter.vocabulary_) == {"好", "好 好", "好 go", "go"}
    assert counts.toarray().tolist() == [[1, 1, 1, 1]]


def test_words_of_one_text_are_left_out_of_many():
    texts = ["common word"] * (FEW_TEXTS - 1) + ["rare"]
    assert set(word_counter(len(texts), longest=1).fit(texts).vocabulary_) == {"common", "word"}
