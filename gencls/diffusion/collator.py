"""Corruption during training: examples to masked, padded batches for the Hugging Face Trainer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gencls.data.errors import three_parts
from gencls.diffusion.batches import frame_rows
from gencls.diffusion.masking import random_order
from gencls.diffusion.schedule import LevelSchedule
from gencls.diffusion.tokens import TokenFrame


@dataclass(frozen=True)
class Example:
    """One visit of one text.

    Attributes
    ----------
    token_ids : ndarray of shape (L,), int64, L >= 1
    class_id : int
        C for "no class".
    fold_id : int
        Fold of the cross-fitted class unigrams.
    label : int
        The text's class, also where `class_id` says "no class".
    seed : int
        Of the masks of this visit; nothing else decides them, so a resumed run sees the same masks.
    candidates : ndarray of shape (k,), int64, optional
        Classes among which the visit is decided, the text's own first; all if not given.
    """

    token_ids: NDArray[np.int64]
    class_id: int
    fold_id: int
    label: int
    seed: int
    candidates: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class DiffusionCollator:
    """Hide tokens, choose the scored ones, frame and pad.

    Parameters
    ----------
    frame : TokenFrame
    levels : LevelSchedule
        Distribution of the share of hidden tokens.
    n_scored : int
        Hidden tokens scored per text, at most; see `objective`.
    prefix_share : float
        Share of examples with a prefix that is never hidden, as generation is given one. The level is then a share of
        the other tokens.
    prefix_tokens : int, optional
        Length of the prefix, at most L - 1; drawn from 0 to L - 1 if not given.
    complementary : bool
        Whether each example gives a second row, in which the tokens are hidden that the first one shows: every token
        is then predicted once for each visit of its text, as a causal model predicts it. No second row where the first
        one shows nothing but the prefix.
    """

    frame: TokenFrame
    levels: LevelSchedule
    n_scored: int
    prefix_share: float = 0.0
    prefix_tokens: int | None = None
    complementary: bool = False

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        """Return ``batch`` (RowBatch) and the per-row tensors ``class_ids``, ``fold_ids``, ``labels``, ``n_tokens``,
        ``n_hidden`` (B,), and ``candidates`` (B, k) of examples that have them.

        Raises
        ------
        ValueError
            If some examples have candidates, and others none.
        """
        drawn = [(example, *masks) for example in examples for masks in self._hide(example)]
        own = [example for example, _, _ in drawn]
        chosen = [example.candidates for example in own if example.candidates is not None]
        if chosen and len(chosen) < len(own):
            expected, got = "candidates of all examples of a batch, or of none", f"{len(chosen)} of {len(own)}"
            raise ValueError(three_parts(expected, got, "Give all examples theirs."))
        candidates = {"candidates": torch.from_numpy(np.stack(chosen))} if chosen else {}
        return {
            **candidates,
            "batch": frame_rows(
                [example.token_ids for example in own],
                [hidden for _, hidden, _ in drawn],
                [scored for _, _, scored in drawn],
                self.frame,
            ),
            "class_ids": torch.tensor([example.class_id for example in own]),
            "fold_ids": torch.tensor([example.fold_id for example in own]),
            "labels": torch.tensor([example.label for example in own]),
            "n_tokens": torch.tensor([len(example.token_ids) for example in own]),
            "n_hidden": torch.tensor([int(hidden.sum()) for _, hidden, _ in drawn]),
        }

    def _hide(self, example: Example) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
        """Give the hidden and the scored tokens of each row of an example."""
        generator = np.random.default_rng(example.seed)
        n_prefix = self._draw_prefix(len(example.token_ids), generator)
        n_tokens = len(example.token_ids) - n_prefix
        count = self.levels.draw_count(n_tokens, generator=generator)
        # a rank beyond all counts is never hidden
        prefix = np.full(n_prefix, len(example.token_ids))
        ranks = np.concatenate([prefix, random_order(n_tokens, generator=generator)])
        # ranks are a random order of the hidden tokens too, so its first ones are a random subset of them
        yield ranks < count, ranks < min(count, self.n_scored)
        if self.complementary and count < n_tokens:
            shown = (ranks >= count) & (ranks < n_tokens)
            yield shown, shown & (ranks < count + self.n_scored)

    def _draw_prefix(self, n_tokens: int, generator: np.random.Generator) -> int:
        """Return the length of the prefix; nothing is drawn where no example has one."""
        if self.prefix_share == 0 or generator.random() >= self.prefix_share:
            return 0
        if self.prefix_tokens is not None:
            return min(self.prefix_tokens, n_tokens - 1)  # a token is left to be hidden
        return int(generator.integers(n_tokens))
