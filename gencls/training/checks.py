"""What the training options may be, and what goes with what: each check raises a ValueError that says what to do."""

from __future__ import annotations

from numbers import Integral, Real
from typing import TYPE_CHECKING

from gencls.data.errors import three_parts
from gencls.likelihood.estimators import MAX_CHAIN_TOKENS, Estimator

if TYPE_CHECKING:
    from gencls.training.config import TrainConfig

#: Modes whose class parts add to the class-free network, and can be shrunk towards it.
SHRINKABLE = ("conditional", "adapter")


def check_count(name: str, value: object, fewest: int, *, optional: bool = False) -> None:
    """Check an integer, or None if it is `optional`."""
    if optional and value is None:
        return
    if not (isinstance(value, Integral) and int(value) >= fewest):
        expected = f"{name} as an integer >= {fewest}{', or None' if optional else ''}"
        raise ValueError(three_parts(expected, repr(value), "Leave it out for the default."))


def check_ranges(config: TrainConfig) -> None:
    """Check the numbers, and what only goes with another option."""
    texts: object = config.class_shrinkage
    if not (isinstance(texts, Real) and 0 <= float(texts) < float("inf")):
        raise ValueError(three_parts("class_shrinkage as a number >= 0", repr(texts), "Give 0 for none."))
    if texts and config.mode not in SHRINKABLE:
        got, todo = f"class_shrinkage={texts} and mode={config.mode!r}", "Leave class_shrinkage out, or the mode."
        raise ValueError(three_parts(f"a mode out of {SHRINKABLE} beside class_shrinkage", got, todo))
    if config.hybrid_weight < 0:
        raise ValueError(three_parts("hybrid_weight >= 0", str(config.hybrid_weight), "Raise it."))
    if config.hybrid_classes is not None and not config.hybrid_weight:
        got = f"hybrid_classes={config.hybrid_classes} and hybrid_weight=0"
        raise ValueError(three_parts("a hybrid_weight beside hybrid_classes", got, "Give hybrid_weight=1.0."))
    for name in ("class_dropout", "adapt_level_low", "class_level_low"):
        if not 0 <= getattr(config, name) < 1:
            raise ValueError(three_parts(f"0 <= {name} < 1", str(getattr(config, name)), "Choose a share."))
    if not 0 <= config.prefix_share <= 1:
        raise ValueError(three_parts("0 <= prefix_share <= 1", str(config.prefix_share), "Choose a share."))
    if config.prefix_tokens is not None and not config.prefix_share:
        got = f"prefix_tokens={config.prefix_tokens} and prefix_share=0"
        raise ValueError(three_parts("a share of examples with a prefix", got, "Give prefix_share=1.0."))
    if config.complementary and config.adapt_level_low > 0:
        expected, got = "adapt_level_low=0 where complementary=True", f"adapt_level_low={config.adapt_level_low}"
        raise ValueError(three_parts(expected, got, "Train at all levels, or without complements."))
    for name in ("learning_rate", "head_learning_rate", "class_learning_rate", "shared_learning_rate_scale"):
        if not getattr(config, name) > 0:
            raise ValueError(three_parts(f"{name} > 0", str(getattr(config, name)), "Raise it."))
    for name in ("neighbour_smoothing", "embedding_ridge"):
        value = getattr(config, name)
        if value is not None and not value > 0:
            raise ValueError(three_parts(f"{name} > 0, or None", str(value), "Start with 1."))
    for name in ("discount", "interpolation"):
        values = getattr(config, name)
        if not all(0 < value < 1 for value in values):
            raise ValueError(three_parts(f"{name} candidates between 0 and 1", str(values), "Give (0.3, 0.5, 0.7)."))
    for name, fewest in (("smoothing", 1), ("pair_smoothing", 0), ("triple_smoothing", 0), ("length_exponent", 0)):
        values = getattr(config, name)
        if len(values) < fewest or not all(value > 0 for value in values):
            raise ValueError(three_parts(f"positive candidates for {name}", str(values), "Give (1.0,)."))
    seed: object = config.seed  # what a caller gave may be anything
    if not isinstance(seed, Integral) or int(seed) < 0:
        raise ValueError(three_parts("a seed that is an integer >= 0", repr(config.seed), "Give 0."))


def check_beside(config: TrainConfig) -> None:
    """Check what goes with class tables beside the network."""
    # all judge by the network's likelihood alone, which is only a part of the decision
    for name in ("target_flip_rate", "class_steps_must_help", "hybrid_weight"):
        if getattr(config, name):
            todo = f"Leave {name} out, or train without counts_beside."
            raise ValueError(three_parts(f"no {name} beside counts_beside", f"{getattr(config, name)!r}", todo))


def check_scoring(config: TrainConfig) -> None:
    """Check what the estimator can do."""
    Estimator(config.estimator, config.n_steps, config.n_mc_samples, config.order)  # has errors of its own
    if config.estimator == "chain" and config.max_length > MAX_CHAIN_TOKENS:
        got = f"estimator='chain' and max_length={config.max_length}"
        raise ValueError(three_parts(f"max_length <= {MAX_CHAIN_TOKENS} for the chain", got, "Use the path, or cut."))
    if config.target_flip_rate is not None:
        _check_adaptive(config)
    elif config.level_weighting != "bound" and config.estimator != "path":
        got = f"level_weighting={config.level_weighting!r} and estimator={config.estimator!r}"
        todo = "The levels of a draw are known for the path only: use it, or level_weighting='bound'."
        raise ValueError(three_parts("the path where levels are weighted", got, todo))


def _check_adaptive(config: TrainConfig) -> None:
    rate: object = config.target_flip_rate
    if not isinstance(rate, Real) or not 0 < float(rate) < 0.5:
        raise ValueError(three_parts("a target_flip_rate between 0 and 0.5", repr(rate), "Give 0.01, or None."))
    reasons = {
        "estimator": (config.estimator in ("chain", "importance_path"), "its draws cannot be added one by one"),
        "order": (config.order == "left_to_right", "all its draws are alike"),
        "level_weighting": (config.level_weighting != "bound", "the rule is made for draws of the bound"),
    }
    for name, (is_refused, reason) in reasons.items():
        if is_refused:
            got = f"{name}={getattr(config, name)!r}: {reason}"
            todo = "Use the default, or target_flip_rate=None for a fixed number of draws."
            raise ValueError(three_parts(f"another {name} beside target_flip_rate", got, todo))
