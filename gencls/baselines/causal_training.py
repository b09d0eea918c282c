"""Next-token training of a causal model: all of its weights, or those of an adapter.

The loss is the mean over the tokens of a batch of -log p(x_i | start, x_1 .. x_{i-1}). Texts are not packed into one
row, so that a model learns a text as it scores it: after the start token and nothing else.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gencls.baselines.causal_likelihood import (
    check_rows,
    collate,
    log_likelihood,
    target_log_probs,
    without_wrapper,
)
from gencls.baselines.finetuning import BudgetCallback, decay_groups, finetune, private_seeds
from gencls.data.errors import three_parts

Ids = Sequence[NDArray[np.integer]]


@dataclass(frozen=True)
class CausalTraining:
    """What a training took and gave.

    Attributes
    ----------
    n_steps : int
        Optimizer steps, those before a resume counted in.
    tokens_seen : int
        Tokens that were predicted, those before a resume counted in.
    seconds : float
        Wall-clock seconds, those before a resume counted in.
    seconds_before : float
        Those before a resume.
    validation_loss : float
        Nats per token of the validation texts afterwards; NaN without any.
    """

    n_steps: int
    tokens_seen: int
    seconds: float
    seconds_before: float
    validation_loss: float


class NextTokenModel(nn.Module):
    """A causal model as the Trainer calls it; its state is the weights that train, and no copy of the frozen ones."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.tokens_seen = 0

    def forward(self, input_ids: Tensor, attention_mask: Tensor, scored: Tensor) -> dict[str, Tensor]:
        """Return the mean "loss" per scored token, nats."""
        self.tokens_seen += int(scored.sum())
        return {"loss": -target_log_probs(self.model, input_ids, attention_mask, scored).mean()}

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Return the trainable parameters, tied ones once: what a checkpoint needs."""
        return {name: weight.detach() for name, weight in self.named_parameters() if weight.requires_grad}

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """Load what `state_dict` gave; the rest stays as it is."""
        found = super().load_state_dict(state_dict, strict=False, assign=assign)
        return type(found)([], found.unexpected_keys)


def train_causal(
    model: Any,
    sequences: Ids,
    *,
    start_id: int,
    n_steps: int,
    batch_size: int = 8,
    learning_rate: float = 5e-4,
    warmup: float = 0.1,
    bf16: bool = False,
    seed: int,
    max_seconds: float | None = None,
    validation: Ids = (),
    checkpoints: Path | None = None,
    save_steps: int = 200,
    progress: bool = False,
) -> CausalTraining:
    """Train a causal model in place on texts; what requires no gradient stays frozen.

    Parameters
    ----------
    model : PreTrainedModel or PeftModel
        Causal.
    sequences : sequence of N int arrays of shape (L,)
        Token ids, truncated by the caller, without special tokens; empty ones are left out.
    start_id : int
        Token in front of every text.
    n_steps : int
        Optimizer steps; the texts are gone through, shuffled anew each time, as often as it takes.
    batch_size : int
        Texts of every step, the last of a pass and the first of the next together where they meet.
    learning_rate : float
        Peak; it rises in the share `warmup` of the budget and then falls linearly to zero.
    bf16 : bool
        Autocast to bfloat16.
    seed : int
        Of the order of the texts; the process's random states stay as they are.
    max_seconds : float, optional
        Ends the training earlier, with its schedule finished.
    validation : sequence of int arrays
        Texts whose loss is measured at the end.
    checkpoints : Path, optional
        Folder of this training's checkpoints: a killed training goes on from the last, to the same weights.
    save_steps : int
    progress : bool

    Returns
    -------
    CausalTraining

    Raises
    ------
    ValueError
        If there is no token to train on or a text is longer than the model's positions.
    RuntimeError
        If the training diverges.
    """
    examples = _examples(model, sequences, start_id)
    use_plain_attention(model)
    network = NextTokenModel(model)
    watch = BudgetCallback(n_steps, max_seconds, warmup=warmup, progress=progress, title="causal model")
    with private_seeds():
        taken = finetune(
            network,
            scheduled(examples, n_steps * batch_size, seed),
            partial(_collate, start_id=start_id),
            decay_groups(network, learning_rate),
            watch,
            batch_size=batch_size,
            bf16=bf16,
            seed=seed,
            in_order=True,
            checkpoints=checkpoints,
            save_steps=save_steps,
        )
    seconds = watch.seconds
    model.eval()
    loss = nats_per_token(model, validation, start_id=start_id, bf16=bf16) if len(validation) else math.nan
    return CausalTraining(taken, network.tokens_seen, seconds, watch.seconds_before, loss)


def scheduled(examples: Sequence[Any], n_visits: int, seed: int) -> list[Any]:
    """Return as many visits as asked for, in passes over all examples, each in an order of its own.

    Examples
    --------
    >>> visits = scheduled("abc", 7, seed=0)
    >>> sorted(visits[:3]), sorted(visits[3:6]), len(visits)
    (['a', 'b', 'c'], ['a', 'b', 'c'], 7)
    """
    generator = np.random.default_rng(seed)
    n_passes = -(-n_visits // len(examples))
    order = np.concatenate([generator.permutation(len(examples)) for _ in range(n_passes)])[:n_visits]
    return [examples[row] for row in order.tolist()]


def nats_per_token(model: Any, sequences: Ids, *, start_id: int, bf16: bool = False) -> float:
    """Return the mean of -log p(token | start and what is left of it) over all tokens of the texts, nats."""
    total = log_likelihood(model, sequences, context=(start_id,), bf16=bf16).sum()
    return float(-total / sum(map(len, sequences)))


def steps_within(
    seconds: float, model: Any, sequences: Ids, *, start_id: int, batch_size: int, bf16: bool, seed: int
) -> int:
    """Return how many steps fit in a time, at least one, from three timed trial steps that change no weight.

    Parameters are those of `train_causal`; the trials take random texts.
    """
    examples = _examples(model, sequences, start_id)
    use_plain_attention(model)
    network = NextTokenModel(model).train()
    device = next(network.parameters()).device
    generator, times = np.random.default_rng(seed), []
    for _ in range(4):
        batch = _collate([examples[row] for row in generator.integers(len(examples), size=batch_size)], start_id)
        begin = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss = network(**{name: value.to(device) for name, value in batch.items()})["loss"]
        loss.backward()
        network.zero_grad(set_to_none=True)
        times.append(time.perf_counter() - begin)
    network.eval()
    return max(1, int(seconds / (1.1 * sorted(times[1:])[1])))  # a tenth more for the optimizer; the first warms up


def use_plain_attention(model: Any) -> None:
    """Set the attention that trains fastest: the backward of the fused one is several times slower on a CPU."""
    inner = without_wrapper(model)
    if not torch.cuda.is_available() and hasattr(inner, "set_attn_implementation"):
        inner.set_attn_implementation("eager")


def _examples(model: Any, sequences: Ids, start_id: int) -> list[dict[str, Any]]:
    examples = [{"ids": np.asarray(ids)} for ids in sequences if len(ids)]
    if not examples:
        raise ValueError(three_parts("at least one text with a token", "none", "Give texts to train on."))
    check_rows(model, np.array([len(example["ids"]) + 1 for example in examples]), (start_id,))
    return examples


def _collate(examples: list[dict[str, Any]], start_id: int) -> dict[str, Tensor]:
    return collate([example["ids"] for example in examples], (start_id,))
