"""The loss of a stage around a denoiser: what the Hugging Face Trainer calls."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gencls.diffusion.batches import RowBatch
from gencls.diffusion.denoiser import Denoiser
from gencls.diffusion.objective import LevelLosses, negative_elbo_per_token, posterior_cross_entropy
from gencls.training.rivals import Rivals


class TrainingModel(nn.Module):
    """The loss around a denoiser, in the form the Trainer calls.

    Parameters
    ----------
    denoiser : Denoiser
    hybrid_weight : float
        Weight of the posterior's cross-entropy; see `gencls.diffusion.objective`.
    rivals : Rivals, optional
        Of the examples, where a decision is trained among few of the classes.
    """

    def __init__(self, denoiser: Denoiser, hybrid_weight: float, rivals: Rivals | None = None) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.hybrid_weight = hybrid_weight
        self.stands_for: Tensor | None
        log_weights = None if rivals is None else torch.from_numpy(rivals.log_weights).float()
        self.register_buffer("stands_for", log_weights, persistent=False)
        self.levels = LevelLosses.empty()

    def forward(
        self,
        batch: RowBatch,
        class_ids: Tensor,
        fold_ids: Tensor,
        labels: Tensor,
        n_tokens: Tensor,
        n_hidden: Tensor,
        candidates: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return the loss of a collated batch."""
        rows = batch.scored.nonzero()[:, 0]
        by_class = self.denoiser.by_class(batch, fold_ids, candidates) if self.hybrid_weight > 0 else None
        own = labels if candidates is None else torch.zeros_like(labels)  # its place among the classes
        log_probs = self._own_log_probs(batch, class_ids, fold_ids, own[rows], by_class)
        losses = negative_elbo_per_token(log_probs, rows, len(class_ids))
        self.levels.add(losses, n_hidden / n_tokens)
        loss = losses.mean()
        if by_class is not None:
            weights = (n_hidden / batch.scored.sum(dim=1)).to(by_class.dtype)
            decisions = posterior_cross_entropy(by_class, rows, weights, own, self.stands_for)
            loss = loss + self.hybrid_weight * decisions.mean()
        return {"loss": loss}

    def _own_log_probs(
        self, batch: RowBatch, class_ids: Tensor, fold_ids: Tensor, own: Tensor, by_class: Tensor | None
    ) -> Tensor:
        """The log-probabilities of each row under its own class; of all classes, where they are known already."""
        if by_class is None or (class_ids == self.denoiser.n_classes).any():  # "no class" is not among them
            log_probs: Tensor = self.denoiser(batch, class_ids, fold_ids)
            return log_probs
        return by_class.gather(0, own[None])[0]
