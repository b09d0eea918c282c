"""The room is light to enter: readers, hub clients and data frames are imported where they are used."""

from __future__ import annotations

import subprocess
import sys


def test_importing_the_room_loads_no_heavy_library() -> None:
    code = "import sys, gencls.data, gencls.cli.data; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in run.stdout.split()}
    assert not loaded & {"torch", "transformers", "datasets", "huggingface_hub", "pandas", "sklearn"}
