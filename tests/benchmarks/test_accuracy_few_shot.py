"""Few labelled texts: drawn as promised, resumed, and told with their differences."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import accuracy_few_shot
from benchmarks.accuracy_few_shot import Config, few_shot, main
from benchmarks.accuracy_few_shot_report import mean_and_error, page, paired_interval
from gencls.data.dataset import TextSplit
from gencls.data.storage import read_json
from gencls.training.config import TrainConfig

TINY = TrainConfig(backbone="tiny-random", adapt_steps=2, class_steps=2, batch_size=8, max_length=24, n_steps=1)
MODELS = ["diffusion", "naive_bayes", "encoder"]


@pytest.fixture(scope="module")
def config():
    return Config(sizes=(2, 4), seeds=(0,), n_test=10, training=TINY)


@pytest.fixture(scope="module")
def report(tmp_path_factory, toy, table, config):
    folder = tmp_path_factory.mktemp("few")
    data = str(table(folder / "toy.csv", toy(160)))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"RIVALS": tuple(MODELS[1:]), "FEWEST_STEPS": 2, "MOST_STEPS": 3}.items():
            patch.setattr(accuracy_few_shot, name, value)
        options = {"runs": folder / "runs", "config": config, "sizes": config.sizes, "seeds": config.seeds}
        main(data, **options, output=folder / "report", command="c")
        patch.setattr(accuracy_few_shot, "_rows", lambda *_: pytest.fail("made again"))
        again = few_shot(data, config, folder / "runs")
        with pytest.raises(ValueError, match="sizes of at most"):
            few_shot(data, Config(sizes=(1000,), training=TINY), folder / "runs")
        with pytest.raises(ValueError, match="the same options"):
            few_shot(data, Config(sizes=(2,), training=TrainConfig(backbone="tiny-random")), folder / "runs")
    return folder / "report", again


def test_every_size_seed_and_model_has_a_row(report, config):
    folder, again = report
    (path,) = folder.glob("*.json")
    rows = read_json(path)["rows"]
    wanted = {(size, seed, model) for size in config.sizes for seed in config.seeds for model in MODELS}
    assert {(row["size"], row["seed"], row["model"]) for row in rows} == wanted
    assert rows == again
    assert all(0 <= row["accuracy"] <= 1 and row["n_steps"] in (2, 3) for row in rows)
    (picture,) = folder.glob("*.png")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_texts_are_drawn_from_every_class_and_small_draws_lie_in_large_ones():
    split = TextSplit([str(number) for number in range(30)], np.arange(30) % 3)
    small, large = (accuracy_few_shot._of_each_class(split, size, seed=1) for size in (2, 5))
    assert np.bincount(small.labels).tolist() == [2, 2, 2]
    assert set(small.texts) < set(large.texts)
    assert small.texts != accuracy_few_shot._of_each_class(split, 2, seed=2).texts


def test_intervals_are_students():
    from scipy import stats

    own, other = [0.8, 0.9, 0.85], [0.7, 0.85, 0.8]
    mean, low, high = paired_interval(own, other)
    wanted = stats.ttest_rel(own, other).confidence_interval(0.95)
    assert (low, high) == pytest.approx((wanted.low, wanted.high))
    assert mean == pytest.approx(np.mean(own) - np.mean(other))
    assert mean_and_error([0.5])[0] == 0.5


def test_the_page_says_who_is_ahead_and_by_how_much():
    rows = [
        {"size": 8, "seed": seed, "model": model, "accuracy": accuracy + seed / 100}
        for model, accuracy in (("diffusion", 0.8), ("encoder", 0.7))
        for seed in (0, 1)
    ]
    record = {"command": "c", "config": {"n_test": 10, "adapt_steps": 1, "max_length": 5}}
    text = page("toy", rows, record)
    assert "| 8 | 80.5 ± 0.5 | 70.5 ± 0.5 |" in text
    assert "+10.0 [10.0, 10.0]" in text
