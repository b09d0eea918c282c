"""Runs of language models: train one on a corpus, and load what generates, a language model or a classifier."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gencls.classifier.devices import choose_device
from gencls.classifier.estimator import DiffusionClassifier
from gencls.classifier.persistence import CONFIG as CLASSIFIER
from gencls.data.corpus import Corpus, load_corpus
from gencls.data.errors import three_parts
from gencls.data.storage import read_json, write_json
from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.language_model import CONFIG, LanguageModel
from gencls.diffusion.windows import text_windows
from gencls.evaluation.same_run import RUN, refuse_other_run
from gencls.reporting.records import run_record
from gencls.training.config import TrainConfig
from gencls.training.language_model import train_language_model
from gencls.training.streaming import StreamedTexts

logger = logging.getLogger("gencls.evaluation")


def train_language_model_run(
    data: str,
    folder: Path,
    config: TrainConfig,
    *,
    source: str = "auto",
    text_column: str = "text",
    time_budget: float | None = None,
    progress: bool = False,
    device: str | None = None,
    command: str = "",
) -> LanguageModel:
    """Train and save one class-free language model; the same call resumes a killed run.

    Parameters
    ----------
    data : str
        See `gencls.data.corpus.load_corpus`.
    folder : Path
        Run folder.
    config : TrainConfig
    source, text_column : str
        As `load_corpus`.
    time_budget : float, optional
        Minutes of training.
    progress : bool
    device : str, optional
    command : str
        For the record.

    Returns
    -------
    LanguageModel

    Raises
    ------
    ValueError
        Bad data, or a folder that holds a run of other data or options.
    """
    corpus = load_corpus(data, source=source, text_column=text_column)
    identity = {"fingerprint": corpus.fingerprint, "config": config.as_dict()}
    _check_same_run(folder / RUN, identity)
    if (folder / CONFIG).exists():
        logger.info("%s is trained already; give another --output to train again", folder)
        return LanguageModel.load(folder, device=choose_device(device))
    texts_at_hand = None if corpus.is_stream else corpus.open()
    backbone = load_backbone(config.backbone, n_layers=config.backbone_layers, texts=texts_at_hand)
    place = {"name": data, "source": source, "text_column": text_column, "came_from": corpus.source}
    record = run_record(command or f"gencls train-lm {data}", config.as_dict(), config.seed)
    texts = _windows(corpus, backbone.tokenizer, config)
    write_json(folder / RUN, {**record, **identity, "data": place})
    model = train_language_model(
        backbone, texts, config, folder, device=choose_device(device), time_budget=time_budget, progress=progress
    )
    model.record["data"] = place
    model.save(folder)
    used = {"train_seconds": model.record["seconds"], "device_used": str(model.denoiser.bias.device)}
    write_json(folder / RUN, {**record, **identity, "data": place, **used})
    return model


def load_language_model(folder: str | Path, *, device: str | None = None) -> LanguageModel:
    """Load what generates from a run folder of ``train-lm`` or of ``train-per-class``.

    A classifier brings its class models, its class-free model and its own posterior of a text.

    Raises
    ------
    FileNotFoundError
        If the folder holds neither.
    ValueError
        If it is damaged.
    """
    folder = Path(folder)
    if (folder / CONFIG).exists():
        return LanguageModel.load(folder, device=choose_device(device))
    if not (folder / CLASSIFIER).exists():
        todo = "Train one: gencls train-lm, or gencls train-per-class."
        raise FileNotFoundError(three_parts(f"a run with {CONFIG} or {CLASSIFIER}", f"none in {folder}", todo))
    return generator_of(DiffusionClassifier.load(folder, device=device))


def generator_of(classifier: DiffusionClassifier) -> LanguageModel:
    """Return a fitted classifier as a language model that generates."""
    return LanguageModel(
        classifier.denoiser_,
        classifier.backbone_,
        tuple(str(name) for name in classifier.classes_),
        classifier.training_record_,
        lambda texts: classifier.predict_proba(list(texts)),
    )


def _windows(corpus: Corpus, tokenizer: Any, config: TrainConfig) -> Any:
    """All windows of texts in memory, or a stream of them that is tokenised on the fly."""
    if not corpus.is_stream:
        return list(text_windows(corpus.open(), tokenizer, max_length=config.max_length))
    n_examples = config.adapt_steps * config.batch_size
    return StreamedTexts(lambda: text_windows(corpus.open(), tokenizer, max_length=config.max_length), n_examples)


def _check_same_run(path: Path, identity: Mapping[str, Any]) -> None:
    if not path.exists():
        return
    old = read_json(path)
    refuse_other_run([key for key in identity if old.get(key) != identity[key]], path.parent)
