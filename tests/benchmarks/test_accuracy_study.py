"""The study of factors on a toy table: one change at a time, nothing trained twice, no test text read."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import accuracy_study
from benchmarks.accuracy_calibration import N_FOLDS
from benchmarks.accuracy_levels import FACTORS, HUB_FACTORS, ON_REQUEST, level_of, times
from benchmarks.accuracy_recipes import DATA, Task, task
from benchmarks.accuracy_study import (
    BASE,
    HELD_OUT,
    main,
    parser,
    study,
    study_of,
    write_study,
)
from benchmarks.commands import as_typed
from gencls.classifier.estimator import DiffusionClassifier
from gencls.data import stratified_sample
from gencls.data.storage import write_json
from gencls.diffusion.backbones import KNOWN
from gencls.diffusion.scratch import size_of
from gencls.evaluation.rival_data import RivalData
from gencls.evaluation.rival_fits import fit_pair_tables
from gencls.evaluation.runs import load_run_data
from gencls.training.config import TrainConfig

LEVELS = {
    "path_steps": ({"n_steps": 1}, {"n_steps": 2}),
    "class_steps": ({"class_steps": times("class_steps", 0)},),
    "level_weighting": ({"level_weighting": "learned"},),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory, toy, table):
    data = table(tmp_path_factory.mktemp("study") / "toy.csv", toy(300))
    config = TrainConfig(backbone="tiny-random", adapt_steps=2, class_steps=2, batch_size=8, max_length=24)
    return Task(str(data), "generative", config, ())


@pytest.fixture(scope="module")
def rows(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return folder, study_of(base, LEVELS, folder, limit=None, progress=False)


def test_a_row_for_each_level_that_changes_something(rows):
    _, found = rows
    assert [(row["factor"], row["level"]) for row in found] == [
        (BASE, {}),
        ("path_steps", {"n_steps": 1}),
        ("class_steps", {"class_steps": 0}),
        ("level_weighting", {"level_weighting": "learned"}),
    ]
    assert found[0]["ahead"] == 0
    assert found[0]["mcnemar_p"] is None
    assert [(row["adapt_steps"], row["class_steps"]) for row in found] == [(2, 2), (2, 2), (2, 0), (2, 2)]
    assert found[1]["forwards"] == 1 < found[0]["forwards"]
    assert found[1]["nats_per_token"] > found[0]["nats_per_token"]  # no context, a looser bound


def test_what_is_fitted_to_the_calibration_texts_is_not_judged_on_them(rows, base):
    folder, found = rows
    _, _, splits = load_run_data(folder / base.name)
    both = len(splits["validation"]) + len(splits["calibration"])
    assert [row["n_texts"] for row in found] == [both, both, both, len(splits["validation"])]


def test_the_decision_loss_is_beside_the_accuracy(rows):
    _, found = rows
    assert found[0]["loss_change"] == 0
    for row in found:
        assert row["decision_loss"] >= 0
        same = row["n_texts"] == found[0]["n_texts"]
        assert not same or row["loss_change"] == pytest.approx(row["decision_loss"] - found[0]["decision_loss"])
        assert row["loss_change_low"] <= row["loss_change"] <= row["loss_change_high"]


def test_a_fitted_level_is_compared_with_the_recipe_on_the_same_texts_and_folds(held):
    evidence, labels, lengths, log_prior = held
    arrays = {"evidence": evidence, "labels": labels, "lengths": lengths}
    facts = {"nats_per_token": 1.0, "forwards": 1.0, "adapt_steps": 1, "class_steps": 1, "log_prior": log_prior}
    recipe = {"held": arrays, **facts}
    level = {"held": {name: values[:150] for name, values in arrays.items()}, **facts}
    row = accuracy_study._row("level_weighting", {"level_weighting": "learned"}, level, recipe)
    assert row["n_texts"] == 150
    assert row["ahead"] == row["loss_change"] == 0  # it decides as the recipe does


def test_only_what_trains_anew_has_a_run(rows, base):
    folder, _ = rows
    assert [path.name for path in (folder / "study").iterdir()] == [f"{base.name}-class_steps=0"]


def test_nothing_is_trained_twice(rows, base, monkeypatch):
    folder, found = rows
    monkeypatch.setattr("gencls.evaluation.runs.DiffusionClassifier.fit", lambda *_, **__: pytest.fail("trained again"))
    written = []
    again = study_of(base, LEVELS, folder, limit=None, progress=False, write=lambda rows: written.append(len(rows)))
    assert [row["accuracy"] for row in again] == [row["accuracy"] for row in found]
    assert written == [2, 3, 4]  # after each level: a kill keeps what is done


def test_a_factor_that_changes_nothing_leaves_the_recipe_on_the_page(rows, base):
    folder, found = rows
    written = []
    own = {"path_steps": ({"n_steps": base.config.n_steps},)}
    study_of(base, own, folder, limit=None, progress=False, write=lambda rows: written.append(list(rows)))
    assert [[row["factor"] for row in page] for page in written] == [[BASE]]
    assert written[0][0]["accuracy"] == found[0]["accuracy"]


def record(command="c", size="cpu", **changes):
    recipe = TrainConfig(**changes).as_dict()
    return {"command": command, "device": "a processor", "config": {"data": "toy", "size": size, "recipe": recipe}}


def factors(folder):
    return [row["factor"] for row in json.loads((folder / "study-toy.json").read_text(encoding="utf-8"))["rows"]]


def test_rows_of_earlier_calls_stay(rows, tmp_path):
    _, found = rows
    write_study("toy", found[:2], record("first"), tmp_path)
    changed = {**found[1], "accuracy": 0.125, "mcnemar_p": 0.0002}
    path = write_study("toy", [found[0], changed], record("second"), tmp_path)
    path = write_study("toy", [found[0], found[2]], record("third"), tmp_path)
    kept = json.loads((tmp_path / "study-toy.json").read_text(encoding="utf-8"))["rows"]
    assert [row["factor"] for row in kept] == [BASE, "class_steps", "path_steps"]
    assert kept[2]["accuracy"] == 0.125
    text = path.read_text(encoding="utf-8")
    assert f"| n_steps 2 → 1 | {found[1]['n_texts']} | 12.5 ±" in text
    assert "| < 0.001 |" in text
    assert "| class_steps 200 → 0 |" in text
    assert f"| {found[2]['decision_loss']:.3f} | {found[2]['loss_change']:+.3f} [" in text
    assert "| 2 + 0 |" in text


def test_rows_from_before_the_counts_were_noted_stay(rows, tmp_path):
    _, found = rows
    older = [{name: value for name, value in row.items() if name != "counts_accuracy"} for row in found[:2]]
    write_json(tmp_path / "study-toy.json", {"rows": older, "run": record()})
    path = write_study("toy", [found[0], found[2]], record(), tmp_path)
    assert factors(tmp_path) == [BASE, "class_steps", "path_steps"]
    assert path.read_text(encoding="utf-8").count("| – |") == 2  # the recipe has no level, the older row no counts


def test_the_counts_of_a_level_are_those_of_its_tables(rows, base):
    folder, found = rows
    run = folder / base.name
    classifier, (_, dataset, splits) = DiffusionClassifier.load(run), load_run_data(run)
    parts = {name: RivalData.of(classifier, splits[name], dataset.label_names) for name in ("train", "test", *HELD_OUT)}
    predict, _ = fit_pair_tables(classifier, parts)
    right = [predict(parts[name]).argmax(axis=1) == parts[name].labels for name in HELD_OUT]
    assert found[0]["counts_accuracy"] == pytest.approx(np.concatenate(right).mean())
    assert found[1]["counts_accuracy"] == found[0]["counts_accuracy"], "scoring changes no counts"


def test_rows_that_tell_less_than_new_ones_do_not_stay(rows, tmp_path):
    _, found = rows
    older = [{name: value for name, value in row.items() if name != "decision_loss"} for row in found[:2]]
    write_json(tmp_path / "study-toy.json", {"rows": older, "run": record()})
    write_study("toy", [found[0], found[2]], record(), tmp_path)
    assert factors(tmp_path) == [BASE, "class_steps"]


@pytest.mark.parametrize("other", [{"size": "gpu"}, {"n_scored": 7}, {"n_texts": 5}])
def test_rows_of_another_recipe_size_or_number_of_texts_do_not_stay(rows, tmp_path, other):
    _, found = rows
    changes = {name: value for name, value in other.items() if name != "n_texts"}
    n_texts = other.get("n_texts", found[0]["n_texts"])
    write_study("toy", [{**row, "n_texts": n_texts} for row in found[:2]], record(**changes), tmp_path)
    write_study("toy", [found[0], found[2]], record(), tmp_path)
    assert factors(tmp_path) == [BASE, "class_steps"]


def test_a_crash_keeps_the_factors_that_are_done(base, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(accuracy_study, "task", lambda *_, **__: base)
    monkeypatch.setattr(accuracy_study, "FACTORS", {**LEVELS, "broken": ({"mode": "no mode"},)})
    with pytest.raises(ValueError, match="mode"):
        main("toy", ["path_steps", "broken", "class_steps"], runs=rows[0], output=tmp_path)
    assert factors(tmp_path) == [BASE, "path_steps"]


def test_a_limit_is_a_stratified_sample(base, rows, monkeypatch):
    taken = []

    def sample(split, limit, *, seed):
        taken.append((limit, seed))
        return stratified_sample(split, limit, seed=seed)

    monkeypatch.setattr(accuracy_study, "stratified_sample", sample)
    (row,) = study_of(base, {}, rows[0], limit=5, progress=False)
    assert taken == [(5, 0), (5, 0)]
    assert row["n_texts"] == 10


@pytest.mark.parametrize(
    ("change", "times"), [({}, 0), ({"n_steps": 4}, 0), ({"level_weighting": "learned"}, 1), ({"class_steps": 4}, 0)]
)
def test_calibrated_again_only_where_what_is_fitted_decides(base, rows, monkeypatch, change, times):
    calls, calibrate = [], DiffusionClassifier.calibrate
    monkeypatch.setattr(DiffusionClassifier, "calibrate", lambda *args: calls.append(1) or calibrate(*args))
    accuracy_study._scored(base, replace(base.config, **change), rows[0], 10, False)
    assert len(calls) == times


def test_a_level_that_is_the_hybrid_recipe_takes_its_run(base, tmp_path, monkeypatch):
    found = []
    monkeypatch.setattr(accuracy_study, "train_run", lambda data, folder, *_, **__: found.append(folder))
    hybrid = replace(base.config, hybrid_weight=1.0, class_dropout=0.0)
    twin = tmp_path / replace(base, variant="hybrid").name
    accuracy_study._trained(base, hybrid, tmp_path, False)
    write_json(twin / "run.json", {"config": hybrid.as_dict()})
    accuracy_study._trained(base, hybrid, tmp_path, False)
    accuracy_study._trained(base, replace(hybrid, hybrid_weight=0.1), tmp_path, False)
    assert [folder == twin for folder in found] == [False, True, False]


def test_the_recipe_and_its_page_are_of_the_seed_that_is_asked_for(rows, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(accuracy_study, "study_of", lambda base, *_, write, **__: asked.append(base) or write(rows[1]))
    path = main("rotten_tomatoes", [], seed=3, runs=tmp_path, output=tmp_path)
    assert asked[0].name == "rotten_tomatoes-generative-3"
    assert asked[0].config == task("rotten_tomatoes", "generative", seed=3).config
    assert path.name == "study-rotten_tomatoes-3.md"
    assert "rotten_tomatoes, seed 3" in path.read_text(encoding="utf-8")
    assert json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["run"]["seed"] == 3


@pytest.mark.parametrize("size", ["cpu", "gpu"])
@pytest.mark.parametrize("data", DATA)
def test_the_steps_of_the_classes_can_be_spent_before_them(data, size):
    recipe = task(data, "generative", size=size).config
    (level,) = (level_of(level, recipe) for level in FACTORS["class_free"])
    assert level == {"class_steps": 0, "adapt_steps": recipe.adapt_steps + recipe.class_steps}


def test_each_seed_has_a_page_of_its_own(rows, tmp_path):
    first, second = (write_study("toy", rows[1], record(seed=seed), tmp_path) for seed in (0, 1))
    assert (first.name, second.name) == ("study-toy.md", "study-toy-1.md")
    assert "toy, seed 0" in first.read_text(encoding="utf-8") and "toy, seed 1" in second.read_text(encoding="utf-8")


def test_the_command_is_told_as_typed():
    told = as_typed(
        parser(), vars(parser().parse_args(["--factors", "draws", "--limit", "9"])), always=("size", "data")
    )
    assert told == "python -m benchmarks.accuracy_study --size cpu --data imdb --factors draws --limit 9"


def test_too_few_texts_are_refused_before_any_training(tmp_path, monkeypatch):
    monkeypatch.setattr(accuracy_study, "train_run", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(ValueError, match=f"at least {N_FOLDS} texts"):
        study("imdb", ["path_steps"], tmp_path, limit=N_FOLDS - 1)


def test_unknown_factors_are_refused_before_any_training(tmp_path, monkeypatch):
    monkeypatch.setattr(accuracy_study, "train_run", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(ValueError, match=r"Use .*path_steps"):
        study("imdb", ["pathsteps"], tmp_path)


@pytest.mark.parametrize("factor", FACTORS)
def test_every_level_is_a_valid_recipe_that_differs_from_it(factor):
    config = task("imdb", "generative").config
    levels = [replace(config, **level_of(level, config)) for level in FACTORS[factor]]
    assert any(level != config for level in levels)
    assert all(level.max_length + 2 <= 512 for level in levels)  # positions of the recipe's backbone
    for level in levels:
        is_here = level.backbone in KNOWN or size_of(level.backbone) is not None
        assert is_here != (factor in HUB_FACTORS)


def test_factors_of_the_hub_are_not_asked_for_where_none_answers(tmp_path, monkeypatch):
    monkeypatch.setattr(accuracy_study, "train_run", lambda *_, **__: pytest.fail("trained"))
    assert set(FACTORS) - set(parser().parse_args([]).factors) == set(ON_REQUEST) >= set(HUB_FACTORS)
    for factor in HUB_FACTORS:
        with pytest.raises(ValueError, match="a hub that answers"):
            study("imdb", ["path_steps", factor], tmp_path)
    asked = []
    monkeypatch.setattr(accuracy_study, "hub_reachable", lambda: True)
    monkeypatch.setattr(accuracy_study, "study_of", lambda base, factors, *_, **__: asked.extend(factors) or [])
    study("imdb", HUB_FACTORS, tmp_path)
    assert asked == list(HUB_FACTORS)


def test_a_backbone_has_a_run_of_its_own_and_all_its_layers(base, tmp_path, monkeypatch):
    trained = []
    monkeypatch.setattr(accuracy_study, "train_run", lambda data, folder, config, **kw: trained.append((folder, kw)))
    recipe = replace(base, config=replace(base.config, backbone_layers=4))
    for level in FACTORS["backbone"]:
        accuracy_study._trained(recipe, replace(recipe.config, **level), tmp_path, False)
    (larger, larger_options), (adapters, _), (causal, _), (scratch, scratch_options) = trained
    assert larger.name == f"{base.name}-backbone=mpnet"
    assert adapters.name == f"{larger.name}-mode=adapter-class_learning_rate=0.0005"
    assert causal.name.startswith(f"{base.name}-backbone=smollm2-backbone_layers=None-")
    assert scratch.name.startswith(f"{base.name}-backbone=scratch-128x3-backbone_layers=None-")
    assert larger_options["adapted"] is scratch_options["adapted"] is None  # of another network


def test_a_backbone_from_scratch_is_studied(base, tmp_path):
    level = {**FACTORS["backbone"][-1], "backbone": "scratch-64x1"}
    recipe = replace(base, config=replace(base.config, backbone_layers=2))
    (_, row) = study_of(recipe, {"backbone": ({**level, "adapt_steps": 2},)}, tmp_path, limit=10, progress=False)
    text = write_study("toy", [row], record(backbone_layers=2), tmp_path).read_text(encoding="utf-8")
    assert "| backbone minilm → scratch-64x1, backbone_layers 2 → None, learning_rate 0.0005 → 0.002," in text


def test_without_counts_the_network_alone_tells_the_classes_apart(base, tmp_path):
    level, longer = FACTORS["counts"]
    (_, row) = study_of(base, {"counts": (level,)}, tmp_path, limit=10, progress=False)
    (folder,) = (tmp_path / "study").iterdir()
    classifier = DiffusionClassifier.load(folder)
    assert not classifier.denoiser_.count_scores(classifier.scoring_ids(["a fine film", "a bad film"])).any()
    assert row["counts_accuracy"] == 0.5 and row["class_steps"] == base.config.class_steps
    assert level_of(longer, base.config)["class_steps"] == 3 * base.config.class_steps
    text = write_study("toy", [row], record(class_steps=2), tmp_path).read_text(encoding="utf-8")
    assert "| counts | without class counts |" in text


def test_what_a_level_has_in_common_with_the_recipe_is_not_told(rows, tmp_path):
    level = {**rows[1][1], "factor": "backbone", "level": {"backbone": "mpnet", "backbone_layers": 4}}
    text = write_study("toy", [level], record(backbone_layers=4), tmp_path).read_text(encoding="utf-8")
    assert "| backbone | backbone minilm → mpnet |" in text


def test_multiples_are_those_of_the_recipe():
    recipe, level = TrainConfig(class_steps=70), {"class_steps": times("class_steps", 3), "n_steps": 3}
    assert level_of(level, recipe) == {"class_steps": 210, "n_steps": 3}


def test_the_decision_loss_has_a_control_without_class_dropout():
    levels = FACTORS["hybrid_weight"]
    assert [level["hybrid_weight"] for level in levels] == [0.0, 0.1, 1.0, 10.0]
    others = [{name: value for name, value in level.items() if name != "hybrid_weight"} for level in levels]
    assert others == [{"class_dropout": 0.0, "counts_beside": False}] * 4, "the first is the control of the others"
