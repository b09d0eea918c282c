"""Multinomial naive Bayes, on the tokens that the diffusion models score and on the words of the full text.

log P(c | x) = log P(c) + sum_i log P(x_i | c) + const, with P(v | c) = (count + alpha) / (total + alpha V)
(McCallum & Nigam 1998). On tokens it is also what the diffusion scorer is before it learns any context.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.naive_bayes import MultinomialNB
from sklearn.utils.validation import check_is_fitted

from gencls.baselines.prediction import LogProbaClassifier
from gencls.baselines.selection import NOT_FITTED, best_by_validation, checked_labels, checked_validation
from gencls.baselines.words import word_counter

ALPHAS = (1.0, 0.1, 0.3, 3.0, 10.0)
WORD_ALPHAS = (1.0, 0.3, 0.1, 0.03, 0.01, 3.0)  # a vocabulary of pairs is large: little for each


def token_counts(ids: Sequence[np.ndarray], vocab_size: int) -> csr_matrix:
    """Count the tokens of every text.

    Parameters
    ----------
    ids : sequence of N int arrays of shape (L,)
        Scorable token ids of each text, no special tokens, no padding; an empty text is allowed.
    vocab_size : int
        V; every id lies in 0 to V - 1.

    Returns
    -------
    csr_matrix of shape (N, V), float64
        Number of occurrences.

    Raises
    ------
    ValueError
        If an id lies outside the vocabulary.

    Examples
    --------
    >>> token_counts([np.array([0, 2, 2]), np.array([], dtype=int)], 3).toarray()
    array([[1., 0., 2.],
           [0., 0., 0.]])
    """
    lengths = [len(text) for text in ids]
    flat = np.concatenate([np.zeros(0, dtype=np.int64), *(np.asarray(text, dtype=np.int64) for text in ids)])
    if len(flat) and not 0 <= flat.min() <= flat.max() < vocab_size:
        raise ValueError(
            f"expected token ids from 0 to {vocab_size - 1}, got {flat.min()} to {flat.max()}: "
            "pass the vocabulary size of the tokenizer that made them"
        )
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    counts = csr_matrix((np.ones(len(flat)), flat, offsets), shape=(len(ids), vocab_size))
    counts.sum_duplicates()
    return counts


def best_smoothing(
    alphas: Sequence[float], train: tuple[csr_matrix, np.ndarray], held_out: tuple[csr_matrix, np.ndarray]
) -> tuple[float, MultinomialNB]:
    """Return the smoothing that the held-out counts (N, V) and labels (N,) choose, and the model with it."""
    return best_by_validation(
        alphas,
        lambda alpha: MultinomialNB(alpha=alpha).fit(*train),
        lambda model: model.predict_log_proba(held_out[0]),
        held_out[1],
    )


class TokenNaiveBayes(LogProbaClassifier):
    """Multinomial naive Bayes over token ids.

    Parameters
    ----------
    vocab_size : int
        V, the size of the tokenizer's vocabulary.
    alpha : float, optional
        Additive smoothing in counts per word piece. None chooses it on the validation split.

    Attributes
    ----------
    alpha_ : float
        The smoothing in use.
    classes_ : ndarray of shape (C,), int64
    """

    def __init__(self, vocab_size: int, *, alpha: float | None = None) -> None:
        self.vocab_size = vocab_size
        self.alpha = alpha

    def fit(
        self,
        ids: Sequence[np.ndarray],
        y: np.ndarray,
        *,
        validation: tuple[Sequence[np.ndarray], np.ndarray] | None = None,
    ) -> TokenNaiveBayes:
        """Count the training tokens of each class.

        Parameters
        ----------
        ids : sequence of N int arrays of shape (L,)
            Scorable token ids.
        y : ndarray of shape (N,), int64
            Classes 0 to C - 1, each present.
        validation : tuple of (ids, y), optional
            Held-out texts that choose ``alpha``; required when it is None.

        Returns
        -------
        TokenNaiveBayes
            Itself.

        Raises
        ------
        ValueError
            If labels, ids or the validation split are not usable.
        """
        labels = checked_labels(y, len(ids))
        counts = token_counts(ids, self.vocab_size)
        if self.alpha is not None:
            self.alpha_ = float(self.alpha)
            self.model_ = MultinomialNB(alpha=self.alpha).fit(counts, labels)
        else:
            held_out, held_out_y = checked_validation(validation, "alpha")
            held_out_counts = token_counts(held_out, self.vocab_size)
            self.alpha_, self.model_ = best_smoothing(ALPHAS, (counts, labels), (held_out_counts, held_out_y))
        self.classes_ = self.model_.classes_
        return self

    def predict_log_proba(self, ids: Sequence[np.ndarray]) -> np.ndarray:
        """Return log P(class | tokens), shape (N, C), float64, nats; an empty text gets the prior."""
        check_is_fitted(self, "model_", msg=NOT_FITTED)
        return self.model_.predict_log_proba(token_counts(ids, self.vocab_size))


class WordNaiveBayes(LogProbaClassifier):
    """Multinomial naive Bayes over the word n-grams of the full text.

    Parameters
    ----------
    longest : int
        Most words of an n-gram: 1 for words, 2 for words and pairs of neighbours.
    alpha : float, optional
        Additive smoothing in counts per n-gram. None chooses it on the validation split.

    Attributes
    ----------
    alpha_ : float
        The smoothing in use.
    vectorizer_ : CountVectorizer
    classes_ : ndarray of shape (C,), int64
    """

    def __init__(self, *, longest: int = 1, alpha: float | None = None) -> None:
        self.longest = longest
        self.alpha = alpha

    def fit(
        self, texts: Sequence[str], y: np.ndarray, *, validation: tuple[Sequence[str], np.ndarray] | None = None
    ) -> WordNaiveBayes:
        """Count the n-grams of each class.

        Parameters
        ----------
        texts : sequence of N str
            Full texts.
        y : ndarray of shape (N,), int64
            Classes 0 to C - 1, each present.
        validation : tuple of (texts, y), optional
            Held-out texts that choose ``alpha``; required when it is None.

        Returns
        -------
        WordNaiveBayes
            Itself.

        Raises
        ------
        ValueError
            If labels or the validation split are not usable, or no text has a word.
        """
        labels = checked_labels(y, len(texts))
        if self.alpha is None:
            held_out, held_out_y = checked_validation(validation, "alpha")
        vectorizer = word_counter(len(texts), longest=self.longest)
        counts = vectorizer.fit_transform(texts)
        if self.alpha is not None:
            self.alpha_, self.model_ = float(self.alpha), MultinomialNB(alpha=self.alpha).fit(counts, labels)
        else:
            held_out_counts = vectorizer.transform(held_out)
            self.alpha_, self.model_ = best_smoothing(WORD_ALPHAS, (counts, labels), (held_out_counts, held_out_y))
        self.vectorizer_, self.classes_ = vectorizer, self.model_.classes_
        return self

    def predict_log_proba(self, texts: Sequence[str]) -> np.ndarray:
        """Return log P(class | text), shape (N, C), float64, nats; a text of unknown words gets the prior."""
        check_is_fitted(self, "model_", msg=NOT_FITTED)
        return self.model_.predict_log_proba(self.vectorizer_.transform(texts))
