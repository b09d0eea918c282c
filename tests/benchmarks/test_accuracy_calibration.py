"""What scores are worth once they are calibrated by the other texts."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.accuracy_calibration import N_FOLDS, decision_losses
from gencls.classifier.calibration import prior_weights


def test_decision_losses_do_not_depend_on_the_scale_of_the_evidence(held):
    evidence, labels, lengths, log_prior = held
    losses = decision_losses(evidence, labels, lengths, log_prior=log_prior)
    plain, scaled = (decision_losses(scale * evidence, labels, lengths, log_prior=np.zeros(3)) for scale in (1, 7))
    assert scaled == pytest.approx(plain, abs=1e-3)
    assert 0.3 < losses.mean() < np.log(3)  # the evidence is too sure by far, and not without worth
    assert len(losses) == 400


def test_decision_losses_stand_for_the_population(held):
    """A rare class that the held-out texts have too often weighs what its prior says."""
    evidence, labels, lengths, _ = held
    rare = np.log([0.01, 0.49, 0.5])
    total = decision_losses(np.zeros_like(evidence), labels, lengths, log_prior=rare)
    assert total[labels == 0].sum() / 400 == pytest.approx(-0.01 * np.log(0.01), rel=1e-2)
    assert total.mean() == pytest.approx(-(np.exp(rare) * rare).sum(), rel=1e-2)


def test_the_temperature_of_a_text_is_not_chosen_on_it(held):
    evidence, labels, lengths, prior = held
    before = decision_losses(evidence, labels, lengths, log_prior=prior) / prior_weights(labels, prior)
    other = labels.copy()
    other[0] = (other[0] + 1) % 3
    after = decision_losses(evidence, other, lengths, log_prior=prior) / prior_weights(other, prior)
    same = np.isclose(before, after, rtol=1e-12, atol=0)
    assert same.sum() == 400 // N_FOLDS - 1  # the texts beside it in its fold, whose temperature has not seen it
    assert not same[0]
