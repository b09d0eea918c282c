"""Fine-tuning under a budget: steps, tokens, epochs or seconds, whichever ends first.

The learning rate warms up and then falls linearly to zero *in the share of the budget spent*, so
that a run that ends by the clock has finished its schedule like one that ends by steps.
"""

from __future__ import annotations

import math
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from tqdm.auto import tqdm
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from gencls.baselines.checkpoints import WEIGHTS, Progress, last_whole_checkpoint, mark_complete


@dataclass(frozen=True)
class Budget:
    """How much a network may train; None leaves a limit out.

    Attributes
    ----------
    max_epochs : float
        Passes over the training texts. Always a limit: more passes only over-fit.
    max_steps : int, optional
        Optimizer steps.
    max_tokens : int, optional
        Tokens through the network, with the two special tokens of each text and without padding.
    max_seconds : float, optional
        Wall-clock seconds of training.
    """

    max_epochs: float = 3.0
    max_steps: int | None = None
    max_tokens: int | None = None
    max_seconds: float | None = None

    def __post_init__(self) -> None:
        for name, limit in vars(self).items():
            if limit is not None and not limit > 0:
                raise ValueError(f"expected a positive {name}, got {limit!r}: use None for no such limit")

    def steps(self, n_texts: int, n_tokens: int, batch_size: int) -> int:
        """Return the number of optimizer steps that the limits other than the clock allow, at least 1.

        Examples
        --------
        >>> Budget(max_epochs=2).steps(n_texts=100, n_tokens=5000, batch_size=32)
        8
        >>> Budget(max_tokens=3200).steps(n_texts=100, n_tokens=5000, batch_size=32)
        2
        """
        per_epoch = math.ceil(n_texts / batch_size)
        limits = [math.ceil(self.max_epochs * per_epoch)]
        if self.max_steps is not None:
            limits.append(self.max_steps)
        if self.max_tokens is not None:
            limits.append(math.floor(self.max_tokens / n_tokens * per_epoch))
        return max(1, min(limits))


class BudgetCallback(TrainerCallback):
    """Watches the clock, stops the Trainer when it has run out, and draws the progress bar.

    Parameters
    ----------
    n_steps : int
        Steps that the budget allows.
    max_seconds : float, optional
        Wall-clock limit.
    warmup : float
        Share of the budget in which the learning rate rises.
    progress : bool
        Draw a bar on a terminal (never under CI).
    title : str
        What the bar says.
    """

    def __init__(
        self,
        n_steps: int,
        max_seconds: float | None,
        *,
        warmup: float,
        progress: bool,
        title: str = "encoder baseline",
    ) -> None:
        self.n_steps, self.max_seconds, self.warmup = n_steps, max_seconds, warmup
        self.started: float | None = None
        self.seconds_before = 0.0
        disable = None if progress and not os.environ.get("CI") else True
        self.bar = tqdm(total=n_steps, desc=title, unit="step", disable=disable)

    @property
    def seconds(self) -> float:
        """Return the seconds of training so far, earlier lives of a resumed one counted in."""
        return self.seconds_before + (0.0 if self.started is None else time.perf_counter() - self.started)

    def resume_from(self, progress: Progress) -> None:
        """Count in the seconds and steps of earlier lives."""
        self.seconds_before = progress.seconds
        self.bar.update(progress.step)

    def spent(self, step: int) -> float:
        """Return the share of the budget that is spent after ``step`` steps."""
        by_clock = 0.0 if self.max_seconds is None else self.seconds / self.max_seconds
        return max(step / self.n_steps, by_clock)

    def learning_rate_factor(self, step: int) -> float:
        """Return the multiplier of the learning rate, in [0, 1]: linear warm-up, then linear decay."""
        # The middle of the step to come: the first is not wasted at zero, nor the last.
        spent = min(self.spent(step) + 0.5 / self.n_steps, 1.0)
        return spent / self.warmup if spent < self.warmup else (1.0 - spent) / (1.0 - self.warmup)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock."""
        self.started = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count the step; stop at the end of the budget."""
        self.bar.update()
        if self.spent(state.global_step) >= 1.0:
            control.should_training_stop = True
            control.should_save = args.save_strategy != "no"  # so that a resume finds it finished

    def on_save(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Mark the checkpoint as whole: the Trainer has written everything before it."""
        progress = Progress(state.global_step, self.seconds, model.tokens_seen, control.should_training_stop)
        mark_complete(Path(args.output_dir) / f"checkpoint-{state.global_step}", progress)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the bar."""
        self.bar.close()


@contextmanager
def private_seeds() -> Iterator[None]:
    """Give back the global random states as they were: the Trainer sets the seeds of the process."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)


def parameter_groups(encoder: nn.Module, head: nn.Module, learning_rate: float) -> list[dict[str, Any]]:
    """Return the optimizer's groups: no decay for biases and norms, ten times the rate for the new head."""
    new = {"params": list(head.parameters()), "lr": 10 * learning_rate, "weight_decay": 0.0}
    return [*decay_groups(encoder, learning_rate), new]


def decay_groups(network: nn.Module, learning_rate: float) -> list[dict[str, Any]]:
    """Return the trainable parameters in two groups: matrices decay, biases and norms do not."""
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trainable if p.ndim > 1], "lr": learning_rate, "weight_decay": 0.01},
        {"params": [p for p in trainable if p.ndim <= 1], "lr": learning_rate, "weight_decay": 0.0},
    ]


def finetune(
    network: Any,
    examples: list[dict[str, Any]],
    collate: Callable[[list[dict[str, Any]]], dict[str, torch.Tensor]],
    groups: list[dict[str, Any]],
    watch: BudgetCallback,
    *,
    batch_size: int,
    bf16: bool,
    seed: int,
    in_order: bool = False,
    betas: tuple[float, float] = (0.9, 0.999),
    checkpoints: Path | None = None,
    save_steps: int = 200,
) -> int:
    """Train ``network`` in place with the Hugging Face Trainer and return the number of steps taken.

    Parameters
    ----------
    network : Module
        Its forward takes what ``collate`` makes and returns a dict with "loss"; it counts ``tokens_seen``.
    examples : list of dict
        Training examples.
    collate : callable
        Makes a padded batch of examples.
    groups : list of dict
        Parameter groups for AdamW.
    watch : BudgetCallback
        The budget.
    batch_size : int
        Texts per step.
    bf16 : bool
        Autocast to bfloat16.
    seed : int
        Order of the texts and dropout.
    in_order : bool
        Take the examples as they come instead of shuffling each pass.
    betas : tuple of float
        Of AdamW.
    checkpoints : Path, optional
        A folder for checkpoints, of this training alone; the last whole one in it is gone on from. None keeps none.
    save_steps : int
        Steps between checkpoints.

    Returns
    -------
    int
        Optimizer steps taken.

    Raises
    ------
    RuntimeError
        If the training loss is not finite.
    """
    optimizer = torch.optim.AdamW(groups, betas=betas)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, watch.learning_rate_factor)
    found = None if checkpoints is None else last_whole_checkpoint(checkpoints)
    if found is not None:
        watch.resume_from(found[1])
        network.tokens_seen = found[1].tokens_seen
        if found[1].finished:  # the Trainer would add a step
            network.load_state_dict(load_file(found[0] / WEIGHTS))
            watch.bar.close()
            return found[1].step
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=network,
            args=_arguments(
                str(checkpoints or folder),
                watch.n_steps,
                batch_size,
                bf16=bf16,
                seed=seed,
                in_order=in_order,
                save_steps=None if checkpoints is None else save_steps,
            ),
            train_dataset=examples,  # type: ignore[arg-type]  # a list has the length and items it needs
            data_collator=collate,
            optimizers=(optimizer, scheduler),
            callbacks=[watch],
        )
        # Both of them print; the library never does.
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        loss = trainer.train(resume_from_checkpoint=None if found is None else str(found[0])).training_loss
    if not math.isfinite(loss):
        if checkpoints is not None:
            shutil.rmtree(checkpoints)  # marked as finished: it would be read the next time
        raise RuntimeError(f"expected a finite training loss, got {loss}: lower learning_rate or turn bf16 off")
    return int(trainer.state.global_step)


def _arguments(
    folder: str, n_steps: int, batch_size: int, *, bf16: bool, seed: int, in_order: bool, save_steps: int | None
) -> TrainingArguments:
    on_gpu = torch.cuda.is_available()
    return TrainingArguments(
        output_dir=folder,
        max_steps=n_steps,
        per_device_train_batch_size=batch_size,
        bf16=bf16,
        use_cpu=not on_gpu,
        dataloader_pin_memory=on_gpu,
        seed=seed,
        train_sampling_strategy="sequential" if in_order else "random",
        save_strategy="no" if save_steps is None else "steps",
        save_steps=save_steps or 0,
        save_total_limit=2,
        logging_strategy="no",
        logging_nan_inf_filter=False,  # a diverged run must not look like a good one
        remove_unused_columns=False,
        report_to="none",
        disable_tqdm=True,
    )
