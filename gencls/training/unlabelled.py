r"""Classes for texts without labels: what the labelled texts' counts say of them, in the shares that are expected.

A generative model can learn from texts whose class nobody has told: the likelihoods say which class they are of, and
the classes are then counted on them as well. This is one step of classification EM (Celeux & Govaert 1992); of the soft
kind, with naive Bayes, Nigam, McCallum, Thrun & Mitchell (2000, "Text classification from labeled and unlabeled
documents using EM"). More steps are not taken: from few labels the classes then drift to whatever divides the texts
best, which is seldom what the labels meant.

Few labels also leave the scores leaning to one class as a whole, and a decision by the largest score would give it most
of the texts. The classes are therefore given in their expected shares :math:`\pi_c`: offsets :math:`b_c` are added to
the scores :math:`s_{ic}`, the dual variables of the transport of texts to classes,

.. math:: \min_b \; \tau \sum_i \log \sum_c e^{(s_{ic} + b_c) / \tau} / N - \sum_c \pi_c b_c

(labels as optimal transport: Asano, Rupprecht & Vedaldi 2020, "Self-labelling via simultaneous clustering and
representation learning").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

from gencls.diffusion.denoiser import Denoiser
from gencls.training.class_tables import fit_statistics
from gencls.training.config import TrainConfig
from gencls.training.examples import TokenizedSplit, TrainingTexts

FloatArray = NDArray[np.float64]
#: Of the transport, in units of how far a class's score spreads over the texts: small, for classes that are whole.
SMOOTHING = 0.05


@dataclass(frozen=True)
class UnlabelledTexts:
    """Texts whose class is not known.

    Attributes
    ----------
    token_ids : sequence of N ndarray of shape (L,), int64
    shares : ndarray of shape (C,)
        Expected shares of the classes among them; sum to one.
    """

    token_ids: Sequence[NDArray[np.int64]]
    shares: FloatArray

    def joined_to(self, train: TokenizedSplit, classes: NDArray[np.int64]) -> TokenizedSplit:
        """Return the labelled texts and these, of the classes (N,) that they were given."""
        return TokenizedSplit([*train.token_ids, *self.token_ids], np.concatenate([train.labels, classes]))


def transduced(
    denoiser: Denoiser,
    texts: TrainingTexts,
    validation: TokenizedSplit,
    unlabelled: UnlabelledTexts,
    config: TrainConfig,
) -> NDArray[np.int64]:
    """Return the class of each unlabelled text, (N,), by the tables that the labelled texts alone give."""
    statistics, chosen = fit_statistics(denoiser, texts, validation, config)
    return matched_classes(statistics.scores(statistics.table(**chosen), unlabelled.token_ids), unlabelled.shares)


def matched_classes(scores: FloatArray, shares: FloatArray) -> NDArray[np.int64]:
    """Return the class of each text, so that the classes get their shares of all texts.

    Parameters
    ----------
    scores : ndarray of shape (N, C), nats
        Log-likelihoods of the classes, up to a constant of each text.
    shares : ndarray of shape (C,)
        Positive; sum to one.

    Returns
    -------
    ndarray of shape (N,), int64
        Shares are met but for what the smoothing and texts of equal scores leave.

    Examples
    --------
    >>> scores = np.array([[0.0, 9.0], [0.0, 5.0], [0.0, 3.0], [0.0, 1.0]])  # all lean to the second class
    >>> matched_classes(scores, np.array([0.5, 0.5]))
    array([1, 1, 0, 0])
    """
    centred = scores - scores.mean(axis=1, keepdims=True)
    scaled = centred / max(SMOOTHING * float(centred.std(axis=0).mean()), np.finfo(float).tiny)

    def dual(offsets: FloatArray) -> tuple[float, FloatArray]:
        value = float(logsumexp(scaled + offsets, axis=1).mean() - shares @ offsets)
        return value, softmax(scaled + offsets, axis=1).mean(axis=0) - shares

    offsets = minimize(dual, -np.median(scaled, axis=0), jac=True, method="L-BFGS-B").x
    return np.asarray((scaled + offsets).argmax(axis=1))
