"""The verb ``benchmark``: run a benchmark of the repository and say where its report is."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path

SUMMARY = "run a benchmark of a clone, from data to report"
#: Benchmarks by name; each has `build_parser` and `run_command`.
BENCHMARKS = {"poems": "benchmarks.poem_completion"}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb and its flags."""
    parser = subparsers.add_parser("benchmark", help=SUMMARY, description=SUMMARY)
    parser.add_argument("name", choices=tuple(BENCHMARKS), help="which one")
    parser.add_argument("--preset", choices=("cpu", "gpu"), default="cpu", help="size of the benchmark")
    parser.add_argument("--poems", metavar="JSONL", help="file of poems (default: the variable GENCLS_POEMS)")
    parser.add_argument("--source", choices=("auto", "file", "hub", "registry"), help="where poems are looked for")
    parser.add_argument(
        "--pretrained",
        nargs=2,
        metavar=("MASKED", "CAUSAL"),
        help="two pretrained models of one Chinese vocabulary, by name or folder, as one more size",
    )
    parser.add_argument("--run", metavar="RUN", help="folder of models and answers (default: runs/poems-PRESET)")
    parser.add_argument("--output", help="folder of the report (default: reports/poems)")
    parser.add_argument(
        "--without-examples", action="store_true", help="no poem's text in the report, where it is to be shared"
    )


def run(args: argparse.Namespace) -> int:
    """Run the verb; return the exit status."""
    import gencls
    from gencls.data.errors import three_parts

    root = Path(gencls.__file__).resolve().parents[1]
    if not (root / "benchmarks").is_dir():
        todo = "Clone the repository and install it with 'pip install -e .'."
        raise FileNotFoundError(three_parts("a clone of gencls with its benchmarks", "an installed package", todo))
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))  # the command's own folder is on it, not the clone
    names = ("preset", "poems", "source", "pretrained", "run", "output")
    given = {name: value for name in names if (value := getattr(args, name))}
    flags = [word for name, value in given.items() for word in (f"--{name}", *_words(value))]
    flags += ["--without-examples"] * args.without_examples
    command = " ".join(["gencls", "benchmark", args.name, *flags])
    report = import_module(BENCHMARKS[args.name]).run_command(flags, command=command)
    print((report.parent / "table.txt").read_text(encoding="utf-8"))
    print(f"report: {report}")
    return 0


def _words(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value
