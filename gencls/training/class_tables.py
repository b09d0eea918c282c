"""The class tables of a training set: what is counted, how much it is smoothed, and where the denoiser gets it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch

from gencls.data.errors import three_parts
from gencls.diffusion.denoiser import Denoiser
from gencls.diffusion.parts import Backbone
from gencls.diffusion.smoothing import choose_smoothing
from gencls.diffusion.statistics import ClassStatistics, Smoothing, as_words
from gencls.training.config import TrainConfig
from gencls.training.examples import TokenizedSplit, TrainingTexts

logger = logging.getLogger(__name__)
LENGTH_EXPONENT = "length_exponent"
#: What an exponent has to lower the loss by, nats: more than rounding.
LEAST_GAIN = 1e-6


def check_validation(validation: TokenizedSplit) -> None:
    """Raise a ValueError if there is no validation text."""
    if not validation.token_ids:
        raise ValueError(three_parts("validation texts, which help to choose the smoothing", "none", "Add texts."))


def check_embeddings(backbone: Backbone, config: TrainConfig) -> None:
    """Raise a ValueError if the embeddings that the smoothing is to follow are random."""
    if config.embedding_ridge is not None and not backbone.has_trained_embeddings:
        got = f"embedding_ridge={config.embedding_ridge:g} and {backbone.name!r}, whose embeddings are random"
        raise ValueError(three_parts("a pretrained backbone for embedding_ridge", got, "Leave embedding_ridge out."))


def fit_statistics(
    denoiser: Denoiser, texts: TrainingTexts, validation: TokenizedSplit, config: TrainConfig
) -> tuple[ClassStatistics, Smoothing]:
    """Count the classes' tokens, pairs and, if asked for, triples, and choose the smoothing of their tables.

    The training texts choose, each by the tables of the other folds, and the validation texts with them. Where labels
    were found, the validation texts choose alone: the texts of the other folds got theirs from the text itself too.
    The candidates of the length exponent, from 0 up, each have a smoothing of their own, for as long as they lower the
    loss.
    """
    told = slice(0 if texts.has_found_labels else None)
    judged = (
        [*texts.token_ids[told], *validation.token_ids],
        np.concatenate([texts.labels[told], validation.labels]),
        np.concatenate([texts.folds[told], np.full(len(validation.labels), -1)]),
    )
    logger.info("class tables: choosing their smoothing")  # takes a while where classes are many

    def smoothed(exponent: float) -> tuple[float, ClassStatistics, Smoothing]:
        statistics = _statistics(denoiser, texts, config, exponent)
        smoothing, loss = choose_smoothing(
            statistics,
            *judged,
            unigram=config.smoothing,
            pair=config.pair_smoothing,
            triple=config.triple_smoothing,
            discount=config.discount,
            interpolation=config.interpolation,
            log_prior=texts.log_prior,
        )
        return loss, statistics, smoothing

    best = smoothed(0.0)
    for exponent in sorted(config.length_exponent):
        other = smoothed(exponent)
        if other[0] > best[0] - LEAST_GAIN:
            break
        best = other
    _, statistics, smoothing = best
    logger.info("class tables: smoothed by %s", as_words(choice_of(statistics, smoothing)))
    return statistics, smoothing


def choice_of(statistics: ClassStatistics, smoothing: Smoothing) -> dict[str, Any]:
    """Return all that was chosen of the tables, plain JSON data: the smoothing, and the exponent of the lengths."""
    return {**smoothing, LENGTH_EXPONENT: statistics.length_exponent}


def _statistics(
    denoiser: Denoiser, texts: TrainingTexts, config: TrainConfig, length_exponent: float
) -> ClassStatistics:
    return ClassStatistics.from_texts(
        texts.token_ids,
        texts.labels,
        texts.folds,
        texts.n_classes,
        denoiser.vocab_size,
        with_triples=bool(config.triple_smoothing),
        embeddings=None if config.embedding_ridge is None else denoiser.word_embeddings(),
        ridge=config.embedding_ridge,
        length_exponent=length_exponent,
    )


def tables_of(denoiser: Denoiser) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return a copy of the full tables, those of tokens and those of neighbours."""
    known = denoiser.pairs.state_dict()
    return denoiser.class_bias.clone(), {name: value.clone() for name, value in known.items()}


@torch.no_grad()
def set_tables(denoiser: Denoiser, tables: tuple[torch.Tensor, dict[str, torch.Tensor]]) -> None:
    """Set the full tables of `tables_of`: the checkpoint of a stage has brought those of its own time."""
    tokens, neighbours = tables
    denoiser.class_bias.copy_(tokens)
    denoiser.pairs.set_table(**neighbours)


def set_statistics(
    denoiser: Denoiser,
    backbone: Backbone,
    texts: TrainingTexts,
    validation: TokenizedSplit,
    config: TrainConfig,
    *,
    chosen: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Set the class statistics of single tokens, pairs and triples, full for scoring and cross-fitted for training.

    With what was `chosen` of them before, or is chosen here; returns it, as `choice_of` does.
    """
    if chosen is None:
        statistics, smoothing = fit_statistics(denoiser, texts, validation, config)
    else:
        # plans of older versions weigh all tokens alike
        statistics = _statistics(denoiser, texts, config, chosen.get(LENGTH_EXPONENT, 0.0))
        smoothing = cast(Smoothing, {name: value for name, value in chosen.items() if name != LENGTH_EXPONENT})
    full = statistics.table(**smoothing)
    denoiser.set_unigram(
        None if backbone.has_trained_output else torch.from_numpy(full.log_frequencies).float(),
        torch.from_numpy(full.deviations).float(),
    )
    pairs, triples = (torch.from_numpy(known.keys) for known in (statistics.pairs, statistics.triples))
    values = torch.from_numpy(full.pair_deviations), torch.from_numpy(full.triple_deviations)
    denoiser.pairs.set_table(pairs, values[0], triples, values[1])
    folds = [statistics.table(**smoothing, without_fold=fold) for fold in range(statistics.n_folds)]
    denoiser.use_training_tables(
        torch.from_numpy(np.stack([table.deviations for table in folds])).float(),
        torch.from_numpy(
            np.stack([np.concatenate([table.pair_deviations, table.triple_deviations], axis=1) for table in folds])
        ).float(),
    )
    return choice_of(statistics, smoothing)
