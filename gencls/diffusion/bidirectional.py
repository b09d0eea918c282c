r"""A causal language model as a masked one: its attention opened to both sides, its answers moved by one position.

A causal model says at position :math:`i-1` what comes at :math:`i`. Moved by one, its hidden state there predicts the
hidden token :math:`i` (Gong et al. 2024, arXiv:2410.17891), so that the pretrained weights predict from the left at
once; what stands to the right they learn to use in the class-free adaptation. There is no head between the hidden
states and the vocabulary. A mask token is added, which starts at the mean of all embeddings.

Two things that the pretrained weights count on stay as they were. The first position sees itself alone: the others
rest their attention there (Xiao et al. 2023, arXiv:2309.17453). And a hidden position is seen by itself alone, for no
weight knows the mask token yet; how many are hidden, and where, shows in the positions of those that are not.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
)

from gencls.data.errors import three_parts

MASK_TOKEN = "<mask>"
#: Hidden states that differ by more than this see different tokens.
SEEN = 1e-6


def is_causal_only(place: str) -> bool:
    """Whether a folder or hub name is of an architecture that has no masked language model; False if unreadable."""
    try:
        kind = type(AutoConfig.from_pretrained(place))
    except Exception:  # what is wrong with its files is said where the model is read
        return False
    return kind in MODEL_FOR_CAUSAL_LM_MAPPING and kind not in MODEL_FOR_MASKED_LM_MAPPING


def is_opened(config: Any) -> bool:
    """Whether a config is that of a causal model whose attention has been opened."""
    return getattr(config, "is_causal", None) is False


def load_opened(name: str, place: str, tokenizer: Any, *, start: str | None = None) -> Any:
    """Load a causal language model for the use as a masked one.

    Parameters
    ----------
    name, place : str
        As the user gave it, and the folder or hub name that is read.
    tokenizer : PreTrainedTokenizerBase
        Given a mask token and what else of the special tokens it lacks.
    start : str, optional
        The token between documents of the pretraining, if it is not what the tokenizer calls their beginning.

    Returns
    -------
    PreTrainedModel
        float32, for `gencls.diffusion.parts.split_model`.

    Raises
    ------
    ValueError
        If the weights cannot be read or are not whole, or the model cannot be used so.
    """
    _complete(name, tokenizer, start)
    try:
        load: Any = AutoModelForCausalLM.from_pretrained
        model, info = load(place, dtype=torch.float32, output_loading_info=True)
    except Exception as error:  # safetensors raises an exception class of its own for a damaged file
        got = f"{name!r}: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        todo = "Check the name or the files, or use 'smollm2'."
        raise ValueError(three_parts("a causal language model (config.json and safetensors)", got, todo)) from error
    if lost := sorted(info["missing_keys"]):  # transformers fills them with random numbers
        got = f"{name!r} without {lost[0]} and {len(lost) - 1} more"
        raise ValueError(three_parts("weights of the whole model", got, "Fetch the files again."))
    _add_rows(model, len(tokenizer))
    _check(name, model)
    model.config.is_causal = model.config.use_cache = False
    return model.eval()


def see_both_sides(encoder: Any, mask_id: int) -> None:
    """Open the attention of a causal encoder and move all that it returns to the position that it predicts, in place.

    Parameters
    ----------
    encoder : PreTrainedModel
        Takes a mask (B, L) as before, and padding on the right. The first position keeps its own hidden state too.
    mask_id : int
        Of the token that stands for hidden ones.
    """
    encoder.register_forward_pre_hook(partial(_with_open_mask, mask_id=mask_id), with_kwargs=True)
    encoder.register_forward_hook(_moved)


def _with_open_mask(encoder: Any, args: Any, options: dict[str, Any], *, mask_id: int) -> tuple[Any, dict[str, Any]]:
    """Replace the padding mask (B, L) by who sees whom, (B, 1, L, L)."""
    table = encoder.get_input_embeddings().weight
    if options.get("input_ids") is not None:
        hidden = options["input_ids"] == mask_id
    else:
        hidden = (options["inputs_embeds"] == table[mask_id]).all(dim=2)
    n_positions = hidden.shape[1]
    seen = (options["attention_mask"].bool() & ~hidden)[:, None, None].repeat(1, 1, n_positions, 1)
    seen[:, :, 0] = False
    seen |= torch.eye(n_positions, dtype=torch.bool, device=seen.device)
    if encoder.config._attn_implementation == "eager":  # adds the mask to its scores
        seen = torch.zeros_like(seen, dtype=table.dtype).masked_fill(~seen, torch.finfo(table.dtype).min)
    return args, {**options, "attention_mask": seen}


def _moved(_: nn.Module, args: Any, output: Any) -> Any:
    output.last_hidden_state = _by_one(output.last_hidden_state)
    if output.hidden_states is not None:
        output.hidden_states = tuple(_by_one(states) for states in output.hidden_states)
    return output


def _by_one(states: Tensor) -> Tensor:
    return torch.cat([states[:, :1], states[:, :-1]], dim=1)


def _complete(name: str, tokenizer: Any, start: str | None) -> None:
    """Set the special tokens that a masked language model needs and a causal one's tokenizer may lack."""
    if start is not None:
        tokenizer.bos_token = tokenizer.eos_token = start
    if tokenizer.bos_token is None and tokenizer.cls_token is None:
        if tokenizer.eos_token is None:
            todo = "Add a bos_token to it."
            raise ValueError(three_parts("a tokenizer with a token that begins or ends a text", f"{name!r}", todo))
        tokenizer.bos_token = tokenizer.eos_token
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.bos_token or tokenizer.cls_token
    if tokenizer.mask_token is None:
        tokenizer.add_special_tokens({"mask_token": MASK_TOKEN})


@torch.no_grad()
def _add_rows(model: Any, n_tokens: int) -> None:
    """Give the tokens that the tokenizer has more than the model the mean of all embeddings."""
    n_known = model.get_input_embeddings().weight.shape[0]
    if n_tokens <= n_known:
        return
    model.resize_token_embeddings(n_tokens, mean_resizing=False)
    for table in (model.get_input_embeddings().weight, model.get_output_embeddings().weight):
        table[n_known:] = table[:n_known].mean(dim=0)


@torch.no_grad()
def _check(name: str, model: Any) -> None:
    """Refuse a model whose attention stays closed, or whose logits are not a projection of its hidden states."""
    ids = torch.arange(4)[None] % model.config.vocab_size
    open_mask = torch.zeros(1, 1, 4, 4)
    hidden = model.base_model(input_ids=ids, attention_mask=open_mask).last_hidden_state
    other = model.base_model(input_ids=ids.flip(1).roll(1), attention_mask=open_mask).last_hidden_state
    if (hidden[:, 0] - other[:, 0]).abs().max() < SEEN:
        expected = "a causal model whose attention transformers can open to both sides"
        raise ValueError(three_parts(expected, f"{name!r}", "Use another model, such as 'smollm2'."))
    logits = model.get_output_embeddings()(hidden)
    if not torch.allclose(model(input_ids=ids, attention_mask=open_mask).logits, logits, atol=1e-3, rtol=1e-3):
        expected = "a causal model whose logits are a projection of its last hidden states"
        got = f"{name!r}, which scales or caps them"
        raise ValueError(three_parts(expected, got, "Use another model, such as 'smollm2'."))
