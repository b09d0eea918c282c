"""Training options."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from gencls.data.errors import check_choice, nearest, three_parts
from gencls.likelihood.estimators import EstimatorName, Order
from gencls.training.checks import check_beside, check_count, check_ranges, check_scoring
from gencls.training.rivals import FEWEST_CLASSES

Mode = Literal["independent", "adapter", "conditional", "prompt"]
Truncation = Literal["tail", "head"]
Precision = Literal["auto", "float32", "bfloat16"]
LevelWeightingName = Literal["bound", "uniform", "learned"]
LongTexts = Literal["truncate", "chunks"]
#: Options that say how texts are scored and change no trained weight.
SCORING_OPTIONS = (
    "n_steps",
    "n_mc_samples",
    "estimator",
    "order",
    "target_flip_rate",
    "level_weighting",
    "long_texts",
)
#: Options of the class tables that change none of their keys. A network beside which the tables stand learns without
#: them, so that of one training there may be several tables. (They leave one trace: the class-free unigram that a new
#: output bias starts from is smoothed with them.)
TABLE_OPTIONS = ("smoothing", "pair_smoothing", "discount", "interpolation", "length_exponent", "embedding_ridge")

#: Options that the class-free adaptation does not depend on.
CLASS_STAGE_OPTIONS = (
    "counts_beside",
    "class_dropout",
    "class_steps",
    "class_level_low",
    "class_learning_rate",
    "shared_learning_rate_scale",
    "class_steps_must_help",
    "class_shrinkage",
    "hybrid_weight",
    "hybrid_classes",
    "checkpoint_steps",
    *SCORING_OPTIONS,
)


def other_options(one: Mapping[str, Any], other: Mapping[str, Any], *, free: Collection[str] = ()) -> list[str]:
    """Return the options of one training that another has otherwise, both as `TrainConfig.as_dict` gives them.

    Options that only the other has, of an older version say, are none; nor are the `free` ones.
    """
    return [name for name, value in one.items() if name not in free and other[name] != value]


def free_table_options(*configs: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the options in which trainings may differ whose networks learn alike: none unless tables stand beside."""
    return TABLE_OPTIONS if all(config["counts_beside"] for config in configs) else ()


def free_of_adaptation(*configs: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the options in which trainings, given as `TrainConfig.as_dict` does, may differ and adapt alike."""
    return (*CLASS_STAGE_OPTIONS, *free_table_options(*configs))


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a trained run, besides the data.

    Parameters
    ----------
    backbone : str
        See `gencls.diffusion.backbones.load_backbone`.
    backbone_layers : int, optional
        Keep only the first layers.
    max_length : int
        Tokens kept of a text, the same for all classes and baselines.
    truncation : {"tail", "head"}
        Which end is kept.
    mode : {"independent", "adapter", "conditional", "prompt"}
        How the class enters.
    rank, n_prompt_tokens : int
    adapter_layers : int, optional
        See `ConditioningConfig`.
    counts_beside : bool
        The class tables stay out of the network, which learns the classes without them, and join it in the decision;
        see `gencls.classifier.pool`. Otherwise they add to its logits, and what it writes follows them too.
    class_dropout : float
        Share of class-stage texts trained without their class (modes ``conditional`` and ``prompt``).
    adapt_steps, class_steps : int
        Optimiser steps of the class-free adaptation and of the classes.
    batch_size : int
        Texts per step; every step of the class stage has the same number of texts of each class, on average.
    n_scored : int
        Hidden tokens scored per text.
    adapt_level_low, class_level_low : float
        Lowest share of hidden tokens in training.
    prefix_share : float
        Share of training examples whose first tokens are never hidden.
    prefix_tokens : int, optional
        How many tokens that are; a random number if not given.
    complementary : bool
        Each visit of a text is trained on twice, with some tokens hidden and with all the others hidden, so that every
        token is predicted once. For training at all levels.
    neighbour_smoothing : float, optional
        Give a class-free model the counts of neighbours, smoothed by this; see `gencls.diffusion.associations`.
    learning_rate, head_learning_rate, class_learning_rate : float
        Of the shared network, of a head without pretraining, of the class parts.
    shared_learning_rate_scale : float
        Factor on `learning_rate` in the class stage.
    class_steps_must_help : bool
        Take the class stage back unless it lowers the validation texts' decision loss by more than a standard error.
        For few labelled texts; the time budget does not cover the scoring. See `gencls.training.class_verdict`.
    class_shrinkage : float
        Texts with which a class keeps half of what its steps taught it; with fewer it keeps less. 0 keeps all. For
        the modes ``conditional`` and ``adapter``; see `gencls.diffusion.shrinkage`.
    hybrid_weight : float
        Weight of the cross-entropy of the Bayes posterior; 0 is purely generative.
    hybrid_classes : int, optional
        Classes of the posterior in that loss, where there are more than that: a text's own, those that the class
        tables find likely, and some that stand for all others; see `gencls.training.rivals`. All if not given.
    freeze_embeddings : bool
        Keep the word embeddings (and the tied projection) as pretrained.
    n_folds : int
        Folds of the cross-fitted class tables.
    smoothing, pair_smoothing, triple_smoothing : tuple of float
        Candidates for the counts of tokens, of pairs and of three tokens in a row; see `gencls.diffusion.smoothing` for
        the choice. No candidates: no pairs, no triples.
    discount : tuple of float
        Candidates of absolute discounting, beside the additive `smoothing` of the tokens.
    interpolation : tuple of float
        Candidates, beside 0, for the share of the class-free unigram in the smoothed tokens of a class; see
        `gencls.diffusion.unigram.interpolated_deviations`.
    length_exponent : tuple of float
        Candidates, beside 0, for how much less the tokens of a longer text count; see
        `gencls.diffusion.unigram.length_weights`. Each costs a choice of the smoothing.
    embedding_ridge : float, optional
        Split the additive `smoothing` of a token between the classes by what its word embedding says of them, with this
        ridge penalty; evenly if not given. For few labelled texts; see `gencls.diffusion.preferences`.
    n_steps, n_mc_samples : int
        Path steps and draws of scoring.
    estimator, order : str
        Name and order of `gencls.likelihood.estimators.Estimator`.
    target_flip_rate : float, optional
        Scoring draws until at most this share of decisions would be another one with all draws; `n_mc_samples` is then
        not used.
    level_weighting : {"bound", "uniform", "learned"}
        Weights of the masking levels in the evidence of a decision; see `gencls.classifier.weighting`.
    long_texts : {"truncate", "chunks"}
        Texts longer than `max_length` are cut, or scored whole in chunks of that length.
    seed : int
    precision : {"auto", "float32", "bfloat16"}
    checkpoint_steps : int
    """

    backbone: str = "minilm"
    backbone_layers: int | None = None
    max_length: int = 128
    truncation: Truncation = "tail"
    mode: Mode = "conditional"
    rank: int = 32
    n_prompt_tokens: int = 8
    adapter_layers: int | None = None
    counts_beside: bool = False
    class_dropout: float = 0.1
    adapt_steps: int = 200
    class_steps: int = 200
    batch_size: int = 32
    n_scored: int = 24
    adapt_level_low: float = 0.1
    class_level_low: float = 0.15
    prefix_share: float = 0.0
    prefix_tokens: int | None = None
    complementary: bool = False
    neighbour_smoothing: float | None = None
    learning_rate: float = 5e-4
    head_learning_rate: float = 1e-3
    class_learning_rate: float = 3e-3
    shared_learning_rate_scale: float = 0.6
    class_steps_must_help: bool = False
    class_shrinkage: float = 0.0
    hybrid_weight: float = 0.0
    hybrid_classes: int | None = None
    freeze_embeddings: bool = True
    n_folds: int = 8
    smoothing: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0, 10.0)
    pair_smoothing: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 16.0)
    triple_smoothing: tuple[float, ...] = ()
    discount: tuple[float, ...] = ()
    interpolation: tuple[float, ...] = ()
    length_exponent: tuple[float, ...] = ()
    embedding_ridge: float | None = None
    n_steps: int = 2
    n_mc_samples: int = 2
    estimator: EstimatorName = "path"
    order: Order = "spaced"
    target_flip_rate: float | None = None
    level_weighting: LevelWeightingName = "bound"
    long_texts: LongTexts = "truncate"
    seed: int = 0
    precision: Precision = "auto"
    checkpoint_steps: int = 100

    def __post_init__(self) -> None:
        check_choice("mode", self.mode, get_args(Mode))
        check_choice("truncation", self.truncation, get_args(Truncation))
        check_choice("precision", self.precision, get_args(Precision))
        check_choice("level_weighting", self.level_weighting, get_args(LevelWeightingName))
        check_choice("long_texts", self.long_texts, get_args(LongTexts))
        for name in ("max_length", "batch_size", "n_scored", "n_steps", "n_mc_samples", "checkpoint_steps", "rank"):
            check_count(name, getattr(self, name), 1)
        for name, fewest in (("adapt_steps", 0), ("class_steps", 0), ("n_folds", 2)):
            check_count(name, getattr(self, name), fewest)
        for name in ("adapter_layers", "prefix_tokens"):
            check_count(name, getattr(self, name), 1, optional=True)
        check_count("hybrid_classes", self.hybrid_classes, FEWEST_CLASSES, optional=True)
        check_ranges(self)
        check_scoring(self)
        if self.counts_beside:
            check_beside(self)

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> TrainConfig:
        """Build from `as_dict`'s result.

        Raises
        ------
        ValueError
            On an unknown option.
        """
        known = {field.name for field in fields(cls)}
        for name in data:
            if name not in known:
                raise ValueError(three_parts("a training option", repr(name), f"Use {nearest(name, known)}."))
        lists = {name: tuple(value) for name, value in data.items() if isinstance(value, list)}
        return cls(**{**data, **lists})
