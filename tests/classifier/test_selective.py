import numpy as np
import pytest

from gencls.classifier.selective import risk_coverage


def test_hand_example():
    curve = risk_coverage([0.6, 0.9, 0.8, 0.7], [True, True, False, True])
    np.testing.assert_allclose(curve.coverage, [0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(curve.risk, [0, 1 / 2, 1 / 3, 1 / 4])
    np.testing.assert_allclose(curve.threshold, [0.9, 0.8, 0.7, 0.6])
    assert curve.aurc == pytest.approx((1 / 2 + 1 / 3 + 1 / 4) / 4)
    assert curve.aurc_oracle == pytest.approx(1 / 16)


def test_ends_at_the_error_rate_and_lies_over_the_oracle():
    rng = np.random.default_rng(0)
    correct = rng.random(500) < 0.8
    curve = risk_coverage(rng.random(500), correct)
    assert curve.risk[-1] == curve.aurc_random == pytest.approx(1 - correct.mean())
    assert curve.aurc_oracle < curve.aurc


def test_confidence_that_says_nothing_has_the_error_rate_everywhere():
    np.testing.assert_allclose(risk_coverage(np.ones(10), np.arange(10) % 5 > 0).risk, 0.2)


def test_order_of_rows_and_scale_of_confidence_do_not_matter():
    rng = np.random.default_rng(1)
    confidence, correct = rng.integers(5, size=200) / 5, rng.random(200) < 0.7
    base, order = risk_coverage(confidence, correct), rng.permutation(200)
    np.testing.assert_allclose(risk_coverage(confidence[order], correct[order]).risk, base.risk)
    np.testing.assert_allclose(risk_coverage(np.exp(confidence), correct).risk, base.risk)


@pytest.mark.parametrize("confidence", [[], [0.5], [0.5, np.nan]])
def test_bad_input_is_refused(confidence):
    with pytest.raises(ValueError, match="risk_coverage: expected"):
        risk_coverage(confidence, [True, False])
