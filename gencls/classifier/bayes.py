"""Bayes' rule: class-conditional log-likelihoods in, posterior out.

    P(c | x)  =  p(x | c) P(c) / sum_k p(x | k) P(k)

The likelihoods of diffusion models are Monte-Carlo estimates with K draws, shared by all classes of a text.
Three rules follow, and this module keeps them:

* the draws are averaged *in log space*. Each draw is an unbiased estimate of a lower bound on log p(x | c),
  so its mean is one too. ``logsumexp(draws) - log(K)`` is not a bound on anything: a single lucky draw would
  decide.
* noise that the classes share cancels in the log-odds, so their standard error is that of the *paired*
  difference.
* a temperature tempers the evidence and leaves the given prior alone, see `log_posterior`; the prior that it was
  fitted under is a part of what `calibration` tempers.

Axes: N texts, C classes, K draws. float64, natural logarithms (nats). No torch here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.neighbors import KernelDensity
from sklearn.utils import Tags, _safe_indexing, get_tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _num_samples,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from gencls.classifier.draws import mean_over_draws, paired_standard_error

__all__ = [
    "BayesClassifier",
    "joint_log_proba",
    "log_odds",
    "log_odds_standard_error",
    "log_posterior",
    "mean_over_draws",
    "resolve_priors",
]

FloatArray = NDArray[np.float64]


def joint_log_proba(samples: ArrayLike, log_prior: ArrayLike) -> FloatArray:
    """Mean over the draws plus the log prior: log p(x, c).

    Parameters
    ----------
    samples : array (N, C, K), nats
        Draws of the bound on log p(x | c). Averaged in log space, never by logmeanexp: see the module's
        docstring.
    log_prior : array (C,) or (N, C), nats

    Returns
    -------
    array (N, C) of float64, nats
    """
    return mean_over_draws(samples) + np.asarray(log_prior, dtype=np.float64)


def log_posterior(log_likelihood: ArrayLike, log_prior: ArrayLike, temperature: float | ArrayLike = 1.0) -> FloatArray:
    """log P(c | x) = log softmax_c( log p(x | c) / T + log P(c) ), stable for scores near -1e5.

    The temperature divides the likelihood and not the prior. What overstates itself is the evidence of
    hundreds of dependent tokens; the prior is stated by the user and needs no correction. So a text without
    tokens gets the prior at any temperature, and new priors stay exact without a new calibration. At T = 1,
    or under a uniform prior at any T, this equals softmax(joint / T).

    Parameters
    ----------
    log_likelihood : array (N, C), nats
    log_prior : array (C,) or (N, C), nats
    temperature : float or array (N,)
        Positive; one for all texts, or one for each.

    Returns
    -------
    array (N, C) of float64, nats
        Rows are normalised: logsumexp of a row is 0.

    Examples
    --------
    >>> np.exp(log_posterior([[-1e5, -1e5 - np.log(3)]], np.log([0.5, 0.5]))).round(3)
    array([[0.75, 0.25]])
    """
    scores = np.asarray(log_likelihood, dtype=np.float64)
    t = np.broadcast_to(np.asarray(temperature, dtype=np.float64), scores.shape[:1])
    if not np.all(t > 0):
        raise ValueError(
            f"temperature: expected positive numbers, got a smallest one of {t.min()}. "
            "Fit it with gencls.classifier.calibration.fit_temperature, or pass 1.0."
        )
    # The row's maximum goes first: dividing 1e5-sized numbers and subtracting afterwards would lose digits.
    centred = (scores - scores.max(axis=1, keepdims=True)) / t[:, None] + np.asarray(log_prior)
    return centred - _logsumexp_rows(centred)


def log_odds(log_post: ArrayLike) -> FloatArray:
    """Log-odds of the best class against the second best.

    Parameters
    ----------
    log_post : array (N, C), nats
        Log posterior or joint log-probability; the difference is the same.

    Returns
    -------
    array (N,) of float64, nats, never negative
    """
    top_two = np.partition(np.asarray(log_post, dtype=np.float64), -2, axis=1)[:, -2:]
    return top_two[:, 1] - top_two[:, 0]


def log_odds_standard_error(
    samples: ArrayLike, log_prior: ArrayLike | None = None, *, standard_errors: ArrayLike | None = None
) -> FloatArray:
    """Monte-Carlo standard error of `log_odds` at T = 1, paired over the draws that the classes share.

    Divide it by the text's temperature for the error of tempered log-odds.

    Parameters
    ----------
    samples : array (N, C, K), nats
        NaN behind the last draw of a text that has fewer than K.
    log_prior : array (C,) or (N, C), nats, optional
        Only for the choice of the two best classes (uniform if not given); a constant has no error.
    standard_errors : array (N, C), nats, optional
        Better estimates than the text's own draws allow: of the log-odds of each class against the best one.

    Returns
    -------
    array (N,) of float64, nats
        NaN for a text with one draw, which says nothing about its own error, unless `standard_errors` are given.
    """
    joint = joint_log_proba(samples, 0.0 if log_prior is None else log_prior)
    second, best = np.argsort(joint, axis=1, kind="stable")[:, -2:].T
    if standard_errors is None:
        return paired_standard_error(samples, best, second)
    errors, rows = np.asarray(standard_errors, dtype=np.float64), np.arange(len(joint))
    return np.maximum(errors[rows, best], errors[rows, second])  # that of the best itself is 0


def resolve_priors(priors: str | ArrayLike, class_counts: int | ArrayLike) -> FloatArray:
    """Class priors as probabilities.

    Parameters
    ----------
    priors : "uniform", "empirical" or array (C,)
        "empirical" are the shares of `class_counts`; an array must be positive and sum to one.
    class_counts : int or array (C,)
        Texts of each class in training, or only the number of classes.

    Returns
    -------
    array (C,) of float64
        Positive, sums to one.

    Examples
    --------
    >>> resolve_priors("empirical", [30, 10])
    array([0.75, 0.25])
    """
    counts = np.asarray(class_counts, dtype=np.float64)
    n_classes = int(counts) if counts.ndim == 0 else counts.size
    if not isinstance(priors, str):
        return _check_priors(priors, n_classes)
    if priors == "uniform":
        return np.full(n_classes, 1.0 / n_classes)
    if priors == "empirical" and counts.ndim == 1 and np.all(counts > 0):
        return counts / counts.sum()
    got = f"{priors!r} with class counts {class_counts!r}"
    raise ValueError(
        f'priors: expected "uniform", "empirical" (with a positive count for each class) or an array of '
        f'{n_classes} probabilities, got {got}. Use "uniform" when the counts are not known.'
    )


class BayesClassifier(ClassifierMixin, BaseEstimator):
    """Generative classifier over any density: one copy of the density per class, then Bayes' rule.

    Parameters
    ----------
    density : estimator with ``fit(X)`` and ``score_samples(X) -> (N,)`` log-likelihoods, default None
        Cloned for each class. None is `sklearn.neighbors.KernelDensity`.
    priors : "uniform", "empirical" or array (C,), default "empirical"

    Attributes
    ----------
    classes_ : array (C,)
    densities_ : list of C fitted densities
    class_count_, class_prior_ : arrays (C,)

    Examples
    --------
    >>> X, y = [[0.0], [0.5], [9.0], [9.5]], ["low", "low", "high", "high"]
    >>> model = BayesClassifier(priors="uniform").fit(X, y)
    >>> print(*model.predict([[0.2], [8.0]]))
    low high
    """

    def __init__(self, density: Any = None, *, priors: str | ArrayLike = "empirical") -> None:
        self.density = density
        self.priors = priors

    def fit(self, X: Any, y: ArrayLike) -> BayesClassifier:
        """Fit one clone of the density on the rows of each class.

        Raises
        ------
        ValueError
            Fewer than two classes, or priors that do not fit them.
        """
        X, y = self._validate(X, y, reset=True), column_or_1d(y, warn=True)
        check_consistent_length(X, y)
        check_classification_targets(y)
        classes, index, counts = np.unique(y, return_inverse=True, return_counts=True)
        if classes.size < 2:
            raise ValueError(
                f"y: expected at least two classes, got one class ({classes[0]!r}). "
                "Add examples of another class: Bayes' rule compares."
            )
        prior = resolve_priors(self.priors, counts)
        parts = [_safe_indexing(X, np.flatnonzero(index == c)) for c in range(classes.size)]
        densities = [clone(self._density()).fit(part) for part in parts]
        # all at once, and last: a fit that fails leaves the one before it whole
        self.classes_, self.class_count_, self.class_prior_, self.densities_ = classes, counts, prior, densities
        return self

    def log_likelihood(self, X: Any) -> FloatArray:
        """log p(x | c) of each row under each class: array (N, C), nats."""
        check_is_fitted(self)
        X = self._validate(X, reset=False)
        return np.column_stack([density.score_samples(X) for density in self.densities_])

    def predict_joint_log_proba(self, X: Any) -> FloatArray:
        """log p(x, c): array (N, C), nats."""
        log_likelihood = self.log_likelihood(X)  # first: it says when the model is not fitted
        return log_likelihood + np.log(self.class_prior_)

    def predict_log_proba(self, X: Any) -> FloatArray:
        """log P(c | x): array (N, C), nats."""
        log_likelihood = self.log_likelihood(X)
        return log_posterior(log_likelihood, np.log(self.class_prior_))

    def predict_proba(self, X: Any) -> FloatArray:
        """P(c | x): array (N, C); rows sum to one."""
        return np.exp(self.predict_log_proba(X))

    def predict(self, X: Any) -> NDArray[Any]:
        """The class with the highest posterior: array (N,)."""
        best = np.argmax(self.predict_joint_log_proba(X), axis=1)
        return self.classes_[best]

    def __sklearn_tags__(self) -> Tags:
        """The input that the density takes is the input that the classifier takes."""
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self._density()).input_tags
        return tags

    def _density(self) -> Any:
        return KernelDensity() if self.density is None else self.density

    def _validate(self, X: Any, y: Any = None, *, reset: bool) -> Any:
        """Numeric tables get sklearn's full validation; texts and other objects go to the density as is."""
        if not get_tags(self._density()).input_tags.two_d_array:
            _num_samples(X)
            return X
        if reset:
            return validate_data(self, X, y, dtype="numeric")[0]
        return validate_data(self, X, reset=False, dtype="numeric")


def _logsumexp_rows(values: FloatArray) -> FloatArray:
    top = values.max(axis=1, keepdims=True)
    return top + np.log(np.exp(values - top).sum(axis=1, keepdims=True))


def _check_priors(priors: ArrayLike, n_classes: int) -> FloatArray:
    try:
        values = np.asarray(priors, dtype=np.float64)
    except (TypeError, ValueError):  # a mapping, or words
        values = np.array([])
    if values.shape != (n_classes,) or not np.all(values > 0) or not np.isclose(values.sum(), 1.0):
        raise ValueError(
            f"priors: expected {n_classes} positive numbers that sum to one, got {priors!r}. "
            "Give one probability for each class, in the order of classes_ (a tiny one to rule a class out)."
        )
    return values / values.sum()
