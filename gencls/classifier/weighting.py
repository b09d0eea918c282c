r"""Evidence: what decides, made of the steps of a score with weights of their own for the masking levels.

A draw's sample of the bound is the sum of what its R forward passes add, each at its masking level. The levels carry
different amounts of class signal and of shared overstatement, so for a *decision* other weights may be better:

.. math:: \mathrm{evidence}_{kc} = \sum_{r=1}^{R} \beta_r\, \mathrm{step}_{kcr}.

The result is named evidence and never a likelihood: with other weights than the bound's it is a bound on nothing, has
no bits per token, and compares classes of one text only.

* ``bound``: :math:`\beta = 1`, the bound itself.
* ``uniform``: every scored token counts the same, whatever the level it was scored at. A path scores each token once
  with weight 1, so there it *is* the bound. A draw of the ELBO has weight L/n: each level's mean per token counts the
  same, and a token scored at a low level (small n) much more than one at a high level. Here these weights are
  replaced by their harmonic mean over the text's draws: a log-ratio that is the same for all tokens then gives the
  same evidence as the bound, and no single draw with a small n decides.
* ``learned``: conditional logistic regression (McFadden 1974) of held-out labels on the steps, one coefficient for
  each step, shared by the classes, with the log prior as offset and no intercept.

Only numpy and scipy here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax

from gencls.classifier.calibration import fit_temperature, prior_weights
from gencls.data.errors import three_parts

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
WeightingName = Literal["bound", "uniform", "learned"]
#: Standard deviation of the normal prior of a learned coefficient around 1, the bound's.
PRIOR_SD = 0.5


@dataclass(frozen=True)
class LevelWeighting:
    """Weights of the steps of a score.

    Parameters
    ----------
    name : {"bound", "uniform", "learned"}
        See the module.
    coefficients : tuple of R float, optional
        Of "learned", and only of it.

    Raises
    ------
    ValueError
        If the name is unknown, or coefficients are missing, negative or beside another name.

    Examples
    --------
    >>> steps = np.array([[[[-3.0, -2.0]], [[-4.0, -1.0]]]])  # a text, two classes, a draw, two steps
    >>> LevelWeighting("bound").evidence(steps)[0, :, 0]
    array([-5., -5.])
    >>> LevelWeighting("learned", (1.0, 0.5)).evidence(steps)[0, :, 0]
    array([-4. , -4.5])
    """

    name: str = "bound"
    coefficients: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.name not in get_args(WeightingName):
            known = f"a weighting out of {get_args(WeightingName)}"
            raise ValueError(three_parts(known, repr(self.name), "Use 'bound' unless you compare weightings."))
        if (self.coefficients is not None) != (self.name == "learned"):
            expected = "coefficients of 'learned', and of nothing else"
            got = f"name={self.name!r} and coefficients={self.coefficients}"
            raise ValueError(three_parts(expected, got, "Fit them with LevelWeighting.fit."))
        values = np.asarray(self.coefficients or (1.0,), dtype=np.float64)
        if self.coefficients == () or not (np.isfinite(values).all() and (values >= 0).all()):
            todo = "Fit them with LevelWeighting.fit."
            raise ValueError(three_parts("finite coefficients >= 0, one for each step", str(self.coefficients), todo))

    @property
    def needs_steps(self) -> bool:
        """Whether the samples are not enough."""
        return self.name != "bound"

    def evidence(self, steps: ArrayLike, step_weights: ArrayLike | None = None) -> FloatArray:
        """Return the evidence (N, C, K), nats: for decisions, not a likelihood.

        Parameters
        ----------
        steps : array (N, C, K, R), nats
            What each forward pass adds to its sample, weight included (`Scores.steps`).
        step_weights : array (N, K, R), optional
            The weights in it (`Plan.weights`), which "uniform" replaces; 1 if not given, as those of every path are.

        Raises
        ------
        ValueError
            Other shapes, or another number of steps than coefficients.
        """
        values = _checked_steps(steps)
        if self.name == "learned":
            return _sum(values * self._coefficients_of(values.shape[3]))
        if self.name == "uniform" and step_weights is not None:
            return _sum(values * _equalising(_checked_weights(step_weights, values))[:, None])
        return _sum(values)

    def _coefficients_of(self, n_steps: int) -> FloatArray:
        coefficients = np.asarray(self.coefficients, dtype=np.float64)
        if len(coefficients) != n_steps:
            expected = f"{len(coefficients)} steps, as in the fit"
            raise ValueError(three_parts(expected, f"{n_steps}", "Calibrate again after a change of n_steps."))
        return coefficients

    @classmethod
    def fit(
        cls,
        steps: ArrayLike | None,
        y: ArrayLike,
        n_tokens: ArrayLike,
        log_prior: ArrayLike,
        *,
        prior_sd: float = PRIOR_SD,
    ) -> LevelWeighting:
        r"""Learn a coefficient for each step on held-out scores.

        Summed log-ratios overstate themselves, so the bound is tempered first, by the T(L) that fits it best,
        which is the same for all classes. On that scale the bound's coefficients are 1, and the fit minimises

        .. math:: -\sum_n w_n \log P(y_n \mid x_n) + \sum_r (\beta_r - 1)^2 / (2 \cdot \mathrm{prior\_sd}^2), \quad
            P(c \mid x) \propto P(c)^{1 / T(L)} \exp\Big(\sum_r \beta_r\, \overline{\mathrm{step}}_{cr} / T(L)\Big).

        with the weights of `gencls.classifier.calibration.prior_weights`: held-out texts stand for the population in
        both fits. So with few texts the bound remains. Coefficients are at least 0: a log-ratio for a class never
        counts against it, and neighbouring steps, which say nearly the same, cannot be fitted as a large positive and
        a large negative weight. The temperature is not part of the result; it is fitted to the evidence afterwards,
        like to any other.

        Parameters
        ----------
        steps : array (N, C, K, R), nats
            Held-out `Scores.steps`; the mean over the draws is used, as in a decision.
        y : array (N,) of int
            Index of the true class.
        n_tokens : array (N,)
        log_prior : array (C,), nats
        prior_sd : float
            How far coefficients may be from 1 before the held-out texts must say so clearly.

        Returns
        -------
        LevelWeighting

        Raises
        ------
        ValueError
            No steps, other shapes, values that are not finite, fewer than two classes in `y`, or no class indices.
        """
        if steps is None:
            raise ValueError(three_parts("steps (N, C, K, R)", "none", "Score with by_step=True."))
        if not prior_sd > 0:
            raise ValueError(three_parts("prior_sd > 0", str(prior_sd), f"The default is {PRIOR_SD}."))
        means = _checked_steps(steps).mean(axis=2)
        # says which inputs do not fit; the weights' own loss knows no lapses
        temperature = fit_temperature(_sum(means), y, n_tokens, log_prior, lapses=False)
        tempered = means / temperature.temperature(n_tokens)[:, None, None]
        labels = np.asarray(y, dtype=np.int64)
        offset = temperature.tempered_prior(n_tokens, log_prior)
        is_text = np.asarray(n_tokens) > 0  # as in the temperature's fit
        if not is_text.any():
            return cls("learned", (1.0,) * means.shape[2])
        tempered, labels, offset = tempered[is_text], labels[is_text], offset[is_text]
        weights = prior_weights(labels, np.asarray(log_prior))
        objective = _objective(tempered, labels, offset, weights, prior_sd)
        n_steps = means.shape[2]
        options = {"ftol": 1e-14, "gtol": 1e-9, "maxiter": 1000}
        bounds = [(0.0, None)] * n_steps
        found = minimize(objective, np.ones(n_steps), jac=True, bounds=bounds, method="L-BFGS-B", options=options)
        return cls("learned", tuple(float(value) for value in found.x))

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {"name": self.name, "coefficients": None if self.coefficients is None else list(self.coefficients)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LevelWeighting:
        """Inverse of `as_dict`; ValueError if a key is missing."""
        if not {"name", "coefficients"} <= set(values):
            todo = "Fit it again with LevelWeighting.fit."
            raise ValueError(three_parts("the keys name and coefficients", str(sorted(values)), todo))
        coefficients = values["coefficients"]
        return cls(values["name"], None if coefficients is None else tuple(float(value) for value in coefficients))


def _objective(
    steps: FloatArray, y: IntArray, log_prior: FloatArray, weights: FloatArray, prior_sd: float
) -> Callable[[FloatArray], tuple[float, FloatArray]]:
    """Penalised, weighted negative log-likelihood of the labels and its gradient; steps (N, C, R), log prior (N, C).

    Convex.
    """
    rows = np.arange(len(y))
    ratios = steps - steps[rows, y][:, None]  # against the true class: small numbers of scores near -1e5
    offset = log_prior - log_prior[rows, y][:, None]

    def value_and_gradient(beta: FloatArray) -> tuple[float, FloatArray]:
        log_post = log_softmax(offset + ratios @ beta, axis=1)
        gradient = np.einsum("n,nc,ncr->r", weights, np.exp(log_post), ratios)
        apart = (beta - 1.0) / prior_sd
        return float(-weights @ log_post[rows, y] + 0.5 * apart @ apart), gradient + apart / prior_sd

    return value_and_gradient


def _equalising(weights: FloatArray) -> FloatArray:
    """What turns weights (N, K, R) into their harmonic mean over the text's draws and steps; 0 stays 0."""
    inverse = np.divide(1.0, weights, out=np.zeros_like(weights), where=weights > 0)
    count = (weights > 0).sum(axis=(1, 2), keepdims=True)
    total = inverse.sum(axis=(1, 2), keepdims=True)
    return np.asarray(inverse * np.divide(count, total, out=np.zeros_like(total), where=total > 0))


def _sum(steps: FloatArray) -> FloatArray:
    """Sum over the steps one after the other, as the samples are: the bound then has the same bits."""
    return np.asarray(np.cumsum(steps, axis=-1)[..., -1])


def _checked_steps(steps: ArrayLike) -> FloatArray:
    values = np.asarray(steps, dtype=np.float64)
    if values.ndim != 4 or values.shape[3] < 1:
        todo = "Give `Scores.steps` (by_step=True)."
        raise ValueError(three_parts("steps of shape (N, C, K, R >= 1)", f"shape {values.shape}", todo))
    return values


def _checked_weights(step_weights: ArrayLike, steps: FloatArray) -> FloatArray:
    weights = np.asarray(step_weights, dtype=np.float64)
    expected = (steps.shape[0], *steps.shape[2:])
    if weights.shape != expected or not (np.isfinite(weights).all() and (weights >= 0).all()):
        todo = "Give `Plan.weights` of each text."
        raise ValueError(three_parts(f"finite weights >= 0 of shape {expected}", f"shape {weights.shape}", todo))
    return weights
