"""`DiffusionClassifier`: scikit-learn's contract, the prior, invariances, hard texts, bad input."""

from __future__ import annotations

import copy
import pickle
from unittest import SkipTest

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks

from gencls.classifier.bayes import log_posterior, mean_over_draws
from gencls.classifier.estimator import DiffusionClassifier
from gencls.classifier.temperature import LengthTemperature
from gencls.training.presets import preset

QUICK = {"adapt_steps": 0, "class_steps": 1}
HARD = {
    "empty": "",
    "whitespace": " \t\n\u3000",
    "long": "abc " * 25_000,
    "one long word": "a" * 100_000,
    "emoji": "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f3f3\ufe0f",
    "control characters": "".join(map(chr, range(32))) + "\x7f\u200b\ufeff",
    "a literal mask": "[MASK] abc [CLS][SEP] [PAD] [UNK]",
    "only a mask": "[MASK]",
    "right to left": "\u05e9\u05dc\u05d5\u05dd \u202eabc \u0645\u0631\u062d\u0628\u0627",
    "half an emoji": "ab \ud83d cd",
}


def same(first, second):
    """Equal bits."""
    return first.dtype == second.dtype and np.array_equal(first, second)


def test_accuracy_far_above_chance_where_letters_differ(trained, held_out):
    texts, labels = held_out
    assert trained.score(texts, labels) > 0.9
    assert trained.classes_.tolist() == ["left", "right"]
    assert set(trained.predict(texts)) == {"left", "right"}


def test_the_methods_agree(trained, held_out):
    texts, _ = held_out
    scores = trained.score_samples_by_class(texts)
    assert scores.samples.shape == (40, 2, trained.n_mc_samples)
    log_likelihood = trained.log_likelihood(texts)
    assert same(log_likelihood, mean_over_draws(scores.samples))
    np.testing.assert_allclose(log_likelihood, scores.mean(), rtol=1e-14)
    assert (log_likelihood < 0).all()
    assert same(trained.predict_joint_log_proba(texts), log_likelihood + trained.log_prior_)
    log_proba = trained.predict_log_proba(texts)
    temperature = trained.temperature_.temperature(scores.n_tokens)
    np.testing.assert_allclose(log_proba, log_posterior(log_likelihood, trained.log_prior_, temperature), atol=1e-12)
    np.testing.assert_allclose(trained.predict_proba(texts).sum(axis=1), 1.0, atol=1e-12)
    assert same(trained.predict_proba(texts), np.exp(log_proba))
    assert (trained.predict(texts) == trained.classes_[log_proba.argmax(axis=1)]).all()


def test_empty_text_is_the_prior(trained):
    model = copy.deepcopy(trained).set_priors([0.3, 0.7])
    np.testing.assert_allclose(model.predict_proba(["", "  \n"]), [[0.3, 0.7]] * 2, rtol=1e-14)
    assert same(model.log_likelihood([""]), np.zeros((1, 2)))
    assert model.predict([""]).tolist() == ["right"]


def test_new_priors_shift_the_log_odds_by_as_much_and_retrain_nothing(trained, held_out):
    texts, _ = held_out
    model = copy.deepcopy(trained).set_priors([0.9, 0.1])
    log_odds = [np.subtract(*one.predict_log_proba(texts).T) for one in (trained, model)]
    np.testing.assert_allclose(log_odds[1] - log_odds[0], np.log(9), atol=1e-9)
    assert same(model.log_likelihood(texts), trained.log_likelihood(texts))


def test_empirical_priors_are_the_shares_of_training(tiny, toy):
    texts, labels = toy(40)
    keep = [row for row, label in enumerate(labels) if label == "left" or row % 8 == 1]
    model = tiny(**QUICK, priors="empirical").fit([texts[row] for row in keep], [labels[row] for row in keep])
    np.testing.assert_allclose(np.exp(model.log_prior_), model.class_count_ / model.class_count_.sum())
    assert model.log_prior_[0] > model.log_prior_[1]


@pytest.mark.parametrize("priors", ["equal", [0.5], [0.5, 0.6], [1.0, 0.0], [[0.5, 0.5]]])
def test_bad_priors(trained, priors):
    with pytest.raises(ValueError, match="priors"):
        copy.deepcopy(trained).set_priors(priors)


def test_calibrate_is_never_worse_and_returns_self(trained, held_out):
    texts, labels = held_out
    model = copy.deepcopy(trained)
    model.temperature_ = LengthTemperature()

    def nll():
        return -model.predict_log_proba(texts)[np.arange(40), model.encode_labels(labels)].mean()

    before = nll()
    assert model.calibrate(texts, labels) is model
    assert nll() <= before + 1e-9
    with pytest.raises(ValueError, match="at least two classes"):
        model.calibrate(texts[:1], labels[:1])
    with pytest.raises(ValueError, match=r"Expected labels out of .*; got .*middle"):
        model.calibrate(texts[:2], ["left", "middle"])


@pytest.mark.parametrize("how", ["order", "subset", "one by one", "series", "array"])
def test_scores_depend_on_the_text_alone(trained, held_out, how):
    texts = [*held_out[0][:11], "", "a", *held_out[0][11:14]]
    expected = trained.log_likelihood(texts)
    if how == "order":
        order = np.random.default_rng(0).permutation(len(texts))
        found = trained.log_likelihood([texts[row] for row in order])[np.argsort(order)]
    elif how == "subset":
        found, expected = trained.log_likelihood(texts[3:8]), expected[3:8]
    elif how == "one by one":
        found = np.concatenate([trained.log_likelihood([text]) for text in texts])
    else:
        found = trained.log_likelihood(pd.Series(texts, index=range(5, 21)) if how == "series" else np.array(texts))
    assert same(found, expected)


def test_hard_texts_are_classified(trained):
    texts = list(HARD.values())
    log_proba = trained.predict_log_proba(texts)
    assert np.isfinite(log_proba).all()
    np.testing.assert_allclose(np.exp(log_proba).sum(axis=1), 1.0, atol=1e-12)
    names = list(HARD)
    for name in ("empty", "whitespace"):
        np.testing.assert_allclose(log_proba[names.index(name)], trained.log_prior_)
    assert len(trained.predict(texts)) == len(texts)


def test_a_written_mask_is_text_and_not_a_hidden_token(trained):
    ids = trained.tokenize(["[MASK] abc"]).ids[0]
    assert trained.denoiser_.frame.mask not in ids
    assert len(ids) > 4


def test_hard_texts_can_be_trained_on(tiny, toy):
    texts, labels = toy(20)
    model = tiny(**QUICK).fit([*texts, *HARD.values()], [*labels, *(["left", "right"] * 5)])
    assert np.isfinite(model.predict_proba(list(HARD.values()))).all()


def test_no_text_to_predict(trained):
    assert trained.predict([]).shape == (0,)
    assert trained.predict_proba([]).shape == (0, 2)


@pytest.mark.parametrize(
    "kind", [np.array([3, -1]), np.array([True, False]), np.array(["b", "a"], dtype=object), np.array([2.0, 1.0])]
)
def test_labels_of_any_kind(tiny, toy, kind):
    texts, labels = toy(30)
    y = np.array([kind[int(label == "right")] for label in labels], dtype=kind.dtype)
    model = tiny(**QUICK).fit(texts, y)
    assert model.classes_.dtype == kind.dtype
    assert model.classes_.tolist() == sorted(kind.tolist())
    assert (model.predict(texts) == y).mean() > 0.8
    assert model.score(texts, list(y)) > 0.8


@pytest.mark.parametrize("n_classes", [3, 30])  # numpy compares few classes one by one, and many as strings
def test_labels_of_another_kind_are_refused(trained, n_classes):
    model, numbers = copy.copy(trained), np.arange(n_classes)
    words = numbers.astype(str)
    for classes, labels in ((words, numbers), (numbers, words), (words, words.astype("S")), (words, numbers % 2 == 0)):
        model.classes_ = np.sort(classes)
        with pytest.raises(ValueError, match=r"Expected labels of the type of classes_, .*; got .*\. Give"):
            model.encode_labels(labels)
    model.classes_ = np.sort(words)
    with pytest.raises(ValueError, match=r"Expected labels out of \['0'.*; got 0, 1.*\. Fit"):
        model.encode_labels(numbers.astype(object))


def test_labels_of_one_kind_are_found_in_any_type(trained):
    model, words = copy.copy(trained), np.sort(np.arange(30).astype(str))
    numbers, places = np.arange(30), np.arange(30)
    equal = [(numbers, numbers.astype(float)), (numbers, numbers.astype(np.int8)), (numbers, numbers.astype(object))]
    equal += [(words, words.astype(object)), (words.astype(object), words), (words, list(words)), (words, words[:0])]
    days = np.datetime64("2020-01-01") + numbers
    equal += [(np.array([0, 1]), np.array([False, True])), (days, days.astype("datetime64[s]")), (numbers, [])]
    for classes, labels in equal:
        model.classes_ = classes
        np.testing.assert_array_equal(model.encode_labels(labels), places[: len(labels)])
        assert model.encode_labels(labels).dtype == np.int64


def test_clone_and_parameters_untouched(tiny, toy):
    options, priors = {"n_scored": 8, "precision": "float32"}, [0.5, 0.5]
    model = tiny(**QUICK, options=options, priors=priors)
    before = copy.deepcopy(model.get_params())
    texts, labels = toy(20)
    given = (list(texts), list(labels))
    assert model.fit(*given) is model
    assert model.get_params() == before
    assert model.options is options
    assert model.priors is priors
    assert given == (texts, labels)
    copied = clone(model)
    assert copied.get_params() == before
    assert not hasattr(copied, "classes_")
    assert is_classifier(model)


def test_fit_is_deterministic_and_idempotent(tiny, toy, held_out):
    model = tiny(**QUICK).fit(*toy(30))
    first = model.log_likelihood(held_out[0][:5])
    assert same(model.fit(*toy(30)).log_likelihood(held_out[0][:5]), first)
    other = tiny(**QUICK, random_state=1).fit(*toy(30)).log_likelihood(held_out[0][:5])
    assert not np.array_equal(other, first)


def test_pickle(trained, held_out):
    again = pickle.loads(pickle.dumps(trained))
    assert same(again.predict_log_proba(held_out[0][:6]), trained.predict_log_proba(held_out[0][:6]))
    assert again.get_params() == trained.get_params()


def test_pipeline_and_search(tiny, toy):
    texts, labels = toy(40)
    pipeline = make_pipeline(FunctionTransformer(lambda rows: [text.lower() for text in rows]), tiny(**QUICK))
    shouted = [text.upper() for text in texts]
    assert pipeline.fit(shouted, labels).score(shouted, labels) > 0.8
    search = GridSearchCV(pipeline, {"diffusionclassifier__n_steps": [1, 2]}, cv=2, error_score="raise")
    search.fit(shouted, np.array(labels))
    assert search.best_score_ > 0.8
    assert search.best_params_["diffusionclassifier__n_steps"] in (1, 2)


def test_cross_val_score(tiny, toy):
    scores = cross_val_score(tiny(**QUICK), *toy(40), cv=2, error_score="raise")
    assert scores.shape == (2,)
    assert scores.min() > 0.8


def test_a_run_folder_is_not_shared_by_the_folds(tiny, toy, tmp_path):
    """The second fold must not quietly get the first one's weights."""
    with pytest.raises(ValueError, match="another training"):
        cross_val_score(tiny(**QUICK, run_dir=tmp_path), *toy(40), cv=2, error_score="raise")


CHECKS = (
    estimator_checks.check_estimator_cloneable,
    estimator_checks.check_estimator_tags_renamed,
    estimator_checks.check_valid_tag_types,
    estimator_checks.check_estimator_repr,
    estimator_checks.check_no_attributes_set_in_init,
    estimator_checks.check_do_not_raise_errors_in_init_or_set_params,
    estimator_checks.check_mixin_order,
    estimator_checks.check_estimators_unfitted,
    estimator_checks.check_parameters_default_constructible,
    estimator_checks.check_get_params_invariance,
    estimator_checks.check_set_params,
)


def test_scikit_learns_checks_that_need_no_numbers_all_run(tiny):
    """`check_estimator` is green for text estimators because it runs next to nothing: these run, and are counted."""
    ran = []
    for check in CHECKS:
        try:
            check("DiffusionClassifier", tiny())
        except SkipTest:
            continue
        ran.append(check.__name__)
    assert len(ran) == len(CHECKS) == 11


def test_tags(trained):
    tags = trained.__sklearn_tags__()
    assert tags.input_tags.string
    assert not tags.input_tags.two_d_array
    assert tags.target_tags.required
    assert tags.estimator_type == "classifier"


@pytest.mark.parametrize(
    "call",
    [
        lambda model: model.predict(["a"]),
        lambda model: model.predict_proba(["a"]),
        lambda model: model.predict_log_proba(["a"]),
        lambda model: model.predict_joint_log_proba(["a"]),
        lambda model: model.log_likelihood(["a"]),
        lambda model: model.score(["a"], ["left"]),
        lambda model: model.calibrate(["a"], ["left"]),
        lambda model: model.set_priors("uniform"),
        lambda model: model.set_target_flip_rate(0.01),
        lambda model: model.save("nowhere"),
    ],
)
def test_not_fitted(tiny, call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFittedError):
        call(tiny())
    assert not list(tmp_path.iterdir())


def test_a_fit_that_failed_is_no_fit(tiny, toy, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("gencls.classifier.estimator.train_denoiser", stop)
    model = tiny()
    with pytest.raises(KeyboardInterrupt):
        model.fit(*toy(20))
    with pytest.raises(NotFittedError):
        model.predict(["a"])


def test_a_second_fit_that_fails_leaves_no_mixture_of_two(tiny, toy, trained, monkeypatch):
    """New labels beside the old model would be predictions without a sense."""

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    texts, labels = toy(20)
    model, fitted = copy.copy(trained), dict(vars(trained))
    for bad in ({"calibration": (["a", "b"], ["left", "up"])}, {"validation": (["a"], ["up", "down"])}):
        with pytest.raises(ValueError, match="Expected"):
            model.fit(texts, ["up" if label == "left" else "down" for label in labels], **bad)
    assert vars(model) == fitted  # bad input costs nobody a trained model
    monkeypatch.setattr("gencls.classifier.estimator.train_denoiser", stop)
    with pytest.raises(KeyboardInterrupt):
        model.fit(texts, ["up" if label == "left" else "down" for label in labels])
    with pytest.raises(NotFittedError):
        model.predict(["a"])


@pytest.mark.parametrize("changes", [{}, {"level_weighting": "learned"}, {"target_flip_rate": 0.05}], ids=str)
def test_a_calibration_that_is_stopped_changes_nothing(tiny, toy, held_out, monkeypatch, changes):
    model = tiny(**QUICK, **changes).fit(*toy(30))
    fitted, scored = dict(vars(model)), []

    def stop(*args, **kwargs):
        if len(scored) == ("target_flip_rate" in changes):  # there the second scores, with the rule already fitted
            raise KeyboardInterrupt
        scored.append(args)
        return score_ids(*args, **kwargs)

    score_ids = DiffusionClassifier.score_ids
    monkeypatch.setattr(DiffusionClassifier, "score_ids", stop)
    with pytest.raises(KeyboardInterrupt):
        model.calibrate(*held_out)
    assert vars(model) == fitted
    scored.clear()
    with pytest.raises(KeyboardInterrupt):
        model.fit(*toy(20))
    with pytest.raises(NotFittedError):
        model.predict(["a"])


def test_one_text_is_enough_for_a_class_where_nothing_is_held_out_of_it(tiny, toy):
    texts, labels = toy(40)
    held = texts[20:], labels[20:]
    texts, labels = [*texts[:20], "a rare text"], [*labels[:20], "rare"]
    model = tiny(**QUICK).fit(texts, labels, validation=held, calibration=held)
    assert dict(zip(model.classes_, model.class_count_, strict=True)) == {"left": 10, "rare": 1, "right": 10}
    assert np.isfinite(model.predict_log_proba([*held[0], "a rare text"])).all()
    for given in ({"validation": held}, {"calibration": held}):
        with pytest.raises(ValueError, match="give held-out texts"):
            tiny(**QUICK).fit(texts, labels, **given)


@pytest.fixture
def no_training(monkeypatch):
    """Whatever is wrong must be said before any long work."""

    def fail(*args, **kwargs):
        raise AssertionError("training was started")

    monkeypatch.setattr("gencls.classifier.estimator.train_denoiser", fail)


X4, Y4 = ["a b", "c d", "e f", "g h"], ["left", "right"] * 2
BAD_INPUT = {
    "one class": (X4, ["left"] * 4, ValueError, r"at least two classes; got \['left'\]"),
    "a class with one text": (X4, ["left", "left", "left", "right"], ValueError, "one text in .*right"),
    "None": (["a", None, "c", "d"], Y4, TypeError, "NoneType in rows 2"),
    "NaN": (pd.Series(["a", "b", float("nan"), "d"]), Y4, TypeError, "float in rows 3"),
    "bytes": (["a", b"b", "c", "d"], Y4, TypeError, "bytes"),
    "numbers": ([1, 2, 3, 4], Y4, TypeError, "int"),
    "a single string": ("abcd", Y4, TypeError, "got str"),
    "a generator": ((text for text in X4), Y4, TypeError, "sequence of texts"),
    "lengths differ": (X4, Y4[:3], ValueError, "4 labels"),
    "two columns": (np.array([X4, X4]).T, Y4, ValueError, "1-D"),
    "a data frame": (pd.DataFrame({"text": X4}), Y4, ValueError, "1-D"),
    "no text": ([], [], ValueError, "at least one text"),
    "labels in a column": (X4, np.array(Y4)[:, None], ValueError, "4 labels"),
    "NaN among words": (
        X4,
        ["left", float("nan"), "right", "left"],
        ValueError,
        r"in every row; got none in 1 .*rows 2",
    ),
    "NaN among numbers": (X4, np.array([1.0, 2.0, 1.0, np.nan]), ValueError, r"in every row; got none in 1 .*rows 4"),
    "None among labels": (X4, ["left", None, "right", None], ValueError, r"in every row; got none in 2 of 4 rows"),
    "NA among labels": (X4, pd.Series(["a", pd.NA, "b", "a"], dtype="string"), ValueError, r"got none in 1 of 4 rows"),
    "no labels": (X4, None, ValueError, "labels"),
    "fractions as labels": (X4, [0.1, 0.2, 0.1, 0.2], ValueError, "continuous"),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input_is_said_before_training(tiny, no_training, name):
    texts, labels, error, match = BAD_INPUT[name]
    with pytest.raises(error, match=match):
        tiny().fit(texts, labels)


@pytest.mark.parametrize("texts", ["abc", [None], [b"a"], np.array([["a"]]), [["a"]]])
def test_bad_texts_to_predict(trained, texts):
    with pytest.raises((TypeError, ValueError), match=r"Expected .*; got .*\. "):
        trained.predict(texts)


BAD_PARAMETERS = [
    {"mode": "lora"},
    {"truncation": "middle"},
    {"max_length": 0},
    {"n_steps": 0},
    {"batch_size": -1},
    {"random_state": None},
    {"options": {"n_scord": 3}},
    *({"options": {name: 2}} for name in ("n_steps", "max_length", "adapt_steps", "seed")),
    {"validation_fraction": 1.0},
    {"calibration_fraction": -0.1},
    {"backbone": "tiny-randon"},
    {"backbone_layers": 9},
    {"estimator": "paths"},
    {"order": "backwards"},
    {"target_flip_rate": 0.5},
    {"target_flip_rate": "0.01"},
    {"level_weighting": "best"},
    {"long_texts": "whole"},
    {"n_jobs": 0},
    {"n_jobs": None},
    {"target_flip_rate": 0.01, "estimator": "chain"},
    {"target_flip_rate": 0.01, "estimator": "importance_path"},
    {"target_flip_rate": 0.01, "order": "left_to_right"},
    {"target_flip_rate": 0.01, "level_weighting": "learned"},
    {"level_weighting": "learned", "estimator": "elbo"},
]


@pytest.mark.parametrize("changes", BAD_PARAMETERS, ids=str)
def test_bad_parameters_are_said_before_training(tiny, toy, no_training, changes):
    with pytest.raises(ValueError, match=r"Expected .*; got .*\. "):
        tiny(**changes).fit(*toy(20))


def test_an_option_that_is_a_parameter_is_told_its_place(tiny):
    with pytest.raises(ValueError, match=r"got \['n_steps', 'seed'\]\. Give n_steps, random_state as a parameter"):
        tiny(options={"n_steps": 4, "n_scored": 8, "seed": 1}).train_config()


@pytest.mark.parametrize(
    ("part", "match"),
    [
        ((["a", "b"], ["left"]), "2 labels of the calibration texts"),
        ((["a", "b"], ["left", "middle"]), "middle"),
        ((["a", None], ["left", "right"]), "NoneType"),
        (([], []), "at least one text"),
    ],
)
def test_bad_held_out_texts_are_said_before_training(tiny, toy, no_training, part, match):
    with pytest.raises((TypeError, ValueError), match=match):
        tiny().fit(*toy(20), calibration=part)


def test_two_texts_in_every_class_are_enough(tiny):
    """As little as the checks let through must also come out at the other end."""
    model = tiny(**QUICK).fit(["a b", "e f", "a c", "e g"], ["left", "right"] * 2)
    assert np.isfinite(model.predict_proba(["a", "e"])).all()


def test_a_rare_class_is_in_the_calibration_texts(tiny, toy):
    texts, labels = toy(60)
    keep = [row for row, label in enumerate(labels) if label == "left" or row < 4]
    model = tiny(**QUICK).fit([texts[row] for row in keep], [labels[row] for row in keep])
    assert model.class_count_.min() >= 1
    assert np.isfinite(model.predict_proba(texts[:4])).all()


def test_calibration_texts_of_one_class_leave_the_temperature_at_one(tiny, toy, caplog):
    model = tiny(**QUICK).fit(*toy(20), calibration=(["a b", "c d"], ["left", "left"]))
    assert model.temperature_ == LengthTemperature()
    assert "one class" in caplog.text


def test_all_texts_that_were_split_off_calibrate(tiny, toy):
    model = tiny(**QUICK, validation_fraction=0.2, calibration_fraction=0.1).fit(*toy(100))
    assert model.temperature_.n_texts == 100 - model.class_count_.sum()
    model = tiny(**QUICK, calibration_fraction=0.1).fit(*toy(100), validation=toy(20, seed=1))
    assert model.temperature_.n_texts == 100 - model.class_count_.sum() == 10, "the others are known to be no others"


def test_calibration_texts_that_were_given_calibrate_alone(tiny, toy):
    held = toy(24, seed=1)
    model = tiny(**QUICK).fit(*toy(40), validation=toy(12, seed=2), calibration=held)
    fitted = model.temperature_
    assert fitted.n_texts == 24
    assert model.calibrate(*held).temperature_ == fitted


def test_given_splits_are_used_and_nothing_is_cut_from_the_training_texts(tiny, toy):
    model = tiny(**QUICK).fit(*toy(20), validation=toy(10, seed=2), calibration=toy(10, seed=3))
    assert model.class_count_.tolist() == [10, 10]


def test_config_round_trip():
    config = preset("cpu", seed=3, mode="prompt", smoothing=(0.5,))
    model = DiffusionClassifier.from_config(config, progress=True)
    assert model.train_config() == config
    assert model.progress
    assert clone(model).train_config() == config


def test_standard_error_of_the_log_odds(tiny, trained, held_out):
    scores = trained.score_samples_by_class(held_out[0][:5])
    assert (trained.log_odds_standard_error(scores) >= 0).all()
    one_draw = copy.deepcopy(trained).set_params(n_mc_samples=1).score_samples_by_class(held_out[0][:5])
    assert np.isnan(trained.log_odds_standard_error(one_draw)).all()
