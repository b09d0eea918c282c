"""The verb ``compare``: the same prompt to a diffusion model and to an autoregressive one, side by side and timed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gencls.generation.config import GenerationConfig
    from gencls.generation.trajectory import Trajectory

SUMMARY = "write beside an autoregressive model: same prompt, length and sampling, timed in turns"
SHARED_FLAGS = {
    "length": (int, "N", "new tokens of each (default: 64)"),
    "temperature": (float, "T", "of the token choice; 0 takes the likeliest (default: 1)"),
    "top_k": (int, "K", "draw from the K likeliest tokens only"),
    "top_p": (float, "P", "draw from the likeliest tokens that together have probability P (nucleus)"),
    "repetition_penalty": (float, "X", "multiply log-probabilities of tokens that the text has; 1 is none"),
}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb and its flags."""
    parser = subparsers.add_parser("compare", help=SUMMARY, description=SUMMARY)
    parser.add_argument("--model", metavar="RUN", type=Path, required=True, help="a run of train-lm or train-per-class")
    parser.add_argument("--ar", metavar="NAME", default="smollm2", help="smollm2, gpt2, another hub name, or a folder")
    parser.add_argument("--prompt", default="", help="text that both go on with")
    for name, (kind, metavar, text) in SHARED_FLAGS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar=metavar, help=text)
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16", "float16"), help="of both networks")
    parser.add_argument("--steps", type=int, metavar="N", help="of the diffusion model (default: length / 4)")
    parser.add_argument("--schedule", choices=("linear", "cosine", "exponential"), help="of the diffusion model")
    parser.add_argument("--order", help="of the diffusion model, as of generate (default: confidence)")
    parser.add_argument("--class", dest="class_name", metavar="NAME", help="class of a classifier's run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=5, metavar="R", help="timed runs of each; an odd number")
    parser.add_argument("--animate", action="append", metavar="FILE", help="out.gif, out.html or frames/; repeatable")
    parser.add_argument("--ms-per-frame", type=int, default=200, metavar="MS", help="both grow by the clock")
    parser.add_argument("--watch", action="store_true", help="play it in the terminal")
    parser.add_argument("--json", action="store_true", help="print one JSON line for each side")
    parser.add_argument("--device", help="cpu, cuda or mps (default: cuda if there is one, else cpu)")


def run(args: argparse.Namespace) -> int:
    """Run the verb; return the exit status."""
    from gencls.generation.animation import animate, check_animation
    from gencls.generation.comparison import check_repeats, take_turns, titled

    config = _config(args)  # errors of the options, before the models are loaded
    check_repeats(args.repeats)
    for path in args.animate or ():
        check_animation(path, args.ms_per_frame)
    timed = take_turns(_writers(args, config), n_repeats=args.repeats)
    shown = [titled(name, one) for name, one in timed.items()]
    _print(args, shown)
    for path in args.animate or ():
        animate(shown, path, ms_per_frame=args.ms_per_frame, aligned_by="time", title=f"Side by side: {args.prompt}")
    if args.watch:
        _watch(shown, args.ms_per_frame)
    return 0


def _config(args: argparse.Namespace) -> GenerationConfig:
    from gencls.generation.config import GenerationConfig

    names = {name: name for name in (*SHARED_FLAGS, "schedule", "order", "precision")} | {"class_name": "label"}
    given = {option: getattr(args, flag) for flag, option in names.items() if getattr(args, flag) is not None}
    length = given.get("length", GenerationConfig.length)
    n_steps = args.steps if args.steps is not None else max(length // 4, 1)
    return GenerationConfig(**given, n_steps=n_steps)


def _writers(args: argparse.Namespace, config: GenerationConfig) -> dict[str, Callable[[], Trajectory]]:
    """Both sides by their names and sizes: on one device, in one precision."""
    from dataclasses import replace

    import torch

    from gencls.baselines.causal import load_causal
    from gencls.evaluation.generators import load_language_model
    from gencls.generation import generate
    from gencls.generation.autoregressive import CausalWriter
    from gencls.likelihood.precision import resolve_precision

    model = load_language_model(args.model, device=args.device)
    model.posterior = None  # classifying the result is no part of writing it
    device = model.denoiser.bias.device
    chosen: Any = resolve_precision(config.precision, device)
    config = replace(config, precision=chosen)
    causal = load_causal(args.ar)
    network = causal.model.to(device=device, dtype=getattr(torch, chosen))
    writer = CausalWriter.of(network, causal.tokenizer, causal.start_id)
    given = {"prefix": args.prompt, "seed": args.seed}
    return {
        f"diffusion, {_size(model.denoiser)}": lambda: generate(model, config, **given)[0],
        f"{Path(args.ar).name}, {_size(network)}": lambda: writer.write(config, **given),
    }


def _size(network: Any) -> str:
    """Parameters of a network in millions, for its title: a smaller one is faster for that alone."""
    return f"{sum(value.numel() for value in network.parameters()) / 1e6:.3g} M"


def _print(args: argparse.Namespace, shown: list[Trajectory]) -> None:
    for trajectory in shown:
        if args.json:
            row = {"name": trajectory.label.split(":")[0], "text": trajectory.text, **trajectory.extras}
            print(json.dumps(row, ensure_ascii=False))
        else:
            spread = "fastest {fastest_seconds:.2f} s, slowest {slowest_seconds:.2f} s".format(**trajectory.extras)
            characters = f"{trajectory.extras['characters_per_second']:.0f} characters/s"
            print(f"{trajectory.label} ({characters}; {spread})\n  {trajectory.text}")


def _watch(shown: list[Trajectory], ms_per_frame: int) -> None:
    from rich.console import Console

    from gencls.generation.terminal import play

    play(shown, Console(file=sys.stdout), ms_per_frame=ms_per_frame, aligned_by="time")
