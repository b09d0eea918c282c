"""The verb ``generate``: text out of a language model or of a classifier, watched if wanted."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gencls.generation.trajectory import Trajectory

SUMMARY = "write text by iterative unmasking"
ORDERS = ("random", "confidence", "margin", "entropy", "left_to_right", "blocks")
#: Flags that are options of `GenerationConfig`, by the option's name.
OPTIONS = {
    "length": (int, "N", "new tokens (default: 64)"),
    "steps": (int, "N", "steps from all hidden to none (default: one token a step)"),
    "block_size": (int, "N", "tokens of a block, with --order blocks"),
    "temperature": (float, "T", "of the token choice; 0 takes the likeliest (default: 1)"),
    "top_k": (int, "K", "draw from the K likeliest tokens only"),
    "top_p": (float, "P", "draw from the likeliest tokens that together have probability P (nucleus)"),
    "repetition_penalty": (float, "X", "multiply log-probabilities of tokens that the text has; 1 is none"),
    "no_repeat_ngram": (int, "N", "no run of N tokens twice"),
    "remask": (float, "SHARE", "hide this share of the revealed tokens again in every step, unsure ones first"),
    "threshold": (float, "P", "reveal as many tokens a step as are at least this sure"),
    "guidance": (float, "W", "weight of the class: 0 none, 1 its model, more exaggerates it"),
    "max_tries": (int, "N", "texts drawn until --regex is met (default: 8)"),
}
#: Options whose flag has another name.
RENAMED = {"steps": "n_steps", "class_name": "label"}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb and its flags."""
    parser = subparsers.add_parser("generate", help=SUMMARY, description=SUMMARY)
    parser.add_argument("--model", metavar="RUN", type=Path, required=True, help="a run of train-lm or train-per-class")
    parser.add_argument("--prefix", help="text in front; it stays as it is")
    parser.add_argument("--suffix", help="text behind; it stays as it is")
    parser.add_argument("--template", metavar="TEXT", help='text with holes: "The [MASK] [MASK] was good."')
    for name, (kind, metavar, text) in OPTIONS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar=metavar, help=text)
    parser.add_argument("--schedule", choices=("linear", "cosine", "exponential"), help="tokens revealed by each step")
    parser.add_argument("--order", choices=ORDERS, help="which tokens a step reveals (default: confidence)")
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16", "float16"), help="of the network")
    parser.add_argument("--class", dest="class_name", metavar="NAME", help="class of a classifier's run")
    parser.add_argument("--require", action="append", metavar="WORD", help="the text must have it; may be repeated")
    parser.add_argument("--forbid", action="append", metavar="WORD", help="the text must not have it; may be repeated")
    parser.add_argument("--regex", help="regular expression that is found in the text")
    parser.add_argument("--n-samples", type=int, default=1, metavar="N", help="texts, written in one batch")
    parser.add_argument("--seed", type=int, default=0, help="of the first text; each further one has the next")
    parser.add_argument("--json", action="store_true", help="one JSON line for each text, with all that is known of it")
    parser.add_argument(
        "--animate", metavar="FILE", help="show how the text came about: out.gif, out.html or a folder of frames/"
    )
    parser.add_argument("--ms-per-frame", type=int, default=800, metavar="MS", help="of the animation (default: 800)")
    parser.add_argument("--watch", action="store_true", help="play it in the terminal")
    parser.add_argument("--device", help="cpu, cuda or mps (default: cuda if there is one, else cpu)")


def run(args: argparse.Namespace) -> int:
    """Run the verb; return the exit status."""
    from gencls.generation.config import GenerationConfig

    _check_template(args)
    if args.animate:
        from gencls.generation.animation import check_animation

        check_animation(args.animate, args.ms_per_frame)
    config = GenerationConfig(**_options(args))  # has errors of its own, before the model is loaded
    trajectories = _write(args, config)
    for trajectory in trajectories:
        print(json.dumps(describe(trajectory), ensure_ascii=False) if args.json else trajectory.text, flush=True)
    _say_unmet(trajectories)
    _show(args, trajectories)
    return 0


def _show(args: argparse.Namespace, trajectories: list[Trajectory]) -> None:
    """Write the animation and play it, where that is wanted."""
    if args.animate:
        from gencls.generation import animate

        animate(trajectories, Path(args.animate), ms_per_frame=args.ms_per_frame)
    if args.watch:
        import sys

        from rich.console import Console

        from gencls.generation.terminal import play

        play(trajectories, Console(file=sys.stdout), ms_per_frame=args.ms_per_frame)


def _options(args: argparse.Namespace) -> dict[str, Any]:
    names = (*OPTIONS, "schedule", "order", "precision", "class_name", "regex")
    given = {RENAMED.get(name, name): getattr(args, name) for name in names if getattr(args, name) is not None}
    return given | {name: tuple(getattr(args, name) or ()) for name in ("require", "forbid")}


def _check_template(args: argparse.Namespace) -> None:
    from gencls.data.errors import three_parts

    if args.template is None:
        return
    for name in ("prefix", "suffix", "length"):
        if getattr(args, name) is not None:
            todo = "Write given text and [MASK] in the template, and nothing else."
            raise ValueError(three_parts("--template alone", f"--{name} beside it", todo))


def _write(args: argparse.Namespace, config: Any) -> list[Trajectory]:
    from gencls.evaluation.generators import load_language_model
    from gencls.generation import generate, infill

    model = load_language_model(args.model, device=args.device)
    if args.template is not None:
        return infill(model, args.template, config, seed=args.seed, n_samples=args.n_samples)
    given = {"prefix": args.prefix or "", "suffix": args.suffix or ""}
    return generate(model, config, **given, seed=args.seed, n_samples=args.n_samples)


def describe(trajectory: Trajectory) -> dict[str, Any]:
    """Return what is known of a text: the text, its new tokens, and the extras of its trajectory."""
    return {"text": trajectory.text, "n_tokens": int((~trajectory.given).sum()), **trajectory.extras}


def _say_unmet(trajectories: list[Trajectory]) -> None:
    """Log one line for each text that misses a constraint."""
    import logging

    for trajectory in trajectories:
        report = trajectory.extras.get("constraints", {})
        words = [
            f"--{kind} {word!r}"
            for kind in ("require", "forbid")
            for word, is_met in report.get(kind, {}).items()
            if not is_met
        ]
        missed = words + (["--regex"] if report.get("regex") is False else [])
        if missed:
            seed = trajectory.extras["seed"]
            logging.getLogger("gencls.cli").warning("seed %d does not meet %s", seed, ", ".join(missed))
