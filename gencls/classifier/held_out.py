"""What is fitted on the scores of held-out texts: stopping rule, weights of levels and of the network, temperature."""

from __future__ import annotations

import copy
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from gencls.classifier.bayes import mean_over_draws
from gencls.classifier.calibration import fit_temperature
from gencls.classifier.inputs import check_part, label_indices
from gencls.classifier.pool import fit_network_weight
from gencls.classifier.scoring import ScoringMixin
from gencls.classifier.temperature import LengthTemperature
from gencls.classifier.weighting import LevelWeighting
from gencls.data.errors import three_parts
from gencls.likelihood.adaptive import StoppingRule, fit_stopping_rule
from gencls.likelihood.engine import Scores
from gencls.likelihood.stopping import REFERENCE_DRAWS
from gencls.likelihood.store import ScoreStore

logger = logging.getLogger("gencls.classifier")

Self = TypeVar("Self", bound="HeldOutMixin")
#: Fewest draws of the held-out texts that the stopping rule is fitted to.
RULE_DRAWS = 4
#: What `calibrate` fits, all of it or nothing.
CALIBRATED = ("stopping_rule_", "level_weighting_", "network_weight_", "temperature_")


class HeldOutMixin(ScoringMixin):
    """Calibration of a trained classifier."""

    target_flip_rate: float | None
    level_weighting: str

    def encode_labels(self, y: ArrayLike) -> NDArray[np.int64]:
        """Return the class index of each label; ValueError on a label that `fit` did not see."""
        return label_indices(y, self.classes_)

    def calibrate(self: Self, X: Sequence[str], y: ArrayLike) -> Self:
        """Fit all that rests on held-out scores: stopping rule, weights, temperature T(L) = a L^b.

        One that fails or is stopped changes nothing.

        Parameters
        ----------
        X : sequence of N str
        y : array-like of shape (N,)

        Returns
        -------
        self

        Raises
        ------
        ValueError
            Labels that `fit` did not see, texts of one class, or a bad parameter.
        """
        check_is_fitted(self)
        self.train_config()  # a parameter may have been set since
        texts, labels = check_part("calibration", X, y, self.classes_)
        if len(np.unique(labels)) < 2:
            raise ValueError(three_parts("texts of at least two classes", "one class", "Add texts of the others."))
        return self._calibrate(self.scoring_ids(texts), labels)

    def _set_uncalibrated(self) -> None:
        """What holds without held-out texts; the temperature last, because it says that this is fitted."""
        rate = self.target_flip_rate
        self.stopping_rule_ = None if rate is None else StoppingRule(rate)
        self.level_weighting_ = LevelWeighting("bound" if self.level_weighting == "learned" else self.level_weighting)
        self.network_weight_ = 1.0
        self.temperature_ = LengthTemperature()

    def _calibrate(self: Self, token_ids: list[NDArray[np.int64]], labels: NDArray[np.int64]) -> Self:
        trial = copy.copy(self)  # scores with what is fitted so far; one that is stopped leaves `self` as it was
        trial._set_uncalibrated()
        trial._fit_held_out(token_ids, labels)
        vars(self).update({name: getattr(trial, name) for name in CALIBRATED})
        return self

    def _fit_held_out(self, token_ids: list[NDArray[np.int64]], labels: NDArray[np.int64]) -> None:
        self._check_rate(self.target_flip_rate)
        if self.target_flip_rate is not None:
            self._fit_rule(token_ids, labels, self.target_flip_rate)
            return
        scores = self.score_ids(token_ids, by_step=self.level_weighting != "bound")
        if self.level_weighting == "learned":
            self.level_weighting_ = LevelWeighting.fit(scores.steps, labels, scores.n_tokens, self.log_prior_)
        if scores.count_scores is not None:
            own = mean_over_draws(self.network_evidence(scores))
            args = scores.count_scores, labels, scores.n_tokens, self.log_prior_
            self.network_weight_ = fit_network_weight(own, *args)
            logger.info("counts beside the network, whose weight is %.2f", self.network_weight_)
        self._fit_temperature(scores, labels)

    def _fit_rule(self, token_ids: list[NDArray[np.int64]], labels: NDArray[np.int64], rate: float) -> None:
        """The rule on scores of some draws; then the temperature on the scores that the rule gives."""
        estimator = replace(self.scoring_estimator(), n_mc_samples=max(RULE_DRAWS, self.n_mc_samples))
        with tempfile.TemporaryDirectory() as folder:
            store = ScoreStore(folder, fingerprint="calibration")  # no forward is made twice
            scores = self.score_ids(token_ids, estimator=estimator, store=store)
            self.stopping_rule_ = fit_stopping_rule(scores.samples, scores.n_tokens, self.log_prior_, rate)
            self._fit_temperature(self.score_ids(token_ids, store=store), labels)

    def _fit_temperature(self, scores: Scores, labels: NDArray[np.int64]) -> None:
        evidence = mean_over_draws(self.evidence_of(scores))
        self.temperature_ = fit_temperature(evidence, labels, scores.n_tokens, self.log_prior_)

    def set_target_flip_rate(self: Self, rate: float | None) -> Self:
        """Score with an adaptive number of draws from now on, or with a fixed one (None); nothing is fitted.

        What `calibrate` learned of the variance between draws is kept for another rate, but not its cap, and nothing
        is kept after None: without a variance every text takes at least two draws, without a cap a text near a tie up
        to 1 023. `calibrate` again is cheaper in the end, and keeps the rate, for it becomes the parameter
        `target_flip_rate`. The temperature stays that of the draws it was fitted to.

        Parameters
        ----------
        rate : float or None
            Share of decisions that may be others than with all draws.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If it is no rate, or the other parameters need a fixed number of draws.
        """
        check_is_fitted(self)
        replace(self.train_config(), target_flip_rate=rate)
        self._check_rate(rate)
        known = self.stopping_rule_ or StoppingRule()
        if known.target_flip_rate != rate:
            known = StoppingRule(0.01 if rate is None else rate, known.variance_prior)
        self.stopping_rule_ = None if rate is None else known
        self.target_flip_rate = rate  # or `calibrate` would go back to the one before
        if rate is not None and known.max_draws == REFERENCE_DRAWS:
            logger.warning(
                "no cap is fitted for the rate %s: texts near a tie take up to %d draws until you calibrate again",
                rate,
                REFERENCE_DRAWS,
            )
        return self
