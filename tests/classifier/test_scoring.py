"""How the classifier scores: adaptive draws, weights of levels, whole long texts, workers."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from sklearn.base import clone

from gencls.classifier.bayes import mean_over_draws
from gencls.classifier.calibration import fit_temperature
from gencls.classifier.temperature import LengthTemperature
from gencls.classifier.weighting import LevelWeighting
from gencls.likelihood.adaptive import REFERENCE_DRAWS, AdaptiveScores, StoppingRule, VariancePrior
from gencls.likelihood.engine import score_texts
from gencls.likelihood.estimators import Estimator
from gencls.likelihood.store import ScoreStore

QUICK = {"adapt_steps": 0, "class_steps": 1}
KINDS = [{"target_flip_rate": 0.05}, {"level_weighting": "uniform"}, {"level_weighting": "learned"}]
KINDS += [{"long_texts": "chunks", "max_length": 8}, {"estimator": "elbo"}, {"order": "uniform"}]
KINDS += [{"options": {"counts_beside": True}}]
KINDS += [{"target_flip_rate": 0.05, "long_texts": "chunks", "max_length": 8, "priors": [0.8, 0.2]}]


@pytest.fixture(scope="module")
def adaptive(tiny, toy):
    return tiny(**QUICK, target_flip_rate=0.02).fit(*toy(80))


@pytest.fixture(scope="module")
def strict(adaptive):
    """With the rule of a noisier model: a barely trained one on toy texts needs one draw."""
    model = copy.deepcopy(adaptive)
    model.stopping_rule_ = StoppingRule(0.02, VariancePrior(0.1, 1.0, 50.0), max_draws=16)
    return model


@pytest.fixture(scope="module")
def texts(toy):
    """Clear texts and, of the letters that both classes have, undecidable ones; of many lengths."""
    generator = np.random.default_rng(5)
    unclear = ["".join(generator.choice(list("efgh"), size)) for size in (1, 2, 5, 9, 14, 20)]
    return [*toy(12, seed=7)[0], *unclear, "", "a"]


@pytest.mark.parametrize("changes", KINDS, ids=str)
def test_the_temperature_is_fitted_to_scores_of_the_kind_that_predicts(tiny, toy, changes):
    held = toy(40, seed=1)
    model = tiny(**QUICK, **changes).fit(*toy(60), calibration=held)
    scores = model.score_samples_by_class(held[0])
    evidence = mean_over_draws(model.evidence_of(scores))
    expected = fit_temperature(evidence, model.encode_labels(held[1]), scores.n_tokens, model.log_prior_)
    if "priors" in changes:  # the rule then rests on a temperature itself, the one before
        assert model.temperature_.temperature(20) == pytest.approx(expected.temperature(20), rel=0.2)
    else:
        assert model.temperature_ == expected
    fitted = model.temperature_
    assert model.calibrate(*held).temperature_ == fitted


@pytest.mark.parametrize("changes", KINDS, ids=str)
def test_any_kind_is_cloned_pickled_and_depends_on_the_text_alone(tiny, toy, texts, changes):
    model = tiny(**QUICK, **changes).fit(*toy(60))
    assert clone(model).get_params() == model.get_params()
    log_proba = model.predict_log_proba(texts)
    np.testing.assert_allclose(np.exp(log_proba).sum(axis=1), 1, atol=1e-12)
    order = np.random.default_rng(0).permutation(len(texts))[:7]
    again = pickle.loads(pickle.dumps(model)).predict_log_proba([texts[row] for row in order])
    np.testing.assert_array_equal(again, log_proba[order])
    np.testing.assert_allclose(log_proba[texts.index("")], model.log_prior_, rtol=1e-12)
    assert model.predict_proba([]).shape == (0, 2)


def test_the_rule_is_fitted(adaptive, texts):
    rule = adaptive.stopping_rule_
    assert rule.target_flip_rate == 0.02
    assert rule.variance_prior is not None
    assert adaptive.score_samples_by_class(texts).n_draws.max() <= rule.max_draws


def test_adaptive_draws_begin_with_those_of_a_fixed_number(strict, texts):
    scores = strict.score_samples_by_class(texts)
    assert isinstance(scores, AdaptiveScores)
    assert len(np.unique(scores.n_draws)) > 1
    most = int(scores.n_draws.max())
    estimator = Estimator("path", strict.n_steps, most)
    fixed = strict.score_ids(strict.scoring_ids(texts), estimator=estimator)
    assert not isinstance(fixed, AdaptiveScores)
    for row, n_draws in enumerate(scores.n_draws):
        np.testing.assert_array_equal(scores.samples[row, :, :n_draws], fixed.samples[row, :, :n_draws])
        assert np.isnan(scores.samples[row, :, n_draws:]).all()
    np.testing.assert_array_equal(strict.log_likelihood(texts), mean_over_draws(scores.samples))
    decided = strict.log_proba_of(fixed).argmax(axis=1)
    flips = (strict.predict(texts) != strict.classes_[decided])[~scores.is_open]
    assert not flips.any()


def test_adaptive_scores_depend_on_the_text_alone(strict, texts):
    log_proba = strict.predict_log_proba(texts)
    order = np.random.default_rng(1).permutation(len(texts))
    np.testing.assert_array_equal(strict.predict_log_proba([texts[row] for row in order]), log_proba[order])
    one_by_one = [strict.predict_log_proba([text])[0] for text in texts]
    np.testing.assert_array_equal(one_by_one, log_proba)


def test_the_pass_that_all_draws_share_is_counted_once(strict, texts, tmp_path):
    ids = strict.scoring_ids(texts)
    scores = strict.score_ids(ids, store=ScoreStore(tmp_path))
    most = [strict.scoring_estimator().n_forwards(int(n_draws)) for n_draws in scores.n_draws]
    assert (scores.n_forwards <= most).all()  # short texts have the same mask in many draws
    again = strict.score_ids(ids)
    np.testing.assert_array_equal(again.samples, scores.samples)
    assert scores.n_draws.max() > strict.stopping_rule_.looks[1]  # several looks
    np.testing.assert_array_equal(again.n_forwards, scores.n_forwards)


def test_standard_errors_of_the_rule_are_used(strict, texts):
    scores = strict.score_samples_by_class(texts)
    law, evidence = strict.temperature_, mean_over_draws(scores.samples)
    slope = law.log_odds_slope(evidence, scores.n_tokens, strict.log_prior_)
    expected = scores.standard_errors.max(axis=1) * slope / law.temperature(scores.n_tokens)
    np.testing.assert_array_equal(strict.log_odds_standard_error(scores), expected)  # of two classes, one is the best


def test_the_prior_beside_untempered_scores_decides_alike(trained):
    model = copy.deepcopy(trained).set_priors([0.9, 0.1])
    model.temperature_ = LengthTemperature(0.8, 0.5)
    generator = np.random.default_rng(0)
    n_tokens = generator.integers(0, 200, size=500)
    scores = generator.normal(size=(500, 2)) * 30
    tempered = scores / model.temperature_.temperature(n_tokens)[:, None] + model.log_prior_
    untempered = scores + model._untempered_prior(n_tokens)
    np.testing.assert_array_equal(tempered.argmax(axis=1), untempered.argmax(axis=1))
    assert not np.array_equal(untempered.argmax(axis=1), (scores + model.log_prior_).argmax(axis=1))


def test_the_rate_can_be_set_later(trained, texts):
    model = copy.deepcopy(trained)
    before = model.predict_log_proba(texts)
    assert model.set_target_flip_rate(0.05) is model
    scores = model.score_samples_by_class(texts)
    assert isinstance(scores, AdaptiveScores)
    assert scores.n_draws.min() >= 2
    assert model.get_params() == {**trained.get_params(), "target_flip_rate": 0.05}
    np.testing.assert_array_equal(model.set_target_flip_rate(None).predict_log_proba(texts), before)
    for rate in (0.0, 0.5, "0.1"):
        with pytest.raises(ValueError, match="target_flip_rate"):
            model.set_target_flip_rate(rate)
    with pytest.raises(ValueError, match="beside target_flip_rate"):
        model.set_params(estimator="chain").set_target_flip_rate(0.05)


@pytest.mark.parametrize("saved", [False, True])
def test_calibration_keeps_a_rate_that_was_set(trained, adaptive, held_out, tmp_path, saved):
    for start, rate in ((trained, 0.05), (adaptive, 0.2), (adaptive, None)):
        model = copy.deepcopy(start).set_target_flip_rate(rate)
        if saved:
            model = type(model).load(model.save(tmp_path))
        rule = model.calibrate(*held_out).stopping_rule_
        assert (rule and rule.target_flip_rate) == rate
        assert rule is None or rule.max_draws < REFERENCE_DRAWS  # which is why it is calibrated again


def test_another_rate_keeps_what_is_known_of_the_variance(adaptive):
    model = copy.deepcopy(adaptive)
    rule = model.stopping_rule_
    assert rule.variance_prior is not None
    assert model.set_target_flip_rate(rule.target_flip_rate).stopping_rule_ == rule
    assert model.set_target_flip_rate(0.2).stopping_rule_ == StoppingRule(0.2, rule.variance_prior)


@pytest.mark.parametrize("option", [{"classes": [0, 1]}, {"n_draws": 3}, {"first_draw": 1}, {"by_step": True}], ids=str)
def test_options_that_the_rule_decides(adaptive, option):
    ids = adaptive.scoring_ids(["abc"])
    with pytest.raises(ValueError, match=r"Expected options .*; got .*\. Give `estimator`"):
        adaptive.score_ids(ids, **option)
    adaptive.score_ids(ids, estimator=Estimator("path", 2, 4), **option)


REFUSED = [
    ({}, {"estimator": "paths"}),
    ({}, {"long_texts": "whole"}),
    ({}, {"n_mc_samples": 2.0}),
    ({}, {"options": {"n_steps": 4}}),
    ({}, {"estimator": "chain", "max_length": 600}),
    ({"level_weighting": "uniform"}, {"estimator": "elbo"}),
    ({"level_weighting": "learned"}, {"estimator": "elbo", "level_weighting": "bound"}),
    ({"target_flip_rate": 0.05}, {"estimator": "chain"}),
    ({"target_flip_rate": 0.05}, {"order": "left_to_right", "target_flip_rate": None}),
]


@pytest.mark.parametrize(("fitted", "since"), REFUSED, ids=str)
def test_what_fit_refuses_is_refused_when_it_is_set_later(trained, monkeypatch, fitted, since):
    model = copy.copy(trained).set_params(**fitted)
    model._set_uncalibrated()
    if fitted.get("level_weighting") == "learned":
        model.level_weighting_ = LevelWeighting("learned", (1.0, 0.5))
    assert np.isfinite(model.predict_log_proba(["abc"])).all()
    monkeypatch.setattr("gencls.classifier.scoring.score_texts", lambda *_, **__: pytest.fail("it was scored"))
    with pytest.raises(ValueError, match=r"^Expected .*; got .*\. \w"):
        model.set_params(**since).predict(["abc"])


def test_an_estimator_that_is_given_needs_no_rule_nor_weights(trained):
    model, ids = copy.copy(trained).set_params(target_flip_rate=0.05), trained.scoring_ids(["abc"])
    model._set_uncalibrated()
    model.set_params(target_flip_rate=None, order="left_to_right")
    assert model.score_ids(ids, estimator=model.scoring_estimator()).samples.shape == (1, 2, model.n_mc_samples)


def test_weights_of_levels_change_the_evidence_and_not_the_likelihood(tiny, toy, texts):
    model = tiny(**QUICK, level_weighting="learned").fit(*toy(80))
    assert len(model.level_weighting_.coefficients) == model.n_steps
    model.level_weighting_ = LevelWeighting("learned", (1.0, 0.5))
    scores = model.score_samples_by_class(texts)
    plain = score_texts(
        model.denoiser_, model.scoring_ids(texts), model.scoring_estimator(), seed=0, precision="float32"
    )
    np.testing.assert_allclose(scores.samples, plain.samples, rtol=1e-12)
    np.testing.assert_array_equal(model.log_likelihood(texts), mean_over_draws(scores.samples))
    np.testing.assert_allclose(model.evidence_of(scores), scores.steps[..., 0] + 0.5 * scores.steps[..., 1])
    posterior = mean_over_draws(model.evidence_of(scores)) / model.temperature_.temperature(scores.n_tokens)[:, None]
    expected = np.subtract(*(posterior + model.log_prior_).T)
    np.testing.assert_allclose(np.subtract(*model.predict_log_proba(texts).T), expected, atol=1e-9)
    with pytest.raises(ValueError, match=r"Expected scores with steps.*; got none\. Score with by_step"):
        model.log_proba_of(plain)


def test_chunks_read_the_whole_text(tiny, toy):
    model = tiny(**QUICK, long_texts="chunks", max_length=8).fit(*toy(60))
    assert model.tokenize(["abcd " * 10]).is_cut.tolist() == [True]
    # the end decides where texts are cut, the larger part where they are not
    text = "ijkl kjil lkij " * 6 + "abcd"
    short = copy.deepcopy(model).set_params(long_texts="truncate")
    assert model.predict([text]).tolist() == ["right"]
    assert short.predict([text[-8:]]).tolist() == ["left"]
    scores = model.score_samples_by_class([text, "abcd ef"])
    assert scores.n_tokens.tolist() == [76, 6]
    assert scores.n_forwards[0] > 10 * scores.n_forwards[1]
    np.testing.assert_array_equal(scores.samples[1], short.score_samples_by_class(["abcd ef"]).samples[0])


def test_characters_of_several_tokens_are_not_cut(tiny, toy):
    model = tiny(**QUICK, long_texts="chunks").fit(*toy(40))
    assert len(model.scoring_ids(["abc " * 5000])[0]) == 15_000


def test_workers_give_the_same_bits(trained, texts):
    model = copy.deepcopy(trained).set_params(n_jobs=2)
    np.testing.assert_array_equal(model.predict_log_proba(texts), trained.predict_log_proba(texts))


def test_calibration_texts_of_one_class_leave_the_defaults(tiny, toy):
    one = (["a b", "c d"], ["left", "left"])
    model = tiny(**QUICK, target_flip_rate=0.1).fit(*toy(20), calibration=one)
    assert model.stopping_rule_ == StoppingRule(0.1)
    assert model.temperature_ == LengthTemperature()
    model = tiny(**QUICK, level_weighting="learned").fit(*toy(20), calibration=one)
    assert model.level_weighting_.name == "bound"
    assert np.isfinite(model.predict_log_proba(["abc"])).all()
