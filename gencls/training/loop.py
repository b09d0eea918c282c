"""One training stage on the Hugging Face Trainer: fixed example order, level log, time budget, resume."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback
from transformers.trainer_utils import get_last_checkpoint

from gencls.data.storage import read_json, write_json
from gencls.diffusion.collator import DiffusionCollator
from gencls.diffusion.denoiser import Denoiser
from gencls.training.examples import ScheduledExamples
from gencls.training.model import TrainingModel

logger = logging.getLogger("gencls.training")
CHECKPOINTS, COMPLETE, FINISHED = "checkpoints", "complete.json", "finished.json"


class StageTrainer(Trainer):
    """Trainer that keeps the examples' order, uses the denoiser's parameter groups and logs the loss by level."""

    def __init__(self, *args: Any, learning_rates: dict[str, float], **kwargs: Any) -> None:
        self.learning_rates = learning_rates
        super().__init__(*args, **kwargs)

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)  # type: ignore[arg-type]

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        if self.optimizer is None:
            denoiser = cast(TrainingModel, self.model).denoiser
            groups = denoiser.parameter_groups(**self.learning_rates)
            self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.01)
        return self.optimizer

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        levels = cast(TrainingModel, self.model).levels
        super().log({**logs, **levels.pop()}, *args, **kwargs)


@dataclass
class _LogWriter(TrainerCallback):
    """Appends the Trainer's log to a JSON-lines file and marks finished checkpoints."""

    path: Path
    stage: str
    seconds_before: float
    started: float = 0.0

    @property
    def seconds(self) -> float:
        """Seconds of the stage so far, earlier lives of a resumed run counted in."""
        return self.seconds_before + time.monotonic() - self.started

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.started = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"stage": self.stage, "step": state.global_step, **(logs or {})}) + "\n")

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        # written last: a checkpoint without it was cut off by a kill and is not resumed from
        (folder / COMPLETE).write_text(json.dumps({"step": state.global_step, "seconds": self.seconds}))


@dataclass
class _Deadline(TrainerCallback):
    """Ends a stage that overruns its share of the time budget: the last guard, after the planned step count."""

    seconds: float | None
    seconds_before: float = 0.0
    started: float = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.started = time.monotonic() - self.seconds_before

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.seconds is not None and time.monotonic() - self.started > self.seconds:
            logger.warning("time budget reached at step %d of %d", state.global_step, state.max_steps)
            # saved, so that a later resume finds the stage as it ended
            control.should_training_stop = control.should_save = True


def stage_folder(folder: Path, name: str) -> Path:
    """Return the folder of a stage's checkpoints in that of its run."""
    return folder / CHECKPOINTS / name


def run_stage(
    name: str,
    denoiser: Denoiser,
    examples: ScheduledExamples,
    collator: DiffusionCollator,
    folder: Path,
    *,
    batch_size: int,
    learning_rates: dict[str, float],
    hybrid_weight: float,
    bf16: bool,
    checkpoint_steps: int,
    max_seconds: float | None,
    progress: bool,
    on_step: Callable[[int], None] | None = None,
) -> dict[str, float]:
    """Train one stage, from its last complete checkpoint if there is one.

    Returns
    -------
    dict
        ``steps``, ``seconds`` of the stage, ``loss`` (the last logged training loss, nats per token).
    """
    model = TrainingModel(denoiser, hybrid_weight, examples.rivals)
    place = stage_folder(folder, name)
    n_steps = _planned_steps(place, len(examples) // batch_size)
    if n_steps == 0:
        return {"steps": 0, "seconds": 0.0, "loss": float("nan")}
    arguments = _training_arguments(
        place,
        n_steps,
        batch_size=batch_size,
        checkpoint_steps=checkpoint_steps,
        bf16=bf16,
        use_cpu=denoiser.bias.device.type == "cpu",
        progress=progress,
    )
    checkpoint = last_complete_checkpoint(place)
    seconds_before = _seconds_before(checkpoint)
    writer = _LogWriter(folder / "training_log.jsonl", name, seconds_before)
    callbacks: list[TrainerCallback] = [writer, _Deadline(max_seconds, seconds_before)]
    if on_step is not None:
        callbacks.append(_StepHook(on_step))
    trainer = StageTrainer(
        model=model,
        args=arguments,
        train_dataset=examples.first(n_steps * batch_size),  # type: ignore[arg-type]
        data_collator=collator,
        callbacks=callbacks,
        learning_rates=learning_rates,
    )
    trainer.remove_callback(PrinterCallback)  # the library never prints
    result = trainer.train(resume_from_checkpoint=checkpoint)
    write_json(place / FINISHED, {"steps": result.global_step})
    # not result.training_loss, which divides the loss since the resume by all steps
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {
        "steps": result.global_step,
        "seconds": writer.seconds,
        "loss": float(losses[-1]) if losses else float("nan"),
    }


def _training_arguments(
    folder: Path, n_steps: int, *, batch_size: int, checkpoint_steps: int, bf16: bool, use_cpu: bool, progress: bool
) -> TrainingArguments:
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=n_steps,
        per_device_train_batch_size=batch_size,
        warmup_steps=max(1, min(100, n_steps // 10)),
        lr_scheduler_type="linear",
        max_grad_norm=1.0,
        save_steps=checkpoint_steps,
        save_total_limit=2,
        logging_steps=min(25, n_steps),
        disable_tqdm=not progress or bool(os.environ.get("CI")),
        report_to=[],
        remove_unused_columns=False,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
        bf16=bf16,
        use_cpu=use_cpu,
        seed=0,
        label_names=["labels"],
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # several GPUs go through Accelerate: DataParallel cannot cut a RowBatch
    return arguments


def _seconds_before(checkpoint: str | None) -> float:
    """Seconds that the earlier lives of a stage took until its checkpoint."""
    return 0.0 if checkpoint is None else float(read_json(Path(checkpoint) / COMPLETE).get("seconds", 0.0))


def _planned_steps(stage_folder: Path, n_steps: int) -> int:
    """The steps of a stage; those that it took if the time budget ended it, so that a resume adds none."""
    path = stage_folder / FINISHED
    return min(n_steps, int(read_json(path)["steps"])) if path.exists() else n_steps


@dataclass
class _StepHook(TrainerCallback):
    """Calls a function after every optimiser step."""

    function: Callable[[int], None]

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.function(state.global_step)


def last_complete_checkpoint(folder: Path) -> str | None:
    """Return the newest checkpoint that was written to its end; remove newer broken ones."""
    import shutil

    while folder.is_dir() and (last := get_last_checkpoint(str(folder))):
        if (Path(last) / COMPLETE).exists():
            return last
        logger.warning("checkpoint %s is incomplete (a kill while it was written): ignored", Path(last).name)
        shutil.rmtree(last)
    return None


def steps_within(
    seconds: float,
    denoiser: Denoiser,
    examples: ScheduledExamples,
    collator: DiffusionCollator,
    **options: Any,
) -> int:
    """Return how many steps fit in a time, from three timed trial steps that change nothing."""
    model = TrainingModel(denoiser, options["hybrid_weight"], examples.rivals)
    model.train()
    size, device = options["batch_size"], denoiser.bias.device
    times = []
    for trial in range(4):
        start = time.monotonic()
        items = [examples[(trial * size + place) % len(examples)] for place in range(size)]
        inputs = {key: value.to(device) for key, value in collator(items).items()}
        with torch.autocast(device.type, torch.bfloat16, enabled=options["bf16"]):
            loss = model(**inputs)["loss"]
        loss.backward()
        model.zero_grad(set_to_none=True)
        times.append(time.monotonic() - start)
    # a fifth more for the optimiser, the checkpoints and a noisy machine
    return max(1, int(seconds / (1.2 * sorted(times[1:])[1])))
