"""The import rules of the rooms, read from the source with ``ast``."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.util import resolve_name
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "gencls"
# Room -> what it may import of gencls besides itself. Lower layers first; the CLI may import everything.
MAY_IMPORT = {
    "data": set(),
    "diffusion": {"data"},
    "likelihood": {"data", "diffusion"},
    "training": {"data", "diffusion", "likelihood"},
    "classifier": {"data", "diffusion", "likelihood", "training"},
    "baselines": {"data"},
    "generation": {"data", "diffusion", "likelihood"},
    "reporting": {"data", "classifier.bayes", "classifier.calibration", "classifier.isotonic", "classifier.selective"},
}
# The room that puts the others together for the CLI and the benchmarks: no other room may import it.
MAY_IMPORT["evaluation"] = set(MAY_IMPORT)
TORCH_FREE = ["classifier.bayes", "classifier.calibration", "classifier.isotonic", "classifier.selective", "reporting"]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}


def imports_of(path: Path) -> set[str]:
    """Every dotted name that a file imports, anywhere in it; ``from a import b`` counts as ``a.b``."""
    package, found = ".".join(path.relative_to(ROOT.parent).parts[:-1]), set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found


def within(name: str, rooms: set[str] | list[str]) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


@pytest.mark.parametrize("module", [name for name in MODULES if within(name, list(MAY_IMPORT))])
def test_imports_point_one_way(module):
    own = {name.removeprefix("gencls.") for name in imports_of(MODULES[module]) if within(name, ["gencls"])}
    room = module.split(".")[0]
    version = set() if room == "data" else {"__version__"}
    assert not {name for name in own if not within(name, MAY_IMPORT[room] | {room} | version)}
    if module == "diffusion.exact":
        assert not own, "the oracle shares no code with what it checks"
    if within(module, TORCH_FREE):
        assert not [name for name in imports_of(MODULES[module]) if within(name, ["torch"])]


def test_nobody_imports_the_cli():
    outside = {name: path for name, path in MODULES.items() if not within(name, ["cli", "__main__"])}
    assert not {name for name, path in outside.items() for i in imports_of(path) if within(i, ["gencls.cli"])}


def test_every_room_is_known_and_none_is_called_utils():
    rooms = {name.split(".")[0] for name, path in MODULES.items() if path.parent != ROOT}
    assert rooms <= {*MAY_IMPORT, "cli"}
    assert not [name for name in MODULES if name.split(".")[-1] in ("utils", "util", "helpers", "common")]
    assert all((ROOT / room / "__init__.py").is_file() for room in rooms)


def test_torch_free_rooms_load_no_torch_through_others():
    names = [f"gencls.{name}" for name in MODULES if within(name, TORCH_FREE)]
    load = f"import importlib, sys; [importlib.import_module(name) for name in {names}]"
    code = f"{load}; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
