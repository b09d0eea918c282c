r"""A causal language model as a masked one: its attention opened to both sides, its answers moved by one position.

A causal model says at position :math:`i-1` what comes at :math:`i`. Moved by one, its hidden state there predicts the
hidden token :math:`i` (Gong et al. 2024, arXiv:2410.17891), so that the pretrained weights predict from the left at
once; what stands to the right they learn to use in the class-free adaptation. There is no head between the hidden
states and the vocabulary. A mask token is added, whose embedding starts at the mean of all.

Two things that the pretrained weights count on stay as they were. The first position sees itself alone: the others
rest their attention there (Xiao et al. 2023, arXiv:2309.17453). And a hidden position is seen by itself alone, for no
weight knows the mask token yet; how many are hidden, and where, shows in the positions of those that are not. It
follows that the first token of a text, which the first position predicts, is predicted without a look at the others.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING, AutoConfig

from gencls.data.causal import read_causal
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
    return getattr(config, "is_causal", None) is False and type(config) not in MODEL_FOR_MASKED_LM_MAPPING


def load_opened(name: str, place: str, *, start: str | None = None) -> tuple[Any, Any]:
    """Load a causal language model for the use as a masked one.

    Parameters
    ----------
    name, place : str
        As the user gave it, and the folder or hub name that is read.
    start : str, optional
        The token between documents of the pretraining, if it is not what the tokenizer calls their beginning.

    Returns
    -------
    model : PreTrainedModel
        float32, for `gencls.diffusion.parts.split_model`.
    tokenizer : PreTrainedTokenizerBase
        With a mask token, and what else of the special tokens it lacked.

    Raises
    ------
    ValueError
        If the weights cannot be read or are not whole, or the model cannot be used so.
    """
    model, tokenizer = read_causal(name, place)
    n_known = len(tokenizer)
    _complete(name, tokenizer, start)
    _start_at_the_mean(model, n_known, len(tokenizer))
    _check(name, model)
    model.config.is_causal = model.config.use_cache = False
    return model, tokenizer


def see_both_sides(encoder: Any, mask_id: int) -> None:
    """Open the attention of a causal encoder and move its hidden states to the positions that they predict, in place.

    Parameters
    ----------
    encoder : PreTrainedModel
        Takes a mask (B, L) as before, and padding on the right. The first position keeps its own hidden state too.
    mask_id : int
        Of the token that stands for hidden ones.
    """
    encoder.register_forward_pre_hook(partial(_with_open_mask, mask_id=mask_id), with_kwargs=True)
    encoder.register_forward_hook(_moved)


def stay_in_place(encoder: nn.Module) -> nn.Module:
    """Take back the move of `see_both_sides`, in place: for who reads texts, and predicts no token."""
    for key in [key for key, hook in encoder._forward_hooks.items() if hook is _moved]:
        del encoder._forward_hooks[key]
    return encoder


def _with_open_mask(encoder: Any, args: Any, options: dict[str, Any], *, mask_id: int) -> tuple[Any, dict[str, Any]]:
    """Replace the padding mask (B, L) by who sees whom, (B, 1, L, L)."""
    embed = encoder.get_input_embeddings()
    if options.get("input_ids") is not None:
        hidden = options["input_ids"] == mask_id
    else:  # some models scale what they look up
        hidden = (options["inputs_embeds"] == embed(torch.tensor(mask_id, device=embed.weight.device))).all(dim=2)
    n_positions = hidden.shape[1]
    seen = (options["attention_mask"].bool() & ~hidden)[:, None, None].repeat(1, 1, n_positions, 1)
    seen[:, :, 0] = False
    seen |= torch.eye(n_positions, dtype=torch.bool, device=seen.device)
    if encoder.config._attn_implementation == "eager":  # adds the mask to its scores
        dtype = embed.weight.dtype
        seen = torch.zeros_like(seen, dtype=dtype).masked_fill(~seen, torch.finfo(dtype).min)
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
def _start_at_the_mean(model: Any, n_known: int, n_tokens: int) -> None:
    """Give the tokens that are new in the tokenizer the mean of all embeddings, in new rows if there are none."""
    if n_tokens > model.get_input_embeddings().weight.shape[0]:  # some models have rows without a token
        model.resize_token_embeddings(n_tokens, mean_resizing=False)
    for table in (model.get_input_embeddings().weight, model.get_output_embeddings().weight):
        table[n_known:n_tokens] = table[:n_known].mean(dim=0)


@torch.no_grad()
def _check(name: str, model: Any) -> None:
    """Refuse a model that cannot be opened, or whose logits are not a projection of its hidden states."""
    mask = torch.zeros(1, 1, 4, 4)
    mask[0, 0, :, 2] = torch.finfo(mask.dtype).min
    mask[0, 0, 2, 2] = 0.0  # the third position is seen by itself alone, the others by all
    ids = torch.arange(4)[None] % model.config.vocab_size
    try:
        hidden, *others = (
            model.base_model(input_ids=row, attention_mask=mask).last_hidden_state
            for row in (ids, ids.where(torch.arange(4) != 3, ids[:, :1]), ids.where(torch.arange(4) != 2, ids[:, :1]))
        )
        last, third = ((hidden - other).abs().amax(dim=(0, 2)) > SEEN for other in others)
        is_open = bool(last[0]) and third.tolist() == [False, False, True, False]
    except (ValueError, RuntimeError, TypeError, AttributeError, IndexError):  # it takes no such mask
        is_open = False
    if not is_open:
        expected = "a causal model whose attention transformers can open to both sides"
        raise ValueError(three_parts(expected, f"{name!r}", "Use another model, such as 'smollm2'."))
    logits = model.get_output_embeddings()(hidden)
    if not torch.allclose(model(input_ids=ids, attention_mask=mask).logits, logits, atol=1e-3, rtol=1e-3):
        expected = "a causal model whose logits are a projection of its last hidden states"
        got = f"{name!r}, which scales or caps them"
        raise ValueError(three_parts(expected, got, "Use another model, such as 'smollm2'."))
