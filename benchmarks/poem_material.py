"""What the poem benchmark trains on and tests on: splits, tokens, counts; no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gencls.baselines.infilling_rows import Specials
from gencls.baselines.neighbours import NeighbourCounts
from gencls.baselines.ngrams import unigram
from gencls.data.fingerprint import digest_of
from gencls.data.poem_sources import load_poems
from gencls.data.poems import LINE_BREAK, Poem, PoemSplits, contamination, split_poems
from gencls.diffusion.associations import association_table
from gencls.diffusion.scratch import character_tokenizer
from gencls.diffusion.tokens import tokenize
from gencls.diffusion.unigram import assign_folds

IntArray = NDArray[np.int64]
N_FOLDS = 8


@dataclass(frozen=True, eq=False)
class Material:
    """Poems as tokens.

    Attributes
    ----------
    splits : PoemSplits
    facts : dict
        Source, what was skipped, contamination, shares cut: plain JSON data.
    tokenizer : PreTrainedTokenizerBase
        Over the characters of the training poems.
    train : list of ndarray of shape (L,), int64
        Windows of the training poems, cut between lines.
    folds : ndarray of shape (N,), int64
        Of the windows; those of one poem share a fold.
    validation, test : list of ndarray of shape (L,), int64
        The beginnings of the held-out poems: their first windows.
    counts : NeighbourCounts
    log_unigram : ndarray of shape (V,), nats
    """

    splits: PoemSplits
    facts: dict[str, Any]
    tokenizer: Any
    train: list[IntArray]
    folds: IntArray
    validation: list[IntArray]
    test: list[IntArray]
    counts: NeighbourCounts
    log_unigram: NDArray[np.float64]
    max_length: int

    @property
    def specials(self) -> Specials:
        """The ids that frame a row of a causal model."""
        return Specials(self.tokenizer.cls_token_id, self.tokenizer.sep_token_id, self.tokenizer.mask_token_id)

    @property
    def vocab_size(self) -> int:
        """V."""
        return len(self.tokenizer)

    def text(self, split: str, place: int) -> str:
        """The beginning of a held-out poem, a character a token."""
        poem: Poem = getattr(self.splits, split)[place]
        return beginning(poem, self.max_length)

    def is_known(self, split: str, place: int) -> NDArray[np.bool_]:
        """Tell the characters of a held-out poem that the training poems have; the others are never asked for."""
        ids: IntArray = getattr(self, split)[place]
        return np.asarray(ids != self.tokenizer.unk_token_id)


def windows(text: str, max_length: int) -> list[str]:
    """Cut a poem between lines in windows of at most `max_length` characters; a longer line is cut in pieces.

    >>> windows("ab/cd/efghij", 5)
    ['ab/cd', 'efghi', 'j']
    """
    found: list[str] = []
    for line in text.split(LINE_BREAK):
        pieces = [line[start : start + max_length] for start in range(0, len(line), max_length)]
        if found and pieces and len(found[-1]) + 1 + len(pieces[0]) <= max_length:
            found[-1] += LINE_BREAK + pieces.pop(0)
        found += pieces
    return found


def beginning(poem: Poem, max_length: int) -> str:
    """Return what is used of a held-out poem: its first window, as the training poems are cut."""
    return windows(poem.text, max_length)[0]


def load_material(
    path: Path | None, *, source: str, max_length: int, max_poems: int | None, smoothing: float, seed: int = 0
) -> Material:
    """Load, split and count.

    Parameters
    ----------
    path, source
        As in `gencls.data.poem_sources.load_poems`.
    max_length : int
        Tokens of a window, and of a held-out poem.
    max_poems : int, optional
        At most so many poems, chosen by a hash of their text.
    smoothing : float
        Of the counts of neighbours.
    seed : int

    Returns
    -------
    Material
    """
    poems = load_poems(path, source=source)
    chosen = sorted(poems.poems, key=lambda poem: digest_of(seed, poem.text))[:max_poems]
    splits = split_poems(chosen, seed=seed)
    facts = {
        "source": poems.source,
        "fingerprint": poems.fingerprint,
        "skipped": poems.skipped,
        "poems": len(poems.poems),
        "poems_used": len(chosen),
        "max_length": max_length,
        "contamination": contamination(splits),
        "test_poems_cut": float(np.mean([len(poem.text) > max_length for poem in splits.test])),
    }
    return build_material(splits, facts, max_length=max_length, smoothing=smoothing, seed=seed)


def build_material(
    splits: PoemSplits,
    facts: dict[str, Any],
    *,
    max_length: int,
    smoothing: float,
    seed: int = 0,
    tokenizer: Any = None,
) -> Material:
    """Turn splits into tokens and counts; parameters as in `load_material`.

    The tokenizer takes texts character by character; it is made of the training poems' characters if not given.
    """
    tokenizer = tokenizer or character_tokenizer(poem.text for poem in splits.train)
    pieces = [windows(poem.text, max_length) for poem in splits.train]
    train = _tokens([piece for parts in pieces for piece in parts], tokenizer, max_length)
    generator = np.random.default_rng([seed, 1])
    of_poem = assign_folds([np.arange(n) for n in range(len(pieces))], N_FOLDS, generator=generator)
    folds = np.repeat(of_poem, [len(parts) for parts in pieces])
    keys, values, training = association_table(train, folds, len(tokenizer), smoothing)
    held_out = {
        name: _tokens([beginning(poem, max_length) for poem in getattr(splits, name)], tokenizer, max_length)
        for name in ("validation", "test")
    }
    facts = {**facts, "characters": len(tokenizer), "train_tokens": int(sum(map(len, train)))}
    return Material(
        splits=splits,
        facts=facts,
        tokenizer=tokenizer,
        train=train,
        folds=folds,
        counts=NeighbourCounts(keys, values, training),
        log_unigram=unigram(train, len(tokenizer)),
        max_length=max_length,
        **held_out,
    )


def _tokens(texts: Sequence[str], tokenizer: Any, max_length: int) -> list[IntArray]:
    return tokenize(texts, tokenizer, max_length=max_length, truncation="head").ids
