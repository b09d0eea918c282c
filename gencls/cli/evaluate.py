"""The verb ``evaluate``: score held-out texts and write the report."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

SUMMARY = "score held-out texts and write the report"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb and its flags."""
    parser = subparsers.add_parser("evaluate", help=SUMMARY, description=SUMMARY)
    parser.add_argument("run", type=Path, help="the folder that train-per-class wrote")
    parser.add_argument("--data", help="a data set's name, a file or a folder (default: that of the run)")
    parser.add_argument("--text-column", metavar="NAME", help="of --data (default: that of the run's data)")
    parser.add_argument("--label-column", metavar="NAME", help="of --data (default: that of the run's data)")
    parser.add_argument("--split", default="test", help="the split to score")
    parser.add_argument("--max-texts", type=int, metavar="N", help="score a stratified sample of N texts")
    parser.add_argument("--output", metavar="DIR", type=Path, help="the report's folder (default: reports/RUN)")
    parser.add_argument(
        "--baselines",
        default="naive_bayes,naive_bayes_pairs,tfidf_logistic_regression,encoder",
        help="comma-separated rivals to train and report beside the run, or 'none'; also: naive_bayes_words, "
        "naive_bayes_bigrams, nb_svm, and, slow on a CPU, causal_per_class, causal_scratch, causal_zero_shot",
    )
    parser.add_argument(
        "--add",
        action="store_true",
        help="fit the baselines beside the evaluation of the same texts that is there; the run is not scored again",
    )
    parser.add_argument(
        "--take-from",
        metavar="DIR",
        type=Path,
        help="with --add: take the baselines over from an earlier run's evaluation on the same texts",
    )
    parser.add_argument(
        "--encoder-steps", type=int, metavar="N", help="training steps of encoder (default: those of the run's stages)"
    )
    parser.add_argument("--causal-model", default="smollm2", metavar="NAME", help="of causal_per_class and _zero_shot")
    parser.add_argument("--causal-steps", type=int, metavar="N", help="training steps of each class's causal model")
    parser.add_argument(
        "--causal-minutes", type=float, default=30.0, metavar="MIN", help="most minutes of training of a causal rival"
    )
    parser.add_argument(
        "--target-flip-rate",
        type=float,
        metavar="SHARE",
        help="draw until at most this share of decisions would change with all draws, such as 0.01",
    )
    parser.add_argument("--n-jobs", type=int, default=1, metavar="N", help="processes of scoring on a CPU")
    parser.add_argument("--seed", type=int, default=0, help="of the sample and the bootstrap")


def run(args: argparse.Namespace) -> int:
    """Run the verb; return the exit status."""
    from gencls.data.errors import three_parts
    from gencls.data.storage import read_json
    from gencls.evaluation.additions import add_baselines, take_baselines
    from gencls.evaluation.evaluate import EvaluationOptions, evaluate_run
    from gencls.evaluation.rival_data import CausalOptions
    from gencls.reporting.tables import model_text

    causal = CausalOptions(args.causal_model, args.causal_steps, 60 * args.causal_minutes)
    names = () if args.baselines == "none" else tuple(args.baselines.split(","))
    options = EvaluationOptions(
        data=args.data,
        text_column=args.text_column,
        label_column=args.label_column,
        split=args.split,
        max_texts=args.max_texts,
        baselines=names,
        seed=args.seed,
        target_flip_rate=args.target_flip_rate,
        n_jobs=args.n_jobs,
        encoder_steps=args.encoder_steps,
        causal=causal,
    )
    output = args.output or Path("reports") / args.run.name
    command = " ".join(["gencls", *sys.argv[1:]])
    if args.take_from is not None:
        if not args.add:
            raise ValueError(three_parts("--add with --take-from", "none", "The run is evaluated first, without both."))
        report = take_baselines(args.run, args.take_from, output, names, command=command)
    else:
        evaluate = add_baselines if args.add else evaluate_run
        report = evaluate(args.run, output, options, progress=sys.stderr.isatty(), command=command)
    print(model_text(read_json(output / "metrics.json")))
    print(f"report: {report}")
    return 0
