"""Long texts and level weights on a unigram, where all that must be equal is."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.estimators_quality import accuracy_row, long_text_rows, weighting_rows
from gencls.likelihood.estimators import Estimator

PRIOR = np.log([0.5, 0.5])


def test_quartiles_of_long_texts(unigram, sample):
    token_ids, labels = sample
    rows = long_text_rows(
        unigram(), token_ids, labels, PRIOR, Estimator("path", 2, 1), max_length=16, seed=0, precision="float32"
    )
    assert [row["texts"] for row in rows] == ["quartile 1", "quartile 2", "quartile 3", "quartile 4", "all"]
    assert [row["n_texts"] for row in rows] == [5, 5, 5, 5, 20]
    assert (rows[0]["shortest"], rows[3]["longest"]) == (15, 34)
    # a unigram's chunks add up to the score of the whole text
    log_p = unigram.log_p
    for side, texts in (("end", [ids[-16:] for ids in token_ids]), ("chunks", token_ids)):
        scores = np.array([[log_p[c][ids].sum() for c in range(2)] for ids in texts])
        assert rows[-1][side]["accuracy"] == pytest.approx((scores.argmax(axis=1) == labels).mean())
    assert rows[-1]["chunks"]["forwards"] > rows[-1]["end"]["forwards"]


def test_weights_of_levels_with_the_bound_beside_them(unigram, sample):
    token_ids, labels = sample
    rows = weighting_rows(unigram(), sample, sample, PRIOR, seed=0, precision="float32")
    exact = np.array([[unigram.log_p[c][ids].sum() for c in range(2)] for ids in token_ids])
    expected = (exact.argmax(axis=1) == labels).mean()
    assert {row["weighting"] for row in rows} == {"bound", "uniform", "learned"}
    for row in rows:
        if row["estimator"] == "path" and row["weighting"] != "learned":
            assert row["accuracy"] == pytest.approx(expected)
        assert (row["coefficients"] is None) == (row["weighting"] != "learned")
        if row["coefficients"] is not None:
            assert len(row["coefficients"]) == row["steps"]


def test_an_accuracy_has_its_error():
    row = accuracy_row(np.array([True, True, True, False]))
    assert row["accuracy"] == 0.75
    assert row["accuracy_se"] == pytest.approx(np.sqrt(0.75 * 0.25 / 4))
