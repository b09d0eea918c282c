import numpy as np
import pytest
from scipy.special import log_softmax
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss

from gencls.reporting import metrics

KEYS = {
    "accuracy", "accuracy_se", "nll", "brier", "ece", "ece_low", "ece_high", "ece_null", "ece_null_low",
    "ece_null_high", "smece", "n_texts", "majority_accuracy", "class_counts",
}  # fmt: skip


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def case(rng):
    return log_softmax(rng.normal(size=(200, 3)) * 2, axis=1), rng.integers(3, size=200)


def test_equal_to_sklearn(case):
    log_proba, y = case
    proba = np.exp(log_proba)
    assert metrics.accuracy(log_proba, y) == accuracy_score(y, proba.argmax(axis=1))
    assert metrics.nll(log_proba, y) == pytest.approx(log_loss(y, proba))
    assert metrics.brier(log_proba, y) == pytest.approx(brier_score_loss(y, proba, scale_by_half=False))


def test_nll_of_a_saturated_mistake_is_finite():
    log_proba = np.array([[0.0, -92.0], [-1e5, 0.0]])
    assert metrics.nll(log_proba, [1, 1]) == pytest.approx(46)


def test_brier_hand_values():
    certain = np.log([[1.0, 1e-300]])
    assert metrics.brier(certain, [0]) == pytest.approx(0)
    assert metrics.brier(certain, [1]) == pytest.approx(2)


def test_standard_error_is_binomial():
    log_proba = np.log(np.tile([0.9, 0.1], (100, 1)))
    y = (np.arange(100) < 20).astype(int)
    assert metrics.accuracy_standard_error(log_proba, y) == pytest.approx(0.04)


def test_mcnemar_exact_and_large():
    a, b = np.zeros(1000, bool), np.zeros(1000, bool)
    assert metrics.mcnemar_p(a, b) == 1
    a[:10], b[10:12] = True, True
    assert metrics.mcnemar_p(a, b) == pytest.approx(binomtest(10, 12).pvalue)
    a[20:60], b[60:80] = True, True  # 50 against 22
    chi2_by_hand = (abs(50 - 22) - 1) ** 2 / 72
    assert chi2_by_hand == pytest.approx(10.125)
    assert metrics.mcnemar_p(a, b) == pytest.approx(0.00146, abs=1e-5)
    assert metrics.mcnemar_p(a, b) == metrics.mcnemar_p(b, a)


def test_mcnemar_of_a_large_tie_is_one():
    a = np.arange(100) % 2 == 0
    assert metrics.mcnemar_p(a, ~a) == 1


def test_wilson_equals_scipy_and_contains_its_estimate():
    hits, n = np.array([0, 3, 10, 20]), np.full(4, 20)
    low, high = metrics.wilson_interval(hits, n)
    for i, k in enumerate(hits):
        interval = binomtest(int(k), 20).proportion_ci(method="wilson")
        assert (low[i], high[i]) == pytest.approx((interval.low, interval.high), abs=1e-4)
    assert np.all(low <= hits / n) and np.all(hits / n <= high)


def test_classification_metrics_has_exactly_its_keys(case, rng):
    log_proba, y = case
    result = metrics.classification_metrics(log_proba, y, generator=rng)
    assert set(result) == KEYS
    assert result["class_counts"] == np.bincount(y).tolist()
    assert result["majority_accuracy"] == max(result["class_counts"]) / 200
    assert result["ece_null_low"] < result["ece_null"] < result["ece_null_high"]


def test_order_of_rows_changes_nothing_that_is_not_random(case):
    log_proba, y = case
    order = np.random.default_rng(1).permutation(200)
    one = metrics.classification_metrics(log_proba, y, generator=np.random.default_rng(2))
    two = metrics.classification_metrics(log_proba[order], y[order], generator=np.random.default_rng(2))
    for key in ("accuracy", "accuracy_se", "nll", "brier", "ece", "smece"):
        assert one[key] == pytest.approx(two[key], abs=1e-6)


def test_one_class_test_set_is_refused(case, rng):
    with pytest.raises(ValueError, match="at least two classes, got only class 1"):
        metrics.classification_metrics(case[0], np.ones(200, int), generator=rng)


@pytest.mark.parametrize("bad", [np.zeros((4, 2)), np.full((4, 2), np.nan), np.log(np.full((3, 2), 0.5))])
def test_what_is_no_log_probability_is_refused(bad, rng):
    with pytest.raises(ValueError, match=r"metrics: expected .* got .*\."):
        metrics.classification_metrics(bad, [0, 1, 0, 1], generator=rng)
