"""The verb ``predict``: JSON lines with probabilities, log-odds and their standard error."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

SUMMARY = "classify texts: one JSON line each"
#: Texts classified and printed at a time, so that a long file streams.
CHUNK = 64


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb and its flags."""
    parser = subparsers.add_parser("predict", help=SUMMARY, description=SUMMARY)
    parser.add_argument("run", type=Path, help="the folder that train-per-class wrote")
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="texts to classify")
    parser.add_argument(
        "--file", metavar="F", help="a table (CSV, TSV, JSON lines, Parquet), or one text a line; - for standard input"
    )
    parser.add_argument("--text-column", default="text", metavar="NAME", help="of a table's texts (default: text)")
    parser.add_argument("--priors", help="comma-separated class probabilities, in the order of the classes")
    parser.add_argument(
        "--target-flip-rate",
        type=float,
        metavar="SHARE",
        help="draw until at most this share of decisions would change with all draws, such as 0.01",
    )
    parser.add_argument("--n-jobs", type=int, default=1, metavar="N", help="processes of scoring on a CPU")


def run(args: argparse.Namespace) -> int:
    """Run the verb; return the exit status."""
    from gencls.data.errors import three_parts

    if args.texts == ["-"] and not args.file:
        args.texts, args.file = [], "-"
    if bool(args.texts) == bool(args.file):
        todo = "Give one of them; --file - reads standard input."
        raise ValueError(three_parts("texts, or --file", "both" if args.texts else "neither", todo))
    if args.file not in (None, "-") and not Path(args.file).is_file():
        raise FileNotFoundError(three_parts("a file of texts", f"no file {args.file!r}", "Check the path."))

    from gencls.classifier.estimator import DiffusionClassifier
    from gencls.classifier.inputs import check_n_jobs

    check_n_jobs(args.n_jobs)
    priors = _priors(args.priors) if args.priors else None
    classifier = DiffusionClassifier.load(args.run)
    classifier.set_params(n_jobs=args.n_jobs)
    if args.target_flip_rate is not None:
        classifier.set_target_flip_rate(args.target_flip_rate)
    if priors is not None:
        classifier.set_priors(priors)
    for chunk in _chunks(iter(args.texts) if args.texts else _texts(args.file, args.text_column)):
        for row in describe(classifier, chunk):
            print(json.dumps(row, ensure_ascii=False), flush=True)
    return 0


def describe(classifier, texts: list[str]) -> list[dict]:  # type: ignore[no-untyped-def,type-arg]  # noqa: ANN001
    """Return one row per text: prediction, proba, log_odds (best against second), log_odds_se, n_tokens.

    Where their number is adapted, also n_draws, and is_open: undecided after the last one.
    """
    import numpy as np

    from gencls.classifier.bayes import log_odds

    scores = classifier.score_samples_by_class(texts)
    log_proba = classifier.log_proba_of(scores)
    names = [str(name) for name in classifier.classes_]
    rows = [
        {
            "prediction": names[int(row.argmax())],
            "proba": {name: float(value) for name, value in zip(names, np.exp(row), strict=True)},
            "log_odds": float(odds),
            "log_odds_se": None if np.isnan(error) else float(error),
            "n_tokens": int(n_tokens),
        }
        for row, odds, error, n_tokens in zip(
            log_proba,
            log_odds(log_proba),
            classifier.log_odds_standard_error(scores),
            scores.n_tokens,
            strict=True,
        )
    ]
    for row, draws in zip(rows, _draws_of(scores), strict=False):
        row |= draws
    return rows


def _draws_of(scores) -> list[dict]:  # type: ignore[no-untyped-def,type-arg]  # noqa: ANN001
    """Return what an adaptive scoring says of each text; nothing otherwise."""
    from gencls.likelihood.adaptive import AdaptiveScores

    if not isinstance(scores, AdaptiveScores) or scores.n_draws is None:
        return []
    return [
        {"n_draws": int(n_draws), "is_open": bool(is_open)}
        for n_draws, is_open in zip(scores.n_draws, scores.is_open, strict=True)
    ]


def _priors(words: str) -> list[float]:
    from gencls.data.errors import three_parts

    try:
        return [float(value) for value in words.split(",")]
    except ValueError as error:
        todo = "Give one probability for each class, in their order."
        raise ValueError(three_parts("numbers between commas for --priors", repr(words), todo)) from error


def _texts(name: str, text_column: str) -> Iterator[str]:
    """The rows of a table, or the lines of any other file."""
    from gencls.data.files import TABLE_SUFFIXES, table_texts

    if Path(name).suffix.lower() in TABLE_SUFFIXES:
        return iter(table_texts(Path(name), text_column=text_column))
    return _lines(name)


def _lines(name: str) -> Iterator[str]:
    if name == "-":
        yield from (line.rstrip("\n") for line in sys.stdin)
        return
    with Path(name).open(encoding="utf-8", errors="replace") as file:
        yield from (line.rstrip("\n") for line in file)


def _chunks(texts: Iterator[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    for text in texts:
        chunk.append(text)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
