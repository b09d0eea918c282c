"""The tables of the first page: all models on all data sets, the encoder beside ours, and calibration errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.accuracy_figures import OWN, by_model, data_title, title
from benchmarks.accuracy_results import ENCODER, difference, outcome
from benchmarks.accuracy_tables import by_place, lead, percent, place_name, with_difference
from benchmarks.markdown import table

Row = Mapping[str, Any]
#: A rival above the generative model, and one below it.
_ARROWS = {"loses": " ↑", "wins": " ↓"}
#: Behind a mean with a rival in it that has other steps or another backbone than the generative model.
_OF_ANOTHER_RECIPE = "\\*"
#: Models whose calibration errors stand beside each other.
_CALIBRATED = ("diffusion", "hybrid", "naive_bayes_pairs", "nb_svm", "tfidf_logistic_regression", ENCODER)


def overview_table(rows: Sequence[Row]) -> str:
    """Return accuracies in percent in Markdown: a row for each model, a column for each data set.

    Parameters
    ----------
    rows : sequence of dict
        Of `benchmarks.accuracy_results.joined`; a cell is the mean over the seeds of a model and data set.
    """
    data = {name: by_model(rows, name) for name in dict.fromkeys(row["data"] for row in rows)}
    models = sorted(dict.fromkeys(row["model"] for row in rows), key=lambda model: model not in OWN)
    names = ["", *(data_title(name, found) for name, found in data.items())]
    return table(names, ([title(model), *(_cell(model, found) for found in data.values())] for model in models))


def _cell(model: str, found: Mapping[str, Sequence[Row]]) -> str:
    """A model on a data set, of which `found` has the rows of all models."""
    if model not in found:
        return "–"
    rows, n_seeds = found[model], max(map(len, found.values()))
    mean, best = _mean(rows), max(_mean(others) for others in found.values() if len(others) == n_seeds)
    shown = f"**{100 * mean:.1f}**" if mean == best and len(rows) == n_seeds else f"{100 * mean:.1f}"
    of = "" if len(rows) == n_seeds else f" ({len(rows)} of {n_seeds})"
    kept = _OF_ANOTHER_RECIPE if any("differs" in row for row in rows) else ""
    return shown + kept + _arrow(rows) + of


def _mean(rows: Sequence[Row]) -> float:
    return sum(row["accuracy"] for row in rows) / len(rows)


def _arrow(rows: Sequence[Row]) -> str:
    """Whether a rival is above or below the generative model beyond chance, with each of the seeds that have it."""
    outcomes = {outcome(row) for row in rows if row["model"] != "diffusion"}
    return _ARROWS.get(outcomes.pop(), "") if len(outcomes) == 1 else ""


def encoder_table(rows: Sequence[Row], evaluations: Sequence[Row]) -> str:
    """Return the generative and the hybrid model beside the encoder of the same texts, in Markdown.

    Parameters
    ----------
    rows, evaluations : sequence of dict
        Of `benchmarks.accuracy_results.joined`. Where these tell no single texts, the hybrid's lead has no interval.
    """
    correct = {(row["variant"], place_name(row)): row["correct"] for row in evaluations if "correct" in row}
    cells = []
    for place, models in by_place(rows).items():
        if ENCODER in models:
            encoder, own = models[ENCODER], models["diffusion"]
            shown = [
                with_difference(percent(encoder["accuracy"]), encoder),
                percent(own["accuracy"]),
                _marked_lead(encoder),
            ]
            cells.append([place, *shown, *_hybrid_beside(place, models, correct)])
    return table(["data", "encoder", "generative", "ahead by", "hybrid", "ahead by"], cells)


def _hybrid_beside(
    place: str, models: Mapping[str, Row], correct: Mapping[tuple[str, str], Mapping[str, np.ndarray]]
) -> tuple[str, str]:
    """The hybrid's accuracy, and by how much it is ahead of the encoder."""
    if "hybrid" not in models:
        return "–", ""
    accuracy = models["hybrid"]["accuracy"]
    if ("hybrid", place) not in correct:
        return percent(accuracy), f"{100 * (accuracy - models[ENCODER]['accuracy']):+.1f}"
    right = {"diffusion": correct["hybrid", place]["diffusion"], ENCODER: correct["generative", place][ENCODER]}
    return percent(accuracy), _marked_lead(difference(right, ENCODER))


def _marked_lead(row: Row) -> str:
    """A lead, bold where its interval leaves zero out."""
    return lead(row) if outcome(row) == "undecided" else f"**{lead(row)}**"


def calibration_table(rows: Sequence[Row]) -> str:
    """Return calibration errors in percent in Markdown: a row for each data set and seed; rows as `overview_table`."""
    places = by_place(rows)
    there = [model for model in _CALIBRATED if any(model in models for models in places.values())]
    names = ["data", *map(title, there)]
    return table(names, ([place, *(_error(models.get(model)) for model in there)] for place, models in places.items()))


def _error(row: Row | None) -> str:
    """A calibration error beside the upper end of its null."""
    if row is None:
        return "–"
    shown = f"{percent(row['ece'])} ({percent(row['ece_null_high'])})"
    return f"**{shown}**" if row["ece"] > row["ece_null_high"] else shown
