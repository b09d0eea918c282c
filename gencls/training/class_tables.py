"""The class tables of a training set: what is counted, how much it is smoothed, and where the denoiser gets it."""

from __future__ import annotations

import logging

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
    """
    statistics = _statistics(denoiser, texts, config)
    told = slice(0 if texts.has_found_labels else None)
    logger.info("class tables: choosing their smoothing")  # takes a while where classes are many
    smoothing = choose_smoothing(
        statistics,
        [*texts.token_ids[told], *validation.token_ids],
        np.concatenate([texts.labels[told], validation.labels]),
        np.concatenate([texts.folds[told], np.full(len(validation.labels), -1)]),
        unigram=config.smoothing,
        pair=config.pair_smoothing,
        triple=config.triple_smoothing,
        discount=config.discount,
        interpolation=config.interpolation,
        log_prior=texts.log_prior,
    )
    logger.info("class tables: smoothed by %s", as_words(smoothing))
    return statistics, smoothing


def _statistics(denoiser: Denoiser, texts: TrainingTexts, config: TrainConfig) -> ClassStatistics:
    return ClassStatistics.from_texts(
        texts.token_ids,
        texts.labels,
        texts.folds,
        texts.n_classes,
        denoiser.vocab_size,
        with_triples=bool(config.triple_smoothing),
        embeddings=None if config.embedding_ridge is None else denoiser.word_embeddings(),
        ridge=config.embedding_ridge,
    )


def set_statistics(
    denoiser: Denoiser,
    backbone: Backbone,
    texts: TrainingTexts,
    validation: TokenizedSplit,
    config: TrainConfig,
    *,
    chosen: Smoothing | None = None,
) -> Smoothing:
    """Set the class statistics of single tokens, pairs and triples, full for scoring and cross-fitted for training.

    With the smoothing that was `chosen` before, or one that is chosen here; returns it.
    """
    if chosen is None:
        statistics, chosen = fit_statistics(denoiser, texts, validation, config)
    else:
        statistics = _statistics(denoiser, texts, config)
    full = statistics.table(**chosen)
    denoiser.set_unigram(
        None if backbone.has_trained_output else torch.from_numpy(full.log_frequencies).float(),
        torch.from_numpy(full.deviations).float(),
    )
    pairs, triples = (torch.from_numpy(known.keys) for known in (statistics.pairs, statistics.triples))
    values = torch.from_numpy(full.pair_deviations), torch.from_numpy(full.triple_deviations)
    denoiser.pairs.set_table(pairs, values[0], triples, values[1])
    folds = [statistics.table(**chosen, without_fold=fold) for fold in range(statistics.n_folds)]
    denoiser.use_training_tables(
        torch.from_numpy(np.stack([table.deviations for table in folds])).float(),
        torch.from_numpy(
            np.stack([np.concatenate([table.pair_deviations, table.triple_deviations], axis=1) for table in folds])
        ).float(),
    )
    return chosen
