"""`generate` and `infill`: texts out of a language model, with everything that happened on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gencls.data.errors import three_parts
from gencls.diffusion.language_model import LanguageModel
from gencls.diffusion.tokens import tokenize
from gencls.generation.config import GenerationConfig
from gencls.generation.constraints import constraint_report, meets, place_words
from gencls.generation.growth import Start
from gencls.generation.rules import Rules, spelled
from gencls.generation.sampler import ReverseProcess
from gencls.generation.scorers import DenoiserScorer, guiding_classes, scorer_of
from gencls.generation.template import LONGEST, Template, parts_of, template_of
from gencls.generation.trajectory import Step, Trajectory
from gencls.generation.vocabulary import Vocabulary, vocabulary_of
from gencls.likelihood.rows import row_limit

IntArray = NDArray[np.int64]
#: Texts that share the passes of the network.
MAX_BATCH = 64


def generate(
    model: LanguageModel,
    config: GenerationConfig | None = None,
    *,
    prefix: str = "",
    suffix: str = "",
    seed: int = 0,
    n_samples: int = 1,
) -> list[Trajectory]:
    """Write texts.

    Parameters
    ----------
    model : LanguageModel
        See `gencls.evaluation.generators.load_language_model`.
    config : GenerationConfig, optional
    prefix, suffix : str
        Text before and behind what is written; it stays as it is.
    seed : int
        Text number i has the seed ``seed + i`` and depends on nothing else of the call.
    n_samples : int
        Texts, written in one batch.

    Returns
    -------
    list of Trajectory

    Raises
    ------
    ValueError
        If the text would be longer than the model's positions, or the label is no class of the model.
    """
    chosen = config or GenerationConfig()
    return _write(model, [prefix, chosen.length, suffix], chosen, seed, n_samples)


def infill(
    model: LanguageModel,
    template: str,
    config: GenerationConfig | None = None,
    *,
    seed: int = 0,
    n_samples: int = 1,
) -> list[Trajectory]:
    """Fill the holes of a text: every ``[MASK]`` in it is one hidden token; otherwise as `generate`."""
    parts = parts_of(template, str(model.tokenizer.mask_token))
    return _write(model, parts, config or GenerationConfig(), seed, n_samples)


def _write(
    model: LanguageModel, parts: Sequence[str | int], config: GenerationConfig, seed: int, n_samples: int
) -> list[Trajectory]:
    _check_counts(seed, n_samples)
    class_index = model.class_index(config.label)
    vocabulary = vocabulary_of(model.tokenizer, model.denoiser.vocab_size)
    template = template_of(parts, vocabulary, model.denoiser.frame.mask)
    _check_length(model, template)
    with scorer_of(model.denoiser, config.precision) as scorer:
        classes = guiding_classes(class_index, model.denoiser.n_classes, config.guidance)
        rules = Rules(vocabulary, config.no_repeat_ngram, spelled(config.forbid, vocabulary))
        banned = np.union1d(vocabulary.banned_ids, rules.forbidden_ids)
        process = ReverseProcess(scorer, config, classes, rules, banned)
        writer = _Writer(process, template, vocabulary, config)
        results = [
            result
            for first in range(0, n_samples, MAX_BATCH)
            for result in writer.write(range(seed + first, seed + min(first + MAX_BATCH, n_samples)))
        ]
    return _with_posterior(model, [writer.trajectory(result, scorer) for result in results])


def _check_counts(seed: int, n_samples: int) -> None:
    for name, value, least in (("seed", seed, 0), ("n_samples", n_samples, 1)):
        if value < least:
            raise ValueError(three_parts(f"{name} >= {least}", str(value), "Raise it."))


def _check_length(model: LanguageModel, template: Template) -> None:
    limit, n_special = row_limit(model.denoiser), model.denoiser.frame.n_special
    if limit is not None and len(template.token_ids) + n_special > limit:
        raise ValueError(
            three_parts(
                f"at most {limit - n_special} tokens, given ones included",
                str(len(template.token_ids)),
                "Ask for fewer new tokens (length), or give less text.",
            )
        )


@dataclass(frozen=True)
class _Result:
    """The steps of one text, its seed, and how many texts were drawn for the regular expression."""

    steps: list[Step]
    seed: int
    n_tries: int


@dataclass(frozen=True)
class _Writer:
    """Draws texts until they meet the regular expression, and makes trajectories of them."""

    process: ReverseProcess
    template: Template
    vocabulary: Vocabulary
    config: GenerationConfig

    def write(self, seeds: Sequence[int]) -> list[_Result]:
        """Write one batch of texts, those that miss the regular expression again."""
        results: dict[int, _Result] = {}
        pending = list(seeds)
        for n_tries in range(1, self.config.max_tries + 1):
            generators = [np.random.default_rng([seed, n_tries]) for seed in pending]
            starts = [self._start(generator) for generator in generators]
            steps = self.process.sample(starts, generators)
            results |= {seed: _Result(own, seed, n_tries) for seed, own in zip(pending, steps, strict=True)}
            pending = [seed for seed in pending if not meets(self._text(results[seed]), self.config)]
            if not pending:
                break
        return [results[seed] for seed in seeds]

    def _start(self, generator: np.random.Generator) -> Start:
        words = [
            ids for word, ids in zip(self.config.require, self._required_ids(), strict=True) if not self._is_given(word)
        ]
        forced = place_words(words, self.template.given, generator=generator)
        return Start(self.template.token_ids, self.template.given, forced)

    def _required_ids(self) -> list[IntArray]:
        return tokenize(self.config.require, self.vocabulary.tokenizer, max_length=LONGEST).ids

    def _is_given(self, word: str) -> bool:
        """Whether the caller wrote a required word already."""
        given = " ".join(part for part in self.template.parts if isinstance(part, str))
        return word.casefold() in given.casefold()

    def _text(self, result: _Result) -> str:
        return self.template.text(result.steps[-1].token_ids, self.vocabulary)

    def trajectory(self, result: _Result, scorer: DenoiserScorer) -> Trajectory:
        """Return everything that is known of a text."""
        text = self._text(result)
        report = constraint_report(text, result.steps[-1].token_ids, self.config, self.vocabulary)
        extras = {
            "seed": result.seed,
            "n_steps": len(result.steps) - 1,
            "n_forwards": result.steps[-1].n_forwards,
            "seconds": result.steps[-1].seconds,
            "precision": scorer.precision,
            **({"label": self.config.label, "guidance": self.config.guidance} if self.config.label else {}),
            **({"constraints": report} if report else {}),
            **({"n_tries": result.n_tries} if self.config.regex is not None else {}),
        }
        label = f"{self.config.label}, seed {result.seed}" if self.config.label else f"seed {result.seed}"
        template = self.template
        return Trajectory(result.steps, template.given, scorer.mask_id, self.vocabulary.reads, text, label, extras)


def _with_posterior(model: LanguageModel, trajectories: list[Trajectory]) -> list[Trajectory]:
    """Add the classifier's own probabilities of the results, where the model is a classifier."""
    if model.posterior is not None:
        proba = model.posterior([trajectory.text for trajectory in trajectories])
        for trajectory, row in zip(trajectories, proba, strict=True):
            trajectory.extras["class_proba"] = dict(zip(model.classes, map(float, row), strict=True))
    return trajectories
