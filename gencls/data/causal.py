"""Reading a pretrained causal language model whole: for the rivals that are one, and for the backbones made of one."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from gencls.data.errors import three_parts
from gencls.data.quiet import quiet_transformers


def read_causal(name: str, place: str) -> tuple[Any, Any]:
    """Read a causal language model and its tokenizer.

    Parameters
    ----------
    name, place : str
        As the user gave it, and the folder or hub name that is read.

    Returns
    -------
    model : PreTrainedModel
        float32, in evaluation mode.
    tokenizer : PreTrainedTokenizerBase

    Raises
    ------
    ValueError
        If they cannot be read, or the weights are not whole.
    """
    try:
        load: Any = AutoModelForCausalLM.from_pretrained
        with quiet_transformers(place):
            tokenizer = AutoTokenizer.from_pretrained(place)
            model, info = load(place, dtype=torch.float32, output_loading_info=True)
    except Exception as error:  # each tokenizer class and safetensors raise their own
        got = f"{name!r}: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        expected = "a causal language model (config.json, safetensors, tokenizer files)"
        raise ValueError(three_parts(expected, got, "Check the name or the files, or use 'smollm2'.")) from error
    if lost := sorted(info["missing_keys"]):  # transformers fills them with random numbers
        got = f"{name!r} without {lost[0]} and {len(lost) - 1} more"
        raise ValueError(three_parts("weights of the whole model", got, "Fetch the files again."))
    return model.eval(), tokenizer
