"""The noise table's figures against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.estimators_noise import MASKS, cases, compare, log_odds_figures, nats_per_token, seeds_of, short_texts
from gencls.likelihood.store import ScoreStore

OPTIONS = {"forwards": (1, 2, 4), "seeds": range(2), "precision": "float32"}


def test_figures_of_simulated_noise_are_its_parameters():
    """Scores = truth + noise common to the classes + noise of each: shared masks cancel the common part."""
    n_repeats, n_texts, common, own, spread = 4, 4000, 3.0, 0.5, 10.0
    generator = np.random.default_rng(0)
    truth = np.stack([np.zeros(n_texts), generator.normal(0, spread, n_texts)], axis=1)
    scores = truth + generator.normal(0, common, (n_repeats, n_texts, 1))
    scores = scores + generator.normal(0, own, (n_repeats, n_texts, 2))
    labels, prior = (truth[:, 1] > 0).astype(int), np.log([0.5, 0.5])
    shared, independent = (log_odds_figures(scores, labels, prior, masks=masks) for masks in MASKS)
    for found, expected in ((shared, 2 * own**2), (independent, 2 * (own**2 + common**2))):
        assert abs(found["mc_variance"] - expected) < 4 * found["mc_variance_se"]
    assert shared["spread"] == pytest.approx(spread**2 + 2 * own**2, rel=0.1)
    assert shared["accuracy"] > independent["accuracy"] + 0.05


def test_the_pair_of_many_classes_is_the_two_best():
    scores = np.array([[[0.0, -50.0, 1.0]], [[0.0, -50.0, 3.0]]])
    figures = log_odds_figures(np.repeat(scores, 2, axis=1), np.array([2, 2]), np.zeros(3), masks="shared")
    assert figures["mc_variance"] == pytest.approx(np.var([1.0, 3.0], ddof=1))
    assert figures["accuracy"] == 1


def test_nats_per_token_counts_tokens_alike():
    scores = np.array([[[-10.0, -99.0], [-99.0, -5.0]]])
    nats, error = nats_per_token(scores, np.array([0, 1]), np.array([2, 5]))
    assert nats == pytest.approx(15 / 7)
    assert error > 0


def test_a_unigram_has_no_path_noise_and_the_bounds_do(unigram, sample):
    token_ids, labels = sample
    rows = compare(unigram(), token_ids, labels, np.log([0.5, 0.5]), **OPTIONS)
    assert [row["estimator"] for row in rows] == [title for title, _ in cases(OPTIONS["forwards"])]
    exact = [unigram.log_p[c][ids].sum() for c, ids in zip(labels, token_ids, strict=True)]
    for row in rows:
        noise = [row[masks]["mc_variance"] for masks in MASKS]
        if row["estimator"].startswith(("path", "importance")):
            np.testing.assert_allclose(noise, 0, atol=1e-18)
            assert row["nats_per_token"] == pytest.approx(-np.sum(exact) / sum(map(len, token_ids)))
        else:
            assert min(noise) > 1e-3


def test_equal_forwards_are_equal_or_just_fewer():
    for number in (1, 2, 4, 8, 16):
        forwards = [estimator.n_forwards() for _, estimator in cases([number])]
        assert max(forwards) == number
        assert min(forwards) >= number - 1


def test_the_masking_seeds_serve_every_class():
    assert list(seeds_of(7, 1, 3)) == [7, 8, 9]
    assert len(seeds_of(0, 4, 2)) == 4


def test_short_texts_have_the_chain_and_the_sampler(denoiser, texts):
    some = [texts[1][:5], texts[4][:6], texts[0][:4]]
    rows = short_texts(denoiser, some, np.array([0, 1, 0]), np.zeros(2), seeds=range(2), precision="float32")
    by_name = {row["estimator"]: row for row in rows}
    assert by_name["chain, uniform"]["forwards"] == np.mean([5, 6, 4])
    assert by_name["confidence, 1 token a step"]["forwards"] == np.mean([5, 6, 4])
    for name in ("path, 1 step", "chain, left to right", "confidence, 1 token a step"):  # nothing random in them
        assert by_name[name]["shared"]["mc_variance"] == 0
    assert by_name["chain, spaced"]["shared"]["mc_variance"] > 0


def test_a_scorer_without_margins_has_no_confidence(unigram, sample):
    token_ids, labels = sample
    rows = short_texts(
        unigram(), [ids[:4] for ids in token_ids], labels, np.zeros(2), seeds=range(2), precision="float32"
    )
    assert not any(row["estimator"].startswith("confidence") for row in rows)


def test_it_resumes_from_the_store(tmp_path, unigram, sample):
    token_ids, labels = sample
    first, second = unigram(), unigram()
    options = {"store": ScoreStore(tmp_path, fingerprint="unigram"), **OPTIONS}
    rows = [compare(scorer, token_ids, labels, np.zeros(2), **options) for scorer in (first, second)]
    assert rows[0] == rows[1]
    assert first.n_calls > 0
    assert second.n_calls == 0
