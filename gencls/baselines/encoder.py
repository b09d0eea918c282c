"""The same pretrained encoder, fine-tuned to discriminate: log P(class | tokens) by a linear head.

The head reads the mean of the last hidden states over the text's tokens. The encoder is handed in as a
module, so that this rival shares no code with the diffusion side, only the weights it starts from.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import nn

from gencls.baselines.checkpoints import alone, keep_weights
from gencls.baselines.finetuning import Budget, BudgetCallback, finetune, parameter_groups, private_seeds
from gencls.baselines.prediction import LogProbaClassifier
from gencls.baselines.selection import NOT_FITTED, checked_labels
from gencls.data.lengths import run_in_groups

#: Raised when code here changes what a fit ends in: weights that were kept are then trained again.
RECIPE = 1


class MeanPooledClassifier(nn.Module):
    """An encoder with a linear head over the mean of its hidden states.

    Parameters
    ----------
    encoder : Module
        A Transformers base model: returns an object with ``last_hidden_state`` (B, L, H).
    n_classes : int
        C.
    """

    def __init__(self, encoder: nn.Module, n_classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(encoder.config.hidden_size, n_classes)  # type: ignore[union-attr,arg-type]
        self.tokens_seen = 0

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """Return "logits" (B, C) in float32 and, with ``labels`` (B,), the cross-entropy "loss" in nats."""
        if self.training:
            self.tokens_seen += int(attention_mask.sum())
        in_groups = self.training and input_ids.device.type == "cpu"
        inputs = input_ids, attention_mask
        pooled = run_in_groups(self._pooled, *inputs) if in_groups else self._pooled(*inputs)
        logits = self.head(self.dropout(pooled)).float()
        if labels is None:
            return {"logits": logits}
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}

    def _pooled(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return the mean (B, H) of each row's hidden states."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weight = attention_mask.unsqueeze(-1).to(hidden.dtype)
        mean: torch.Tensor = (hidden * weight).sum(dim=1) / weight.sum(dim=1)
        return mean


class EncoderClassifier(LogProbaClassifier):
    """A pretrained encoder fine-tuned discriminatively under a budget.

    Parameters
    ----------
    encoder : Module
        A Transformers base model such as ``BertModel``; it is copied, never changed.
    cls_id, sep_id : int or None
        Special tokens put before and after every text; None puts none.
    pad_id : int
        Padding id.
    budget : Budget
        When to stop.
    learning_rate : float
        Peak rate of the encoder; the new head takes ten times as much.
    warmup : float
        Share of the budget in which the rate rises.
    batch_size : int
        Texts per step.
    bf16 : bool
        Autocast to bfloat16, in training and in prediction.
    random_state : int
        Seed of the head, the order of the texts and dropout; the process's random states stay as they are.
    checkpoints : Path, optional
        Folder for checkpoints; a killed fit goes on where it stopped, and a finished one is read. One folder for one
        training set and setting.
    save_steps : int
        Steps between checkpoints.
    progress : bool
        Draw a progress bar when stderr is a terminal.

    Attributes
    ----------
    network_ : MeanPooledClassifier
    n_steps_ : int
        Optimizer steps taken.
    tokens_seen_ : int
        Tokens through the network in training, special tokens counted, padding not.
    seconds_before_ : float
        Of training in earlier lives of a resumed fit; 0 for one that was not.
    classes_ : ndarray of shape (C,), int64
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        cls_id: int | None,
        sep_id: int | None,
        pad_id: int,
        budget: Budget = Budget(),  # noqa: B008  (frozen)
        learning_rate: float = 1e-4,
        warmup: float = 0.1,
        batch_size: int = 32,
        bf16: bool = False,
        random_state: int = 0,
        checkpoints: Path | None = None,
        save_steps: int = 100,
        progress: bool = True,
    ) -> None:
        self.encoder = encoder
        self.cls_id = cls_id
        self.sep_id = sep_id
        self.pad_id = pad_id
        self.budget = budget
        self.learning_rate = learning_rate
        self.warmup = warmup
        self.batch_size = batch_size
        self.bf16 = bf16
        self.random_state = random_state
        self.checkpoints = checkpoints
        self.save_steps = save_steps
        self.progress = progress

    def fit(self, ids: Sequence[np.ndarray], y: np.ndarray) -> EncoderClassifier:
        """Fine-tune on token ids. The weights at the end of the budget are kept: nothing is selected.

        Parameters
        ----------
        ids : sequence of N int arrays of shape (L,)
            Token ids, truncated by the caller, without special tokens and padding.
        y : ndarray of shape (N,), int64
            Classes 0 to C - 1, each present.

        Returns
        -------
        EncoderClassifier
            Itself.

        Raises
        ------
        ValueError
            If labels are not usable or a text is longer than the encoder's positions.
        RuntimeError
            If the training diverges.
        """
        labels = checked_labels(y, len(ids))
        sequences = self._with_special_tokens(ids)
        examples = [{"ids": text, "label": int(label)} for text, label in zip(sequences, labels, strict=True)]
        n_steps = self.budget.steps(len(ids), sum(map(len, sequences)), self.batch_size)
        watch = BudgetCallback(n_steps, self.budget.max_seconds, warmup=self.warmup, progress=self.progress)
        with alone(self.checkpoints), private_seeds():
            torch.manual_seed(self.random_state)
            encoder = self._own_encoder()
            network = MeanPooledClassifier(encoder, int(labels.max()) + 1).to(next(encoder.parameters()).device)
            groups = parameter_groups(network.encoder, network.head, self.learning_rate)
            self.n_steps_ = finetune(
                network,
                examples,
                self._collate,
                groups,
                watch,
                batch_size=self.batch_size,
                bf16=self.bf16,
                seed=self.random_state,
                checkpoints=self.checkpoints,
                save_steps=self.save_steps,
            )
            if self.checkpoints is not None:
                keep_weights(self.checkpoints)
        self.network_, self.tokens_seen_ = network.eval(), network.tokens_seen
        self.seconds_before_ = watch.seconds_before
        self.classes_ = np.unique(labels)
        return self

    @torch.inference_mode()
    def predict_log_proba(self, ids: Sequence[np.ndarray], *, batch_size: int = 64) -> np.ndarray:
        """Return log P(class | tokens), shape (N, C), float64, nats.

        Parameters
        ----------
        ids : sequence of N int arrays of shape (L,)
            Token ids, truncated by the caller, without special tokens and padding; empty ones are allowed.
        batch_size : int
            Texts per forward; texts of like length go together.

        Returns
        -------
        ndarray of shape (N, C), float64
            Rows in the order of ``ids``.
        """
        check_is_fitted(self, "network_", msg=NOT_FITTED)
        sequences = self._with_special_tokens(ids)
        order = np.argsort([len(text) for text in sequences], kind="stable")
        log_proba = np.empty((len(sequences), len(self.classes_)))
        device = self.network_.head.weight.device
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            batch = self._collate([{"ids": sequences[row]} for row in rows])
            with torch.autocast(device.type, torch.bfloat16, enabled=self.bf16):
                logits = self.network_(**{name: value.to(device) for name, value in batch.items()})["logits"]
            log_proba[rows] = logits.double().log_softmax(dim=1).cpu().numpy()
        return log_proba

    def _own_encoder(self) -> nn.Module:
        encoder = copy.deepcopy(self.encoder)
        if not torch.cuda.is_available() and hasattr(encoder, "set_attn_implementation"):
            # The backward of the fused attention is several times slower than the plain one on a CPU.
            encoder.set_attn_implementation("eager")  # type: ignore[operator]
        return encoder

    def _with_special_tokens(self, ids: Sequence[np.ndarray]) -> list[np.ndarray]:
        before = [] if self.cls_id is None else [self.cls_id]
        after = [] if self.sep_id is None else [self.sep_id]
        # A text without any token still needs one to pool over.
        filler = [] if before or after else [self.pad_id]
        sequences = [
            np.array([*before, *text, *after, *(filler if len(text) == 0 else [])], dtype=np.int64) for text in ids
        ]
        limit = getattr(self.encoder.config, "max_position_embeddings", None)
        longest = max(map(len, sequences), default=0)
        if limit is not None and longest > limit:
            raise ValueError(
                f"expected at most {limit} tokens with the special ones, got {longest}: truncate the texts"
            )
        return sequences

    def _collate(self, examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        rows = [torch.from_numpy(example["ids"]) for example in examples]
        padded = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=self.pad_id)
        # From the lengths, not from the padding id: a text may contain that token itself.
        lengths = torch.tensor([len(row) for row in rows])
        mask = (torch.arange(padded.shape[1]) < lengths[:, None]).long()
        batch = {"input_ids": padded, "attention_mask": mask}
        if "label" in examples[0]:
            batch["labels"] = torch.tensor([example["label"] for example in examples])
        return batch
