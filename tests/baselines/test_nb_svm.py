"""NB-SVM against its formulas, its two limits, and scikit-learn's own one-against-the-rest."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.special import expit
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import BernoulliNB

from gencls.baselines.nb_svm import INTERPOLATIONS, STRENGTHS, NbSvm, fit_margins, log_count_ratio
from gencls.baselines.selection import tempered_nll

# Every word occurs equally often in both classes: only the pairs tell them apart.
PAIRS = ["not good but warm", "not cold but good", "good but not warm", "cold but not good"] * 6
PAIRS_Y = np.array([0, 1, 1, 0] * 6)


@pytest.fixture(scope="module")
def counts():
    generator = np.random.default_rng(0)
    y = np.arange(120) % 3
    rates = generator.uniform(0.05, 0.6, size=(3, 30))
    return csr_matrix((generator.random((120, 30)) < rates[y]).astype(float)), y


def test_ratio_is_the_paper_s(counts):
    features, y = counts
    p, q = (1 + np.asarray(features[rows].sum(axis=0)).ravel() for rows in (y == 1, y != 1))
    expected = np.log((p / np.abs(p).sum()) / (q / np.abs(q).sum()))
    np.testing.assert_allclose(log_count_ratio(features, y == 1), expected, rtol=1e-12)


def test_swapping_two_classes_mirrors_the_ratio(counts):
    features, y = counts
    np.testing.assert_allclose(log_count_ratio(features, y == 0), -log_count_ratio(features, y != 0), atol=1e-14)


def test_equal_weights_are_naive_bayes(counts):
    """At beta = 0 the margin is mean|w| times the log-likelihood ratio of naive Bayes, plus the intercept."""
    features, y = counts
    margins = fit_margins(features, (y == 1).astype(int), 1.0)
    bayes = margins.interpolated(0.0)
    scores = features @ (bayes.ratios * bayes.weights).T
    expected = np.abs(margins.weights).mean() * (features @ log_count_ratio(features, y == 1))
    np.testing.assert_allclose(scores[:, 0], expected, rtol=1e-12)


def test_one_against_the_rest_is_scikit_learn_s(counts):
    """With every ratio set to one the model is a plain logistic regression for each class."""
    features, y = counts
    reference = OneVsRestClassifier(LogisticRegression(C=1.0, solver="liblinear")).fit(features, y)
    margins = fit_margins(features, y, 1.0)
    ratios = np.ones_like(margins.ratios)
    weights = np.stack([part.coef_[0] for part in reference.estimators_])
    intercepts = np.array([part.intercept_[0] for part in reference.estimators_])
    plain = replace(margins, ratios=ratios, weights=weights, intercepts=intercepts)
    np.testing.assert_allclose(np.exp(plain.log_proba(features)), reference.predict_proba(features), rtol=1e-10)
    log_proba = margins.log_proba(features)
    np.testing.assert_allclose(np.exp(log_proba).sum(axis=1), 1.0)
    assert (log_proba.argmax(axis=1) == y).mean() > (BernoulliNB().fit(features, y).score(features, y)) - 0.05


def test_pairs_of_words_are_seen_and_an_empty_text_is_classified():
    model = NbSvm(strength=10.0, interpolation=1.0).fit(PAIRS, PAIRS_Y)
    assert model.score(PAIRS, PAIRS_Y) == 1.0
    log_proba = model.predict_log_proba(["", "\u202bשלום 😀", "x" * 100_000])
    np.testing.assert_allclose(np.exp(log_proba).sum(axis=1), 1.0)
    intercept = model.margins_.intercepts[0]
    np.testing.assert_allclose(np.exp(log_proba[0]), [expit(-intercept), expit(intercept)])


def test_chinese_is_read_by_characters():
    texts, y = ["这本书很好看", "质量太差了", "真的很好", "差评不要买"] * 3, np.array([1, 0, 1, 0] * 3)
    model = NbSvm(strength=1.0, interpolation=0.5).fit(texts, y)
    assert model.predict(["很好", "太差"]).tolist() == [1, 0]


def noisy_texts(n):
    """Twelve words in each text, drawn from class-dependent frequencies that overlap."""
    generator = np.random.default_rng(n)
    rates = np.random.default_rng(1).dirichlet(np.full(60, 0.7), size=2)
    y = np.arange(n) % 2
    return [" ".join(f"w{word}" for word in generator.choice(60, 12, p=rates[label])) for label in y], y


def test_settings_are_chosen_on_validation():
    train, held = noisy_texts(200), noisy_texts(101)
    model = NbSvm().fit(*train, validation=held)
    losses = {
        (strength, beta): tempered_nll(
            NbSvm(strength=strength, interpolation=beta).fit(*train).predict_log_proba(held[0]), held[1]
        )
        for strength, beta in product(STRENGTHS, INTERPOLATIONS)
    }
    assert (model.strength_, model.interpolation_) == min(losses, key=losses.__getitem__)
    assert len(set(losses.values())) == len(losses)
    assert NbSvm(strength=3.0).fit(*train, validation=held).strength_ == 3.0


def test_missing_validation_and_missing_fit_name_the_next_call():
    with pytest.raises(ValueError, match="pass validation="):
        NbSvm(strength=1.0).fit(PAIRS, PAIRS_Y)
    with pytest.raises(NotFittedError, match="call fit first"):
        clone(NbSvm()).predict(PAIRS)
