"""TF-IDF of one- and two-grams with logistic regression, on the full text.

The baseline that short papers lose to (Wang & Manning 2012): it sees the whole text, not the
truncated tokens, and word pairs carry "not good".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.utils.validation import check_is_fitted

from gencls.baselines.prediction import LogProbaClassifier
from gencls.baselines.selection import NOT_FITTED, best_by_validation, checked_labels, checked_validation
from gencls.baselines.words import FEW_TEXTS, written_without_spaces

STRENGTHS = (1.0, 4.0, 16.0, 64.0)  # C, the inverse of the ridge


class TfidfLogisticRegression(LogProbaClassifier):
    """Logistic regression over sublinear TF-IDF of 1- and 2-grams.

    Parameters
    ----------
    strength : float, optional
        ``C`` of the logistic regression. None chooses it on the validation split.
    analyzer : {"auto", "word", "char"}
        N-grams of words or of characters; "auto" takes characters for scripts without spaces.
    max_features : int
        The most frequent n-grams that are kept.

    Attributes
    ----------
    strength_ : float
        The ``C`` in use.
    classes_ : ndarray of shape (C,), int64
    """

    def __init__(self, *, strength: float | None = None, analyzer: str = "auto", max_features: int = 500_000) -> None:
        self.strength = strength
        self.analyzer = analyzer
        self.max_features = max_features

    def fit(
        self,
        texts: Sequence[str],
        y: np.ndarray,
        *,
        validation: tuple[Sequence[str], np.ndarray] | None = None,
    ) -> TfidfLogisticRegression:
        """Fit the weights of the n-grams, then the regression.

        Parameters
        ----------
        texts : sequence of N str
            Full texts.
        y : ndarray of shape (N,), int64
            Classes 0 to C - 1, each present.
        validation : tuple of (texts, y), optional
            Held-out texts that choose ``strength``; required when it is None.

        Returns
        -------
        TfidfLogisticRegression
            Itself.

        Raises
        ------
        ValueError
            If labels or the validation split are not usable, or no text has a word.
        """
        labels = checked_labels(y, len(texts))
        if self.strength is None:
            held_out, held_out_y = checked_validation(validation, "strength")
        vectorizer = self._vectorizer(texts)
        features = vectorizer.fit_transform(texts)
        if self.strength is not None:
            self.strength_ = float(self.strength)
            self.model_ = _regression(self.strength).fit(features, labels)
        else:
            held_out_features = vectorizer.transform(held_out)
            self.strength_, self.model_ = best_by_validation(
                STRENGTHS,
                lambda strength: _regression(strength).fit(features, labels),
                lambda model: model.predict_log_proba(held_out_features),
                held_out_y,
            )
        self.vectorizer_, self.classes_ = vectorizer, self.model_.classes_
        return self

    def predict_log_proba(self, texts: Sequence[str]) -> np.ndarray:
        """Return log P(class | text), shape (N, C), float64, nats; an empty text gets the intercept."""
        check_is_fitted(self, "model_", msg=NOT_FITTED)
        return self.model_.predict_log_proba(self.vectorizer_.transform(texts))

    def _vectorizer(self, texts: Sequence[str]) -> TfidfVectorizer:
        if self.analyzer not in ("auto", "word", "char"):
            raise ValueError(f"expected analyzer 'auto', 'word' or 'char', got {self.analyzer!r}: choose one of them")
        automatic = "char" if written_without_spaces(texts) else "word"
        return TfidfVectorizer(
            analyzer=automatic if self.analyzer == "auto" else self.analyzer,
            ngram_range=(1, 2),
            sublinear_tf=True,
            min_df=1 if len(texts) < FEW_TEXTS else 2,
            max_features=self.max_features,
        )


def _regression(strength: float) -> LogisticRegression:
    # The intercept is not penalised by lbfgs, so class frequencies survive a strong ridge.
    return LogisticRegression(C=strength, max_iter=1_000)
