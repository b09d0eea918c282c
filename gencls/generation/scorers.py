"""What the reverse process asks of a model: logits of all tokens at hidden places."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from gencls.diffusion.batches import EncodedPositions, frame_rows
from gencls.diffusion.conditioning import Conditional
from gencls.diffusion.denoiser import Denoiser
from gencls.likelihood.precision import Precision, autocast, resolve_precision

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
#: Places whose logits exist at one time.
CHUNK = 128
#: Tokens of a tile: the product of a chunk stays in the processor's cache until it is copied with its bias.
TILE = 4096


class Scorer(Protocol):
    """A masked-diffusion model, a network or a table.

    Attributes
    ----------
    mask_id : int
        Id that stands for a hidden token.
    vocab_size : int
        V.
    n_forwards : int
        Forward passes so far.
    """

    mask_id: int
    vocab_size: int
    n_forwards: int

    def logits(self, token_ids: IntArray, asked: BoolArray, class_ids: Sequence[int]) -> Iterator[Tensor]:
        """Give the logits of the asked places, chunk by chunk, in row-major order.

        Parameters
        ----------
        token_ids : ndarray of shape (B, L), int64
            `mask_id` where hidden.
        asked : ndarray of shape (B, L), bool
            Hidden places.
        class_ids : sequence of G int
            C stands for the class-free model.

        Yields
        ------
        Tensor of shape (G, n, V), float
            Log-probabilities up to a constant; the caller may overwrite them.
        """


class DenoiserScorer:
    r"""A denoiser as a `Scorer`: one pass of the encoder for a batch, the vocabulary at asked places only.

    Class tables that stand beside the network (`Denoiser.close_gate`) write with it, each deviation once, as in a gate
    that is fully open: with w the token at a place and s all that is seen of the text,

    .. math:: p(w \mid s, c) \propto p_c(w \mid s)\, e^{\delta_c(w) + \epsilon_c(s, w)}.

    The weight between both of the decision has no say here: its scale is the temperature's, and tables that are worth
    ten times an untrained network in a decision would write one word over and over.

    Parameters
    ----------
    denoiser : Denoiser
        In evaluation mode.
    precision : {"auto", "float32", "bfloat16", "float16"}
    """

    def __init__(self, denoiser: Denoiser, precision: Precision = "auto") -> None:
        self.denoiser = denoiser
        self.mask_id, self.vocab_size = denoiser.frame.mask, denoiser.vocab_size
        self.n_forwards = 0
        self.device = denoiser.bias.device
        self._are_tables_beside = denoiser.is_gate_closed
        self.precision = resolve_precision(precision, self.device)
        self._dtype: torch.dtype = getattr(torch, self.precision)
        self._tiles = denoiser.projection.detach().to(self._dtype).split(TILE)

    @torch.no_grad()
    def logits(
        self,
        token_ids: IntArray | Sequence[IntArray],
        asked: BoolArray | Sequence[BoolArray],
        class_ids: Sequence[int],
    ) -> Iterator[Tensor]:
        """See `Scorer.logits`; the texts may also be of different lengths."""
        as_they_are = [np.zeros(len(row), dtype=bool) for row in token_ids]  # the mask token is in the rows already
        batch = frame_rows(list(token_ids), as_they_are, list(asked), self.denoiser.frame).to(self.device)
        positions = self.denoiser.encode(batch, class_ids, self._dtype)
        self.n_forwards += len(positions.hidden)
        for start in range(0, len(positions), CHUNK):
            places = slice(start, start + CHUNK)
            part = EncodedPositions(positions.hidden[:, places], positions.neighbours[places])
            yield torch.stack([self._of_class(part, place, index) for place, index in enumerate(class_ids)])

    def _of_class(self, positions: EncodedPositions, place: int, index: int) -> Tensor:
        """The logits (n, V) under the class at a place of the asked ones."""
        hidden = positions.hidden[min(place, len(positions.hidden) - 1)]
        classes = torch.full_like(positions.neighbours[:, 0], index)
        logits = self._project(self._features(hidden, classes, index))
        if index < max(self.denoiser.n_classes, len(self.denoiser.pairs.values)):
            gate = self.denoiser.gate(hidden.float()) + float(self._are_tables_beside)
            logits.add_(gate[:, :1] * self.denoiser.class_bias[index])
            rows, columns, values = self.denoiser.pairs.entries(positions.neighbours, classes, None)
            logits.view(-1).index_add_(0, rows * self.vocab_size + columns, values * gate[rows, 1])
        return logits

    def _features(self, hidden: Tensor, classes: Tensor, index: int) -> Tensor:
        network = self.denoiser.network
        with autocast(self.precision, self.device):
            if isinstance(network, Conditional):
                features = network.class_features(hidden, classes)
            else:
                features = network.head_of(index)(hidden)
        return features.to(self._dtype)

    def _project(self, features: Tensor) -> Tensor:
        """Return features (n, D) times the projection, plus the class-free bias, (n, V) float32."""
        logits = torch.empty(len(features), self.vocab_size, device=self.device)
        for tile, bias, room in zip(
            self._tiles, self.denoiser.bias.split(TILE), logits.split(TILE, dim=1), strict=True
        ):
            torch.add(functional.linear(features, tile), bias, out=room)
        return logits


@contextmanager
def scorer_of(denoiser: Denoiser, precision: Precision = "auto") -> Iterator[DenoiserScorer]:
    """Switch a denoiser to evaluation and give its scorer."""
    was_training = denoiser.training
    denoiser.eval()
    try:
        yield DenoiserScorer(denoiser, precision)
    finally:
        denoiser.train(was_training)


def guided(logits: Tensor, guidance: float) -> Tensor:
    r"""Combine the class model and the class-free model, discrete classifier-free guidance.

    .. math:: \ell = \ell_{\text{free}} + w (\ell_c - \ell_{\text{free}})

    (Ho & Salimans 2021, arXiv:2207.12598, eq. 6 with :math:`w` for their :math:`1 + w`, on logits; Schiff et al. 2024,
    arXiv:2412.10193, section 3, for discrete diffusion.)

    Parameters
    ----------
    logits : Tensor of shape (G, n, V)
        Of one model, or of the class and the class-free model.
    guidance : float
        w.

    Returns
    -------
    Tensor of shape (n, V)
    """
    return logits[0] if len(logits) == 1 else torch.lerp(logits[1], logits[0], guidance)


def guiding_classes(class_index: int, n_classes: int, guidance: float) -> list[int]:
    """Return the models that `guided` needs: at the weights 0 and 1 one of the two is enough."""
    if class_index == n_classes or guidance == 0:
        return [n_classes]
    return [class_index] if guidance == 1 else [class_index, n_classes]
