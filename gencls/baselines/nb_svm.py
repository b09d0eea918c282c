r"""NB-SVM: a linear classifier over the n-grams that naive Bayes counts, weighted by its log-count ratios.

For a class c, with f_i the 0/1 vector of the n-grams of text i and alpha added to every count,

    p = alpha + sum over texts of c of f_i,    q = alpha + sum over the other texts of f_i
    r = log( (p / |p|_1) / (q / |q|_1) )

a linear model w, b is fitted on the vectors r * f_i, and drawn towards naive Bayes, whose weights are all equal:

    w' = (1 - beta) mean|w| + beta w

(Wang & Manning 2012, "Baselines and Bigrams", equations 1, 2 and 5.) Several classes are told apart one against the
rest. The linear model is a logistic regression where the paper has a squared hinge: it is as accurate on these
data, and its margins are log-odds, so that an NLL makes sense.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from scipy.sparse import csr_matrix, diags
from scipy.special import log_expit, logsumexp
from sklearn.linear_model import LogisticRegression
from sklearn.utils.validation import check_is_fitted

from gencls.baselines.prediction import LogProbaClassifier
from gencls.baselines.selection import NOT_FITTED, best_by_validation, checked_labels, checked_validation
from gencls.baselines.words import word_counter

STRENGTHS = (0.1, 1.0, 10.0, 100.0)  # C, the inverse of the ridge
INTERPOLATIONS = (0.25, 0.5, 0.75, 1.0)  # beta


def log_count_ratio(features: csr_matrix, is_class: np.ndarray, *, alpha: float = 1.0) -> np.ndarray:
    """Return r of one class against the rest.

    Parameters
    ----------
    features : csr_matrix of shape (N, V)
        0/1, whether a text has an n-gram.
    is_class : ndarray of shape (N,), bool
        Whether a text is of the class.
    alpha : float
        Added to every count.

    Returns
    -------
    ndarray of shape (V,), float64, nats

    Examples
    --------
    >>> texts = csr_matrix([[1, 0], [1, 0], [0, 1]])
    >>> np.exp(log_count_ratio(texts, np.array([True, True, False])))  # (3/4) / (1/3) and (1/4) / (2/3)
    array([2.25 , 0.375])
    """
    counts = [alpha + np.asarray(features[rows].sum(axis=0)).ravel() for rows in (is_class, ~is_class)]
    log_share = [np.log(count) - np.log(count.sum()) for count in counts]
    return log_share[0] - log_share[1]


@dataclass(frozen=True)
class LinearMargins:
    """Linear log-odds of classes against the rest.

    Attributes
    ----------
    ratios : ndarray of shape (M, V), float64
        r of each class; M = 1 for two classes (the second against the first), else M = C.
    weights : ndarray of shape (M, V), float64
        w, of the ratio-weighted features.
    intercepts : ndarray of shape (M,), float64
    n_iterations : int
        Of the solver, over all M.
    """

    ratios: np.ndarray
    weights: np.ndarray
    intercepts: np.ndarray
    n_iterations: int

    def interpolated(self, beta: float) -> LinearMargins:
        """Return the margins with w' = (1 - beta) mean|w| + beta w."""
        magnitude = np.abs(self.weights).mean(axis=1, keepdims=True)
        return replace(self, weights=(1 - beta) * magnitude + beta * self.weights)

    def log_proba(self, features: csr_matrix) -> np.ndarray:
        """Return log P(class | features), shape (N, C), float64, nats: the normalised odds of one against the rest."""
        margins = features @ (self.ratios * self.weights).T + self.intercepts
        if margins.shape[1] == 1:
            return np.hstack([log_expit(-margins), log_expit(margins)])
        accepted = log_expit(margins)
        return accepted - logsumexp(accepted, axis=1, keepdims=True)


def fit_margins(features: csr_matrix, labels: np.ndarray, strength: float) -> LinearMargins:
    """Fit one logistic regression for each class against the rest, one in all for two classes.

    Parameters
    ----------
    features : csr_matrix of shape (N, V)
        0/1.
    labels : ndarray of shape (N,), int64
        Classes 0 to C - 1.
    strength : float
        C of the regressions.

    Returns
    -------
    LinearMargins
        Without interpolation (beta = 1).
    """
    n_classes = int(labels.max()) + 1
    ratios, weights, intercepts, n_iterations = [], [], [], 0
    for index in [1] if n_classes == 2 else range(n_classes):
        ratio = log_count_ratio(features, labels == index)
        # liblinear's Newton method takes features of unlike scales well; the ratios are such
        model = LogisticRegression(C=strength, solver="liblinear", max_iter=1_000)
        model.fit(features @ diags(ratio), labels == index)
        ratios.append(ratio)
        weights.append(model.coef_[0])
        intercepts.append(model.intercept_[0])
        n_iterations += int(model.n_iter_.max())
    return LinearMargins(np.array(ratios), np.array(weights), np.array(intercepts), n_iterations)


class NbSvm(LogProbaClassifier):
    """NB-SVM on word uni- and bigrams of the full text.

    Parameters
    ----------
    strength : float, optional
        C of the logistic regression.
    interpolation : float, optional
        beta between naive Bayes (0) and the linear model (1). Where it or `strength` is None, both are chosen on
        the validation split.

    Attributes
    ----------
    strength_, interpolation_ : float
        In use.
    vectorizer_ : CountVectorizer
    margins_ : LinearMargins
    classes_ : ndarray of shape (C,), int64
    """

    def __init__(self, *, strength: float | None = None, interpolation: float | None = None) -> None:
        self.strength = strength
        self.interpolation = interpolation

    def fit(
        self, texts: Sequence[str], y: np.ndarray, *, validation: tuple[Sequence[str], np.ndarray] | None = None
    ) -> NbSvm:
        """Count, weight and fit.

        Parameters
        ----------
        texts : sequence of N str
            Full texts.
        y : ndarray of shape (N,), int64
            Classes 0 to C - 1, each present.
        validation : tuple of (texts, y), optional
            Held-out texts that choose what is None; required when something is.

        Returns
        -------
        NbSvm
            Itself.

        Raises
        ------
        ValueError
            If labels or the validation split are not usable, or no text has a word.
        """
        labels = checked_labels(y, len(texts))
        self.vectorizer_ = word_counter(len(texts), longest=2, binary=True)
        if self.strength is not None and self.interpolation is not None:
            margins = fit_margins(self.vectorizer_.fit_transform(texts), labels, self.strength)
            self.strength_, self.interpolation_ = self.strength, self.interpolation
            self.margins_ = margins.interpolated(self.interpolation)
        else:
            held_out, held_out_y = checked_validation(validation, "strength and interpolation")
            features = self.vectorizer_.fit_transform(texts)
            self._choose(features, labels, self.vectorizer_.transform(held_out), held_out_y)
        self.classes_ = np.unique(labels)
        return self

    def predict_log_proba(self, texts: Sequence[str]) -> np.ndarray:
        """Return log P(class | text), shape (N, C), float64, nats; an empty text gets the intercepts."""
        check_is_fitted(self, "margins_", msg=NOT_FITTED)
        return self.margins_.log_proba(self.vectorizer_.transform(texts))

    def _choose(self, features: csr_matrix, labels: np.ndarray, held_out: csr_matrix, held_out_y: np.ndarray) -> None:
        strengths = STRENGTHS if self.strength is None else (self.strength,)
        interpolations = INTERPOLATIONS if self.interpolation is None else (self.interpolation,)
        fitted = {strength: fit_margins(features, labels, strength) for strength in strengths}
        (self.strength_, self.interpolation_), self.margins_ = best_by_validation(
            product(strengths, interpolations),
            lambda setting: fitted[setting[0]].interpolated(setting[1]),
            lambda margins: margins.log_proba(held_out),
            held_out_y,
        )
