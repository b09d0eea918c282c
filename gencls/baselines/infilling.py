r"""Causal language models that fill holes: the model and its training.

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
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gencls.baselines.causal_training import scheduled
from gencls.baselines.finetuning import BudgetCallback, decay_groups, finetune, private_seeds
from gencls.baselines.infilling_rows import IntArray, Specials, collate, hole_weights, random_row
from gencls.baselines.neighbours import NeighbourCounts, NeighbourTable

#: Of AdamW, as in the training of the denoiser: in a short training the usual 0.999 remembers the first steps.
BETAS = (0.9, 0.98)


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
        rows = [random_row(one["ids"], one["seed"], specials, in_the_middle) for one in part]
        found = collate(rows, [one["fold"] for one in part])
        if in_the_middle:
            found["weights"] = torch.from_numpy(np.concatenate([hole_weights(row) for row in rows]))
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
