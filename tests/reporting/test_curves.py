import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.metrics import confusion_matrix

from gencls.reporting import curves
from gencls.reporting.metrics import accuracy, confidence_and_correct, ece


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=400)
    return log_softmax(rng.normal(size=(400, 3)) + 1.5 * np.eye(3)[y], axis=1), y


def test_reliability_holds_the_ece_and_every_text(case):
    curve = curves.prepare_reliability(*case)
    gaps = np.abs(curve.accuracy - curve.confidence)
    assert (gaps * curve.count).sum() / 400 == pytest.approx(ece(*confidence_and_correct(*case)))
    assert curve.count.sum() == curve.histogram.sum() == 400
    assert np.all((curve.low <= curve.accuracy) & (curve.accuracy <= curve.high))


def test_reliability_of_saturated_scores_has_one_point():
    log_proba = np.tile([0.0, -1e5], (50, 1))
    curve = curves.prepare_reliability(log_proba, np.arange(50) % 2)
    assert curve.count.tolist() == [50] and curve.accuracy.tolist() == [0.5]


def test_two_class_log_odds_are_decided_by_the_side_of_zero():
    rng = np.random.default_rng(1)
    log_proba, y = log_softmax(rng.normal(size=(300, 2)) * 40, axis=1), rng.integers(2, size=300)
    histogram = curves.prepare_log_odds(log_proba, y, ["bad", "good"])
    positive = histogram.edges[:-1] >= 0
    right = histogram.counts[0, ~positive].sum() + histogram.counts[1, positive].sum()
    assert histogram.counts.sum() == 300
    assert right / 300 == pytest.approx(accuracy(log_proba, y))
    assert "good" in histogram.axis_label


def test_many_class_log_odds_are_of_the_truth(case):
    log_proba, y = case
    histogram = curves.prepare_log_odds(log_proba, y, ["a", "b", "c"])
    assert histogram.counts[:, histogram.edges[:-1] >= 0].sum() / 400 == pytest.approx(accuracy(log_proba, y))
    assert histogram.groups == ("a", "b", "c")


def test_over_six_classes_the_groups_are_right_and_wrong():
    rng = np.random.default_rng(2)
    log_proba, y = log_softmax(rng.normal(size=(100, 9)), axis=1), rng.integers(9, size=100)
    histogram = curves.prepare_log_odds(log_proba, y, [str(i) for i in range(9)])
    assert histogram.groups == ("right", "wrong")
    assert histogram.counts[0].sum() / 100 == pytest.approx(accuracy(log_proba, y))


def test_confusion_equals_sklearn(case):
    log_proba, y = case
    confusion = curves.prepare_confusion(log_proba, y, ["a", "b", "c"])
    np.testing.assert_array_equal(confusion.counts, confusion_matrix(y, log_proba.argmax(1)))
    np.testing.assert_allclose(confusion.share.sum(axis=1), 1)


def test_accuracy_against_forwards_hand_example():
    # Text one is right in every draw; text two only in the first of three, and the mean of all is wrong.
    samples = np.zeros((2, 2, 3))
    samples[0, 0], samples[1, 0] = 1.0, [2.0, -3.0, -3.0]
    curve = curves.accuracy_against_forwards(samples, [0, 0], np.log([0.5, 0.5]), [4, 7, 10])
    np.testing.assert_array_equal(curve.forwards, [4, 7, 10])
    np.testing.assert_allclose(curve.accuracy, [(1 + 0.5 + 0.5) / 3, 0.5, 0.5])
    np.testing.assert_allclose(curve.agreement, [(0.5 + 1 + 1) / 3, 1, 1])
    np.testing.assert_allclose([curve.low[0], curve.high[0]], [0.5, 1.0])
    np.testing.assert_allclose(curve.standard_error[2], np.sqrt(0.25 / 2))


def test_order_of_the_draws_does_not_move_the_ends():
    rng = np.random.default_rng(3)
    samples, y = rng.normal(size=(60, 2, 5)), rng.integers(2, size=60)
    one = curves.accuracy_against_forwards(samples, y, np.zeros(2), range(1, 6))
    two = curves.accuracy_against_forwards(samples[:, :, ::-1], y, np.zeros(2), range(1, 6))
    np.testing.assert_allclose(one.accuracy[[0, -1]], two.accuracy[[0, -1]])


def test_risk_coverage_ranks_beyond_saturation():
    log_proba = np.array([[0.0, -50.0], [0.0, -60.0], [0.0, -40.0]])  # all round to a probability of 1
    curve = curves.prepare_risk_coverage(log_proba, [0, 0, 1])
    np.testing.assert_allclose(curve.risk, [0, 0, 1 / 3])
