import numpy as np
import pytest
from scipy.integrate import trapezoid
from scipy.stats import norm

from gencls.reporting.calibration_error import ece, ece_interval, ece_null, equal_mass_bins, smooth_ece


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_ece_two_bin_hand_example():
    # Each bin is off by 0.1 in the first case; by 0.1 and 0.5 in the second.
    assert ece([0.6, 0.6, 0.9, 0.9], [1, 0, 1, 1], n_bins=2) == pytest.approx(0.1)
    assert ece([0.6, 0.6, 1.0, 1.0], [1, 0, 1, 0], n_bins=2) == pytest.approx((0.1 + 0.5) / 2)


def test_confidences_of_exactly_zero_and_one_are_in_real_bins():
    np.testing.assert_array_equal(equal_mass_bins([0.0, 0.0, 1.0, 1.0], n_bins=2), [0, 0, 1, 1])
    assert ece([0.0, 0.0, 1.0, 1.0], [0, 0, 1, 1], n_bins=2) == 0
    assert ece([0.0, 0.0, 1.0, 1.0], [1, 1, 0, 0], n_bins=2) == 1


def test_bins_have_equal_mass_and_ties_share_one(rng):
    assert set(np.bincount(equal_mass_bins(rng.random(150)), minlength=15)) == {10}
    assert np.unique(equal_mass_bins(np.full(40, 0.7))).size == 1


def test_ece_does_not_depend_on_the_order_of_rows(rng):
    confidence, correct = rng.integers(50, 101, size=300) / 100, rng.random(300) < 0.8
    order = rng.permutation(300)
    assert ece(confidence[order], correct[order]) == pytest.approx(ece(confidence, correct), abs=1e-12)


def test_null_agrees_with_a_calibrated_model_and_shrinks_with_n(rng):
    confidence = rng.uniform(0.5, 1, 2000)
    null = ece_null(confidence, generator=rng, n_simulations=400)
    inside = [null.low <= ece(confidence, rng.random(2000) < confidence) <= null.high for _ in range(400)]
    z = (np.mean(inside) - 0.95) / np.sqrt(2 * 0.95 * 0.05 / 400)
    assert abs(z) < 4
    assert ece_null(confidence[:125], generator=rng, n_simulations=400).mean == pytest.approx(4 * null.mean, rel=0.2)


def test_null_excludes_an_overconfident_model(rng):
    confidence = rng.uniform(0.7, 1, 1000)
    assert ece(confidence, rng.random(1000) < confidence - 0.1) > ece_null(confidence, generator=rng).high


def test_bootstrap_lies_around_a_large_error_and_is_seeded(rng):
    confidence = rng.uniform(0.7, 1, 1000)
    correct = rng.random(1000) < confidence - 0.2
    one, two = (
        ece_interval(confidence, correct, generator=np.random.default_rng(5), n_bootstrap=200) for _ in range(2)
    )
    assert one == two
    assert one.low < ece(confidence, correct) < one.high


@pytest.mark.parametrize("confidence", [0.0, 0.5, 0.731, 1.0])
def test_smooth_ece_of_a_constant_prediction_is_its_bias(confidence):
    correct = np.arange(100) < 60
    assert smooth_ece(np.full(100, confidence), correct) == pytest.approx(abs(0.6 - confidence), abs=1e-3)


def test_smooth_ece_of_exact_and_of_useless_predictions():
    assert smooth_ece([0.0, 1.0, 1.0], [0, 1, 1]) == pytest.approx(0, abs=1e-9)
    assert smooth_ece(np.full(10, 0.5), np.arange(10) % 2) == pytest.approx(0, abs=1e-9)


def test_smooth_ece_is_the_fixed_point_by_direct_integration(rng):
    """The definition itself: reflected Gaussian kernels, summed text by text on a fine grid."""
    confidence = rng.beta(4, 1.5, 400)
    correct = rng.random(400) < confidence**2
    sigma, t = smooth_ece(confidence, correct), np.linspace(0, 1, 4001)
    images = [2 * k + sign * confidence for k in (-1, 0, 1) for sign in (1, -1)]
    kernel = sum(norm.pdf(t[:, None], image, sigma) for image in images)  # (t, N)
    direct = trapezoid(np.abs(kernel @ (correct - confidence)) / 400, t)
    assert direct == pytest.approx(sigma, abs=1e-3)


def test_smooth_ece_falls_to_zero_for_a_calibrated_model(rng):
    confidence = rng.uniform(0.5, 1, 200_000)
    assert smooth_ece(confidence, rng.random(200_000) < confidence) < 0.01
