"""A denoiser's parts in a folder: safetensors for weights, JSON data for the backbone. Nothing is ever unpickled."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from gencls.data.errors import three_parts
from gencls.data.storage import read_json
from gencls.diffusion.parts import Backbone, build_backbone

WEIGHTS, TOKENIZER = "model.safetensors", "tokenizer"


def save_parts(denoiser: nn.Module, tokenizer: Any, folder: Path, *, config: str) -> None:
    """Write weights and tokenizer in a folder; a folder that is written over loads whole or not at all.

    Parameters
    ----------
    denoiser : Module
    tokenizer : PreTrainedTokenizerBase
    folder : Path
    config : str
        Name of the JSON file that the caller writes afterwards, and without which the folder does not load. An old
        one is removed when the new parts are on the disk, before the first takes its place.
    """
    state = {name: value.detach().cpu().contiguous() for name, value in owned(denoiser).items()}
    with _beside(folder / WEIGHTS) as weights, _beside(folder / TOKENIZER) as words:
        weights.touch()
        mode = weights.stat().st_mode
        save_file(state, str(weights), metadata={"format": "pt"})
        weights.chmod(mode)  # safetensors makes files that only their owner reads, and a run is shared
        tokenizer.save_pretrained(str(words))
        (folder / config).unlink(missing_ok=True)
        os.replace(weights, folder / WEIGHTS)
        _replace_folder(words, folder / TOKENIZER)


def backbone_as_dict(backbone: Backbone) -> dict[str, Any]:
    """Return what `backbone_from_dict` needs, as plain JSON data."""
    return {
        "name": backbone.name,
        "has_head": backbone.has_head,
        "source": backbone.source,
        "config": backbone.config.to_dict(),
    }


def backbone_from_dict(saved: dict[str, Any], tokenizer: Any) -> Backbone:
    """Build the parts of a saved backbone with random weights, for `load_weights`."""
    return build_backbone(saved["name"], saved["config"], tokenizer, has_head=saved["has_head"], source=saved["source"])


def checked_config(path: Path, *, format_name: str, newest: int, missing: str) -> dict[str, Any]:
    """Read the JSON file that says what a saved folder is.

    Parameters
    ----------
    path : Path
    format_name : str
        Its entry ``format``.
    newest : int
        Newest ``format_version`` that can be read.
    missing : str
        The error where there is no such file.

    Returns
    -------
    dict

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        A file of another kind, or of a newer version.
    """
    if not path.exists():
        raise FileNotFoundError(missing)
    data = read_json(path)
    if not isinstance(data, dict) or data.get("format") != format_name:
        raise ValueError(three_parts(f"a {format_name} file", f"{path.name} of another kind", "Check the folder."))
    version = data.get("format_version")
    if not isinstance(version, int) or version > newest:
        got = f"version {version} in {path.parent}"
        raise ValueError(three_parts(f"format version {newest} or older", got, "Install a newer gencls."))
    return data


def owned(denoiser: nn.Module) -> dict[str, torch.Tensor]:
    """The state dict without the second name of tied tensors (safetensors refuses shared memory)."""
    seen: set[int] = set()
    kept = {}
    for name, value in denoiser.state_dict().items():
        if value.data_ptr() not in seen or value.numel() == 0:
            kept[name] = value
            seen.add(value.data_ptr())
    return kept


def load_weights(denoiser: nn.Module, path: Path) -> None:
    """Read the weights that `save_parts` wrote.

    Raises
    ------
    ValueError
        If the file is damaged or holds the weights of another model.
    """
    try:
        state = load_file(path)
        missing, unexpected = denoiser.load_state_dict(state, strict=False)
    except (SafetensorError, RuntimeError, OSError) as error:
        raise ValueError(
            three_parts(f"the weights of this run in {path.name}", str(error), "Restore the file, or train again.")
        ) from error
    tied = set(denoiser.state_dict()) - set(owned(denoiser))
    if unexpected or set(missing) - tied:
        wrong = sorted([*unexpected, *(set(missing) - tied)])
        raise ValueError(
            three_parts(f"the weights of this run in {path.name}", f"other tensors: {wrong[:3]}", "Train again.")
        )


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A place for what will replace a file or folder; cleared if it did not."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        temporary.unlink(missing_ok=True)


def _replace_folder(new: Path, path: Path) -> None:
    """Rename, where a full folder cannot be renamed over: the old one goes when the new one is there."""
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        os.replace(path, old)
    try:
        os.replace(new, path)
    except BaseException:
        if old.exists():
            os.replace(old, path)
        raise
    shutil.rmtree(old, ignore_errors=True)
