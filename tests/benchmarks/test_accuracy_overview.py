"""The tables of the first page."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.accuracy_overview import calibration_table, encoder_table, overview_table


def row(data, seed, model, accuracy, ahead=None):
    """One row of a model; `ahead`: the interval of the generative model's lead."""
    low, high = ahead or (0.0, 0.0)
    paired = {} if model == "diffusion" else {"ahead_low": low, "ahead_high": high}
    return {"data": data, "seed": seed, "model": model, "accuracy": accuracy, **paired}


def cells_of(text):
    names, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    return [names, *rows]


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
    names, *models = cells_of(overview_table(rows))
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


def test_the_best_is_one_with_all_seeds():
    rows = [row("sea", seed, "diffusion", 0.8 + 0.01 * seed) for seed in (0, 1)]
    rows.append(row("sea", 1, "hybrid", 0.9, (-0.1, -0.05)))
    assert [cells[1] for cells in cells_of(overview_table(rows))[1:]] == ["**80.5**", "90.0 ↑ (1 of 2)"]


def test_our_own_models_come_first():
    rows = [row("sea", 0, "diffusion", 0.8), row("sea", 0, "nb_svm", 0.7), row("sea", 0, "hybrid", 0.75)]
    assert [cells[0] for cells in cells_of(overview_table(rows))[1:]] == ["generative", "hybrid", "NB-SVM"]


def compared_with_an_encoder(n_texts=100):
    """Ninety texts right for the generative model, 80 for the hybrid, 95 for the encoder; land has no encoder."""
    right = {name: np.arange(n_texts) < count for name, count in (("own", 90), ("hybrid", 80), ("encoder", 95))}
    rows = [
        row("sea", 1, "diffusion", 0.90),
        {**row("sea", 1, "encoder", 0.95, (-0.0929, -0.0071)), "ahead": -0.05},
        {**row("sea", 1, "hybrid", 0.80, (0.04, 0.16)), "ahead": 0.1},
        row("land", 0, "diffusion", 0.90),
    ]
    place = {"data": "sea", "seed": 1}
    evaluations = [
        {**place, "variant": "generative", "correct": {"diffusion": right["own"], "encoder": right["encoder"]}},
        {**place, "variant": "hybrid", "correct": {"diffusion": right["hybrid"]}},
    ]
    return rows, evaluations


def test_both_ways_to_train_stand_beside_the_encoder():
    rows, evaluations = compared_with_an_encoder()
    half = 100 * 1.96 * np.std(np.arange(100) < 15, ddof=1) / 10
    assert cells_of(encoder_table(rows, evaluations))[1:] == [
        [
            "sea, seed 1",
            "95.0",
            "90.0",
            "**-5.0 [-9.3, -0.7]**",
            "80.0",
            f"**-15.0 [{-15 - half:.1f}, {-15 + half:.1f}]**",
        ]
    ]


def test_an_encoder_of_another_recipe_says_so():
    rows, evaluations = compared_with_an_encoder()
    rows[1] |= {"differs": "minilm"}
    (found,) = cells_of(encoder_table(rows, evaluations))[1:]
    assert found[1:3] == ["95.0 (minilm)", "90.0"]
    assert [cells[1] for cells in cells_of(overview_table(rows))[1:]] == ["90.0", "80.0 ↓", "**95.0**\\* ↑"]


def test_a_lead_within_chance_is_not_bold_and_one_of_unknown_texts_has_no_interval():
    rows, evaluations = compared_with_an_encoder()
    rows[1] |= {"ahead_low": -0.11, "ahead_high": 0.01}
    for evaluation in evaluations:
        del evaluation["correct"]
    (found,) = cells_of(encoder_table(rows, evaluations))[1:]
    assert found[3:] == ["-5.0 [-11.0, 1.0]", "80.0", "-15.0"]
    (without,) = cells_of(encoder_table(rows[:2], evaluations[:1]))[1:]
    assert without[4:] == ["–", ""]


def test_a_calibration_error_above_what_chance_makes_is_bold():
    rows = [
        {**row("sea", 0, "diffusion", 0.9), "ece": 0.012, "ece_null_high": 0.014},
        {**row("sea", 0, "encoder", 0.9), "ece": 0.031, "ece_null_high": 0.02},
        {**row("sea", 1, "diffusion", 0.9), "ece": 0.01, "ece_null_high": 0.014},
    ]
    assert cells_of(calibration_table(rows)) == [
        ["data", "generative", "encoder, fine-tuned"],
        ["sea, seed 0", "1.2 (1.4)", "**3.1 (2.0)**"],
        ["sea, seed 1", "1.0 (1.4)", "–"],
    ]
