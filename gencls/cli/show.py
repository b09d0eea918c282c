"""The verb ``show``: what the model sees, the schedules, what its layers know, how its losses fell."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gencls.diffusion.language_model import LanguageModel

SUMMARY = "look inside: masking, schedules, layers, levels"
DEFAULT_TEXT = "I expected little, and it was one of the best films that I have seen this year."


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb with its verbs."""
    parser = subparsers.add_parser("show", help=SUMMARY, description=SUMMARY)
    verbs = parser.add_subparsers(dest="show_verb", metavar="masking|schedules|layers|levels", required=True)
    masking = _verb(verbs, "masking", "what the model sees of a text at each masking level", ".png, .html or .gif")
    masking.add_argument("run", type=Path, help="a run of train-lm or train-per-class, for its tokens")
    masking.add_argument("--text", default=DEFAULT_TEXT)
    masking.add_argument("--levels", default="0,0.15,0.3,0.5,0.7,0.85,1", help="shares of hidden tokens")
    masking.add_argument("--seed", type=int, default=0)
    schedules = _verb(verbs, "schedules", "all unmasking schedules in one figure", "a figure")
    schedules.add_argument("--length", type=int, default=64, metavar="N", help="tokens to be revealed")
    schedules.add_argument("--steps", type=int, default=16, metavar="N")
    layers = _verb(verbs, "layers", "which layer already knows the token, and where attention goes", "a figure")
    layers.add_argument("run", type=Path, help="a run of train-lm or train-per-class")
    layers.add_argument("--texts", metavar="DATA", help="a corpus (default: validation texts of a classifier's run)")
    layers.add_argument("--max-texts", type=int, default=32, metavar="N")
    layers.add_argument("--levels", default="0.15,0.5,0.85,1", help="shares of hidden tokens")
    layers.add_argument("--seed", type=int, default=0)
    levels = _verb(verbs, "levels", "loss by masking level over training", "a figure")
    levels.add_argument("run", type=Path, help="a run of train-lm or train-per-class")


def _verb(verbs: Any, name: str, summary: str, output: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=summary, description=summary)
    parser.add_argument("--output", type=Path, default=Path(f"{name}.png"), help=f"{output} (default: {name}.png)")
    return parser


def run(args: argparse.Namespace) -> int:
    """Do what the verb asks; return the exit status."""
    if args.show_verb != "masking":
        _check_picture(args.output)
    {"masking": _masking, "schedules": _schedules, "layers": _layers, "levels": _levels}[args.show_verb](args)
    print(args.output)
    return 0


def _check_picture(path: Path) -> None:
    from gencls.data.errors import three_parts

    if path.suffix.lower() != ".png":
        raise ValueError(three_parts("a path that ends in .png", repr(path.name), "Change its ending."))


def _masking(args: argparse.Namespace) -> None:
    from rich.console import Console

    from gencls.data.storage import write_atomic
    from gencls.diffusion.tokens import tokenize
    from gencls.evaluation.generators import load_language_model
    from gencls.generation.animation import animate, check_animation
    from gencls.generation.frames import draw_overview, to_png
    from gencls.generation.inside import forward_process
    from gencls.generation.terminal import show_steps
    from gencls.generation.vocabulary import vocabulary_of

    is_picture = args.output.suffix.lower() == ".png"
    if not is_picture:
        check_animation(args.output)
    model = load_language_model(args.run)
    ids = tokenize([args.text], model.tokenizer, max_length=_longest(model)).ids[0]
    trajectory = forward_process(
        ids,
        _levels_of(args.levels),
        tokens=vocabulary_of(model.tokenizer, model.denoiser.vocab_size).reads,
        mask_id=model.denoiser.frame.mask,
        seed=args.seed,
        text=args.text,
    )
    show_steps(trajectory, Console(file=sys.stdout))
    if is_picture:
        write_atomic(args.output, to_png(draw_overview(trajectory)))
    else:
        animate(trajectory, args.output, title="What the model sees")


def _schedules(args: argparse.Namespace) -> None:
    from typing import get_args

    from gencls.data.errors import three_parts
    from gencls.diffusion.schedule import ScheduleName, hidden_after
    from gencls.reporting.inside import prepare_schedules
    from gencls.reporting.inside_plots import plot_schedules

    if not 1 <= args.steps <= args.length:
        got = f"{args.steps} steps of {args.length} tokens"
        raise ValueError(three_parts("1 <= steps <= length", got, "Take fewer steps."))
    counts = {name: hidden_after(args.length, args.steps, name) for name in get_args(ScheduleName)}
    _write_figure(args.output, plot_schedules(prepare_schedules(counts, args.length)))
    for name, hidden in counts.items():
        print(f"{name:<12} {' '.join(map(str, hidden.tolist()))}")


def _layers(args: argparse.Namespace) -> None:
    from dataclasses import asdict

    from gencls.diffusion.tokens import tokenize
    from gencls.evaluation.generators import load_language_model
    from gencls.generation.inside import observe_layers
    from gencls.reporting.inside import prepare_layers
    from gencls.reporting.inside_plots import plot_layers

    levels = _levels_of(args.levels)
    model = load_language_model(args.run)
    texts = _held_out_texts(args)
    ids = [own for own in tokenize(texts, model.tokenizer, max_length=_longest(model)).ids if len(own)]
    seen = observe_layers(model.denoiser, ids, levels, seed=args.seed)
    curves = prepare_layers(**asdict(seen))
    _write_figure(args.output, plot_layers(curves))
    print(f"{len(ids)} texts; share of hidden tokens that a layer's likeliest token is, ± standard error")
    print("hidden  " + "".join(f"{f'layer {layer}':>15}" for layer in range(curves.accuracy.shape[1])))
    for row, level in enumerate(levels):
        pairs = zip(curves.accuracy[row], curves.standard_error[row], strict=True)
        print(f"{100 * level:4.0f} %  " + "".join(f"{100 * value:8.1f} ± {100 * se:4.1f}" for value, se in pairs))


def _levels(args: argparse.Namespace) -> None:
    import json

    from gencls.data.errors import three_parts
    from gencls.reporting.inside import prepare_levels
    from gencls.reporting.inside_plots import plot_levels

    path = args.run / "training_log.jsonl"
    if not path.is_file():
        raise FileNotFoundError(three_parts(f"a run with {path.name}", f"none in {args.run}", "Check the folder."))
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    stages = prepare_levels(rows)
    _write_figure(args.output, plot_levels(stages))
    for stage in stages:
        ends = (f"{100 * level:.0f} %: {loss:.2f}" for level, loss in zip(stage.levels, stage.loss[-1], strict=True))
        print(f"{stage.name}, step {stage.steps[-1]}, nats per hidden token up to each level: {', '.join(ends)}")


def _levels_of(words: str) -> list[float]:
    from gencls.data.errors import three_parts

    try:
        return [float(word) for word in words.split(",")]
    except ValueError as error:
        raise ValueError(three_parts("levels as 0.15,0.5", repr(words), "Separate numbers by commas.")) from error


def _longest(model: LanguageModel) -> int:
    """Most tokens of a row of the model."""
    from gencls.likelihood.rows import row_limit

    limit = row_limit(model.denoiser)
    return 512 if limit is None else min(limit - model.denoiser.frame.n_special, 512)


def _held_out_texts(args: argparse.Namespace) -> list[str]:
    """The first of the texts that were asked for, or validation texts of a classifier's run in a seeded order."""
    from itertools import islice

    import numpy as np

    from gencls.data.corpus import load_corpus
    from gencls.data.errors import three_parts
    from gencls.evaluation.runs import load_run_data

    if args.texts:
        return list(islice(load_corpus(args.texts).open(), args.max_texts))
    if not (args.run / "classifier.json").exists():
        todo = "Name a corpus or a file that it was not trained on."
        raise ValueError(three_parts("--texts for a run without a validation split", "none", todo))
    texts = load_run_data(args.run)[2]["validation"].texts
    return [texts[row] for row in np.random.default_rng(args.seed).permutation(len(texts))[: args.max_texts]]


def _write_figure(path: Path, figure: Any) -> None:
    from gencls.data.storage import write_atomic
    from gencls.reporting.canvas import to_png

    write_atomic(path, to_png(figure))
