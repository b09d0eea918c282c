r"""Causal language models that fill holes: rows, the model, and its training.

A row asks a causal network for tokens at places of its own choice, so one network serves four ways to fill:

* plain: every token from those on its left;
* fill-in-the-middle (Bavarian et al. 2022, arXiv:2207.14255; several holes as in CM3, Aghajanyan et al. 2022,
  arXiv:2201.07520): the text with its holes, a separator, then the hidden tokens from left to right. Each hidden token
  is asked for at the position (rotary) of its hole, so that the network need not count. The visible tokens are
  predicted too, from what is visible on their left: every token is predicted once, as in the plain row;
* branches: see `gencls.baselines.rescoring`.

Besides the network, the logits have a learned bias that starts at the unigram and, where a table is given, what the
neighbours in sight add, times a learned gate: the same help as the denoiser has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gencls.baselines.causal_training import scheduled
from gencls.baselines.finetuning import BudgetCallback, decay_groups, finetune, private_seeds
from gencls.baselines.neighbours import NeighbourCounts, NeighbourTable

#: Of AdamW, as in the training of the denoiser: in a short training the usual 0.999 remembers the first steps.
BETAS = (0.9, 0.98)
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Specials:
    """Ids of the tokens that frame a row."""

    start: int
    separator: int
    mask: int


@dataclass(frozen=True, eq=False)
class Row:
    """One row of a causal network and what is asked of it.

    Attributes
    ----------
    input_ids, positions : ndarray of shape (T,), int64
    columns, targets, left, right : ndarray of shape (n,), int64
        Place in the row that answers, the true token, and its neighbours in sight (-1: none).
    """

    input_ids: IntArray
    positions: IntArray
    columns: IntArray
    targets: IntArray
    left: IntArray
    right: IntArray


def plain_row(token_ids: IntArray, specials: Specials) -> Row:
    """Ask for every token of a text from those on its left."""
    places = np.arange(len(token_ids))
    left = np.concatenate([[-1], token_ids[:-1]])
    input_ids = np.concatenate([[specials.start], token_ids[:-1]])
    return Row(input_ids, places, places, token_ids, left, np.full(len(token_ids), -1))


def infilling_row(token_ids: IntArray, hidden: BoolArray, specials: Specials) -> Row:
    """Ask for the visible tokens from the visible ones on their left, then for the hidden ones.

    Parameters
    ----------
    token_ids : ndarray of shape (L,), int64
    hidden : ndarray of shape (L,), bool

    Returns
    -------
    Row
        The hidden tokens are the last ones asked for, from left to right.
    """
    length, holes, shown = len(token_ids), np.flatnonzero(hidden), np.flatnonzero(~hidden)
    masked = np.where(hidden, specials.mask, token_ids)
    behind = np.concatenate([[specials.separator], token_ids[holes[:-1]]]) if len(holes) else token_ids[:0]
    sight = np.concatenate([[-1], np.where(hidden, -1, token_ids), [-1]])
    known = np.concatenate([[-1], token_ids])
    return Row(
        input_ids=np.concatenate([[specials.start], masked, behind]),
        # a token behind the separator stands where the next hole is
        positions=np.concatenate([np.arange(length + 1), holes + 1]),
        columns=np.concatenate([shown, length + 1 + np.arange(len(holes))]),
        targets=np.concatenate([token_ids[shown], token_ids[holes]]),
        left=np.concatenate([sight[shown], known[holes]]),
        right=np.concatenate([np.full(len(shown), -1), sight[holes + 2]]),
    )


def collate(rows: Sequence[Row], folds: Sequence[int] | None = None) -> dict[str, Any]:
    """Pad rows on the right, where no token of a causal network looks.

    Returns
    -------
    dict
        The arguments of `NeighbourCausal.forward`; what is asked has shape (n,), row by row.
    """
    shape = len(rows), max(len(row.input_ids) for row in rows)
    input_ids, positions = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for place, row in enumerate(rows):
        input_ids[place, : len(row.input_ids)] = row.input_ids
        positions[place, : len(row.positions)] = row.positions
    counts = [len(row.columns) for row in rows]
    asked = {
        name: torch.from_numpy(np.concatenate([getattr(row, name) for row in rows]).astype(np.int64))
        for name in ("columns", "targets", "left", "right")
    }
    whose = np.repeat(np.arange(len(rows)), counts)
    batch: dict[str, Any] = {
        "input_ids": torch.from_numpy(input_ids),
        "positions": torch.from_numpy(positions),
        "rows": torch.from_numpy(whose),
        **asked,
    }
    if folds is not None:
        batch["folds"] = torch.from_numpy(np.asarray(folds, dtype=np.int64)[whose])
    return batch


class NeighbourCausal(nn.Module):
    """A causal network with a unigram bias and, if given, the counts of neighbours.

    Parameters
    ----------
    model : LlamaForCausalLM
        See `gencls.baselines.causal.new_causal`.
    log_unigram : ndarray of shape (V,), nats, optional
        Start of the output bias; zeros if not given.
    counts : NeighbourCounts, optional
    """

    def __init__(
        self, model: Any, log_unigram: NDArray[np.float64] | None = None, counts: NeighbourCounts | None = None
    ) -> None:
        super().__init__()
        self.model = model
        size = model.config.vocab_size
        bias = torch.zeros(size) if log_unigram is None else torch.from_numpy(log_unigram).float()
        self.bias = nn.Parameter(bias)
        self.table = None if counts is None else NeighbourTable(counts, size)
        self.gate = nn.Linear(model.config.hidden_size, 1)
        nn.init.zeros_(self.gate.weight)
        nn.init.ones_(self.gate.bias)
        self.tokens_seen = 0

    def forward(
        self,
        input_ids: Tensor,
        positions: Tensor,
        targets: Tensor,
        weights: Tensor | None = None,
        **asked: Tensor,
    ) -> dict[str, Tensor]:
        """Return the "loss" per asked token, nats: the mean, or that with `weights` (n,)."""
        self.tokens_seen += len(targets)
        chosen = self.log_probs(input_ids, positions, **asked).gather(1, targets[:, None])[:, 0]
        return {"loss": -chosen.mean() if weights is None else -(weights * chosen).sum() / weights.sum()}

    def log_probs(
        self,
        input_ids: Tensor,
        positions: Tensor,
        rows: Tensor,
        columns: Tensor,
        left: Tensor,
        right: Tensor,
        folds: Tensor | None = None,
        attention: Tensor | None = None,
    ) -> Tensor:
        """Return log-probabilities of all tokens at the asked places.

        Parameters
        ----------
        input_ids, positions : Tensor of shape (B, T), int64
        rows, columns, left, right : Tensor of shape (n,), int64
        folds : Tensor of shape (n,), int64, optional
        attention : Tensor of shape (B, 1, T, T), float, optional
            Added to the scores of attention; causal if not given.

        Returns
        -------
        Tensor of shape (n, V), float32, nats
        """
        # a mask of ones, or transformers would read texts that were packed together out of the positions
        mask = torch.ones_like(input_ids) if attention is None else attention
        base = self.model.base_model
        states = base(input_ids=input_ids, position_ids=positions, attention_mask=mask, use_cache=False)
        hidden = states.last_hidden_state[rows, columns]
        return self.read(hidden, left, right, folds)

    def read(self, hidden: Tensor, left: Tensor, right: Tensor, folds: Tensor | None = None) -> Tensor:
        """Return log-probabilities (n, V), float32, of hidden states (n, D)."""
        logits = self.model.get_output_embeddings()(hidden).float() + self.bias
        if self.table is not None:
            logits = logits + self.table.additions(left, right, self.gate(hidden)[:, 0].float(), folds)
        return logits.log_softmax(dim=1)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Return the parameters, tied ones once."""
        return {name: weight.detach() for name, weight in self.named_parameters()}

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """Load what `state_dict` gave."""
        found = super().load_state_dict(state_dict, strict=False, assign=assign)
        return type(found)([], found.unexpected_keys)


def train_infiller(
    network: NeighbourCausal,
    token_ids: Sequence[IntArray],
    folds: Sequence[int],
    specials: Specials,
    *,
    in_the_middle: bool,
    n_steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    bf16: bool = False,
    checkpoints: Path | None = None,
    save_steps: int = 200,
    progress: bool = False,
) -> dict[str, float]:
    """Train in place; every token of every visited text is predicted once.

    Parameters
    ----------
    network : NeighbourCausal
    token_ids : sequence of N ndarray of shape (L,), int64, L >= 1
    folds : sequence of N int
        Fold of each text in the table of neighbours.
    specials : Specials
    in_the_middle : bool
        Rows with holes, at a level that is drawn anew for every visit; plain rows otherwise.
    n_steps, batch_size, learning_rate, seed, bf16, checkpoints, save_steps, progress
        As in `gencls.baselines.causal_training.train_causal`.

    Returns
    -------
    dict
        ``steps``, ``tokens_seen`` and ``seconds``, those before a resume counted in.
    """
    seeds = np.random.default_rng(seed).integers(2**63 - 1, size=n_steps * batch_size)
    visits = scheduled(list(zip(token_ids, folds, strict=True)), n_steps * batch_size, seed)
    examples = [{"ids": ids, "fold": fold, "seed": int(own)} for (ids, fold), own in zip(visits, seeds, strict=True)]

    def batch(part: list[dict[str, Any]]) -> dict[str, Any]:
        rows = [_row(one["ids"], one["seed"], specials, in_the_middle) for one in part]
        found = collate(rows, [one["fold"] for one in part])
        if in_the_middle:
            found["weights"] = torch.from_numpy(np.concatenate([_weights(row) for row in rows]))
        return found

    network.model.set_attn_implementation("eager")
    watch = BudgetCallback(n_steps, None, warmup=0.1, progress=progress, title="causal model")
    with private_seeds():
        taken = finetune(
            network,
            examples,
            batch,
            decay_groups(network, learning_rate),
            watch,
            betas=BETAS,
            batch_size=batch_size,
            bf16=bf16,
            seed=seed,
            in_order=True,
            checkpoints=checkpoints,
            save_steps=save_steps,
        )
    network.model.set_attn_implementation("sdpa")  # without a gradient it is the faster one
    network.eval()
    return {"steps": taken, "tokens_seen": network.tokens_seen, "seconds": watch.seconds}


def _weights(row: Row) -> NDArray[np.float32]:
    """Weights of what an infilling row asks for: its hidden tokens weigh half of it together, at every level.

    As in the denoiser's loss, where a row of few holes counts as much as one of many.
    """
    n_asked = len(row.columns)
    n_hidden = len(row.input_ids) - n_asked - 1
    shown = np.ones(n_asked - n_hidden, dtype=np.float32)
    return np.concatenate([shown, np.full(n_hidden, n_asked / (2 * n_hidden), dtype=np.float32)])


def _row(token_ids: IntArray, seed: int, specials: Specials, in_the_middle: bool) -> Row:
    if not in_the_middle:
        return plain_row(token_ids, specials)
    generator = np.random.default_rng(seed)
    count = min(int(generator.random() * len(token_ids)) + 1, len(token_ids))
    return infilling_row(token_ids, generator.permutation(len(token_ids)) < count, specials)
