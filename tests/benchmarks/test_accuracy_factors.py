"""The table of all studies: what is beyond chance stands in it, all else below it."""

from __future__ import annotations

import pytest

from benchmarks.accuracy_factors import factors_page, is_beyond_chance
from benchmarks.accuracy_study_report import BASE, write_study
from gencls.training.config import TrainConfig

RECIPE = TrainConfig().as_dict()


def row(factor, level, *, ahead=0.0, loss=0.0, half=0.01):
    """A level that is `ahead` of the recipe in accuracy (a share) and `loss` above it in nats, both give or take."""
    return {
        "factor": factor,
        "level": level,
        "n_texts": 1000,
        "accuracy": 0.8,
        "accuracy_se": 0.01,
        "mcnemar_p": 0.5 if level else None,
        "ahead": -ahead,  # of the recipe before the level
        "ahead_low": -ahead - half,
        "ahead_high": -ahead + half,
        "decision_loss": 0.4,
        "loss_change": loss,
        "loss_change_low": loss - half,
        "loss_change_high": loss + half,
        "counts_accuracy": 0.7,
        "nats_per_token": 5.0,
        "forwards": 4.0,
        "adapt_steps": 2,
        "class_steps": 2,
    }


@pytest.fixture
def folder(tmp_path):
    record = {"command": "c", "device": "d", "config": {"data": "toy", "size": "cpu", "recipe": RECIPE}}
    rows = [
        row(BASE, {}),
        row("draws", {"n_mc_samples": 8}, ahead=0.005, loss=-0.002),
        row("path_steps", {"n_steps": 1}, ahead=-0.02, loss=0.003),
    ]
    write_study("toy", rows, record, tmp_path)
    write_study("toy", [rows[0], row("mode", {"mode": "prompt"}, ahead=0.001, loss=-0.05)], record, tmp_path / "other")
    on_gpu = {**record, "config": {**record["config"], "size": "gpu"}}
    write_study("toy", [rows[0], row("mode", {"mode": "adapter"}, loss=-0.07)], on_gpu, tmp_path / "gpu")
    return tmp_path


def test_beyond_chance_in_accuracy_or_loss_the_largest_first(folder):
    lines = [line for line in factors_page(folder, "cpu").splitlines() if line.startswith("| [")]
    assert [line.split(" | ")[:4] for line in lines] == [
        [
            "| [other/toy](other/study-toy.md)",
            f"mode {RECIPE['mode']} → prompt",
            "+0.1 [-0.9, +1.1]",
            "-0.050 [-0.060, -0.040]",
        ],
        ["| [toy](study-toy.md)", f"n_steps {RECIPE['n_steps']} → 1", "-2.0 [-3.0, -1.0]", "+0.003 [-0.007, +0.013]"],
    ]


def test_the_others_are_named_and_all_are_counted(folder):
    text = factors_page(folder, "cpu")
    assert f"- [toy](study-toy.md): n_mc_samples {RECIPE['n_mc_samples']} → 8." in text
    assert "2 of 3, where at most 0.3 are expected by chance alone" in " ".join(text.split())
    assert (folder / "study-toy.md").exists() and (folder / "other" / "study-toy.md").exists()  # the links lead there


@pytest.mark.parametrize(
    ("ahead", "loss", "is_moved"), [(0, 0, False), (0.02, 0, True), (-0.02, 0, True), (0, 0.02, True), (0, -0.02, True)]
)
def test_either_interval_in_either_direction(ahead, loss, is_moved):
    assert is_beyond_chance(row("draws", {"n_mc_samples": 8}, ahead=ahead, loss=loss)) == is_moved


def test_a_folder_without_studies_says_how_to_make_one(tmp_path):
    assert "python -m benchmarks.accuracy_study" in factors_page(tmp_path, "cpu")
