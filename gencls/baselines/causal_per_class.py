"""One causal language model per class, by adapters on a shared pretrained model or by a whole model for each.

Yogatama et al. 2017, "Generative and Discriminative Text Classification with Recurrent Neural Networks", have an LSTM
in its place.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from gencls.baselines.causal_bayes import CausalBayes
from gencls.baselines.causal_likelihood import log_likelihood
from gencls.baselines.causal_training import CausalTraining, Ids, steps_within, train_causal
from gencls.baselines.checkpoints import alone
from gencls.baselines.selection import NOT_FITTED
from gencls.data.storage import read_json, write_json

PLAN = "plan.json"


class PerClassCausalLM(CausalBayes):
    """One causal language model per class, each trained on the texts of its class, as many steps for all.

    Parameters
    ----------
    model : PreTrainedModel
        What every class starts from; it is copied, never changed.
    start_id : int
        Token in front of every text.
    adapter_rank : int, optional
        Rank of one low-rank adapter (LoRA, on every linear layer) per class on one shared copy of the model. None
        trains all weights of a copy for each class.
    n_steps : int
        Optimizer steps of each class. Equal for all: a model trained longer would win texts for that alone.
    max_seconds : float, optional
        Lowers `n_steps` to what fits in this time, all classes together, by timed trial steps.
    batch_size : int
        Texts per step.
    learning_rate : float
        Peak rate. Adapters take ten times as much as whole models.
    bf16 : bool
        Autocast to bfloat16, in training and in scoring.
    random_state : int
        Seed of the adapters' start, the same for every class, and of the order of the texts.
    checkpoints : Path, optional
        Folder for checkpoints; a killed fit goes on where it stopped. One folder for one training set.
    progress : bool

    Attributes
    ----------
    models_ : list of C models
        With adapters, C times the shared one.
    n_steps_ : int
        Steps of each class.
    trainings_ : list of C CausalTraining
    log_prior_, classes_ : as `CausalBayes`
    """

    def __init__(
        self,
        model: Any,
        *,
        start_id: int,
        adapter_rank: int | None = 8,
        n_steps: int = 200,
        max_seconds: float | None = None,
        batch_size: int = 8,
        learning_rate: float = 5e-4,
        bf16: bool = False,
        random_state: int = 0,
        checkpoints: Path | None = None,
        progress: bool = False,
    ) -> None:
        self.model = model
        self.start_id = start_id
        self.adapter_rank = adapter_rank
        self.n_steps = n_steps
        self.max_seconds = max_seconds
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.bf16 = bf16
        self.random_state = random_state
        self.checkpoints = checkpoints
        self.progress = progress

    def fit(self, ids: Ids, y: np.ndarray) -> PerClassCausalLM:
        """Train one model per class.

        Parameters
        ----------
        ids : sequence of N int arrays of shape (L,)
            Token ids, truncated by the caller, without special tokens.
        y : ndarray of shape (N,), int64
            Classes 0 to C - 1, each present with at least one text that has a token.

        Returns
        -------
        PerClassCausalLM
            Itself.

        Raises
        ------
        ValueError
            If labels are not usable or a text is longer than the model's positions.
        RuntimeError
            If a training diverges.
        """
        labels = self.count_classes(y, len(ids))
        own = [[ids[row] for row in np.flatnonzero(labels == index).tolist()] for index in self.classes_]
        self.models_ = self._start(len(own))
        with alone(self.checkpoints):
            self.n_steps_ = self._planned_steps(ids)
            self.trainings_ = [self._train(index, texts) for index, texts in enumerate(own)]
        return self

    def log_likelihood(self, ids: Ids) -> NDArray[np.float64]:
        """Return log p(x | c), shape (N, C), float64, nats; an empty text has zero under every class."""
        check_is_fitted(self, "trainings_", msg=NOT_FITTED)
        return np.stack([self._score(index, ids) for index in range(len(self.classes_))], axis=1)

    def _start(self, n_classes: int) -> list[Any]:
        """Return what each class's model is selected from: itself, or the shared one with all adapters."""
        if self.adapter_rank is None:
            return [copy.deepcopy(self.model) for _ in range(n_classes)]
        return [add_adapters(copy.deepcopy(self.model), n_classes, self.adapter_rank, self.random_state)] * n_classes

    def select(self, index: int) -> Any:
        """Return the model of a class, its adapter the active one."""
        if self.adapter_rank is not None:
            self.models_[index].set_adapter(_adapter(index))
        return self.models_[index]

    def _planned_steps(self, ids: Ids) -> int:
        """Return the steps of each class; a resumed fit keeps to those of its first life, whatever it timed."""
        plan = None if self.checkpoints is None else self.checkpoints / PLAN
        if plan is not None and plan.exists():
            return int(read_json(plan)["n_steps"])
        n_steps = self.n_steps
        if self.max_seconds is not None:
            each = self.max_seconds / len(self.classes_)
            n_steps = min(n_steps, self._steps_within(each, ids))
        if plan is not None:
            write_json(plan, {"n_steps": n_steps})
        return n_steps

    def _steps_within(self, seconds: float, ids: Ids) -> int:
        return steps_within(
            seconds,
            self.select(0),
            ids,
            start_id=self.start_id,
            batch_size=self.batch_size,
            bf16=self.bf16,
            seed=self.random_state,
        )

    def _train(self, index: int, texts: Ids) -> CausalTraining:
        return train_causal(
            self.select(index),
            texts,
            start_id=self.start_id,
            n_steps=self.n_steps_,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            bf16=self.bf16,
            seed=self.random_state,
            checkpoints=None if self.checkpoints is None else self.checkpoints / _adapter(index),
            progress=self.progress,
        )

    def _score(self, index: int, ids: Ids) -> NDArray[np.float64]:
        context = (self.start_id,)
        return log_likelihood(self.select(index), ids, context=context, bf16=self.bf16, progress=self.progress)


def add_adapters(model: Any, n_adapters: int, rank: int, seed: int) -> Any:
    """Put low-rank adapters on every linear layer of a model; all start alike, and as the model itself.

    Parameters
    ----------
    model : PreTrainedModel
        Changed in place.
    n_adapters : int
    rank : int
    seed : int
        Of the adapters' first factor; the second is zero. The process's random state stays as it is.

    Returns
    -------
    PeftModel
        With the adapters ``class0``, ``class1``, …
    """
    from peft import LoraConfig, get_peft_model

    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        wrapped: Any = None
        for index in range(n_adapters):
            torch.manual_seed(seed)
            config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
            if wrapped is None:
                wrapped = get_peft_model(model, config, adapter_name=_adapter(index))
            else:
                wrapped.add_adapter(_adapter(index), config)
    return wrapped


def _adapter(index: int) -> str:
    return f"class{index}"
