"""Constraints on a text: required and forbidden words, a regular expression. Met, or reported as not met."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gencls.generation.config import GenerationConfig
from gencls.generation.rules import spelled, word_pattern
from gencls.generation.vocabulary import Vocabulary

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


def place_words(words: Sequence[IntArray], given: BoolArray, *, generator: np.random.Generator) -> IntArray:
    """Choose places for required words in the holes.

    Parameters
    ----------
    words : sequence of ndarray of int64
        Token ids of each word or phrase.
    given : ndarray of shape (L,), bool
    generator : numpy.random.Generator

    Returns
    -------
    ndarray of shape (L,), int64
        The words' tokens, -1 elsewhere. Each stands at a uniform place among those where it fits, with a hidden token
        to its neighbours if there is such a place; a word that fits nowhere is left out.
    """
    forced = np.full(len(given), -1, dtype=np.int64)
    for ids in words:
        free = ~given & (forced < 0)
        starts = _places(free, len(ids))
        roomy = np.array([start for start in starts if not _touches(forced, start, len(ids))], dtype=np.int64)
        candidates = roomy if len(roomy) else starts
        if len(candidates):
            start = int(generator.choice(candidates))
            forced[start : start + len(ids)] = ids
    return forced


def _places(free: BoolArray, length: int) -> IntArray:
    """Starts of all runs of a length that are free."""
    if not 0 < length <= len(free):
        return np.zeros(0, dtype=np.int64)
    return np.flatnonzero(np.lib.stride_tricks.sliding_window_view(free, length).all(axis=1))


def _touches(forced: IntArray, start: int, length: int) -> bool:
    return bool((forced[max(start - 1, 0) : start + length + 1] >= 0).any())


def meets(text: str, config: GenerationConfig) -> bool:
    """Tell whether a text meets the regular expression; so does every text where there is none."""
    return config.regex is None or re.search(config.regex, text) is not None


def constraint_report(
    text: str, token_ids: IntArray, config: GenerationConfig, vocabulary: Vocabulary
) -> dict[str, Any]:
    """Say of every constraint whether a text meets it.

    Words are looked for in the text and in its tokens as they read, where "don't" is "don ' t".

    Returns
    -------
    dict
        ``require``, ``forbid`` (word to whether it is met) and ``regex`` (bool), those that there are.
    """
    readings = text, "".join(vocabulary.reads[index] for index in token_ids)
    report: dict[str, Any] = {}
    if config.require:
        report["require"] = {word: _has(readings, word, vocabulary) for word in config.require}
    if config.forbid:
        report["forbid"] = {word: not _has(readings, word, vocabulary) for word in config.forbid}
    if config.regex is not None:
        report["regex"] = meets(text, config)
    return report


def _has(readings: tuple[str, str], word: str, vocabulary: Vocabulary) -> bool:
    pattern = word_pattern([word, *spelled([word], vocabulary)])
    return any(pattern.search(reading) is not None for reading in readings)
