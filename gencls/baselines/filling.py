"""A causal model fills holes one token a step: from the left side alone, or in the middle of what it was shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache

from gencls.baselines.infilling import NeighbourCausal
from gencls.baselines.infilling_rows import BoolArray, IntArray, Specials, collate, infilling_row, plain_row

#: Alternatives kept of each hole.
N_BEST = 5
TEXTS_PER_BATCH = 16
#: From the log-probabilities (n, V) of a place's tokens, the rows of their texts (n,) and the place to what is put in
#: the holes: alternatives (n, 5), of which the first is taken.
Choose = Callable[[torch.Tensor, IntArray, int], IntArray]


@dataclass(frozen=True, eq=False)
class Filled:
    """One text with its holes filled.

    Attributes
    ----------
    token_ids : ndarray of shape (L,), int64
        The text as it is filled.
    best : ndarray of shape (n_holes, 5), int64
        Alternatives for each hole, likeliest first.
    """

    token_ids: IntArray
    best: IntArray


@torch.inference_mode()
def fill_left_to_right(
    network: NeighbourCausal,
    texts: Sequence[IntArray],
    hidden: Sequence[BoolArray],
    specials: Specials,
    *,
    choose: Choose | None = None,
) -> list[Filled]:
    """Fill each hole with the likeliest token given everything on its left, filled holes included.

    Parameters
    ----------
    network : NeighbourCausal
    texts : sequence of N ndarray of shape (L,), int64
    hidden : sequence of N ndarray of shape (L,), bool
        The holes; what stands in them is not looked at.
    specials : Specials
    choose : callable, optional
        What is put in the holes; the likeliest tokens if not given.

    Returns
    -------
    list of N Filled
    """
    size = len(texts), max(map(len, texts))
    tokens, holes = np.full(size, specials.mask), np.zeros(size, dtype=bool)
    for row, (ids, hole) in enumerate(zip(texts, hidden, strict=True)):
        tokens[row, : len(ids)], holes[row, : len(ids)] = np.where(hole, specials.mask, ids), hole
    best = np.zeros((*size, N_BEST), dtype=np.int64)
    steps = _Steps(network, len(texts))
    given = np.full(size[0], specials.start)
    for place in range(size[1]):
        states = steps.next(given, np.full(size[0], place))
        rows = np.flatnonzero(holes[:, place])
        if len(rows):
            left = given[rows] if place else np.full(len(rows), -1)
            log_probs = _log_probs(network, states[rows], left, np.full(len(rows), -1))
            best[rows, place] = _likeliest(log_probs) if choose is None else choose(log_probs, rows, place)
            tokens[rows, place] = best[rows, place, 0]
        given = tokens[:, place]
    return [Filled(tokens[row, : len(ids)], best[row, : len(ids)][hidden[row]]) for row, ids in enumerate(texts)]


@torch.inference_mode()
def fill_in_the_middle(
    network: NeighbourCausal, texts: Sequence[IntArray], hidden: Sequence[BoolArray], specials: Specials
) -> list[Filled]:
    """Fill the holes from left to right, each seeing all visible tokens and the holes filled before.

    Parameters and result are those of `fill_left_to_right`; the network was trained with `in_the_middle`.
    """
    steps = _Steps(network, len(texts))
    steps.read_front([np.where(hole, specials.mask, ids) for ids, hole in zip(texts, hidden, strict=True)], specials)
    filled = [np.where(hole, specials.mask, ids) for ids, hole in zip(texts, hidden, strict=True)]
    places = [np.flatnonzero(hole) for hole in hidden]
    best = [np.zeros((len(place), N_BEST), dtype=np.int64) for place in places]
    given = np.full(len(texts), specials.separator)
    for step in range(max(map(len, places))):
        at = np.array([place[min(step, len(place) - 1)] if len(place) else 0 for place in places])
        states = steps.next(given, at + 1)
        live = np.array([row for row, place in enumerate(places) if step < len(place)])
        left = np.array([filled[row][at[row] - 1] if at[row] else -1 for row in live])
        right = np.array([_in_sight(filled[row], at[row] + 1, specials.mask) for row in live])
        for row, found in zip(live, _likeliest(_log_probs(network, states[live], left, right)), strict=True):
            best[row][step] = found
            filled[row][at[row]] = given[row] = found[0]
    return [Filled(ids, alternatives) for ids, alternatives in zip(filled, best, strict=True)]


@torch.inference_mode()
def infilling_nats(
    network: NeighbourCausal,
    texts: Sequence[IntArray],
    hidden: Sequence[BoolArray],
    specials: Specials,
    *,
    in_the_middle: bool,
) -> NDArray[np.float64]:
    """Return -log p of the hidden tokens of each text, shape (N,), float64, nats.

    In the middle it is exact for the hidden tokens given the visible ones. Without, each hidden token is given
    everything on its left as it truly is, other hidden tokens included, and nothing on its right: another question.
    """
    nats = np.zeros(len(texts))
    for start in range(0, len(texts), TEXTS_PER_BATCH):
        part = range(start, min(start + TEXTS_PER_BATCH, len(texts)))
        rows = [
            infilling_row(texts[i], hidden[i], specials) if in_the_middle else plain_row(texts[i], specials)
            for i in part
        ]
        batch = collate(rows)
        targets = batch.pop("targets")
        chosen = network.log_probs(**batch).gather(1, targets[:, None])[:, 0].double().numpy()
        bounds = np.cumsum([len(row.columns) for row in rows])[:-1]
        for i, values in zip(part, np.split(chosen, bounds), strict=True):
            # the hidden tokens of an infilling row are asked for last
            nats[i] = -(values[len(values) - hidden[i].sum() :] if in_the_middle else values[hidden[i]]).sum()
    return nats


class _Steps:
    """A batch of texts on its way through the network, one token a step."""

    def __init__(self, network: NeighbourCausal, n_texts: int) -> None:
        self.base = network.model.base_model
        self.cache = DynamicCache()
        self.seen = torch.zeros(n_texts, 0, dtype=torch.int64)

    def read_front(self, texts: Sequence[IntArray], specials: Specials) -> None:
        """Read texts of any lengths before the first step."""
        shape = len(texts), max(map(len, texts)) + 1
        input_ids, seen = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        for row, ids in enumerate(texts):
            input_ids[row, : len(ids) + 1] = np.concatenate([[specials.start], ids])
            seen[row, : len(ids) + 1] = 1
        positions = np.tile(np.arange(shape[1]), (shape[0], 1))
        self._read(input_ids, positions, seen)

    def next(self, token_ids: IntArray, positions: IntArray) -> torch.Tensor:
        """Read one token of each text; return the hidden states (N, D) behind it."""
        return self._read(token_ids[:, None], positions[:, None], np.ones((len(token_ids), 1), dtype=np.int64))[:, -1]

    def _read(self, input_ids: IntArray, positions: IntArray, seen: IntArray) -> torch.Tensor:
        self.seen = torch.cat([self.seen, torch.from_numpy(seen)], dim=1)
        states: torch.Tensor = self.base(
            input_ids=torch.from_numpy(np.ascontiguousarray(input_ids)),
            position_ids=torch.from_numpy(np.ascontiguousarray(positions)),
            attention_mask=self.seen,
            past_key_values=self.cache,
            use_cache=True,
        ).last_hidden_state
        return states


def _log_probs(network: NeighbourCausal, states: torch.Tensor, left: IntArray, right: IntArray) -> torch.Tensor:
    return network.read(states, torch.from_numpy(left), torch.from_numpy(right))


def _likeliest(log_probs: torch.Tensor) -> IntArray:
    return np.asarray(log_probs.topk(N_BEST).indices.numpy())


def _in_sight(token_ids: IntArray, place: int, mask: int) -> int:
    """The token at a place, -1 where it is hidden or the text has ended."""
    return -1 if place >= len(token_ids) or token_ids[place] == mask else int(token_ids[place])
