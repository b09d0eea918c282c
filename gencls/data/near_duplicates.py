"""Copies and near-copies of texts: a near-copy shares a run of characters of half the shorter text's length.

The test is exact, for the longest common substring of every pair, and needs no pass over all pairs. Of a text with n
characters and h = ceil(n / 2), a run of h characters holds h - q + 1 grams of q characters, all of them in the other
text. So only texts that share that many grams can be near-copies, and of these each run is looked up.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain

from gencls.data.text import normal_form

#: Characters of a gram; of texts whose half is shorter, the runs themselves are looked for.
GRAM = 6


def letters(text: str) -> str:
    """Return what near-copies are compared by: the normal form without spaces.

    >>> letters("归巢的鸟儿，/尽管 是倦了")
    '归巢的鸟儿尽管是倦了'
    """
    return normal_form(text).replace(" ", "")


def shares_half(first: str, second: str) -> bool:
    """Tell whether the longest common substring is at least half of the shorter text; no text is like an empty one.

    >>> shares_half("abcdef", "xxabcxx"), shares_half("abcdef", "xabxdefx"), shares_half("abcdef", "abxxef")
    (True, True, False)
    """
    short, long = sorted((first, second), key=len)
    half = -(-len(short) // 2)
    return any(short[start : start + half] in long for start in range(len(short) - half + 1)) if short else False


def near_copies(texts: Sequence[str]) -> list[tuple[int, int]]:
    """Return all pairs of near-copies, copies included.

    Parameters
    ----------
    texts : sequence of N str
        Compared by their `letters`; texts without a letter are left out.

    Returns
    -------
    list of (int, int)
        Places i < j of each pair, ascending.
    """
    forms = [letters(text) for text in texts]
    found = {
        (min(short, other), max(short, other))
        for short, other in chain(_of_short_texts(forms), _of_long_texts(forms))
        if (len(forms[other]), other) > (len(forms[short]), short) and shares_half(forms[short], forms[other])
    }
    return sorted(found)


def _grams(form: str, length: int) -> set[str]:
    return {form[start : start + length] for start in range(len(form) - length + 1)}


def _half(form: str) -> int:
    return -(-len(form) // 2)


def _of_short_texts(forms: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Pairs in which the half of the first text is shorter than a gram: both have a run of that length."""
    wanted: dict[str, list[int]] = defaultdict(list)
    for short, form in enumerate(forms):
        if 0 < _half(form) < GRAM:
            for run in _grams(form, _half(form)):
                wanted[run].append(short)
    lengths = {len(run) for run in wanted}
    for other, form in enumerate(forms):
        for length in lengths:
            for run in _grams(form, length) & wanted.keys():
                for short in wanted[run]:
                    yield short, other


def _of_long_texts(forms: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Pairs that share enough grams."""
    index: dict[str, list[int]] = defaultdict(list)
    for place, form in enumerate(forms):
        for gram in _grams(form, GRAM):
            index[gram].append(place)
    for short, form in enumerate(forms):
        needed = _half(form) - GRAM + 1
        if needed < 1:
            continue
        starts = range(len(form) - GRAM + 1)
        shared = Counter(place for start in starts for place in index[form[start : start + GRAM]])
        for other, count in shared.items():
            if count >= needed:
                yield short, other
