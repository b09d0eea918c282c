"""How each model fills the holes of poems: one function a way, all with the same arguments and the same answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from gencls.baselines.filling import N_BEST, Filled
from gencls.baselines.ngrams import NeighbourBigram, WittenBell
from gencls.diffusion.batches import frame_rows
from gencls.diffusion.denoiser import Denoiser
from gencls.diffusion.masking import order_blocks, random_order, text_generator
from gencls.generation.scorers import DenoiserScorer

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]
TEXTS_PER_BATCH = 32


def fill_by_diffusion(
    denoiser: Denoiser, texts: Sequence[IntArray], hidden: Sequence[BoolArray], *, n_steps: int
) -> list[Filled]:
    """Fill greedily in some steps, the surest holes first.

    Parameters
    ----------
    denoiser : Denoiser
        Class-free.
    texts : sequence of N ndarray of shape (L,), int64
    hidden : sequence of N ndarray of shape (L,), bool
    n_steps : int
        1 fills every hole at once from what is visible.
    """
    return fill_in_batches(partial(_fill_batch, exact_scorer(denoiser), n_steps=n_steps), texts, hidden)


def exact_scorer(denoiser: Denoiser) -> DenoiserScorer:
    """Return the denoiser as a scorer in float32, as the causal models fill."""
    return DenoiserScorer(denoiser, precision="float32")


def fill_in_batches(
    fill: Callable[[Sequence[IntArray], Sequence[BoolArray]], list[Filled]],
    texts: Sequence[IntArray],
    hidden: Sequence[BoolArray],
) -> list[Filled]:
    """Fill some texts at a time."""
    filled: list[Filled] = []
    for start in range(0, len(texts), TEXTS_PER_BATCH):
        part = slice(start, start + TEXTS_PER_BATCH)
        filled += fill(texts[part], hidden[part])
    return filled


def hole_log_probs(
    scorer: DenoiserScorer, tokens: Sequence[IntArray], asked: Sequence[BoolArray]
) -> Iterator[torch.Tensor]:
    """Give, chunk by chunk, the class-free log-probabilities (n, V) of the asked places, nats; a hole is no answer."""
    for part in scorer.logits(tokens, asked, [scorer.denoiser.n_classes]):
        logits = part[0].float()
        logits[:, scorer.mask_id] = -torch.inf
        yield logits.log_softmax(dim=1)


def _fill_batch(
    scorer: DenoiserScorer, texts: Sequence[IntArray], hidden: Sequence[BoolArray], n_steps: int
) -> list[Filled]:
    tokens = [np.where(hole, scorer.mask_id, ids) for ids, hole in zip(texts, hidden, strict=True)]
    best = [np.zeros((len(ids), N_BEST), dtype=np.int64) for ids in texts]
    for step in range(n_steps):
        holes = [ids == scorer.mask_id for ids in tokens]
        if not any(hole.any() for hole in holes):
            break
        found, sureness = _propose(scorer, tokens, holes)
        bounds = np.cumsum([hole.sum() for hole in holes])[:-1]
        parts = zip(np.split(found, bounds), np.split(sureness, bounds), strict=True)
        for row, (alternatives, sure) in enumerate(parts):
            n_reveal = -(-len(sure) // (n_steps - step))
            chosen = np.argsort(-sure, kind="stable")[:n_reveal]
            places = np.flatnonzero(holes[row])[chosen]
            best[row][places], tokens[row][places] = alternatives[chosen], alternatives[chosen, 0]
    return [Filled(ids, kept[hole]) for ids, kept, hole in zip(tokens, best, hidden, strict=True)]


def _propose(
    scorer: DenoiserScorer, tokens: Sequence[IntArray], holes: Sequence[BoolArray]
) -> tuple[IntArray, FloatArray]:
    """Return the best tokens (n, 5) of all holes and the probability of the first (n,)."""
    indices, values = [], []
    for log_probs in hole_log_probs(scorer, tokens, holes):
        top = log_probs.topk(N_BEST)
        indices.append(top.indices.numpy())
        values.append(top.values[:, 0].double().numpy())
    return np.concatenate(indices), np.concatenate(values)


@torch.inference_mode()
def diffusion_nats(
    denoiser: Denoiser, texts: Sequence[IntArray], hidden: Sequence[BoolArray], *, n_steps: int, seed: int = 0
) -> FloatArray:
    """Return -log p of the hidden tokens given the visible ones, along a random path of some steps, (N,), nats.

    For the drawn order it is exact; the mean over orders bounds the model's own -log p from above. The order is drawn
    from the text.
    """
    nats = np.zeros(len(texts))
    for row, (ids, hole) in enumerate(zip(texts, hidden, strict=True)):
        places = np.flatnonzero(hole)
        ranks = random_order(len(places), generator=text_generator(ids, seed=seed))
        blocks = np.full(len(ids), -1)
        blocks[places] = order_blocks(ranks, n_steps)
        rows = [step for step in range(n_steps) if (blocks == step).any()]
        masks, scored = [blocks >= step for step in rows], [blocks == step for step in rows]
        batch = frame_rows([ids] * len(rows), masks, scored, denoiser.frame)
        class_free = torch.full((len(rows),), denoiser.n_classes)
        nats[row] = -denoiser(batch, class_free).double().sum().item() if rows else 0.0
    return nats


def fill_by_unigram(log_unigram: FloatArray, texts: Sequence[IntArray], hidden: Sequence[BoolArray]) -> list[Filled]:
    """Fill every hole with the most frequent token."""
    best = np.argsort(-log_unigram, kind="stable")[:N_BEST]
    return [filled_by(ids, hole, np.tile(best, (int(hole.sum()), 1))) for ids, hole in zip(texts, hidden, strict=True)]


def fill_by_neighbours(model: NeighbourBigram, texts: Sequence[IntArray], hidden: Sequence[BoolArray]) -> list[Filled]:
    """Fill every hole from its two neighbours, as far as they are visible."""
    return [
        filled_by(ids, hole, _top(neighbour_log_probs(model, ids, hole)))
        for ids, hole in zip(texts, hidden, strict=True)
    ]


def neighbour_log_probs(model: NeighbourBigram, ids: IntArray, hole: BoolArray) -> FloatArray:
    """Return log p(v | visible neighbours) of every hole of a text, (n, V), nats."""
    sight = np.concatenate([[-1], np.where(hole, -1, ids), [-1]])
    places = np.flatnonzero(hole)
    return model.log_probs(sight[places], sight[places + 2])


def fill_by_ngrams(model: WittenBell, texts: Sequence[IntArray], hidden: Sequence[BoolArray]) -> list[Filled]:
    """Fill from left to right, each hole from the four tokens in front of it."""
    return [_fill_by_ngrams(model, ids, hole) for ids, hole in zip(texts, hidden, strict=True)]


def _fill_by_ngrams(model: WittenBell, ids: IntArray, hole: BoolArray) -> Filled:
    tokens, best = ids.tolist(), []
    for place in np.flatnonzero(hole).tolist():
        best.append(_top(model.proba(tokens[max(0, place - model.order + 1) : place])[None])[0])
        tokens[place] = int(best[-1][0])
    return filled_by(ids, hole, np.array(best, dtype=np.int64).reshape(-1, N_BEST))


def _top(values: FloatArray) -> IntArray:
    return np.asarray(np.argsort(-values, axis=1, kind="stable")[:, :N_BEST])


def filled_by(ids: IntArray, hole: BoolArray, best: IntArray) -> Filled:
    """Return a text with the first of the alternatives (n, 5) in its holes."""
    tokens = ids.copy()
    tokens[hole] = best[:, 0]
    return Filled(tokens, best)
