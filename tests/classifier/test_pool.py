"""Class tables beside a network: what decides, how their weight is fitted, and what stays the network's own."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from scipy.special import log_softmax

from gencls.classifier.bayes import mean_over_draws
from gencls.classifier.estimator import DiffusionClassifier
from gencls.classifier.pool import WEIGHT_RANGE, fit_network_weight, pooled
from gencls.likelihood.engine import score_texts

OPTIONS = {"n_scored": 8, "precision": "float32", "n_folds": 4, "counts_beside": True}
BESIDE = {"adapt_steps": 0, "class_steps": 2, "options": OPTIONS}


@pytest.fixture(scope="module")
def beside(tiny, toy):
    """With another weight than the fitted one: toy texts tell their classes apart, and leave it at one."""
    model = tiny(**BESIDE).fit(*toy(80))
    model.network_weight_ = 0.3
    return model


@pytest.fixture(scope="module")
def texts(toy):
    return toy(20, seed=9)[0]


def two_experts(weight: float, *, n_texts: int = 1500, n_classes: int = 3, scale: float = 8.0):
    """Labels of a posterior to which two scores add up, one of which is given too large or too small."""
    generator = np.random.default_rng(0)
    own, beside = generator.normal(size=(2, n_texts, n_classes))
    proba = np.exp(log_softmax(own + beside, axis=1))
    y = np.array([generator.choice(n_classes, p=row) for row in proba])
    return scale * own / weight, scale * beside, y, np.full(n_texts, 50), np.full(n_classes, -np.log(n_classes))


@pytest.mark.parametrize("weight", [0.1, 0.5, 1.0, 4.0])
def test_the_weight_that_made_the_labels_is_found(weight):
    own, beside, *others = two_experts(weight)
    assert fit_network_weight(own, beside, *others) == pytest.approx(weight, rel=0.25)
    # a constant of a text, as log-likelihoods have, says nothing of its class
    lower = own - np.linspace(50, 5000, len(own))[:, None]
    assert fit_network_weight(lower, beside, *others) == pytest.approx(weight, rel=0.25)


def test_few_texts_leave_both_the_same_weight():
    own, beside, y, lengths, log_prior = two_experts(0.1)
    few = fit_network_weight(own[:8], beside[:8], y[:8], lengths[:8], log_prior)
    assert 0.3 < few < 1.5
    silent = np.zeros_like(own)
    assert fit_network_weight(silent, beside, y, lengths, log_prior) == pytest.approx(1.0, rel=0.1)


def test_what_says_nothing_gets_next_to_no_weight():
    own, beside, *others = two_experts(1.0)
    noise = np.random.default_rng(1).normal(size=own.shape) * 20
    assert fit_network_weight(noise, beside, *others) < 0.05
    assert fit_network_weight(own, noise, *others) > 5
    assert WEIGHT_RANGE[0] <= fit_network_weight(own, noise, *others) <= WEIGHT_RANGE[1]


def test_bad_scores_are_refused():
    own, beside, y, lengths, log_prior = two_experts(1.0, n_texts=30)
    with pytest.raises(ValueError, match="finite"):
        fit_network_weight(own, np.full_like(beside, np.nan), y, lengths, log_prior)
    with pytest.raises(ValueError, match="shapes"):
        fit_network_weight(own, beside[:-1], y, lengths, log_prior)
    with pytest.raises(ValueError, match=r"^Expected .*; got none\. \w"):
        pooled(own[:, :, None], None, 1.0)


def test_the_likelihood_is_the_networks_own(beside, texts):
    denoiser, ids = beside.denoiser_, beside.scoring_ids(texts)
    assert denoiser.is_gate_closed
    assert denoiser.count_scores(ids).any()
    scores = beside.score_ids(ids)
    np.testing.assert_array_equal(beside.log_likelihood(texts), mean_over_draws(scores.samples))
    other = copy.deepcopy(denoiser)  # the tables may hold anything
    other.class_bias[:-1] += 3.0
    other.pairs.values.zero_()
    other.forget()
    plain = score_texts(other, ids, beside.scoring_estimator(), seed=0, precision="float32")
    np.testing.assert_allclose(scores.samples, plain.samples, atol=1e-4)


def test_tables_and_network_decide_together(beside, texts):
    scores = beside.score_samples_by_class(texts)
    counts = beside.denoiser_.count_scores(beside.scoring_ids(texts))
    evidence = beside.evidence_of(scores)
    np.testing.assert_array_equal(evidence, beside.network_weight_ * scores.samples + counts[:, :, None])
    expected = beside.temperature_.log_proba(mean_over_draws(evidence), scores.n_tokens, beside.log_prior_)
    np.testing.assert_array_equal(beside.predict_log_proba(texts), expected)
    assert np.isfinite(beside.log_odds_standard_error(scores)).all()


def test_before_any_class_step_the_tables_decide_alone(tiny, toy, texts):
    model = tiny(adapt_steps=0, class_steps=0, options=OPTIONS).fit(*toy(80))
    likelihood = model.log_likelihood(texts)
    np.testing.assert_allclose(likelihood[:, 0], likelihood[:, 1], atol=1e-4)
    counts = model.denoiser_.count_scores(model.scoring_ids(texts)) + model.log_prior_
    assert model.predict(texts).tolist() == model.classes_[counts.argmax(axis=1)].tolist()


def test_the_network_learns_its_classes_without_the_tables(tiny, toy, texts):
    model = tiny(adapt_steps=0, class_steps=30, options=OPTIONS).fit(*toy(80))
    untrained = tiny(adapt_steps=0, class_steps=0, options=OPTIONS).fit(*toy(80))
    labels = model.encode_labels(toy(20, seed=9)[1])
    rows = np.arange(len(labels))

    def lead(classifier):
        likelihood = classifier.log_likelihood(texts)
        return (likelihood[rows, labels] - likelihood[rows, 1 - labels]).mean()

    assert abs(lead(untrained)) < 1e-3
    assert lead(model) > 0.1
    assert model.denoiser_.is_gate_closed


def test_tables_inside_are_no_evidence_of_their_own(trained, texts):
    scores = trained.score_samples_by_class(texts)
    assert scores.count_scores is None
    assert not trained.denoiser_.is_gate_closed
    np.testing.assert_array_equal(trained.evidence_of(scores), scores.samples)


def test_scores_without_the_tables_are_refused(beside, texts):
    ids = beside.scoring_ids(texts)
    plain = score_texts(beside.denoiser_, ids, beside.scoring_estimator(), seed=0, precision="float32")
    with pytest.raises(ValueError, match=r"^Expected scores with `count_scores`.*; got none\. Score with"):
        beside.log_proba_of(plain)


@pytest.mark.parametrize("classes", [None, [0, 1], [1], [2, 0]], ids=str)
def test_tables_are_of_the_classes_that_are_scored(beside, texts, classes):
    ids = beside.scoring_ids(texts)
    counts = np.column_stack([beside.denoiser_.count_scores(ids), np.zeros(len(ids))])
    scores = beside.score_ids(ids, classes=classes)
    np.testing.assert_array_equal(scores.count_scores, counts[:, classes or [0, 1]])
    evidence = beside.evidence_of(scores)
    np.testing.assert_array_equal(evidence, beside.network_weight_ * scores.samples + scores.count_scores[:, :, None])


def test_the_weight_is_fitted_again_by_each_calibration(beside, toy):
    model = copy.copy(beside)
    held = toy(60, seed=3)
    ids = model.scoring_ids(held[0])
    scores = model.score_ids(ids)
    labels = model.encode_labels(held[1])
    own = mean_over_draws(scores.samples)
    expected = fit_network_weight(own, scores.count_scores, labels, scores.n_tokens, model.log_prior_)
    assert model.calibrate(*held).network_weight_ == expected
    assert model.temperature_ != beside.temperature_
    assert beside.network_weight_ == 0.3 != pytest.approx(model.network_weight_, abs=0.1)


def test_it_is_saved(beside, texts, tmp_path):
    again = DiffusionClassifier.load(beside.save(tmp_path))
    assert again.network_weight_ == beside.network_weight_
    assert again.denoiser_.is_gate_closed
    np.testing.assert_array_equal(again.predict_log_proba(texts), beside.predict_log_proba(texts))


def test_a_rule_of_draws_is_refused_after_the_fit_too(beside, toy):
    with pytest.raises(ValueError, match="no target_flip_rate beside counts_beside"):
        copy.copy(beside).set_target_flip_rate(0.01)
    forgetful = copy.copy(beside).set_params(options={**OPTIONS, "counts_beside": False})
    for ask in (
        lambda: forgetful.set_target_flip_rate(0.01),
        lambda: forgetful.set_params(target_flip_rate=0.01).calibrate(*toy(20)),
    ):
        with pytest.raises(ValueError, match=r"^Expected no target_flip_rate where class tables stand beside .*None\."):
            ask()


@pytest.mark.parametrize("mode", ["adapter", "prompt", "independent"])
def test_all_modes_learn_beside_the_tables(tiny, toy, texts, mode):
    model = tiny(**BESIDE, mode=mode, level_weighting="learned", long_texts="chunks").fit(*toy(60))
    assert model.denoiser_.is_gate_closed
    scores = model.score_samples_by_class(texts)
    levels = model.level_weighting_.evidence(scores.steps)
    expected = model.network_weight_ * levels + scores.count_scores[:, :, None]
    np.testing.assert_array_equal(model.evidence_of(scores), expected)
    one_by_one = [model.predict_log_proba([text])[0] for text in texts[:4]]
    np.testing.assert_array_equal(one_by_one, model.predict_log_proba(texts)[:4])
