"""`fit` with texts whose label nobody has told."""

from __future__ import annotations

import numpy as np
import pytest

QUICK = {"adapt_steps": 0, "class_steps": 0}


@pytest.fixture(scope="module")
def others(toy):
    return toy(300, seed=5)


@pytest.fixture(scope="module")
def few(toy):
    return toy(8)


def test_they_are_given_the_labels_of_the_fit_in_the_shares_of_the_priors(tiny, few, others):
    for priors, share in (("empirical", 0.5), ([0.8, 0.2], 0.2)):
        classifier = tiny(priors=priors, **QUICK).fit(*few, unlabelled=others[0])
        told = classifier.transduction_
        assert set(told) == {"left", "right"}
        assert len(told) == 300
        assert np.mean(told == "right") == pytest.approx(share, abs=0.03)
        assert classifier.training_record_["unlabelled"] == [np.sum(told == "left"), np.sum(told == "right")]
        assert classifier.class_count_.sum() < 9  # the prior stays that of the labelled texts


def graded(n_texts, *, seed):
    """Both classes use all letters, the early and the late ones more or less often: few texts tell little of that."""
    letters = np.array(list("abcdefghijklmnop"))
    lean = np.linspace(-0.5, 0.5, len(letters))
    generator = np.random.default_rng(seed)
    labels = [("left", "right")[row % 2] for row in range(n_texts)]
    shares = {"left": np.exp(-lean) / np.exp(-lean).sum(), "right": np.exp(lean) / np.exp(lean).sum()}
    return [" ".join(generator.choice(letters, 16, p=shares[label])) for label in labels], labels


def test_they_make_a_model_of_few_labels_better(tiny):
    texts, labels = graded(500, seed=9)
    scores = {}
    for seed in range(3):
        few = graded(4, seed=seed)
        for name, more in (("alone", {}), ("with others", {"unlabelled": graded(400, seed=5)[0]})):
            classifier = tiny(**QUICK).fit(*few, validation=few, calibration=few, **more)
            scores.setdefault(name, []).append(classifier.score(texts, labels))
    assert np.mean(scores["with others"]) > np.mean(scores["alone"]) + 0.02, scores


def test_a_fit_without_them_has_no_labels_for_them(tiny, few, others):
    classifier = tiny(**QUICK).fit(*few, unlabelled=others[0][:20])
    assert not hasattr(classifier.fit(*few), "transduction_")


def test_a_tokenizer_of_characters_knows_theirs(tiny, few):
    classifier = tiny(backbone="scratch-64x1", **QUICK).fit(*few, unlabelled=["ж" * 4] * 8)
    known = classifier.tokenize(["ж"]).ids[0]
    assert classifier.tokenizer_.unk_token_id not in known


@pytest.mark.parametrize(
    ("texts", "error", "match"),
    [("abc", TypeError, "got str"), ([], ValueError, "at least one text"), (["a", None], TypeError, "NoneType")],
)
def test_bad_ones_are_said_before_training(tiny, few, texts, error, match, monkeypatch):
    monkeypatch.setattr("gencls.classifier.estimator.train_denoiser", lambda *_, **__: pytest.fail("training started"))
    with pytest.raises(error, match=match):
        tiny().fit(*few, unlabelled=texts)
