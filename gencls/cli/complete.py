"""The verb ``complete``: fill the holes of a text, with alternatives and their probabilities."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gencls.generation.completion import Completion

SUMMARY = "fill the holes of a text, such as a poem"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb and its flags."""
    parser = subparsers.add_parser("complete", help=SUMMARY, description=SUMMARY)
    parser.add_argument("text", help='text with holes: "床前[MASK]月光"; - reads it from standard input')
    parser.add_argument("--model", metavar="RUN", type=Path, required=True, help="a run of train-lm or train-per-class")
    parser.add_argument("--alternatives", type=int, default=5, metavar="N", help="tokens listed for each hole")
    parser.add_argument("--steps", type=int, metavar="N", help="steps to fill in (default: one hole a step)")
    parser.add_argument("--class", dest="class_name", metavar="NAME", help="class of a classifier's run")
    parser.add_argument("--json", action="store_true", help="one JSON line")
    parser.add_argument("--device", help="cpu, cuda or mps (default: cuda if there is one, else cpu)")


def run(args: argparse.Namespace) -> int:
    """Run the verb; return the exit status."""
    from gencls.data.errors import three_parts

    text = sys.stdin.read() if args.text == "-" else args.text
    if "[MASK]" not in text and "<mask>" not in text:
        raise ValueError(three_parts("a text with a hole", repr(text[:60]), "Write [MASK] where a token is wanted."))

    from gencls.evaluation.generators import load_language_model
    from gencls.generation.completion import complete

    model = load_language_model(args.model, device=args.device)
    options = {"n_alternatives": args.alternatives, "n_steps": args.steps, "label": args.class_name}
    completion = complete(model, text, **options)
    print(json.dumps(describe(completion), ensure_ascii=False) if args.json else as_text(completion))
    return 0


def describe(completion: Completion) -> dict[str, object]:
    """Return a completion as plain JSON data: the text, and for each hole its alternatives."""
    holes = [[{"token": one.token, "probability": one.probability} for one in hole] for hole in completion.alternatives]
    return {"text": completion.text, "holes": holes}


def as_text(completion: Completion) -> str:
    """Return the text, and one line for each hole."""
    lines = [completion.text]
    for number, hole in enumerate(completion.alternatives, start=1):
        lines.append(f"{number}: " + "  ".join(f"{one.token} {100 * one.probability:.1f} %" for one in hole))
    return "\n".join(lines)
