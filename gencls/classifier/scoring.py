"""From texts to scores, and from scores to probabilities: the part of `DiffusionClassifier` that needs no training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from gencls.classifier.bayes import log_odds_standard_error, mean_over_draws
from gencls.classifier.inputs import check_texts
from gencls.classifier.pool import pooled
from gencls.classifier.temperature import LengthTemperature
from gencls.classifier.weighting import LevelWeighting
from gencls.data.errors import three_parts
from gencls.data.text import clean
from gencls.diffusion.denoiser import Denoiser
from gencls.diffusion.tokens import TokenizedTexts, tokenize
from gencls.likelihood.adaptive import AdaptiveScores, StoppingRule, score_adaptively
from gencls.likelihood.engine import Scores, score_texts
from gencls.likelihood.estimators import Estimator
from gencls.likelihood.long_texts import score_long_texts
from gencls.training.config import TrainConfig

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
#: More tokens than any text has.
WHOLE = 1 << 40
#: Context of a chunk, as a part of its length.
OVERLAP = 0.25
#: Options of `score_texts` that the rule decides, or that its draws cannot be decided with.
_NOT_ADAPTIVE = ("classes", "first_draw", "n_draws", "by_step")


def context_of_chunk(max_length: int) -> int:
    """Return how many tokens of a chunk of a long text belong to the chunk before."""
    return int(OVERLAP * max_length)


class ScoringMixin:
    """Scores, evidence and probabilities of a fitted classifier."""

    # parameters
    max_length: int
    truncation: str
    n_steps: int
    n_mc_samples: int
    estimator: str
    order: str
    long_texts: str
    n_jobs: int
    progress: bool
    random_state: int
    # fitted
    classes_: NDArray[Any]
    denoiser_: Denoiser
    tokenizer_: Any
    log_prior_: FloatArray
    precision_: str
    temperature_: LengthTemperature
    stopping_rule_: StoppingRule | None
    level_weighting_: LevelWeighting
    network_weight_: float

    def train_config(self) -> TrainConfig:
        """Return the checked parameters."""
        raise NotImplementedError

    def tokenize(self, texts: Sequence[str]) -> TokenizedTexts:
        """Return the scorable ids of texts, cut as in training."""
        return self._tokenize(texts, self.max_length)

    def scoring_ids(self, texts: Sequence[str]) -> list[IntArray]:
        """Return the ids that are scored: whole texts where ``long_texts="chunks"``, cut ones otherwise."""
        return self._tokenize(texts, WHOLE if self.long_texts == "chunks" else self.max_length).ids

    def _tokenize(self, texts: Sequence[str], max_length: int) -> TokenizedTexts:
        cleaned = [clean(text) for text in texts]  # as a `TextDataset` is: the same text in training and in use
        return tokenize(cleaned, self.tokenizer_, max_length=max_length, truncation=self.truncation)  # type: ignore[arg-type]

    def scoring_estimator(self) -> Estimator:
        """Return the estimator that the parameters stand for."""
        return Estimator(self.estimator, self.n_steps, self.n_mc_samples, self.order)  # type: ignore[arg-type]

    def score_ids(
        self, token_ids: Sequence[NDArray[np.int64]], *, estimator: Estimator | None = None, **options: Any
    ) -> Scores:
        """Return Monte-Carlo samples (N, C, K) of the bound on log p(text | class) for tokenised texts, nats.

        Parameters
        ----------
        token_ids : sequence of N ndarray of shape (L,), int64
            See `scoring_ids`.
        estimator : Estimator, optional
            Another estimator than the classifier's own, with its fixed number of draws.
        **options
            Of `gencls.likelihood.engine.score_texts`.

        Returns
        -------
        Scores
            `AdaptiveScores` where the classifier has a stopping rule and no `estimator` is given.

        Raises
        ------
        ValueError
            If an option asks for other draws or classes than the stopping rule needs, or a parameter was set since the
            fit to what `fit` refuses, also beside the rule and the weights of levels that are fitted.
        """
        check_is_fitted(self)
        self._check_parameters(estimator)
        if estimator is None and self.stopping_rule_ is not None:
            return self._score_adaptively(token_ids, self.stopping_rule_, options)
        if estimator is None and self.level_weighting_.needs_steps:
            options = {"by_step": True, **options}
        return self._score(token_ids, estimator or self.scoring_estimator(), **options)

    def _check_parameters(self, estimator: Estimator | None) -> None:
        config, rule = self.train_config(), self.stopping_rule_
        if estimator is None:  # then these decide how it is scored, whatever the parameters have become since
            rate = None if rule is None else rule.target_flip_rate
            self._check_rate(rate)
            replace(config, target_flip_rate=rate, level_weighting=self.level_weighting_.name)  # type: ignore[arg-type]

    def _check_rate(self, rate: float | None) -> None:
        """Refuse adaptive draws of a network that decides together with class tables; options say what was asked."""
        if rate is not None and self.denoiser_.is_gate_closed:
            expected = "no target_flip_rate where class tables stand beside the network"
            raise ValueError(three_parts(expected, repr(rate), "Give target_flip_rate=None."))

    def _score(self, token_ids: Sequence[NDArray[np.int64]], estimator: Estimator, **options: Any) -> Scores:
        own = {"progress": self.progress, "precision": self.precision_, "n_jobs": self.n_jobs}
        options = {"seed": self.random_state, **own, **options}
        if self.long_texts == "chunks":
            options |= {"max_length": self.max_length, "overlap": context_of_chunk(self.max_length)}
            scores = score_long_texts(self.denoiser_, token_ids, estimator, **options)
        else:
            scores = score_texts(self.denoiser_, token_ids, estimator, **options)
        if not self.denoiser_.is_gate_closed:
            return scores
        counts = self.denoiser_.count_scores(token_ids)
        counts = np.concatenate([counts, np.zeros_like(counts[:, :1])], axis=1)  # none of "no class"
        classes = options.get("classes")
        return replace(scores, count_scores=counts[:, :-1] if classes is None else counts[:, list(classes)])

    def _score_adaptively(
        self, token_ids: Sequence[NDArray[np.int64]], rule: StoppingRule, options: dict[str, Any]
    ) -> AdaptiveScores:
        if refused := [name for name in _NOT_ADAPTIVE if name in options]:
            todo = "Give `estimator` too, for a fixed number of draws."
            raise ValueError(three_parts("options that leave draws and classes to the rule", str(refused), todo))
        estimator = self.scoring_estimator()

        def score(rows: IntArray, first_draw: int, n_draws: int) -> Scores:
            texts = [token_ids[row] for row in rows]
            return self._score(texts, estimator, first_draw=first_draw, n_draws=n_draws, **options)

        log_prior = self._untempered_prior(np.array([len(ids) for ids in token_ids]))
        # the pass that all draws share; later looks find it in a store, or make one for all texts of a length
        shared = 2 * estimator.n_forwards(1) - estimator.n_forwards(2)
        return score_adaptively(score, len(token_ids), log_prior=log_prior, rule=rule, shared_forwards=shared)

    def _untempered_prior(self, n_tokens: NDArray[np.integer]) -> FloatArray:
        """Return the prior (N, C) beside untempered scores that decides as the calibrated posterior does, nats."""
        return self.temperature_.untempered_prior(n_tokens, self.log_prior_)

    def score_samples_by_class(self, X: Sequence[str]) -> Scores:
        """Return Monte-Carlo samples (N, C, K) for texts."""
        check_is_fitted(self)
        return self.score_ids(self.scoring_ids(check_texts(X, empty_allowed=True)))

    def evidence_of(self, scores: Scores) -> FloatArray:
        """Return what decides, (N, C, K), nats: the samples of the bound, or their steps with other weights.

        Where the class tables stand beside the network, they are added; see `gencls.classifier.pool`.

        Raises
        ------
        ValueError
            If levels are weighted and the scores have no steps, or tables stand beside the network and the scores are
            without them, of `score_texts`.
        """
        own = self.network_evidence(scores)
        return pooled(own, scores.count_scores, self.network_weight_) if self.denoiser_.is_gate_closed else own

    def network_evidence(self, scores: Scores) -> FloatArray:
        """Return the network's part in `evidence_of`, (N, C, K), nats: all of it where no tables stand beside it."""
        if not self.level_weighting_.needs_steps or not len(scores.samples):
            return scores.samples
        if scores.steps is None:
            todo = "Score with by_step=True."
            raise ValueError(three_parts("scores with steps, whose levels are weighted", "none", todo))
        return self.level_weighting_.evidence(scores.steps)

    def log_likelihood(self, X: Sequence[str]) -> FloatArray:
        """Return the bound on log p(text | class), shape (N, C), nats: the mean over the draws."""
        return mean_over_draws(self.score_samples_by_class(X).samples)

    def predict_joint_log_proba(self, X: Sequence[str]) -> FloatArray:
        """Return the bound plus log prior, shape (N, C), nats: no temperature, weights of levels, or tables beside."""
        return self.log_likelihood(X) + self.log_prior_

    def predict_log_proba(self, X: Sequence[str]) -> FloatArray:
        """Return the calibrated log P(class | text), shape (N, C), nats."""
        return self.log_proba_of(self.score_samples_by_class(X))

    def log_proba_of(self, scores: Scores) -> FloatArray:
        """Return the calibrated log P(class | text) of given scores, shape (N, C), nats."""
        evidence = mean_over_draws(self.evidence_of(scores))
        return self.temperature_.log_proba(evidence, scores.n_tokens, self.log_prior_)

    def log_odds_standard_error(self, scores: Scores) -> FloatArray:
        """Return the Monte-Carlo standard error of the calibrated log-odds, shape (N,), nats."""
        known = scores.standard_errors if isinstance(scores, AdaptiveScores) else None
        prior = self._untempered_prior(scores.n_tokens)
        evidence = self.evidence_of(scores)
        error = log_odds_standard_error(evidence, prior, standard_errors=known)
        slope = self.temperature_.log_odds_slope(mean_over_draws(evidence), scores.n_tokens, self.log_prior_)
        return np.asarray(error * slope / self.temperature_.temperature(scores.n_tokens))

    def predict_proba(self, X: Sequence[str]) -> FloatArray:
        """Return the calibrated P(class | text), shape (N, C)."""
        return np.exp(self.predict_log_proba(X))

    def predict(self, X: Sequence[str]) -> NDArray[Any]:
        """Return the most probable class of each text, shape (N,)."""
        best = self.predict_log_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[best])
