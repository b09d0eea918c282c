"""Holes of poems: what each kind hides, and that nothing but the poem and the seed decides."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.poem_masks import mask_of

POEM = "春眠不觉晓，/处处闻啼鸟。/夜来风雨声，/花落知多少。"


def hidden_by(kind: str, level: float = 0.3, text: str = POEM, seed: int = 0) -> str:
    return "".join(sign for sign, hole in zip(text, mask_of(text, kind, level, seed=seed), strict=True) if hole)


def test_rhymes_are_the_last_letters_of_the_lines() -> None:
    assert hidden_by("rhymes") == "晓鸟声少"
    assert hidden_by("rhymes", text="，/a。/") == "a"


def test_lines_are_whole_and_breaks_stay() -> None:
    assert hidden_by("first_line") == "春眠不觉晓，"
    assert hidden_by("last_line") == "花落知多少。"
    lines = POEM.split("/")
    assert hidden_by("lines", 0.5) in {a + b for i, a in enumerate(lines) for b in lines[i + 1 :]}


@pytest.mark.parametrize("kind", ["lines", "rhymes", "last_line", "first_line"])
def test_a_poem_of_one_line_has_no_lines_to_hide(kind: str) -> None:
    assert not mask_of("一行诗", kind, 0.3, seed=0).any()
    assert not mask_of("", kind, 0.3, seed=0).any()


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9])
def test_tokens_are_hidden_in_the_asked_share_and_only_free_ones(level: float) -> None:
    free = np.array([sign != "，" for sign in POEM])
    hidden = mask_of(POEM, "tokens", level, seed=0, free=free)
    assert hidden.sum() == round(level * free.sum())
    assert not hidden[~free].any()


def test_a_seed_decides() -> None:
    assert hidden_by("tokens") == hidden_by("tokens")
    assert len({hidden_by("tokens", seed=seed) for seed in range(5)}) > 1


def test_every_place_is_hidden_equally_often() -> None:
    counts = sum(mask_of(POEM, "tokens", 0.25, seed=seed).astype(float) for seed in range(2000))
    share = round(0.25 * len(POEM)) / len(POEM)
    z = (counts / 2000 - share) / np.sqrt(share * (1 - share) / 2000)
    assert np.abs(z).max() < 4.5
