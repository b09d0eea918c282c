"""Write the pages, figures and targets of finished reports again from their numbers, after a change of words.

    python scripts/render_reports.py reports

Nothing is measured and no run is needed. Of accuracy the pages of the study are written; its summary has
`python -m benchmarks.accuracy --summary`. The page of generation shows texts that its numbers do not have, and is
written by its benchmark alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from benchmarks import estimators_report, poem_report, throughput_report
from benchmarks.accuracy_study_report import write_study_page
from gencls.data.storage import read_json
from gencls.reporting.report import build_report


def _poems(folder: Path) -> Path:
    metrics, record = read_json(folder / "metrics.json"), read_json(folder / "run.json")
    return poem_report.write_poem_report(folder, metrics, record, study=None, with_examples=False)


def _studies(folder: Path) -> Path:
    for path in folder.rglob("study-*.json"):
        write_study_page(path)
    return folder


def _results(write: Callable[..., Path]) -> Callable[[Path], Path]:
    return lambda folder: write(read_json(folder / "results.json"), read_json(folder / "run.json"), folder)


RENDERERS: dict[str, Callable[[Path], Path]] = {
    "accuracy": _studies,
    "estimators": _results(estimators_report.write_report),
    "imdb-demo": build_report,
    "poems": _poems,
    "throughput": _results(throughput_report.write_report),
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="write the pages of finished reports again")
    parser.add_argument("reports", type=Path, help="folder of the reports")
    folder = parser.parse_args().reports
    for name, render in RENDERERS.items():
        print(render(folder / name))
