"""The table of all models on all data sets."""

from __future__ import annotations

import pytest

from benchmarks.accuracy_overview import overview_table


def row(data, seed, model, accuracy, ahead=None):
    """One row of a model; `ahead`: the interval of the generative model's lead."""
    low, high = ahead or (0.0, 0.0)
    paired = {} if model == "diffusion" else {"ahead_low": low, "ahead_high": high}
    return {"data": data, "seed": seed, "model": model, "accuracy": accuracy, **paired}


@pytest.fixture
def cells():
    rows = [
        row("sea", 0, "diffusion", 0.80),
        row("sea", 0, "encoder", 0.84, (-0.06, -0.02)),
        row("sea", 0, "nb_svm", 0.70, (0.05, 0.15)),
        row("sea", 1, "diffusion", 0.81),
        row("sea", 1, "encoder", 0.82, (-0.03, 0.01)),
        row("land", 0, "diffusion", 0.90),
        row("land", 0, "nb_svm", 0.91, (-0.02, -0.005)),
    ]
    lines = [line.strip("|").split("|") for line in overview_table(rows).splitlines()]
    names, _, *models = [[cell.strip() for cell in line] for line in lines]
    return {(model[0], name): value for model in models for name, value in zip(names[1:], model[1:], strict=True)}


def test_a_cell_is_the_mean_over_the_seeds(cells):
    assert cells["generative", "sea, 2 seeds"] == "80.5"
    assert cells["generative", "land"] == "90.0"


def test_the_best_of_each_data_set_is_bold(cells):
    assert [place for place, value in cells.items() if "**" in value] == [
        ("encoder, fine-tuned", "sea, 2 seeds"),
        ("NB-SVM", "land"),
    ]


def test_an_arrow_needs_each_of_the_seeds_beyond_chance(cells):
    assert cells["encoder, fine-tuned", "sea, 2 seeds"] == "**83.0**"  # the second seed is within chance
    assert cells["NB-SVM", "land"] == "**91.0** ↑"


def test_a_model_that_lacks_a_seed_or_a_data_set_says_so(cells):
    assert cells["NB-SVM", "sea, 2 seeds"] == "70.0 ↓ (1 of 2)"
    assert cells["encoder, fine-tuned", "land"] == "–"
