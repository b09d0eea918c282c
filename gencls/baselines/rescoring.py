r"""Candidates for holes, scored by what stands on their right: the strongest that a plain causal model can do.

The candidates a of a hole at place i are scored by

.. math:: \log p(a \mid x_{<i}) + \sum_{j=1}^{w} \log p(x_{i+j} \mid x_{<i}, a, x_{i+1}, \dots, x_{i+j-1}),

which is the model's own posterior, cut to w tokens and k candidates. The tokens on the right end at the next hole; or,
with `sees_guesses`, they are what the other holes are filled with for now, and sweeps over every other hole in turn
are repeated: iterated conditional modes (Besag 1986), the greedy form of Gibbs sampling.

All branches of a text share one forward pass: a branch attends to the text in front of its hole and to itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gencls.baselines.filling import N_BEST, Filled
from gencls.baselines.infilling import NeighbourCausal
from gencls.baselines.infilling_rows import BoolArray, IntArray, Specials, collate, plain_row

#: Branch tokens of one forward pass of a text; more holes take several.
BRANCH_TOKENS = 1024


@dataclass(frozen=True)
class Rescoring:
    """How holes are scored again.

    Attributes
    ----------
    n_candidates : int
        k, the tokens that are likeliest given the left side and, where the network has a table, the right neighbour.
    window : int
        w, tokens on the right that score.
    n_sweeps : int
        How often every hole is looked at.
    sees_guesses : bool
        Whether tokens on the right that are guesses score, too.
    """

    n_candidates: int = 8
    window: int = 3
    n_sweeps: int = 1
    sees_guesses: bool = False


@torch.inference_mode()
def rescore(
    network: NeighbourCausal,
    filled: Sequence[Filled],
    hidden: Sequence[BoolArray],
    specials: Specials,
    config: Rescoring,
) -> list[Filled]:
    """Fill the holes again, starting from texts that are filled.

    Parameters
    ----------
    network : NeighbourCausal
    filled : sequence of N Filled
        See `gencls.baselines.filling.fill_left_to_right`.
    hidden : sequence of N ndarray of shape (L,), bool
    specials : Specials
    config : Rescoring

    Returns
    -------
    list of N Filled
    """
    return [_rescore_text(network, one, hole, specials, config) for one, hole in zip(filled, hidden, strict=True)]


def _rescore_text(
    network: NeighbourCausal, filled: Filled, hidden: BoolArray, specials: Specials, config: Rescoring
) -> Filled:
    places, tokens, best = np.flatnonzero(hidden), filled.token_ids.copy(), filled.best.copy()
    # neighbours are looked at in turn, or two guesses would wait for one another; the second half sees the first one's
    turns = [slice(0, None, 2), slice(1, None, 2)] * config.n_sweeps
    for turn in turns:
        for chosen in _portions(np.arange(len(places))[turn], config):
            scores, candidates = _score(network, tokens, hidden, places[chosen], specials, config)
            order = np.argsort(-scores, axis=1, kind="stable")[:, :N_BEST]
            best[chosen] = np.take_along_axis(candidates, order, axis=1)
            tokens[places[chosen]] = best[chosen, 0]
    return Filled(tokens, best)


def _portions(chosen: IntArray, config: Rescoring) -> Iterator[IntArray]:
    size = max(1, BRANCH_TOKENS // (config.n_candidates * config.window))
    for start in range(0, len(chosen), size):
        yield chosen[start : start + size]


def _score(
    network: NeighbourCausal,
    tokens: IntArray,
    hidden: BoolArray,
    places: IntArray,
    specials: Specials,
    config: Rescoring,
) -> tuple[NDArray[np.float64], IntArray]:
    """Return scores and candidates, both (n, k), of the holes at some places."""
    prior, candidates = _candidates(network, tokens, hidden, places, specials, config)
    n_targets = [_n_targets(hidden, place, config) for place in places]
    branches = _branches(tokens, places, candidates, n_targets)
    scores = prior
    if len(branches.targets):
        likelihood = _branch_log_probs(network, tokens, branches, specials)
        np.add.at(scores.reshape(-1), branches.owner, likelihood)
    return scores, candidates


def _n_targets(hidden: BoolArray, place: int, config: Rescoring) -> int:
    """How many tokens on the right of a hole score it."""
    behind = hidden[place + 1 : place + 1 + config.window]
    return len(behind) if config.sees_guesses or not behind.any() else int(np.argmax(behind))


def _candidates(
    network: NeighbourCausal,
    tokens: IntArray,
    hidden: BoolArray,
    places: IntArray,
    specials: Specials,
    config: Rescoring,
) -> tuple[NDArray[np.float64], IntArray]:
    """Return log p(a | left) and ids of the candidates, both (n, k)."""
    batch = collate([plain_row(tokens, specials)])
    states = network.model.base_model(
        input_ids=batch["input_ids"], position_ids=batch["positions"], attention_mask=None, use_cache=False
    ).last_hidden_state[0, torch.from_numpy(places)]
    left = torch.from_numpy(np.where(places > 0, tokens[places - 1], -1))
    nothing = torch.full_like(left, -1)
    log_probs = network.read(states, left, nothing)
    right = np.concatenate([tokens, [-1]])[places + 1]
    if not config.sees_guesses:
        right = np.where(np.concatenate([hidden, [False]])[places + 1], -1, right)
    chosen = network.read(states, left, torch.from_numpy(right)).topk(config.n_candidates).indices
    return log_probs.gather(1, chosen).double().numpy(), chosen.numpy()


@dataclass(frozen=True, eq=False)
class _Branches:
    """Tokens of all branches of a text, one after the other.

    Attributes
    ----------
    token_ids, positions : ndarray of shape (n,), int64
        Of the tokens, the text's first token at position 1.
    targets, owner, branch, hole : ndarray of shape (n,), int64
        The token behind each, the hole and candidate that it scores, its branch, and the place of its hole.
    """

    token_ids: IntArray
    positions: IntArray
    targets: IntArray
    owner: IntArray
    branch: IntArray
    hole: IntArray


def _branches(tokens: IntArray, places: IntArray, candidates: IntArray, n_targets: Sequence[int]) -> _Branches:
    parts: list[NDArray[np.int64]] = []
    n_candidates = candidates.shape[1]
    for row, (place, count) in enumerate(zip(places.tolist(), n_targets, strict=True)):
        targets = tokens[place + 1 : place + 1 + count]
        steps = np.arange(count)
        for column in range(n_candidates if count else 0):
            owner = np.full(count, row * n_candidates + column)
            given = np.concatenate([candidates[row, column : column + 1], targets[:-1]])
            parts.append(np.stack([given, place + 1 + steps, targets, owner, owner, np.full(count, place)]))
    return _Branches(*(np.concatenate(parts, axis=1) if parts else np.zeros((6, 0), dtype=np.int64)))


def _branch_log_probs(
    network: NeighbourCausal, tokens: IntArray, branches: _Branches, specials: Specials
) -> NDArray[np.float64]:
    """Return the log-probability of every branch's targets, shape (n,), float64, nats."""
    n_text, n_branch = int(branches.hole.max()) + 1, len(branches.token_ids)
    front = np.concatenate([[specials.start], tokens[: n_text - 1]])
    input_ids = np.concatenate([front, branches.token_ids])
    positions = np.concatenate([np.arange(n_text), branches.positions])
    asked = torch.arange(n_text, n_text + n_branch)
    log_probs = network.log_probs(
        torch.from_numpy(input_ids)[None],
        torch.from_numpy(positions)[None],
        rows=torch.zeros_like(asked),
        columns=asked,
        left=torch.from_numpy(branches.token_ids),
        right=torch.full_like(asked, -1),
        attention=_attention(n_text, branches),
    )
    return np.asarray(log_probs.gather(1, torch.from_numpy(branches.targets)[:, None])[:, 0].double().numpy())


def _attention(n_text: int, branches: _Branches) -> Tensor:
    """Return what is added to the scores of attention, (1, 1, T, T): zero where seen."""
    size = n_text + len(branches.branch)
    seen = np.tri(size, dtype=bool)
    # the text's column p holds the token in front of place p
    seen[n_text:, :n_text] = np.arange(n_text) <= branches.hole[:, None]
    seen[n_text:, n_text:] &= branches.branch[:, None] == branches.branch
    return torch.from_numpy(np.where(seen, 0.0, np.finfo(np.float32).min).astype(np.float32))[None, None]
