"""The verb ``train-lm``: a language model of texts without labels."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

SUMMARY = "train a masked-diffusion language model on any texts"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb and its flags."""
    parser = subparsers.add_parser("train-lm", help=SUMMARY, description=SUMMARY)
    parser.add_argument(
        "data",
        help="a text file (paragraphs), a table with a column of texts, a data set's name, wikitext, openwebtext, "
        "or a data set of the hub",
    )
    parser.add_argument("--output", metavar="RUN", type=Path, help="the run's folder (default: runs/DATA-lm-PRESET)")
    parser.add_argument("--preset", choices=("quick", "full"), default="quick", help="size of the training")
    parser.add_argument("--backbone", help="language model, masked or causal: a name or a folder")
    parser.add_argument("--max-length", type=int, metavar="TOKENS", help="tokens of a window")
    parser.add_argument("--steps", type=int, help="optimiser steps")
    parser.add_argument("--batch-size", type=int, help="windows per step")
    parser.add_argument(
        "--prefix-share", type=float, metavar="SHARE", help="examples whose first tokens are never hidden"
    )
    parser.add_argument("--time-budget", type=float, metavar="MINUTES", help="train no longer than this")
    parser.add_argument("--source", choices=("auto", "hub", "registry", "file"), default="auto")
    parser.add_argument("--text-column", default="text")
    parser.add_argument("--device", help="cpu, cuda or mps (default: cuda if there is one, else cpu)")
    parser.add_argument("--seed", type=int, help="of order and masks")


def run(args: argparse.Namespace) -> int:
    """Run the verb; return the exit status."""
    from gencls.data.errors import three_parts
    from gencls.evaluation.generators import train_language_model_run
    from gencls.training.language_model import language_model_preset

    if args.time_budget is not None and not args.time_budget > 0:
        raise ValueError(three_parts("a positive --time-budget", str(args.time_budget), "Give minutes."))
    names = {"steps": "adapt_steps"}
    options = ("backbone", "max_length", "steps", "batch_size", "prefix_share", "seed")
    given = {name: getattr(args, name) for name in options if getattr(args, name) is not None}
    changes = {names.get(name, name): value for name, value in given.items()}
    if args.backbone is not None:
        changes["backbone_layers"] = None
    folder = args.output or Path("runs") / f"{Path(args.data).stem}-lm-{args.preset}"
    model = train_language_model_run(
        args.data,
        folder,
        language_model_preset(args.preset, **changes),
        source=args.source,
        text_column=args.text_column,
        time_budget=args.time_budget,
        progress=sys.stderr.isatty(),
        device=args.device,
        command=" ".join(["gencls", *sys.argv[1:]]),
    )
    record = model.record
    loss, unigram = record["adapt"]["loss"], record["unigram_nats_per_token"]
    nats = f"{loss:.2f} nats per token (word frequencies {unigram:.2f})"
    print(f"trained {record['adapt']['steps']} steps in {record['seconds'] / 60:.1f} min, {nats}: {folder}")
    if loss > unigram:
        print("that is worse than word frequencies: it needs more steps to read context (--steps)", file=sys.stderr)
    print(f'next: gencls generate --model {folder} --prefix "..."')
    return 0
