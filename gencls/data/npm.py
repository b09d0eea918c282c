"""One download through npm, the machine's own client of its registry; nothing of a package is installed or run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from gencls.data.errors import ArtefactError, three_parts


def npm_pack(package: str, version: str, folder: Path) -> None:
    """Download a package's archive, as ``npm pack`` names it, into an existing folder.

    Raises
    ------
    ArtefactError
        npm is missing or failed; the message carries npm's last lines.
    """
    npm = shutil.which("npm")
    if npm is None:
        todo = "Install Node.js, or give a file of poems of your own."
        raise ArtefactError(three_parts(f"npm, to download {package}", "no npm", todo))
    # a package fetched by name runs no script of its own; the flag says so to whoever reads this
    command = [npm, "pack", f"{package}@{version}", "--ignore-scripts", "--silent", "--pack-destination", str(folder)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        todo = "Check the network and npm's settings ('npm config list'), then run the same command again."
        got = f"npm: {' | '.join(lines[-3:]) or f'exit status {done.returncode}'}"
        raise ArtefactError(three_parts(f"{package} {version} from the npm registry", got, todo))
