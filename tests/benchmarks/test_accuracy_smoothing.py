"""The study of the tables' smoothing on a toy table: what is chosen, on which texts it is judged, and no test text."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import log_softmax

from benchmarks import accuracy_smoothing
from benchmarks.accuracy_recipes import DATA, Task, task
from benchmarks.accuracy_smoothing import levels_of, main, parser, smoothing_page, smoothing_study
from gencls.data import load_dataset
from gencls.data.storage import read_json
from gencls.diffusion.backbones import load_backbone
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
        {"length_exponent": [0.5, 1.0]},
        {"pair_smoothing": [], "triple_smoothing": []},
    ]
    chosen = {" ".join(row["level"]): row["smoothing"] for row in rows}
    assert chosen["interpolation"]["interpolation"] == 0
    assert chosen["pair_smoothing"]["pair"] is None
    assert chosen[""]["pair"] in FEW["pair_smoothing"]
    assert chosen[""]["length_exponent"] == 0
    assert chosen["length_exponent"]["length_exponent"] in (0.5, 1.0)


def by_hand(base, chosen):
    """Which texts of each part the tables get right, text by text, and their losses on a grid of temperatures."""
    recipe = base.config
    splits = cut_splits(load_dataset(base.data), None, recipe.seed)
    tokenizer = load_backbone(recipe.backbone).tokenizer
    ids = {name: tokenize(part.texts, tokenizer, max_length=24, truncation="tail").ids for name, part in splits.items()}
    train = splits["train"].labels
    folds = assign_folds(ids["train"], 4, labels=train, generator=np.random.default_rng([1, 1]))
    smoothing = {name: value for name, value in chosen.items() if name != "length_exponent"}
    weighted = {"with_triples": True, "length_exponent": chosen["length_exponent"]}
    statistics = ClassStatistics.from_texts(ids["train"], train, folds, 2, len(tokenizer), **weighted)
    tables = [statistics.table(**smoothing, without_fold=fold) for fold in range(4)]
    crossfit = [
        statistics.scores(tables[fold], [text])[0]
        for wanted in range(4)
        for text, fold in zip(ids["train"], folds, strict=True)
        if fold == wanted
    ]
    held = statistics.scores(statistics.table(**smoothing), ids["calibration"])
    labels = {"crossfit": train[np.argsort(folds, kind="stable")], "held": splits["calibration"].labels}
    found = {}
    for part, scores in (("crossfit", np.array(crossfit)), ("held", held)):
        joint, places = scores + np.log(np.bincount(train) / len(train)), np.arange(len(labels[part]))
        grid = np.exp(np.linspace(-3, 7, 2001))
        losses = (-log_softmax(joint / heat, axis=1)[places, labels[part]] for heat in grid)
        found[part] = joint.argmax(axis=1) == labels[part], min(losses, key=np.mean)
    return found


def test_the_tables_are_judged_on_texts_that_they_have_not_counted(rows, base):
    recipe = by_hand(base, rows[0]["smoothing"])
    for row in (rows[0], *rows[-2:]):
        for part, (right, losses) in by_hand(base, row["smoothing"]).items():
            change = losses - recipe[part][1]
            assert row[part]["n_texts"] == len(losses)
            assert row[part]["accuracy"] == pytest.approx(right.mean())
            assert row[part]["loss"] == pytest.approx(losses.mean(), abs=1e-4)
            assert row[part]["loss_change"] == pytest.approx(change.mean(), abs=1e-4)
            half = 1.96 * change.std(ddof=1) / len(change) ** 0.5
            assert row[part]["loss_change_half"] == pytest.approx(half, rel=0.02), "of paired differences"
    assert rows[-1]["held"]["loss_change_half"] > 0


def test_no_test_text_is_read(base, monkeypatch, rows):
    def without_test(*arguments, **options):
        return {name: part for name, part in cut_splits(*arguments, **options).items() if name != "test"}

    monkeypatch.setattr(accuracy_smoothing, "cut_splits", without_test)
    again = smoothing_study(base)
    assert [row["held"] for row in again] == [row["held"] for row in rows]


def test_the_page_names_what_each_row_leaves_out_or_takes_in(base, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(accuracy_smoothing, "task", lambda *_, **__: base)
    seen = []

    def studied(_, *, write):
        for n_rows in range(1, len(rows) + 1):
            write(rows[:n_rows])
            seen.append(len(read_json(tmp_path / "new" / "smoothing-toy-1.json")["rows"]))

    monkeypatch.setattr(accuracy_smoothing, "smoothing_study", studied)
    page = main("toy", seed=1, output=tmp_path / "new", command="typed")
    assert page == tmp_path / "new" / "smoothing-toy-1.md"
    assert seen == [*range(1, len(rows) + 1)], "a kill keeps what is done"
    text = page.read_text(encoding="utf-8")
    assert text == smoothing_page(page.with_suffix(".json"))
    assert read_json(page.with_suffix(".json"))["rows"] == rows
    lines = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert [cells[0] for cells in lines[1:]] == [
        "| recipe",
        "| with discount 0.3, 0.5, 0.7, 0.9",
        "| without interpolation",
        "| without pair_smoothing",
        "| without triple_smoothing",
        "| with embedding_ridge 10",
        "| with length_exponent 0.5, 1",
        "| without pair_smoothing and triple_smoothing",
    ]
    change = rows[3]["held"]
    assert lines[4][-1] == f"{change['loss_change']:+.4f} ± {change['loss_change_half']:.4f} |"
    assert "`typed`" in text


@pytest.mark.parametrize("size", ["cpu", "gpu"])
@pytest.mark.parametrize("data", DATA)
def test_every_level_changes_the_recipe_to_one_that_is_valid(data, size):
    recipe = task(data, "generative", size=size).config
    for level in levels_of(recipe, load_backbone("tiny-random")):
        assert replace(recipe, **level) != recipe


def test_embeddings_are_taken_in_where_they_are_pretrained():
    pretrained, scratch = load_backbone("tiny-random"), load_backbone("scratch-64x1", texts=["a b", "b c"])
    assert {"embedding_ridge": 10.0} in levels_of(TrainConfig(), pretrained)
    assert {"embedding_ridge": 10.0} not in levels_of(TrainConfig(), scratch)


def test_without_triples_the_level_without_pairs_is_that_of_tokens_alone(base):
    backbone = load_backbone("tiny-random")
    both = {"pair_smoothing": (), "triple_smoothing": ()}
    assert levels_of(base.config, backbone)[-1] == both
    assert both not in levels_of(replace(base.config, triple_smoothing=()), backbone)


def test_unknown_data_is_refused_at_once(capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(["--data", "nope"])
    assert "invalid choice: 'nope'" in capsys.readouterr().err
