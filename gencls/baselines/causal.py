r"""Causal language models: pretrained ones by name, and new ones of any size.

.. math:: \log p(x) = \sum_i \log p(x_i \mid s, x_1, \dots, x_{i-1})

with s the token that a text begins after. `gencls.baselines.causal_likelihood` scores with them,
`gencls.baselines.causal_training` trains them; `causal_per_class` and `causal_zero_shot` classify.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from transformers import LlamaConfig, LlamaForCausalLM

from gencls.baselines.causal_likelihood import head_of, hidden_states
from gencls.data.causal import read_causal
from gencls.data.errors import nearest, three_parts
from gencls.data.gguf import REGISTRY_CAUSAL
from gencls.data.hub import hub_reachable
from gencls.data.pretrained import locate


@dataclass(frozen=True)
class CausalLM:
    """A causal language model with its tokenizer.

    Attributes
    ----------
    model : PreTrainedModel
        float32, in evaluation mode.
    tokenizer : PreTrainedTokenizerBase
    start_id : int
        The token that a text begins after.
    source : str
        One line: where the weights came from.
    """

    model: Any
    tokenizer: Any
    start_id: int
    source: str


def load_causal(name: str, *, cache: Path | None = None) -> CausalLM:
    """Load a pretrained causal model and its tokenizer.

    Parameters
    ----------
    name : str
        ``smollm2`` (the hub, else the registry artefact), a folder, or a name of the hub such as ``gpt2``.
    cache : Path, optional
        Cache folder of the artefacts.

    Returns
    -------
    CausalLM

    Raises
    ------
    ValueError
        If the name is out of reach, at once where no hub answers, or is no causal language model.
    """
    check_causal_name(name)
    place, source = locate(name, REGISTRY_CAUSAL, cache=cache)
    model, tokenizer = read_causal(name, place)
    _check_projection(name, model)
    known = REGISTRY_CAUSAL.get(name)
    start = start_of(tokenizer) if known is None else tokenizer.convert_tokens_to_ids(known.start)
    return CausalLM(model, tokenizer, start, source)


def new_causal(
    vocab_size: int,
    *,
    width: int,
    n_layers: int,
    n_heads: int,
    n_positions: int,
    seed: int,
    pad_id: int = 0,
    attention_bias: bool = False,
    initializer_range: float = 0.02,
) -> Any:
    """Build a causal model with random weights: rotary positions, tied embeddings, no dropout.

    Parameters
    ----------
    vocab_size : int
        V.
    width, n_layers, n_heads : int
        Of the transformer. A gated feed-forward layer of 8/3 of the width has as many parameters as a plain one of
        four times the width, so the sizes compare with those of BERT and GPT-2.
    n_positions : int
        Longest row, the start token counted.
    seed : int
        Of the weights; the process's random state stays as it is.
    pad_id : int
    attention_bias : bool
        Whether queries, keys and values have biases, zero at first.
    initializer_range : float
        Standard deviation of the first weights.

    Returns
    -------
    LlamaForCausalLM
        float32, in evaluation mode.
    """
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=width,
        intermediate_size=8 * round(width / 3),
        num_hidden_layers=n_layers,
        num_attention_heads=n_heads,
        max_position_embeddings=n_positions,
        tie_word_embeddings=True,
        attention_bias=attention_bias,
        initializer_range=initializer_range,
        pad_token_id=pad_id,
        bos_token_id=None,
        eos_token_id=None,
    )
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).eval()


def start_of(tokenizer: Any) -> int:
    """Return the token that texts begin after: beginning of text, [CLS], or end of text as for GPT-2.

    Raises
    ------
    ValueError
        If the tokenizer has none of them.
    """
    for index in (tokenizer.bos_token_id, tokenizer.cls_token_id, tokenizer.eos_token_id):
        if index is not None:
            return int(index)
    raise ValueError(
        three_parts("a tokenizer with a token that begins or ends a text", "one without", "Add a bos_token to it.")
    )


def check_causal_name(name: str) -> None:
    """Raise a ValueError, at once, on a name behind which is no folder, artefact, cached model or answering hub."""
    if is_reachable(name):
        return
    raise ValueError(
        three_parts(
            "a causal model that this machine can reach",
            f"{name!r}, and no hub answers",
            f"Use a folder or a registry model ({nearest(name, REGISTRY_CAUSAL)}).",
        )
    )


def is_reachable(name: str) -> bool:
    """Tell whether behind a name is a folder, an artefact, a cached model or a hub that answers."""
    return Path(name).is_dir() or name in REGISTRY_CAUSAL or hub_reachable() or _is_cached(name)


def _is_cached(name: str) -> bool:
    """Whether the hub's client keeps the model from an earlier day."""
    try:
        return isinstance(try_to_load_from_cache(name, "config.json"), str)
    except HFValidationError:  # no name that a hub could have
        return False


@torch.inference_mode()
def _check_projection(name: str, model: Any) -> None:
    """Refuse a model that does something to its logits after the projection: the likelihood would miss it."""
    ids = torch.arange(3)[None] % model.config.vocab_size
    logits = model(ids).logits
    if not torch.allclose(logits, head_of(model)(hidden_states(model, ids)), atol=1e-3, rtol=1e-3):
        raise ValueError(
            three_parts(
                "a causal model whose logits are a projection of its last hidden states",
                f"{name!r}, which scales or caps them",
                "Use another model, such as 'smollm2' or 'gpt2'.",
            )
        )
