r"""Starting point of the head of a backbone that brings none: linear regression onto whitened word embeddings.

With logits :math:`W A h + b` and :math:`b` the log unigram, the direction of steepest descent of the cross-entropy in
:math:`A` at zero is :math:`E[(w_x - \bar w) h^T]`. Solving the ridge regression of the half-whitened, centred
embedding of the hidden word on :math:`h` and choosing the scale on held-out positions gives in seconds what the first
hundred steps of training would have to find.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gencls.diffusion.collator import DiffusionCollator, Example
from gencls.diffusion.denoiser import Denoiser
from gencls.diffusion.parts import LinearHead
from gencls.diffusion.schedule import LevelSchedule

SCALES = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


@torch.no_grad()
def fit_linear_head(
    denoiser: Denoiser,
    token_ids: Sequence[np.ndarray],
    *,
    generator: np.random.Generator,
    batch_size: int = 32,
    autocast: Any = None,
) -> float:
    """Fit the linear head of a denoiser in place.

    Parameters
    ----------
    denoiser : Denoiser
        With a `LinearHead` and its class-free output bias already set.
    token_ids : sequence of ndarray of shape (L,)
        Training texts; a thousand are enough for a head of 384 x 384.
    generator : numpy.random.Generator
    batch_size : int
    autocast : context manager factory, optional
        Precision of the encoder.

    Returns
    -------
    float
        Gain over the unigram on held-out positions, nats per token.
    """
    head = denoiser.network.head
    if not isinstance(head, LinearHead):
        return 0.0
    hidden, targets = _collect(denoiser, token_ids, generator, batch_size, autocast)
    n_fit = len(hidden) * 6 // 7
    centre = hidden[:n_fit].mean(dim=0)
    weight = _ridge(hidden[:n_fit] - centre, _whitened_targets(denoiser, targets[:n_fit]))
    held = (hidden[n_fit:][:4096] - centre) @ weight
    losses = [_loss(denoiser, held * scale, targets[n_fit:][:4096]) for scale in SCALES]
    best = int(np.argmin(losses))
    head.weight.copy_((weight * SCALES[best]).T)
    head.bias.copy_(-(centre @ weight) * SCALES[best])
    return losses[0] - losses[best]


def _collect(
    denoiser: Denoiser,
    token_ids: Sequence[np.ndarray],
    generator: np.random.Generator,
    size: int,
    autocast: Any,
) -> tuple[Tensor, Tensor]:
    """Hidden states (n, D) and targets (n,) of the scored positions, text by text."""
    collator = DiffusionCollator(denoiser.frame, LevelSchedule(0.1, 1.0), n_scored=24)
    device = denoiser.bias.device
    seeds = generator.integers(0, 2**63 - 1, size=len(token_ids))
    examples = [Example(ids, 0, 0, 0, int(seed)) for ids, seed in zip(token_ids, seeds, strict=True)]
    order = sorted(range(len(examples)), key=lambda place: len(token_ids[place]))  # little padding
    hidden, targets = [], []
    was_training = denoiser.training
    denoiser.eval()
    for start in range(0, len(order), size):
        places = order[start : start + size]
        batch = collator([examples[place] for place in places])["batch"].to(device)
        classes = torch.full((len(batch.input_ids),), denoiser.n_classes, device=device)
        with autocast() if autocast else torch.no_grad():
            states, _ = denoiser.network(batch.input_ids, batch.attention_mask, batch.scored, classes)
        sizes = batch.scored.sum(dim=1).tolist()
        hidden += states.float().split(sizes)
        targets += batch.target_ids[batch.scored].split(sizes)
    denoiser.train(was_training)
    back = np.argsort(order)
    return torch.cat([hidden[place] for place in back]), torch.cat([targets[place] for place in back])


def _whitened_targets(denoiser: Denoiser, targets: Tensor) -> Tensor:
    """Centred embeddings of the targets, multiplied by the embeddings' covariance to the power -1/2."""
    frequency = denoiser.bias.softmax(dim=0)
    table = denoiser.projection.detach().float()
    centred = table - frequency @ table
    covariance = (centred * frequency[:, None]).T @ centred
    values, vectors = torch.linalg.eigh(
        covariance + 1e-4 * covariance.diagonal().mean() * torch.eye(len(covariance)).to(covariance)
    )
    return centred[targets] @ (vectors * values.clamp_min(1e-12) ** -0.5) @ vectors.T


def _ridge(inputs: Tensor, outputs: Tensor, strength: float = 1e-3) -> Tensor:
    gram = inputs.T @ inputs
    penalty = strength * len(inputs) * inputs.var() * torch.eye(gram.shape[0]).to(gram)
    return torch.linalg.solve(gram + penalty, inputs.T @ outputs)


def _loss(denoiser: Denoiser, features: Tensor, targets: Tensor) -> float:
    parts = [
        functional.cross_entropy(
            functional.linear(chunk, denoiser.projection.float()) + denoiser.bias, wanted, reduction="sum"
        )
        for chunk, wanted in zip(features.split(1024), targets.split(1024), strict=True)
    ]
    return float(torch.stack(parts).sum()) / max(len(targets), 1)
