"""TF-IDF and logistic regression: word pairs count, scripts without spaces work, errors are clear."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone

from gencls.baselines.selection import best_by_validation, tempered_nll
from gencls.baselines.tfidf import STRENGTHS, TfidfLogisticRegression
from gencls.baselines.words import written_without_spaces

# Every word occurs equally often in both classes: only the pairs tell them apart.
PAIRS = ["not good but warm", "not cold but good", "good but not warm", "cold but not good"] * 6
PAIRS_Y = np.array([0, 1, 1, 0] * 6)


def test_word_pairs_are_seen():
    model = TfidfLogisticRegression(strength=100.0).fit(PAIRS, PAIRS_Y)
    assert model.score(PAIRS, PAIRS_Y) == 1.0


def test_log_proba_is_normalised_and_an_empty_text_is_classified():
    model = TfidfLogisticRegression(strength=1.0).fit(PAIRS, PAIRS_Y)
    log_proba = model.predict_log_proba(["", "good", "\u202bשלום 😀", "x" * 100_000])
    np.testing.assert_allclose(np.exp(log_proba).sum(axis=1), 1.0)
    np.testing.assert_allclose(np.exp(log_proba[0]), 0.5, atol=0.1)


def test_three_classes():
    texts, y = ["red rose", "blue sea", "green leaf"] * 4, np.array([0, 1, 2] * 4)
    model = TfidfLogisticRegression(strength=10.0).fit(texts, y)
    assert model.predict(["the rose", "a sea", "one leaf"]).tolist() == [0, 1, 2]


def test_strength_is_chosen_on_validation():
    model = TfidfLogisticRegression().fit(PAIRS, PAIRS_Y, validation=(PAIRS, PAIRS_Y))
    assert model.strength_ in STRENGTHS
    with pytest.raises(ValueError, match="pass validation="):
        TfidfLogisticRegression().fit(PAIRS, PAIRS_Y)


def test_chinese_is_read_by_characters():
    texts, y = ["这本书很好看", "质量太差了", "真的很好", "差评不要买"] * 3, np.array([1, 0, 1, 0] * 3)
    assert written_without_spaces(texts)
    assert not written_without_spaces([""])
    model = TfidfLogisticRegression(strength=10.0).fit(texts, y)
    assert model.predict(["很好", "太差"]).tolist() == [1, 0]


def test_unknown_analyzer_and_clone():
    model = TfidfLogisticRegression(analyzer="syllable")
    with pytest.raises(ValueError, match="'auto', 'word' or 'char'"):
        clone(model).set_params(strength=1.0).fit(PAIRS, PAIRS_Y)


def test_tempered_nll_forgives_certainty_but_not_mistakes():
    generator = np.random.default_rng(0)
    scores, y = generator.normal(size=(400, 3)), np.arange(400) % 3
    scores[np.arange(400), y] += 2.0
    assert tempered_nll(1e4 * scores, y) == pytest.approx(tempered_nll(scores, y), abs=1e-6)
    assert tempered_nll(-scores, y) == pytest.approx(np.log(3), abs=1e-3)
    assert tempered_nll(scores, y) < 0.7


def test_nothing_to_choose_from():
    with pytest.raises(ValueError, match="at least one setting"):
        best_by_validation([], lambda s: s, lambda m: np.zeros((1, 2)), np.zeros(1, dtype=int))
