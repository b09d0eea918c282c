"""Few labelled texts: drawn as promised, resumed, and told with their differences."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import accuracy_few_shot, accuracy_few_shot_models
from benchmarks.accuracy_few_shot import Config, few_shot, main, parser
from benchmarks.accuracy_few_shot_models import ADAPTED, GROUPS, STEPLESS, group_of
from benchmarks.accuracy_few_shot_report import crossed_mean, page
from benchmarks.commands import as_typed
from benchmarks.packed import packed, unpacked
from gencls.data.dataset import TextSplit
from gencls.data.storage import read_json, write_json
from gencls.training.config import TrainConfig

TINY = TrainConfig(backbone="tiny-random", adapt_steps=2, class_steps=2, batch_size=8, max_length=24, n_steps=1)
RIVALS = ("naive_bayes", "encoder", ADAPTED)
OTHERS = ["diffusion_unlabelled", "naive_bayes_pairs_unlabelled", "tfidf_logistic_regression_unlabelled"]
MODELS = [STEPLESS, "diffusion", *RIVALS, *OTHERS, ADAPTED + "_unlabelled"]
RUN = ("run", "config")
NETWORKS = ["diffusion", "encoder", ADAPTED, "diffusion_unlabelled", ADAPTED + "_unlabelled"]


@pytest.fixture(scope="module")
def config():
    return Config(sizes=(2, 4), seeds=(0,), n_test=10, training=TINY)


@pytest.fixture(scope="module")
def report(tmp_path_factory, toy, table, config):
    folder = tmp_path_factory.mktemp("few")
    data = str(table(folder / "toy.csv", toy(160)))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"RIVALS": RIVALS, "FEWEST_STEPS": 7, "MOST_STEPS": 8}.items():
            patch.setattr(accuracy_few_shot, name, value)
        for name, value in {"RIVALS": RIVALS, "SELF_TRAINED": ("tfidf_logistic_regression",)}.items():
            patch.setattr(accuracy_few_shot_models, name, value)
        options = {"runs": folder / "runs", "config": config, "output": folder / "report", "command": "c"}
        main(data, sizes=(4,), seeds=(0, 1), **options)
        main(data, sizes=(2,), seeds=(0,), **options)
        for group in GROUPS:
            patch.setitem(accuracy_few_shot.MAKERS, group, lambda *_, **__: pytest.fail("made again"))
        again = few_shot(data, config, folder / "runs")
        with pytest.raises(ValueError, match="sizes of at most"):
            few_shot(data, Config(sizes=(1000,), training=TINY), folder / "runs")
        with pytest.raises(ValueError, match="the same options"):
            few_shot(data, Config(sizes=(2,), training=TrainConfig(backbone="tiny-random")), folder / "runs")
        for name in ("EPOCHS", "FEWEST_STEPS", "MOST_STEPS", "CALIBRATION", "RIVALS", "FRESH_TEST"):
            changed = {"RIVALS": RIVALS[:1], "FRESH_TEST": {data: 20}}.get(name, 9)
            with patch.context() as other, pytest.raises(ValueError, match="the same options"):
                other.setattr(accuracy_few_shot, name, changed)
                few_shot(data, config, folder / "runs")
        # made by an earlier version, which did not know an option
        for path, place in ((folder / "runs" / "config.json", []), (folder / "report" / "few-shot-toy.json", RUN)):
            _without_option(path, place, "triple_smoothing")
        assert few_shot(data, config, folder / "runs") == again
        # on another machine, where only the report is
        options["runs"] = folder / "elsewhere"
        before = {path.name: path.read_bytes() for path in (folder / "report").iterdir()}
        main(data, sizes=(2, 4), seeds=(0,), **options)
        assert {path.name: path.read_bytes() for path in (folder / "report").glob("*.p*")}.items() <= before.items()
        assert few_shot(data, config, folder / "elsewhere") == again
        assert not (folder / "elsewhere" / "language-model").exists()
        options["config"] = Config(sizes=(2,), seeds=(0,), n_test=9, training=TINY)
        with pytest.raises(BaseException, match="made again"):  # other test texts: other rows
            main(data, sizes=(2,), seeds=(0,), **options)
    return folder / "report", again


def _without_option(path, place, option):
    told = read_json(path)
    found = told
    for name in place:
        found = found[name]
    del found["training"][option]
    write_json(path, told)


def test_groups_can_be_run_one_by_one(report, monkeypatch, tmp_path):
    folder, again = report
    assert {group_of(row["model"]) for row in again} == set(GROUPS)
    made = []
    for group in GROUPS:
        monkeypatch.setitem(accuracy_few_shot.MAKERS, group, lambda *_, group=group, **__: made.append(group) or [])
    monkeypatch.setattr(accuracy_few_shot, "_language_model", lambda *_: None)
    data = str(folder.parent / "toy.csv")
    few_shot(data, Config(sizes=(2,), seeds=(0,), n_test=10, training=TINY, groups=("unlabelled",)), tmp_path)
    assert made == ["unlabelled"]


@pytest.mark.parametrize("n_texts", [1, 8, 13])
def test_rows_are_told_in_few_digits(n_texts):
    correct = np.random.default_rng(n_texts).integers(0, 2, n_texts).tolist()
    assert unpacked(packed(correct), n_texts).tolist() == correct


def test_every_size_seed_and_model_has_a_row_and_those_of_earlier_calls_stay(report):
    folder, again = report
    (path,) = folder.glob("*.json")
    rows = read_json(path)["rows"]
    draws = ((2, 0), (4, 0), (4, 1))
    assert [(row["size"], row["seed"], row["model"]) for row in rows] == [
        (*draw, model) for draw in draws for model in MODELS
    ]
    assert [{**row, "correct": unpacked(row["correct"], 10).tolist()} for row in rows] == again
    assert all(np.mean(row["correct"]) == row["accuracy"] and len(row["correct"]) == 10 for row in again)
    (picture,) = folder.glob("*.png")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_every_network_takes_the_same_steps_however_few_the_texts(report):
    """Four texts in batches of eight: three passes of them are three steps."""
    steps = {(row["size"], row["model"]): row["steps"] for row in report[1] if "steps" in row}
    assert steps == {(size, model): 7 for size in (2, 4) for model in NETWORKS} | {(2, STEPLESS): 0, (4, STEPLESS): 0}


def test_the_page_tells_draws_of_each_size_and_what_was_read(report):
    (path,) = report[0].glob("*.md")
    text = path.read_text(encoding="utf-8")
    assert "| texts of each class | 2 | 4 |" in text
    assert "| draws | 1 | 2 |" in text
    assert "| steps of the networks | 7 | 7 |" in text
    assert "trained on 16 of them (2 steps)" in text
    assert "the last 24 tokens" in text
    layers = "Layers of the networks: generative, no class steps: 2; generative: 2; encoder, fine-tuned: 2; "
    assert layers + "encoder, from the language model: 2; " in text
    assert "generative, with unlabelled texts: 2; encoder, from the language model, with unlabelled texts: 2." in text


def test_the_page_tells_how_many_of_the_unlabelled_texts_got_their_class(report):
    (path,) = report[0].glob("*.md")
    told = [[row["told_right"] for row in report[1] if row["size"] == size and "told_right" in row] for size in (2, 4)]
    assert [len(found) for found in told] == [1, 2]
    cells = " | ".join(f"{100 * np.mean(found):.1f}" for found in told)
    assert f"told right | {cells} |" in path.read_text(encoding="utf-8")


def test_the_control_starts_from_the_language_model(monkeypatch):
    class Classifier:
        backbone = "language-model"

        def set_params(self, backbone):
            self.backbone = backbone
            return self

    fitted = lambda name, start, *_, **__: (name, start.backbone)  # noqa: E731
    monkeypatch.setattr(accuracy_few_shot_models, "fit_baseline", fitted)
    found = [accuracy_few_shot_models._rival(name, Classifier(), {}, "minilm", False) for name in ("encoder", ADAPTED)]
    assert found == [("encoder", "minilm"), ("encoder", "language-model")]


def test_texts_are_drawn_from_every_class_and_small_draws_lie_in_large_ones():
    split = TextSplit([str(number) for number in range(30)], np.arange(30) % 3)
    small, large = (accuracy_few_shot._of_each_class(split, size, seed=1) for size in (2, 5))
    assert np.bincount(split.labels[small]).tolist() == [2, 2, 2]
    assert set(small) < set(large)
    assert small.tolist() != accuracy_few_shot._of_each_class(split, 2, seed=2).tolist()
    parts = accuracy_few_shot._drawn({"train": split, "validation": split}, 2, 1)
    assert sorted([*parts["train"].texts, *parts["unlabelled"].texts]) == sorted(split.texts)
    assert len(parts["train"]) == 6


def test_intervals_are_students_over_draws_or_over_texts():
    """Where all texts are alike the draws decide, where all draws are alike the texts do."""
    from scipy import stats

    generator = np.random.default_rng(0)
    for values in (generator.normal(size=6), np.array([0.1, 0.05])):
        mean = crossed_mean(np.repeat(values[:, None], 9, axis=1))
        wanted = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
        assert mean.interval() == pytest.approx((wanted.low, wanted.high))
        assert mean.value == pytest.approx(values.mean())
        assert crossed_mean(np.repeat(values[None], 4, axis=0)).interval() == pytest.approx((wanted.low, wanted.high))
    assert crossed_mean(np.ones((3, 5))).interval() == (1.0, 1.0)
    assert np.isnan(crossed_mean(np.ones((1, 5))).interval()).all()


def test_intervals_cover_other_draws_and_other_texts():
    generator, n_trials = np.random.default_rng(1), 2000
    hits = 0
    for _ in range(n_trials):
        values = 0.1 * generator.normal(size=(5, 1)) + generator.normal(size=(1, 80))
        low, high = crossed_mean(values).interval()
        hits += low < 0 < high
    z = (hits / n_trials - 0.95) / (0.95 * 0.05 / n_trials) ** 0.5
    assert abs(z) < 4


def test_the_page_says_who_is_ahead_and_by_how_much():
    rights = {"diffusion": ([1, 1, 1, 0], [1, 1, 0, 0]), "encoder": ([1, 0, 1, 0], [0, 1, 0, 0])}
    rows = [
        {"size": 8, "seed": seed, "model": model, "n_steps": 60, "n_layers": 6, "correct": right}
        for model, draws in rights.items()
        for seed, right in enumerate(draws)
    ]
    config = {"n_test": 4, "training": TrainConfig(truncation="head", adapt_steps=30).as_dict(), "n_unlabelled": 640}
    config |= {"n_validation": 3, "epochs": 3, "fewest_steps": 60, "most_steps": 256, "calibration": 100}
    text = page("toy", rows, {"command": "c", "config": config})
    own, lead = np.array(rights["diffusion"]), np.subtract(rights["diffusion"], rights["encoder"])
    assert f"| generative | 62.5 ± {100 * crossed_mean(own).error:.1f} |" in text
    low, high = crossed_mean(lead).interval()
    assert f"| encoder, fine-tuned | +25.0 [{100 * low:.1f}, {100 * high:.1f}] |" in text
    assert "the first 128 tokens" in text
    assert "all of them, 1.5 times" in text


def test_models_are_compared_on_the_draws_that_both_have():
    rows = [
        {"size": size, "seed": seed, "model": model, "n_steps": 60, "correct": right}
        for size, seed, model, right in [
            (8, 0, "diffusion", [1, 1]),
            (8, 1, "diffusion", [0, 0]),
            (8, 0, "diffusion_unlabelled", [1, 0]),
            (16, 0, "diffusion", [1, 0]),
        ]
    ]
    config = {"n_test": 2, "training": TrainConfig().as_dict(), "n_unlabelled": 640}
    config |= {"n_validation": 3, "epochs": 3, "fewest_steps": 60, "most_steps": 256, "calibration": 100}
    text = page("toy", rows, {"command": "c", "config": config})
    assert "| generative, with unlabelled texts | 50.0 (1 of 2 draws) | – |" in text
    assert "| generative, with unlabelled texts | +50.0 | – |" in text
    assert "| generative | 50.0 ± " in text
    assert "| generative | -50.0 | – |" in text


def test_the_command_is_told_as_typed():
    typed = ["--data", "r8", "--sizes", "8", "32", "--limit", "500", "--runs", "somewhere"]
    told = as_typed(parser(), vars(parser().parse_args(typed)), always=("data",))
    assert told == "python -m benchmarks.accuracy_few_shot --data r8 --sizes 8 32 --limit 500"
    told = as_typed(parser(), vars(parser().parse_args([])), always=("data",))
    assert told == "python -m benchmarks.accuracy_few_shot --data imdb"
