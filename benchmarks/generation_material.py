"""Texts and models of `benchmarks.generation`: held-out beginnings, and three models that go on with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from benchmarks.generation_scores import Sample
from gencls.baselines.causal import CausalLM, new_causal
from gencls.baselines.causal_training import train_causal
from gencls.data import TextSplit, load_dataset, make_splits
from gencls.data.errors import three_parts
from gencls.data.storage import read_json, write_json
from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.language_model import CONFIG, LanguageModel
from gencls.diffusion.parts import Backbone
from gencls.diffusion.tokens import tokenize
from gencls.diffusion.windows import LONGEST_TEXT, text_windows
from gencls.generation.autoregressive import CausalWriter
from gencls.likelihood.precision import resolve_precision
from gencls.reporting.copied_runs import TrainingRuns
from gencls.training.config import TrainConfig
from gencls.training.language_model import train_language_model

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Beginning:
    """A held-out text, cut in two.

    Attributes
    ----------
    prefix, continuation : str
        As the diffusion model's tokenizer reads them back (an uncased one: lower case).
    token_ids : ndarray of shape (L,), int64
        Of the continuation.
    """

    prefix: str
    continuation: str
    token_ids: IntArray

    def as_sample(self) -> Sample:
        """The human's own continuation."""
        return Sample(self.prefix, self.continuation, self.token_ids.tolist(), True, 0.0)


@dataclass(frozen=True, eq=False)
class Texts:
    """The texts of the benchmark.

    Attributes
    ----------
    train : TextSplit
        What the models are trained on.
    labels : tuple of str
    test, reference : list of Beginning
        To be written on from, and others, to be compared with; the models have seen neither.
    held_out : TextSplit
        The split that they are of.
    source : str
    backbone : Backbone
        Before any training; its tokenizer is that of the texts.
    """

    train: TextSplit
    labels: tuple[str, ...]
    test: list[Beginning]
    reference: list[Beginning]
    held_out: TextSplit
    source: str
    backbone: Backbone


def load_texts(
    data: str, training: TrainConfig, *, n_texts: int, n_reference: int, prefix: int, length: int, seed: int
) -> Texts:
    """Cut the splits of a data set and choose beginnings by seed.

    Parameters
    ----------
    data : str
    training : TrainConfig
        Its backbone is loaded.
    n_texts, n_reference : int
    prefix, length : int
        Tokens of a prefix and of a continuation.
    seed : int

    Raises
    ------
    ValueError
        If the test split has too few texts that are long enough.
    """
    dataset = load_dataset(data)
    splits = make_splits(dataset, seed=seed)
    backbone = load_backbone(training.backbone, n_layers=training.backbone_layers, texts=splits["train"].texts)
    held_out, tokenizer = splits["test"], backbone.tokenizer
    test = beginnings(held_out.texts, tokenizer, n_texts + n_reference, prefix, length, seed=seed)
    return Texts(
        train=splits["train"],
        labels=tuple(dataset.label_names),
        test=test[:n_texts],
        reference=test[n_texts:],
        held_out=held_out,
        source=dataset.source,
        backbone=backbone,
    )


def beginnings(texts: Sequence[str], tokenizer: Any, n: int, prefix: int, length: int, *, seed: int) -> list[Beginning]:
    """Return the first n texts, in an order of the seed, whose prefix is read back as it is written.

    Raises
    ------
    ValueError
        If there are fewer.
    """
    order = np.random.default_rng([seed, 6]).permutation(len(texts))
    found: list[Beginning] = []
    for place in order.tolist():
        ids = tokenize([texts[place]], tokenizer, max_length=prefix + length, truncation="head").ids[0]
        if len(ids) < prefix + length:
            continue
        given, whole = tokenizer.decode(ids[:prefix]), tokenizer.decode(ids)
        again = tokenize([given], tokenizer, max_length=LONGEST_TEXT, truncation="head").ids[0]
        if whole.startswith(given) and np.array_equal(again, ids[:prefix]):
            found.append(Beginning(given, whole[len(given) :], ids[prefix:]))
        if len(found) == n:
            return found
    got = f"{len(found)}"
    raise ValueError(three_parts(f"{n} held-out texts of {prefix + length} tokens", got, "Ask for fewer or shorter."))


@dataclass(frozen=True, eq=False)
class Models:
    """What writes, and what judges.

    Attributes
    ----------
    diffusion : LanguageModel
    causal : CausalWriter
        From scratch, of about the same size, trained on the same windows, tokens and steps.
    pretrained : CausalWriter
        The judge as a writer.
    judge : CausalLM
    runs : TrainingRuns
        Of the training texts.
    facts : dict
        Parameters and training of each, plain data.
    """

    diffusion: LanguageModel
    causal: CausalWriter
    pretrained: CausalWriter
    judge: CausalLM
    runs: TrainingRuns
    facts: dict[str, Any]


def load_models(
    texts: Texts, training: TrainConfig, judge: CausalLM, folder: Path, *, progress: bool = False
) -> Models:
    """Train the two language models, or read those that the folder holds; a killed training resumes."""
    windows = list(text_windows(texts.train.texts, texts.backbone.tokenizer, max_length=training.max_length))
    if (folder / "diffusion" / CONFIG).exists():
        diffusion = LanguageModel.load(folder / "diffusion")
    else:
        diffusion = train_language_model(texts.backbone, windows, training, folder / "diffusion", progress=progress)
        diffusion.save(folder / "diffusion")
    causal, facts = _causal(diffusion, windows, training, folder / "causal", progress)
    start_id = int(diffusion.tokenizer.cls_token_id)
    whole = tokenize(texts.train.texts, diffusion.tokenizer, max_length=LONGEST_TEXT, truncation="head").ids
    return Models(
        diffusion,
        CausalWriter.of(causal, diffusion.tokenizer, start_id),
        CausalWriter.of(judge.model, judge.tokenizer, judge.start_id),
        judge,
        TrainingRuns(whole),
        {
            "diffusion": {"parameters": _size(diffusion.denoiser), **diffusion.record["adapt"]},
            "causal": {"parameters": _size(causal), **facts},
            "judge": {"parameters": _size(judge.model), "source": judge.source},
            "train_tokens": int(sum(map(len, whole))),
            "unigram_nats_per_token": diffusion.record["unigram_nats_per_token"],
        },
    )


def _causal(
    like: LanguageModel, windows: Sequence[IntArray], training: TrainConfig, folder: Path, progress: bool
) -> tuple[Any, dict[str, Any]]:
    """A causal model of the diffusion model's width and layers, from scratch."""
    config = like.backbone.config
    model = new_causal(
        like.denoiser.vocab_size,
        width=config.hidden_size,
        n_layers=config.num_hidden_layers,
        n_heads=config.num_attention_heads,
        n_positions=max(512, training.max_length + 1),
        seed=training.seed,
    )
    weights, record = folder / "model.safetensors", folder / "record.json"
    if record.exists():
        model.load_state_dict(load_file(weights), strict=False)  # tied embeddings are kept once
        model.tie_weights()
        return model.eval(), read_json(record)
    taken = train_causal(
        model,
        windows,
        start_id=int(like.tokenizer.cls_token_id),
        n_steps=training.adapt_steps,
        batch_size=training.batch_size,
        learning_rate=1e-3,
        bf16=resolve_precision("auto", next(model.parameters()).device) == "bfloat16",
        seed=training.seed,
        checkpoints=folder / "checkpoints",
        progress=progress,
    )
    tied = {name: value for name, value in model.state_dict().items() if not name.startswith("lm_head")}
    save_file({name: value.contiguous() for name, value in tied.items()}, weights)
    write_json(record, {"steps": taken.n_steps, "tokens_seen": taken.tokens_seen, "seconds": taken.seconds})
    return model, read_json(record)


def _size(network: Any) -> int:
    return sum(value.numel() for value in network.parameters())
