"""The study of the tables' smoothing on a toy table: what is chosen, on which texts it is judged, and no test text."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import log_softmax

from benchmarks import accuracy_smoothing
from benchmarks.accuracy_recipes import DATA, Task, task
from benchmarks.accuracy_smoothing import PARTS, levels_of, main, parser, smoothing_page, smoothing_study
from gencls.data import load_dataset
from gencls.data.storage import read_json
from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.cross_fitting import CrossFittedTexts
from gencls.diffusion.statistics import ClassStatistics
from gencls.diffusion.tokens import tokenize
from gencls.diffusion.unigram import assign_folds
from gencls.evaluation.runs import cut_splits
from gencls.training.config import TrainConfig

FEW = {"smoothing": (0.3, 3.0), "pair_smoothing": (2.0, 8.0), "triple_smoothing": (2.0,), "interpolation": (0.5,)}


WORDS = ["the", "film", "plot", "actor", "scene", "story", "music", "end", "cut", "cast"]


@pytest.fixture(scope="module")
def base(tmp_path_factory, table):
    """Texts of the same words in shares that differ a little: no table gets them all."""
    generator = np.random.default_rng(0)
    shares = {label: generator.dirichlet(np.full(len(WORDS), 6.0)) for label in ("neg", "pos")}
    labels = ["neg", "pos"] * 100
    texts = [" ".join(generator.choice(WORDS, size=generator.integers(4, 12), p=shares[label])) for label in labels]
    data = table(tmp_path_factory.mktemp("smoothing") / "toy.csv", (texts, labels))
    return Task(
        str(data), "generative", TrainConfig(backbone="tiny-random", max_length=24, n_folds=4, seed=1, **FEW), ()
    )


@pytest.fixture(scope="module")
def rows(base):
    return smoothing_study(base)


def test_a_row_for_the_recipe_and_for_each_option(rows):
    assert [row["level"] for row in rows] == [
        {},
        {"discount": [0.3, 0.5, 0.7, 0.9]},
        {"interpolation": []},
        {"pair_smoothing": []},
        {"triple_smoothing": []},
        {"embedding_ridge": 10.0},
        {"pair_smoothing": [], "triple_smoothing": []},
    ]
    chosen = {tuple(row["level"]): row["smoothing"] for row in rows}
    assert chosen["interpolation",]["interpolation"] == 0
    assert chosen["pair_smoothing",]["pair"] is None
    assert chosen[()]["pair"] in FEW["pair_smoothing"]


def test_the_tables_are_judged_on_texts_that_they_have_not_counted(rows, base):
    recipe, dataset = base.config, load_dataset(base.data)
    splits = cut_splits(dataset, None, recipe.seed)
    tokenizer = load_backbone(recipe.backbone).tokenizer
    ids = {name: tokenize(part.texts, tokenizer, max_length=24, truncation="tail").ids for name, part in splits.items()}
    train = splits["train"].labels
    folds = assign_folds(ids["train"], 4, labels=train, generator=np.random.default_rng([1, 1]))
    statistics = ClassStatistics.from_texts(ids["train"], train, folds, 2, len(tokenizer), with_triples=True)
    smoothing = rows[0]["smoothing"]
    crossfit = np.concatenate(
        [
            statistics.scores(statistics.table(**smoothing, without_fold=int(fold)), [text])
            for text, fold in zip(ids["train"], folds, strict=True)
        ]
    )
    held = statistics.scores(statistics.table(**smoothing), [*ids["validation"], *ids["calibration"]])
    held_labels = np.concatenate([splits[name].labels for name in ("validation", "calibration")])
    prior = np.log(np.bincount(train) / len(train))
    for part, scores, labels in (("crossfit", crossfit, train), ("held", held, held_labels)):
        found, places = rows[0][part], np.arange(len(labels))
        least = min(
            -log_softmax((scores + prior) / heat, axis=1)[places, labels].mean()
            for heat in np.exp(np.linspace(-3, 7, 2001))
        )
        assert found["n_texts"] == len(labels)
        assert found["accuracy"] == pytest.approx(((scores + prior).argmax(axis=1) == labels).mean())
        assert found["loss"] == pytest.approx(least, abs=1e-4)


def test_changes_are_those_from_the_recipe(rows):
    for row in rows:
        for part in PARTS:
            assert row[part]["loss_change"] == pytest.approx(row[part]["loss"] - rows[0][part]["loss"])
            assert row[part]["loss_change_half"] >= 0
    assert rows[0]["held"]["loss_change_half"] == 0 < rows[-1]["held"]["loss_change_half"]


def test_no_test_text_is_read(base, monkeypatch, rows):
    def without_test(*arguments, **options):
        return {name: part for name, part in cut_splits(*arguments, **options).items() if name != "test"}

    monkeypatch.setattr(accuracy_smoothing, "cut_splits", without_test)
    again = smoothing_study(base)
    assert [row["held"] for row in again] == [row["held"] for row in rows]


def test_the_page_names_what_each_row_leaves_out_or_takes_in(base, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(accuracy_smoothing, "task", lambda *_, **__: base)
    monkeypatch.setattr(accuracy_smoothing, "smoothing_study", lambda _: rows)
    page = main("toy", seed=1, output=tmp_path / "new", command="typed")
    assert page == tmp_path / "new" / "smoothing-toy-1.md"
    text = page.read_text(encoding="utf-8")
    assert text == smoothing_page(page.with_suffix(".json"))
    assert read_json(page.with_suffix(".json"))["rows"] == rows
    lines = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert [cells[0] for cells in lines[1:]] == [
        "| recipe",
        "| with discount",
        "| without interpolation",
        "| without pair_smoothing",
        "| without triple_smoothing",
        "| with embedding_ridge",
        "| without pair_smoothing and triple_smoothing",
    ]
    change = rows[3]["held"]
    assert lines[4][-1] == f"{change['loss_change']:+.4f} ± {change['loss_change_half']:.4f} |"
    assert "`typed`" in text


@pytest.mark.parametrize("data", DATA)
def test_every_recipe_has_levels_that_it_can_train(data):
    recipe = task(data, "generative").config
    backbone = load_backbone("tiny-random")
    for level in levels_of(recipe, backbone):
        assert replace(recipe, **level) != recipe


def test_embeddings_are_taken_in_where_they_are_pretrained():
    pretrained, scratch = load_backbone("tiny-random"), load_backbone("scratch-64x1", texts=["a b", "b c"])
    assert {"embedding_ridge": 10.0} in levels_of(TrainConfig(), pretrained)
    assert {"embedding_ridge": 10.0} not in levels_of(TrainConfig(), scratch)


def test_the_command_line_has_a_default_for_everything():
    assert vars(parser().parse_args([])) == {"size": "cpu", "data": "imdb", "seed": 0, "output": None}


def test_a_class_without_tokens_outside_a_fold_leaves_its_texts_out():
    texts, labels = [np.array([0, 1]), np.array([1, 2]), np.array([3])], np.array([0, 0, 1])
    statistics = ClassStatistics.from_texts(texts, labels, np.array([0, 1, 0]), 2, 5)
    found = CrossFittedTexts(statistics, texts, labels, np.array([0, 1, 0]))
    assert found.labels.tolist() == [0, 0]
    smoothing = {"unigram": 1.0, "discount": None, "interpolation": 0.0, "pair": None, "triple": None}
    wanted = [
        statistics.scores(statistics.table(**smoothing, without_fold=fold), [texts[fold]])[0] for fold in range(2)
    ]
    np.testing.assert_allclose(found.scores(smoothing), wanted)
