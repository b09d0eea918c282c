"""The reverse process: from hidden tokens to text, several texts at a time, one pass of the network a step.

A text depends on its own generator and on nothing of its batch mates (but for the rounding of the network, which may
compute another number of rows with another kernel).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gencls.generation.choice import choose, penalise, widest
from gencls.generation.config import GenerationConfig
from gencls.generation.growth import GrowingText, Start
from gencls.generation.orders import asked_places, remasked_places, reveal_order
from gencls.generation.rules import Rules
from gencls.generation.scorers import Scorer, guided
from gencls.generation.trajectory import Step

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class ReverseProcess:
    """A reverse process with all its options.

    Parameters
    ----------
    scorer : Scorer
    config : GenerationConfig
    class_ids : sequence of int
        See `gencls.generation.scorers.guiding_classes`.
    rules : Rules or None
    banned_ids : ndarray of int64
        Tokens that are never chosen.
    """

    scorer: Scorer
    config: GenerationConfig
    class_ids: Sequence[int]
    rules: Rules | None
    banned_ids: IntArray

    def sample(self, starts: Sequence[Start], generators: Sequence[np.random.Generator]) -> list[list[Step]]:
        """Write some texts of one length.

        Parameters
        ----------
        starts : sequence of B Start
            All of L tokens.
        generators : sequence of B numpy.random.Generator
            One for each text.

        Returns
        -------
        list of B lists of Step
            The first step is the start, in the last nothing is hidden.
        """
        begun, forwards = time.perf_counter(), self.scorer.n_forwards
        pairs = zip(starts, generators, strict=True)
        texts = [GrowingText.begin(start, generator, self.config) for start, generator in pairs]
        while active := [text for text in texts if text.hidden.any()]:
            batch = _Batch.of(active, self.config)
            proposals = batch.ask(self)
            used, seconds = self.scorer.n_forwards - forwards, time.perf_counter() - begun
            for row, text in enumerate(active):
                revealed = self._reveal(text, proposals.row(row), batch.asked[row], batch.n_reveal[row])
                text.hide(batch.remasked[row], self.scorer.mask_id)
                text.record(revealed, batch.remasked[row], used, seconds)
        return [text.steps for text in texts]

    def _reveal(self, text: GrowingText, proposals: _Proposals, asked: BoolArray, n_reveal: int) -> BoolArray:
        """Write proposed tokens in their order until there are enough; return where."""
        is_forced = asked & (text.start.forced >= 0)
        revealed = is_forced.copy()
        for place in np.flatnonzero(is_forced).tolist():
            text.write(place, proposals.token_ids[place], proposals.probability[place])
        rules = self.rules if text.is_patient() else None
        for place in reveal_order(asked & ~is_forced, proposals.sureness, text.ranks, self.config).tolist():
            if self._is_enough(int(revealed.sum()), n_reveal, float(proposals.probability[place])):
                break
            text.write(place, proposals.token_ids[place], proposals.probability[place])
            if rules is None or rules.allow(text.token_ids, ~text.hidden, text.fixed, place):
                revealed[place] = True
            else:
                text.refuse(place, self.scorer.mask_id)
        return revealed

    def _is_enough(self, n_revealed: int, n_reveal: int, probability: float) -> bool:
        if self.config.threshold is None:
            return n_revealed >= n_reveal
        # as many as are sure, at least one (Wu et al. 2025, arXiv:2505.22618, section 3.3)
        return n_revealed > 0 and probability < self.config.threshold


@dataclass(frozen=True)
class _Proposals:
    """Tokens proposed at asked places: ids, probabilities and sureness, each (B, L)."""

    token_ids: IntArray
    probability: FloatArray
    sureness: FloatArray

    def row(self, row: int) -> _Proposals:
        return _Proposals(self.token_ids[row], self.probability[row], self.sureness[row])


@dataclass(frozen=True)
class _Batch:
    """One step of some texts: what is asked, how many tokens are to be revealed, which are hidden again."""

    texts: list[GrowingText]
    asked: BoolArray
    n_reveal: list[int]
    remasked: BoolArray
    uniforms: FloatArray

    @classmethod
    def of(cls, texts: list[GrowingText], config: GenerationConfig) -> _Batch:
        remasked = [_draw_remasked(text, config) for text in texts]
        n_reveal = [text.n_reveal(int(again.sum())) for text, again in zip(texts, remasked, strict=True)]
        asked = [
            asked_places(text.hidden, text.ranks, count, config) | (text.hidden & (text.start.forced >= 0))
            for text, count in zip(texts, n_reveal, strict=True)
        ]
        uniforms = [text.generator.random(len(text.hidden)) for text in texts]
        return cls(texts, np.stack(asked), n_reveal, np.stack(remasked), np.stack(uniforms))

    def ask(self, process: ReverseProcess) -> _Proposals:
        """Ask the scorer once, and choose a token at every asked place."""
        token_ids = np.stack([text.token_ids for text in self.texts])
        rows, places = np.nonzero(self.asked)
        forced = np.stack([text.start.forced for text in self.texts])
        bans, config = _Bans.of(self.texts, token_ids, process), process.config
        chosen, start = [], 0
        for raw in process.scorer.logits(token_ids, self.asked, process.class_ids):
            logits = guided(raw, config.guidance)
            part = slice(start, start + len(logits))
            self._limit(logits, rows[part], places[part], bans, config)
            uniforms = torch.from_numpy(self.uniforms[rows[part], places[part]])
            uniforms = uniforms.to(widest(logits.device)).to(logits.device)
            chosen.append(_chosen(logits, uniforms, forced[rows[part], places[part]], config))
            start = part.stop
        return self._scattered(rows, places, [np.concatenate(values) for values in zip(*chosen, strict=True)])

    def _limit(self, logits: Tensor, rows: IntArray, places: IntArray, bans: _Bans, config: GenerationConfig) -> None:
        """Take away what must not be chosen, and make repetitions less likely, in place."""
        if config.repetition_penalty != 1:
            seen = [torch.from_numpy(np.unique(text.token_ids[~text.hidden])).to(logits.device) for text in self.texts]
            penalise(logits, [seen[row] for row in rows], config.repetition_penalty)
        bans.apply(logits, rows, places)

    def _scattered(self, rows: IntArray, places: IntArray, values: list[NDArray[np.generic]]) -> _Proposals:
        arrays = [np.zeros(self.asked.shape, dtype=value.dtype) for value in values]
        for array, value in zip(arrays, values, strict=True):
            array[rows, places] = value
        return _Proposals(*arrays)


@dataclass(frozen=True)
class _Bans:
    """Tokens without a chance: everywhere, by the word pieces around a place, and by what was refused before."""

    everywhere: IntArray
    no_continuation: BoolArray
    must_be_continued: BoolArray
    rules: Rules | None
    texts: list[GrowingText]

    @classmethod
    def of(cls, texts: list[GrowingText], token_ids: IntArray, process: ReverseProcess) -> _Bans:
        hidden = np.stack([text.hidden for text in texts])
        rules, banned_ids = process.rules, process.banned_ids
        if rules is None:
            nowhere = np.zeros(hidden.shape, dtype=bool)
            return cls(banned_ids, nowhere, nowhere, rules, texts)
        joins = rules.join_bans(token_ids, ~hidden, np.stack([text.fixed for text in texts]))
        return cls(banned_ids, joins.no_continuation, joins.must_be_continued, rules, texts)

    def apply(self, logits: Tensor, rows: IntArray, places: IntArray) -> None:
        """Set the logits (n, V) of banned tokens at the given rows and places to minus infinity."""
        logits[:, torch.from_numpy(self.everywhere).to(logits.device)] = -torch.inf
        if self.rules is not None:
            words = self.rules.vocabulary
            for where, ids in (
                (self.no_continuation, words.continuing_ids),
                (self.must_be_continued, words.closed_ids),
            ):
                at = torch.from_numpy(np.flatnonzero(where[rows, places])).to(logits.device)
                logits[at[:, None], torch.from_numpy(ids).to(logits.device)[None]] = -torch.inf
        for number, (row, place) in enumerate(zip(rows.tolist(), places.tolist(), strict=True)):
            if place in self.texts[row].refused:
                _take_away(logits[number], self.texts[row].refused[place])


def _take_away(logits: Tensor, token_ids: list[int]) -> None:
    """Set some logits (V,) to minus infinity, unless nothing would be left to choose."""
    before = logits[token_ids]
    logits[token_ids] = -torch.inf
    if bool(torch.isneginf(logits.max())):
        logits[token_ids] = before


def _chosen(
    logits: Tensor, uniforms: Tensor, forced: IntArray, config: GenerationConfig
) -> tuple[IntArray, FloatArray, FloatArray]:
    """Choose tokens, forced ones where there are any: ids, probabilities and sureness, each (n,)."""
    choice = choose(logits, uniforms, config)
    token_ids, probability = choice.token_ids.cpu().numpy(), choice.probability.cpu().double().numpy()
    at = np.flatnonzero(forced >= 0)
    if len(at):
        wanted = torch.from_numpy(forced[at]).to(logits.device)
        token_ids[at] = forced[at]
        probability[at] = logits[at].softmax(dim=1).gather(1, wanted[:, None])[:, 0].cpu().numpy()
    return token_ids, probability, choice.sureness.cpu().double().numpy()


def _draw_remasked(text: GrowingText, config: GenerationConfig) -> BoolArray:
    """Draw the tokens that the next step hides again."""
    candidates = ~text.hidden & ~text.fixed
    # as many more tokens are revealed as are hidden again: not more than there are hidden ones
    count = min(int(config.remask * candidates.sum()), text.target())
    if count == 0:
        return np.zeros(len(candidates), dtype=bool)
    return remasked_places(candidates, text.confidence, count, generator=text.generator)
