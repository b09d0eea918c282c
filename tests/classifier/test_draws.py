"""The axis of the draws: NaN fills up, changes no bit, and is refused anywhere else."""

import numpy as np
import pytest

from gencls.classifier.bayes import joint_log_proba, log_odds_standard_error
from gencls.classifier.draws import mean_over_draws, paired_standard_error


@pytest.fixture
def ragged():
    """Samples of 40 texts with 1 to 12 draws, padded; and their numbers of draws."""
    rng = np.random.default_rng(0)
    n_draws = rng.integers(1, 13, size=40)
    samples = rng.normal(size=(40, 3, 12)) * 10 - 1000
    samples[np.broadcast_to(np.arange(12) >= n_draws[:, None, None], samples.shape)] = np.nan
    return samples, n_draws


def test_a_text_does_not_see_how_many_draws_the_others_have(ragged):
    samples, n_draws = ragged
    prior = np.log([0.2, 0.3, 0.5])
    wider = np.concatenate([samples, np.full((40, 3, 30), np.nan)], axis=2)
    functions = (mean_over_draws, lambda s: joint_log_proba(s, prior), lambda s: log_odds_standard_error(s, prior))
    for function in functions:
        together = function(samples)
        np.testing.assert_array_equal(function(wider), together)
        alone = [function(samples[row : row + 1, :, :k])[0] for row, k in enumerate(n_draws)]
        np.testing.assert_array_equal(alone, together)


def test_mean_and_error_are_those_of_numpy(ragged):
    samples, n_draws = ragged
    np.testing.assert_allclose(mean_over_draws(samples), np.nanmean(samples, axis=2), rtol=1e-14)
    first, second = np.zeros(40, dtype=int), np.full(40, 2)
    error = paired_standard_error(samples, first, second)
    np.testing.assert_array_equal(np.isnan(error), n_draws == 1)
    for row, k in enumerate(n_draws):
        if k > 1:
            difference = samples[row, 0, :k] - samples[row, 2, :k]
            assert error[row] == pytest.approx(difference.std(ddof=1) / np.sqrt(k))


def test_given_errors_are_used_for_the_two_best():
    samples = np.array([[0.0, 5.0, 3.0], [9.0, 1.0, 0.0]])[:, :, None]
    errors = np.array([[0.7, 0.0, 0.4], [0.0, 0.2, 0.6]])
    np.testing.assert_array_equal(log_odds_standard_error(samples, standard_errors=errors), [0.4, 0.2])
    # another prior swaps the two best of the first text: the error of their difference is the same
    prior = np.array([[0.0, 0.0, 2.5], [0.0, 0.0, 0.0]])
    np.testing.assert_array_equal(log_odds_standard_error(samples, prior, standard_errors=errors), [0.4, 0.2])


@pytest.mark.parametrize("place", [(0, 0, 0), (0, slice(None), 1), (1, 1, 3), (0, slice(None), slice(None))])
def test_nan_that_fills_up_nothing_is_refused(place):
    samples = np.zeros((2, 2, 4))
    samples[place] = np.nan
    with pytest.raises(ValueError, match="expected NaN only behind the last draw"):
        mean_over_draws(samples)


def test_no_text():
    assert mean_over_draws(np.zeros((0, 2, 3))).shape == (0, 2)
    assert log_odds_standard_error(np.zeros((0, 2, 3))).shape == (0,)
