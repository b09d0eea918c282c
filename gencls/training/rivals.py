r"""The other classes that a text's decision is trained against, where there are too many for all of them.

The decision's loss needs the text's likelihood under every class, and each is a pass over the vocabulary. With a budget
of k classes for a visit, half of the k - 1 others are the h likeliest ones by the class tables, and the other half are
r classes drawn evenly from all that are left. These stand for the C - 1 - h that they are drawn from:

.. math:: \sum_c e^{s_c} \approx e^{s_y} + \sum_{\mathrm{likeliest}} e^{s_c}
          + \frac{C - 1 - h}{r} \sum_{\mathrm{drawn}} e^{s_c},

which is unbiased; its logarithm, and with it the loss, is too low by about half of the sum's relative variance, which
is small where the likeliest classes hold most of the sum. (Estimates of the softmax's sum from few classes: Bengio &
Senécal 2008; Jean et al. 2015, arXiv:1412.2007.) The tables of other classes hold no count of the text, so that the
choice of the likeliest tells nothing of its own class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
#: The true class, one that is likely and one that is drawn.
FEWEST_CLASSES = 3


@dataclass(frozen=True)
class Rivals:
    """The likeliest other classes of each text.

    Attributes
    ----------
    likeliest : ndarray of shape (N, h), int64
        By falling score.
    n_classes : int
        C.
    n_drawn : int
        r, of the others; at least 1 and at most C - 1 - h.
    """

    likeliest: IntArray
    n_classes: int
    n_drawn: int

    @classmethod
    def of(cls, scores: FloatArray, labels: IntArray, n_candidates: int) -> Rivals:
        """Choose them by scores (N, C), nats, of texts with classes `labels` (N,), for k = `n_candidates` < C."""
        others = np.array(scores, dtype=np.float64)
        others[np.arange(len(labels)), labels] = -np.inf
        n_drawn = (n_candidates - 1) // 2
        ranked = np.argsort(-others, axis=1, kind="stable")
        return cls(ranked[:, : n_candidates - 1 - n_drawn], scores.shape[1], n_drawn)

    def candidates(self, text: int, label: int, *, generator: np.random.Generator) -> IntArray:
        """Return the classes (k,) of a visit: the text's own, the likeliest others, and those drawn."""
        known = [label, *self.likeliest[text].tolist()]
        drawn = generator.choice(np.setdiff1d(np.arange(self.n_classes), known), self.n_drawn, replace=False)
        return np.array([*known, *drawn], dtype=np.int64)

    @property
    def log_weights(self) -> FloatArray:
        """For how many classes each of `candidates` stands, (k,), in nats."""
        n_exact = 1 + self.likeliest.shape[1]
        stands_for = (self.n_classes - n_exact) / self.n_drawn
        return np.concatenate([np.zeros(n_exact), np.full(self.n_drawn, np.log(stands_for))])
