"""The verb ``train-per-class``: one language model per class."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

SUMMARY = "train one masked-diffusion language model per class"
MODES = ("conditional", "adapter", "prompt", "independent")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb and its flags."""
    parser = subparsers.add_parser("train-per-class", help=SUMMARY, description=SUMMARY)
    parser.add_argument("data", help="a data set's name, a file or a folder")
    parser.add_argument("--output", metavar="RUN", type=Path, help="the run's folder (default: runs/DATA-PRESET)")
    parser.add_argument("--preset", choices=("demo", "cpu", "gpu"), default="demo", help="size of the training")
    parser.add_argument("--mode", choices=MODES, help="how the class enters the network")
    parser.add_argument("--backbone", help="language model, masked or causal: a name or a folder")
    parser.add_argument("--max-length", type=int, metavar="TOKENS", help="tokens kept of a text")
    parser.add_argument("--adapt-steps", type=int, help="steps of the class-free adaptation")
    parser.add_argument("--class-steps", type=int, help="steps of the class training")
    parser.add_argument(
        "--class-steps-must-help",
        action="store_const",
        const=True,
        help="take the class training back unless validation texts are classified better by it",
    )
    parser.add_argument(
        "--class-shrinkage",
        type=float,
        metavar="TEXTS",
        help="so many texts of a class keep half of what its training taught it, fewer keep less; such as 10",
    )
    parser.add_argument("--batch-size", type=int, help="texts per step")
    parser.add_argument("--hybrid-weight", type=float, help="weight of the decision loss; 0 is purely generative")
    parser.add_argument(
        "--hybrid-classes",
        type=int,
        metavar="N",
        help="classes among which the loss of --hybrid-weight decides a text, such as 8",
    )
    parser.add_argument(
        "--target-flip-rate",
        type=float,
        metavar="SHARE",
        help="score with as many draws as keep this share of decisions from changing, such as 0.01",
    )
    parser.add_argument("--long-texts", choices=("truncate", "chunks"), help="cut longer texts, or score them whole")
    parser.add_argument(
        "--unlabelled", metavar="FILE", type=Path, help="more texts, without labels: they train the classes too"
    )
    parser.add_argument(
        "--test-texts", metavar="N", type=int, help="judge on N of the test texts; the others train without labels"
    )
    parser.add_argument("--adapted", metavar="RUN", type=Path, help="take from this run what would be trained alike")
    parser.add_argument("--time-budget", type=float, metavar="MINUTES", help="train no longer than this")
    parser.add_argument("--source", choices=("auto", "hub", "registry", "file"), default="auto")
    parser.add_argument("--text-column", default="text")
    parser.add_argument("--label-column", default="label")
    parser.add_argument("--seed", type=int, help="of splits, order and masks")


def run(args: argparse.Namespace) -> int:
    """Run the verb; return the exit status."""
    from gencls.data.errors import three_parts
    from gencls.evaluation.runs import train_run
    from gencls.training.presets import preset

    if args.time_budget is not None and not args.time_budget > 0:
        raise ValueError(three_parts("a positive --time-budget", str(args.time_budget), "Give minutes."))
    options = (
        "mode",
        "backbone",
        "max_length",
        "adapt_steps",
        "class_steps",
        "class_steps_must_help",
        "class_shrinkage",
        "batch_size",
        "hybrid_weight",
        "hybrid_classes",
        "target_flip_rate",
        "long_texts",
        "seed",
    )
    changes = {name: getattr(args, name) for name in options if getattr(args, name) is not None}
    if args.backbone is not None:
        changes["backbone_layers"] = None
    folder = args.output or Path("runs") / f"{Path(args.data).stem}-{args.preset}"
    classifier = train_run(
        args.data,
        folder,
        preset(args.preset, **changes),
        source=args.source,
        text_column=args.text_column,
        label_column=args.label_column,
        n_test=args.test_texts,
        unlabelled=args.unlabelled,
        adapted=args.adapted,
        time_budget=args.time_budget,
        progress=sys.stderr.isatty(),
        command=" ".join(["gencls", *sys.argv[1:]]),
    )
    seconds = classifier.training_record_["seconds"]
    print(f"trained {len(classifier.classes_)} classes in {seconds / 60:.1f} min: {folder}")
    verdict = classifier.training_record_["classes"].get("verdict")
    if verdict is not None and not verdict["is_kept"]:
        print("the class training was taken back: validation texts are not classified better by it")
    print(f"next: gencls evaluate {folder}")
    return 0
