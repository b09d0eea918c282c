"""Naive Bayes over token ids against the closed form and against its own failure cases."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from gencls.baselines.naive_bayes import ALPHAS, WORD_ALPHAS, TokenNaiveBayes, WordNaiveBayes, token_counts

IDS = [np.array([0, 0, 1]), np.array([1, 2]), np.array([2, 2, 2]), np.array([1])]
Y = np.array([0, 0, 1, 1])


def test_equals_the_closed_form():
    model = TokenNaiveBayes(4, alpha=0.5).fit(IDS, Y)
    counts = np.array([[2, 2, 1, 0], [0, 1, 3, 0]]) + 0.5
    log_word = np.log(counts / counts.sum(axis=1, keepdims=True))
    joint = np.log([0.5, 0.5]) + log_word[:, [0, 2, 2]].sum(axis=1)
    expected = joint - np.logaddexp(*joint)
    np.testing.assert_allclose(model.predict_log_proba([np.array([0, 2, 2])])[0], expected, rtol=0, atol=1e-12)


def test_empty_text_gets_the_prior():
    model = TokenNaiveBayes(4, alpha=1.0).fit([*IDS, np.array([3])], np.array([0, 0, 1, 1, 1]))
    np.testing.assert_allclose(model.predict_proba([np.array([], dtype=int)])[0], [0.4, 0.6])


def test_order_of_tokens_and_company_do_not_matter():
    model = TokenNaiveBayes(4, alpha=1.0).fit(IDS, Y)
    alone = model.predict_log_proba([np.array([2, 0, 1])])
    together = model.predict_log_proba([*IDS, np.array([1, 2, 0])])
    np.testing.assert_allclose(alone[0], together[-1], rtol=0, atol=1e-12)


def test_smoothing_is_chosen_on_validation():
    generator = np.random.default_rng(0)
    words = np.arange(200)
    skew = generator.dirichlet(np.full(200, 0.5), size=2)
    texts = [generator.choice(words, size=20, p=skew[i % 2]) for i in range(240)]
    y = np.arange(240) % 2
    model = TokenNaiveBayes(200).fit(texts[:120], y[:120], validation=(texts[120:], y[120:]))
    assert model.alpha_ in ALPHAS
    assert model.score(texts[120:], y[120:]) > 0.9
    flipped = TokenNaiveBayes(200).fit(texts[:120], y[:120], validation=(texts[120:], 1 - y[120:]))
    assert flipped.alpha_ == max(ALPHAS), "labels against the counts must ask for the most smoothing"


def test_counts_past_the_vocabulary_are_refused():
    with pytest.raises(ValueError, match="expected token ids from 0 to 1, got 0 to 2"):
        token_counts(IDS, 2)


@pytest.mark.parametrize(
    ("y", "message"),
    [([0, 0, 0, 0], "two classes"), ([0, 2, 0, 2], "without gaps"), ([0, 1], "one label for each of 4")],
)
def test_labels_that_are_not_usable(y, message):
    with pytest.raises(ValueError, match=message):
        TokenNaiveBayes(4, alpha=1.0).fit(IDS, np.array(y))


def test_missing_validation_and_missing_fit_name_the_next_call():
    with pytest.raises(ValueError, match="pass validation="):
        TokenNaiveBayes(4).fit(IDS, Y)
    with pytest.raises(NotFittedError, match="call fit first"):
        TokenNaiveBayes(4).predict(IDS)


TEXTS = ["good film", "good good plot", "bad film", "bad plot", "not good"]
TEXTS_Y = np.array([1, 1, 0, 0, 0])


def test_words_equal_the_closed_form():
    model = WordNaiveBayes(alpha=1.0).fit(TEXTS, TEXTS_Y)
    # of five words: good 3 of 5 in class 1, 1 of 6 in class 0; film 1 of 5, 1 of 6
    joint = np.log([3 / 5, 2 / 5]) + np.log([2 / 11 * 2 / 11, 4 / 10 * 2 / 10])
    np.testing.assert_allclose(model.predict_log_proba(["Good FILM?"])[0], joint - np.logaddexp(*joint), atol=1e-12)
    np.testing.assert_allclose(model.predict_proba(["unseen", ""]), [[0.6, 0.4]] * 2)


def test_pairs_of_words_count_when_asked_for():
    words, pairs = (WordNaiveBayes(longest=n, alpha=0.1).fit(TEXTS, TEXTS_Y) for n in (1, 2))
    assert set(pairs.vectorizer_.vocabulary_) - set(words.vectorizer_.vocabulary_) == {
        "good film", "good good", "good plot", "bad film", "bad plot", "not good",
    }  # fmt: skip
    assert pairs.predict_proba(["not good"])[0, 0] > words.predict_proba(["not good"])[0, 0]


def test_smoothing_of_words_is_chosen_on_validation():
    generator = np.random.default_rng(0)
    y = np.arange(240) % 2
    texts = [" ".join(generator.choice([f"w{i}" for i in range(40)] + [f"c{label}"], 8)) for label in y]
    model = WordNaiveBayes(longest=2).fit(texts[:120], y[:120], validation=(texts[120:], 1 - y[120:]))
    assert model.alpha_ == max(WORD_ALPHAS), "labels against the counts must ask for the most smoothing"
    with pytest.raises(ValueError, match="pass validation="):
        WordNaiveBayes().fit(TEXTS, TEXTS_Y)
    assert WordNaiveBayes(alpha=1.0).fit(["很好", "太差"], np.array([1, 0])).predict(["好", "差"]).tolist() == [1, 0]
