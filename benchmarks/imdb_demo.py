"""The demo: real IMDB reviews from training to report, and what the project promised of it.

    python -m benchmarks.imdb_demo

It is `gencls train-per-class imdb --preset demo` followed by `gencls evaluate`, in one process, with a clock around
both and a `targets.json` beside the metrics. The data come from the hub or, where none answers, from the package
index.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.commands import log_to_stderr
from gencls.data.storage import read_json
from gencls.evaluation.evaluate import EvaluationOptions, evaluate_run
from gencls.evaluation.runs import train_run
from gencls.reporting.records import target_row, write_targets
from gencls.reporting.report import build_report
from gencls.reporting.tables import model_text
from gencls.training.presets import preset

COMMAND = "make demo"
TEST_TEXTS = 1500


def target_rows(metrics: Mapping[str, Any], minutes: float) -> list[dict[str, Any]]:
    """Return the rows of `targets.json`.

    Parameters
    ----------
    metrics : mapping
        The content of `metrics.json`.
    minutes : float
        Wall time of training and evaluation together.
    """
    diffusion, naive_bayes = metrics["diffusion"], metrics["naive_bayes"]
    values = [
        ("accuracy", diffusion["accuracy"], 0.84, ">="),
        ("accuracy_minus_naive_bayes", diffusion["accuracy"] - naive_bayes["accuracy"], 0.02, ">="),
        ("demo_minutes", minutes, 20.0, "<="),
        ("ece_minus_null_upper", diffusion["ece"] - diffusion["ece_null_high"], 0.0, "<="),
        ("nats_per_token_under_unigram", diffusion["nats_per_token_under_unigram"], 0.5, ">="),
    ]
    return [target_row(name, value, target, direction, COMMAND) for name, value, target, direction in values]


def main(run: Path, output: Path, *, n_texts: int = TEST_TEXTS, progress: bool = False) -> Path:
    """Train, evaluate, write the targets; returns the path of the HTML report."""
    start = time.monotonic()
    train_run("imdb", run, preset("demo"), progress=progress, command=COMMAND)
    trained = time.monotonic() - start
    start = time.monotonic()
    evaluate_run(run, output, EvaluationOptions(max_texts=n_texts), progress=progress, command=COMMAND)
    evaluated = time.monotonic() - start
    # a second call finds the run trained: its own record then has the time that training took
    trained = max(trained, read_json(run / "run.json").get("train_seconds") or 0.0)
    metrics = read_json(output / "metrics.json")
    write_targets(output / "targets.json", target_rows(metrics, (trained + evaluated) / 60))
    return build_report(output)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="the IMDB demo")
    parser.add_argument("--run", type=Path, default=Path("runs/imdb-demo"))
    parser.add_argument("--output", type=Path, default=Path("reports/imdb-demo"))
    parser.add_argument("--max-texts", type=int, default=TEST_TEXTS)
    arguments = parser.parse_args()
    log_to_stderr("gencls")
    report = main(arguments.run, arguments.output, n_texts=arguments.max_texts, progress=sys.stderr.isatty())
    print(model_text(read_json(arguments.output / "metrics.json")))
    print(f"report: {report}")
