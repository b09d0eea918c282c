"""Near-copies: the index finds exactly the pairs that a look at every pair finds."""

from __future__ import annotations

from difflib import SequenceMatcher
from itertools import combinations

import numpy as np
import pytest

from gencls.data.near_duplicates import letters, near_copies, shares_half


@pytest.mark.parametrize("n_letters", [2, 4, 400])
def test_the_index_finds_what_the_pairs_have(n_letters: int) -> None:
    generator = np.random.default_rng(n_letters)
    texts = ["".join(chr(0x4E00 + c) for c in generator.integers(n_letters, size=n)) for n in range(40)]
    texts += [text[len(text) // 3 :] + other[:5] for text, other in zip(texts[10:], texts, strict=False)]
    forms = [letters(text) for text in texts]
    slow = [(i, j) for i, j in combinations(range(len(texts)), 2) if shares_half(forms[i], forms[j])]
    assert near_copies(texts) == slow
    assert slow


def test_half_is_of_the_longest_common_substring() -> None:
    generator = np.random.default_rng(0)
    outcomes = []
    for _ in range(300):
        first, second = ("".join(generator.choice(list("abc"), size=generator.integers(1, 12))) for _ in range(2))
        match = SequenceMatcher(None, first, second, autojunk=False).find_longest_match()
        outcomes.append(2 * match.size >= min(len(first), len(second)))
        assert shares_half(first, second) == outcomes[-1]
    assert 0 < sum(outcomes) < 300


def test_punctuation_and_width_do_not_hide_a_copy() -> None:
    assert near_copies(["归巢的鸟儿，/尽管是倦了！", "归巢 的鸟儿 尽管是倦了", "ＡＢＣ", "abc", "。", "。"]) == [
        (0, 1),
        (2, 3),
        (4, 5),
    ]


def test_nothing_is_like_nothing() -> None:
    assert near_copies([]) == near_copies([""]) == []
    assert not shares_half("", "abc")
