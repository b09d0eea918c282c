"""The accuracy benchmark on a toy table: trained once, summarised from what is there, targets as measured."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import accuracy, accuracy_report, accuracy_study, accuracy_tables
from benchmarks.accuracy import DONE, run_task, summarise
from benchmarks.accuracy_calibration import HELD_OUT, calibration_rows, read_held_out_scores
from benchmarks.accuracy_recipes import DATA, FRESH_TEST, HUB_DATA, UNLABELLED, Task, task
from benchmarks.accuracy_report import CONCLUSIONS
from benchmarks.accuracy_results import _share_read_at_once, collect, compared, difference, length_quartiles
from benchmarks.accuracy_targets import report_folder, target_rows
from gencls.data.storage import write_atomic, write_json
from gencls.diffusion.backbones import KNOWN
from gencls.diffusion.statistics import as_words
from gencls.evaluation.same_run import RUN
from gencls.reporting.evaluation import load_scores
from gencls.training.config import CLASS_STAGE_OPTIONS, TrainConfig
from gencls.training.presets import preset

RIVALS = ("naive_bayes", "naive_bayes_pairs")
TARGETS = ["imdb_generative_cpu", "imdb_generative_gpu", "imdb_hybrid_minus_encoder"]
TARGETS += ["r8", "r52", "20ng", "rotten_tomatoes", "chinese_reviews", "imdb_ece"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory, toy, table):
    folder = tmp_path_factory.mktemp("accuracy")
    data = table(folder / "toy.csv", toy(120))
    config = TrainConfig(backbone="tiny-random", adapt_steps=2, class_steps=2, batch_size=8, max_length=24)
    run_task(Task(str(data), "generative", config, RIVALS), folder / "runs", command="test")
    hybrid = TrainConfig(**{**config.as_dict(), "hybrid_weight": 0.1, "class_dropout": 0.0})
    run_task(Task(str(data), "hybrid", hybrid, ()), folder / "runs", command="test")
    return folder / "runs"


@pytest.fixture(scope="module")
def report(runs):
    output = runs.parent / "report"
    assert summarise(runs, output, size="cpu", command="python -m benchmarks.accuracy") == output / "README.md"
    return output


def read(folder, name):
    return json.loads((folder / name).read_text(encoding="utf-8"))


def test_the_summary_is_of_both_variants_and_the_rivals(report):
    rows = read(report, "results.json")["models"]
    assert [row["model"] for row in rows] == ["diffusion", *RIVALS, "hybrid"]
    for row in rows:
        assert row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"]
        assert row["ahead"] == pytest.approx(rows[0]["accuracy"] - row["accuracy"], abs=1e-12)
        assert row["ahead_low"] <= row["ahead"] <= row["ahead_high"]
    for name in ("README.md", "tables.md"):
        page = (report / name).read_text(encoding="utf-8")
        assert all(f"{100 * row['accuracy']:.1f}" in page for row in rows)
    assert (report / "accuracy.png").read_bytes().startswith(b"\x89PNG")
    assert (report / "calibration.png").read_bytes().startswith(b"\x89PNG")


def test_the_tables_tell_how_each_run_was_trained(runs, report):
    page = (report / "tables.md").read_text(encoding="utf-8")
    for variant in ("generative", "hybrid"):
        trained = read(runs / f"toy-{variant}-0", "classifier.json")["training"]
        steps = f"{trained['adapt']['steps']:,} + {trained['classes']['steps']:,}"
        smoothing = as_words(trained["smoothing"])
        assert f"| {variant} | {steps} | {smoothing} |" in page


def test_the_tables_tell_how_many_texts_calibrated_each_model(runs, report):
    page = (report / "tables.md").read_text(encoding="utf-8")
    n_held = read(runs / "toy-generative-0", "classifier.json")["temperature"]["n_texts"]
    assert n_held == len(read_held_out_scores(runs / "toy-generative-0" / "evaluation" / HELD_OUT)["y"])
    lines = page[page.index("| fitted to |") : page.index("Other ways to calibrate")].splitlines()[2:-1]
    assert len(lines) > 2
    assert {line.split("|")[-2].strip() for line in lines} == {f"{n_held:,}"}


def test_a_model_of_before_tells_no_number_of_texts():
    intervals = [f"{name}_{end}" for name in ("ece", "ece_null") for end in ("low", "high")]
    numbers = dict.fromkeys(("nll", "brier", "ece", "smece", *intervals), 0.1)
    row = {"data": "toy", "seed": 0, "model": "encoder", **numbers}
    assert accuracy_tables._calibration(row)[-1] == "–"
    assert accuracy_tables._calibration({**row, "calibrated_on": 1234})[-1] == "1,234"


def test_an_evaluation_of_before_tells_nothing_of_its_training():
    row = {"data": "toy", "seed": 1, "variant": "generative"}
    assert accuracy_tables._training({**row, "commit": None}) == ["toy, seed 1", "generative", "–", "–", "–"]
    assert accuracy_tables._training({**row, "commit": "0123456789+changes"})[-1] == "`0123456+`"
    assert accuracy_tables._training({**row, "commit": "0123456789"})[-1] == "`0123456`"


def test_targets_are_named_as_promised_and_not_met_where_nothing_was_measured(report):
    targets = read(report, "targets.json")
    assert [row["name"] for row in targets] == TARGETS
    assert all(row["value"] is None and not row["met"] for row in targets)


def test_targets_take_the_values_as_they_are():
    values = {"diffusion": (0.9, 0.012), "hybrid": (0.91, 0.5), "encoder": (0.93, 0.5)}
    rows = [
        {"data": "imdb", "seed": 0, "model": model, "accuracy": accuracy, "ece": ece}
        for model, (accuracy, ece) in values.items()
    ]
    rows.append({"data": "imdb", "seed": 1, "model": "encoder", "accuracy": 0.99, "ece": 0.5})  # and no hybrid
    rows += [{"data": "r8", "model": "diffusion", "accuracy": accuracy, "ece": 0.1} for accuracy in (0.94, 0.97)]
    found = {row["name"]: (row["value"], row["met"]) for row in target_rows(rows, "c", size="cpu")}
    assert found["imdb_generative_cpu"] == (0.9, True)
    assert found["imdb_generative_gpu"] == (None, False)
    assert found["imdb_hybrid_minus_encoder"][0] == pytest.approx(-0.02)
    assert not found["imdb_hybrid_minus_encoder"][1]
    assert found["r8"][0] == pytest.approx(0.955)  # the mean over seeds
    assert found["imdb_ece"] == (0.012, True)


def test_an_evaluation_is_not_made_twice(runs, monkeypatch):
    from benchmarks import accuracy

    monkeypatch.setattr(accuracy, "train_run", lambda *_, **__: pytest.fail("trained again"))
    config = TrainConfig(backbone="tiny-random", adapt_steps=2, class_steps=2, batch_size=8, max_length=24)
    folder = accuracy.run_task(Task("toy.csv", "generative", config, RIVALS), runs, command="test")
    assert (folder / DONE).exists()


def test_rivals_are_fitted_again_or_for_the_first_time_in_what_is_finished(runs, monkeypatch, tmp_path):
    from benchmarks import accuracy

    monkeypatch.setattr(accuracy, "evaluate_run", lambda *_, **__: pytest.fail("scored again"))
    monkeypatch.setattr(
        accuracy, "task", lambda data, variant, **_: Task(data, variant, own, RIVALS * (variant == "generative"))
    )
    own = TrainConfig(backbone="tiny-random", adapt_steps=2, class_steps=2, batch_size=8, max_length=24)
    copy = shutil.copytree(runs, tmp_path / "runs")
    old = read(copy / "toy-generative-0" / "evaluation", "run.json")["baselines"]
    accuracy.refit(["naive_bayes_words", "naive_bayes"], copy, data=["toy", "r8"], command="again")
    new = read(copy / "toy-generative-0" / "evaluation", "run.json")
    assert list(new["baselines"]) == [*RIVALS, "naive_bayes_words"]
    assert new["baselines"]["naive_bayes_pairs"] == old["naive_bayes_pairs"]
    told = [(entry["command"], entry["baselines"]) for entry in new["added"]]
    assert told == [("again", ["naive_bayes_words"]), ("again", ["naive_bayes"])]
    summarise(copy, tmp_path / "report", size="cpu", command="c")
    rows = {row["model"]: row for row in read(tmp_path / "report", "results.json")["models"]}
    assert "naive_bayes_words" in rows
    later = shutil.copytree(runs, tmp_path / "later")
    accuracy.refit(["naive_bayes_words"], later, data=["toy"], source=copy, command="taken")
    taken = read(later / "toy-generative-0" / "evaluation", "run.json")["baselines"]["naive_bayes_words"]
    assert taken == new["baselines"]["naive_bayes_words"]
    with pytest.raises(ValueError, match="a finished evaluation"):
        accuracy.refit(["naive_bayes"], copy, data=["r8"])
    own = TrainConfig(backbone="tiny-random", adapt_steps=2, class_steps=3, batch_size=8, max_length=24)
    with pytest.raises(ValueError, match="another class_steps"):
        accuracy.refit(["naive_bayes"], copy, data=["toy"])


def test_unscored_test_texts_train_without_their_labels_and_the_rivals_too(runs, tmp_path):
    data = str(runs.parent / "toy.csv")
    config = TrainConfig(backbone="tiny-random", adapt_steps=2, class_steps=2, batch_size=8, max_length=24)
    chosen = Task(data, UNLABELLED, config, RIVALS, n_test=16)
    folder = run_task(chosen, tmp_path, command="test")
    run_task(chosen, tmp_path, command="test")  # not again
    run, told = read(folder, "run.json"), read(folder, DONE)
    assert (told["data"], told["variant"], run["n_texts"]) == ("toy, with unlabelled texts", "generative", 16)
    counts = run["data"]["class_counts"]
    n_others = sum(counts["unlabelled"].values())
    assert sum(counts["test"].values()) == 16
    assert sum(run["training"]["unlabelled"]) == n_others > 0
    assert run["baselines"]["naive_bayes"]["self_trained"] == n_others
    assert "self_trained" not in run["baselines"]["naive_bayes_pairs"]  # the model's own tables
    page = (folder / "report.md").read_text(encoding="utf-8")
    assert f"{n_others}, which train the model and its count tables; with classes of their own for them: " in page
    shutil.copytree(runs / "toy-generative-0", tmp_path / "toy-generative-0")
    summarise(tmp_path, tmp_path / "report", size="cpu", command="c")
    rows = read(tmp_path / "report", "results.json")["models"]
    assert {row["data"].removeprefix(data.removesuffix("toy.csv")) for row in rows} == {"toy.csv", told["data"]}
    with pytest.raises(ValueError, match="a number of test texts to score"):
        task("20ng", UNLABELLED)


def test_a_target_is_told_with_unlabelled_texts_as_well():
    rows = [
        {"data": name, "model": "diffusion", "accuracy": accuracy, "ece": 0.1}
        for name, accuracy in (("20ng", 0.83), ("20ng, with unlabelled texts", 0.86))
    ]
    found = {row["name"]: (row["value"], row["met"]) for row in target_rows(rows, "c", size="cpu")}
    assert found["20ng"] == (0.83, False)
    assert found["20ng_unlabelled"] == (0.86, True)


@pytest.mark.parametrize("change", [{"class_steps": 3}, {"max_texts": 5}])
def test_an_evaluation_of_another_recipe_is_not_taken_for_this_one(runs, change):
    config = {"backbone": "tiny-random", "adapt_steps": 2, "class_steps": 2, "batch_size": 8, "max_length": 24}
    options = {**config, **change}
    max_texts = options.pop("max_texts", None)
    wanted = Task("toy.csv", "generative", TrainConfig(**options), RIVALS, max_texts)
    with pytest.raises(ValueError, match=f"another {next(iter(change))} in toy-generative-0"):
        run_task(wanted, runs, command="test")


def test_a_summary_of_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="an evaluation to summarise"):
        summarise(tmp_path, tmp_path / "report", size="cpu", command="c")
    assert not (tmp_path / "report").exists()


def test_a_summary_keeps_what_was_run_elsewhere(report, tmp_path):
    """From the numbers alone: the page of a summary without any run here is the same."""
    output, nothing = shutil.copytree(report, tmp_path / "report"), tmp_path / "nothing"
    before = {path.name: path.read_bytes() for path in output.iterdir() if path.name != "run.json"}
    summarise(nothing, output, size="cpu", command="python -m benchmarks.accuracy")
    assert {path.name: path.read_bytes() for path in output.iterdir() if path.name != "run.json"} == before
    with pytest.raises(ValueError, match="an evaluation to summarise"):  # that report is of another size
        summarise(nothing, output, size="gpu", command="c")


def test_a_run_here_is_compared_with_what_was_run_elsewhere(report, tmp_path):
    output, runs = tmp_path / "report", tmp_path / "runs"
    generative, hybrid = (report.parent / "runs" / f"toy-{name}-0" for name in ("generative", "hybrid"))
    shutil.copytree(generative, runs / generative.name)
    summarise(runs, output, size="cpu", command="c")
    shutil.rmtree(runs / generative.name)
    shutil.copytree(hybrid, runs / hybrid.name)
    summarise(runs, output, size="cpu", command="c")
    assert read(output, "results.json") == read(report, "results.json")


@pytest.mark.parametrize("is_same_split", [True, False])
def test_rivals_that_only_an_earlier_evaluation_had_stay_on_the_same_texts(report, tmp_path, is_same_split):
    output, runs = shutil.copytree(report, tmp_path / "report"), tmp_path / "runs"
    shutil.copytree(report.parent / "runs" / "toy-generative-0", runs / "toy-generative-0")
    before = read(output, "results.json")
    (told,) = (row for row in before["evaluations"] if row["variant"] == "generative")
    for part in ("models", "correct"):
        told[part]["causal_per_class"] = told[part]["naive_bayes"]
    if not is_same_split:
        told["split"]["test"] += 1
    write_json(output / "results.json", before)
    summarise(runs, output, size="cpu", command="c")
    rows = {row["model"]: row for row in read(output, "results.json")["models"]}
    assert ("causal_per_class" in rows) is is_same_split
    if is_same_split:
        assert rows["causal_per_class"] == {**rows["naive_bayes"], "model": "causal_per_class"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, None),
        ({"backbone": "minilm"}, "minilm"),
        ({"steps": 1502}, "1,502 steps"),
        ({"backbone": "minilm", "steps": 1502}, "minilm, 1,502 steps"),
    ],
)
def test_a_kept_encoder_of_another_recipe_says_so(report, tmp_path, changes, said):
    """Also in every later summary, where the evaluation that keeps it tells its own recipe."""
    output, runs = shutil.copytree(report, tmp_path / "report"), report.parent / "runs"
    before = read(output, "results.json")
    told = next(row for row in before["evaluations"] if row["variant"] == "generative")
    told["correct"]["encoder"] = told["correct"]["naive_bayes"]
    told["models"]["encoder"] = told["models"]["naive_bayes"] | {"backbone": "tiny-random", "steps": 4, **changes}
    write_json(output / "results.json", before)
    for _ in range(2):
        summarise(runs, output, size="cpu", command="c")
        (kept,) = (row for row in read(output, "results.json")["models"] if row["model"] == "encoder")
        assert kept.get("differs") == said
        shown = "encoder, fine-tuned" + (f" ({said})" if said else "")
        assert f"| {shown} |" in (output / "tables.md").read_text(encoding="utf-8")


def without_single_texts(report, output):
    """A copy of a report as older ones are: it does not tell which texts were right."""
    shutil.copytree(report, output)
    before = read(output, "results.json")
    for row in before["evaluations"]:
        del row["correct"]
    write_json(output / "results.json", before)
    return output


def test_a_report_without_single_texts_stands_until_its_generative_run_is_here(report, tmp_path, caplog):
    output, runs = without_single_texts(report, tmp_path / "report"), tmp_path / "runs"
    before = read(output, "results.json")
    shutil.copytree(report.parent / "runs" / "toy-hybrid-0", runs / "toy-hybrid-0")
    summarise(runs, output, size="cpu", command="c")
    assert read(output, "results.json") == before
    assert "toy-hybrid-0 is not in the summary" in caplog.text
    shutil.copytree(report.parent / "runs" / "toy-generative-0", runs / "toy-generative-0")
    summarise(runs, output, size="cpu", command="c")
    assert read(output, "results.json") == read(report, "results.json")


def test_a_hybrid_without_single_texts_is_left_out_beside_a_new_generative_run(report, tmp_path, caplog):
    output, runs = without_single_texts(report, tmp_path / "report"), tmp_path / "runs"
    shutil.copytree(report.parent / "runs" / "toy-generative-0", runs / "toy-generative-0")
    summarise(runs, output, size="cpu", command="c")
    assert "toy-hybrid-0 is left out" in caplog.text
    assert [row["model"] for row in read(output, "results.json")["models"]] == ["diffusion", *RIVALS]


def test_a_decision_costs_the_classes_that_it_is_among(runs, tmp_path):
    folder = shutil.copytree(runs / "toy-hybrid-0", tmp_path / "toy-hybrid-0") / "evaluation"
    record, costs = read(folder, "run.json"), {}
    options = {"all": {}, "own class alone": {"hybrid_classes": 1}, "none": {"hybrid_weight": 0.0}}
    for name, changes in options.items():
        write_json(folder / "run.json", {**record, "config": {**record["config"], **changes}})
        costs[name] = collect(folder, read(folder, DONE))["models"]["diffusion"]["train_flops"]
    assert costs["all"] > costs["own class alone"] == costs["none"]


def test_a_forward_reads_a_chunk_of_a_long_text():
    """Of 4 and 7 tokens, four at a time and one of them of the chunk before: one row of 4 tokens, and two."""
    lengths, config = np.array([4, 7]), {"long_texts": "chunks", "max_length": 4}
    forwards = 5 * np.array([1, 2])  # five of each row
    read = forwards.mean() * _share_read_at_once(lengths, config) * lengths.mean()
    assert read == pytest.approx(5 * (4 + 4 + 4) / 2)
    assert _share_read_at_once(lengths, {**config, "long_texts": "truncate"}) == 1


def test_differences_are_paired():
    right = {"diffusion": np.array([True, True, False, True]), "other": np.array([True, False, False, False])}
    found = difference(right, "other")
    assert found["ahead"] == 0.5
    half = 1.96 * np.std([0, 1, 0, 1], ddof=1) / 2
    assert found["ahead_low"] == pytest.approx(0.5 - half)
    assert found["ahead_high"] == pytest.approx(0.5 + half)


def test_rivals_of_another_test_split_are_not_compared():
    base = {"n_classes": 2, "models": {"diffusion": {}}, "correct": {"diffusion": np.ones(4, dtype=bool)}}
    one = {"data": "a", "seed": 0, "n_texts": 4, "variant": "generative", **base}
    assert [row["model"] for row in compared([one, {**one, "variant": "hybrid"}])] == ["diffusion", "hybrid"]
    assert [row["model"] for row in compared([one, {**one, "variant": "hybrid", "seed": 1}])] == ["diffusion"]


def test_quartiles_by_length():
    scores = {
        "n_tokens": np.array([4, 1, 3, 2, 8, 7, 6, 5]),
        "y": np.zeros(8, dtype=int),
        "log_proba": np.log([[0.9, 0.1]] * 4 + [[0.4, 0.6]] * 4),
    }
    rows = length_quartiles(scores)
    assert [(row["shortest"], row["longest"]) for row in rows] == [(1, 2), (3, 4), (5, 6), (7, 8)]
    assert [row["accuracy"] for row in rows] == [1.0, 1.0, 0.0, 0.0]
    assert [row["confidence"] for row in rows] == pytest.approx([0.9, 0.9, 0.6, 0.6])


@pytest.mark.parametrize("data", [*DATA, *HUB_DATA])
@pytest.mark.parametrize("size", ["cpu", "gpu"])
def test_recipes_differ_between_variants_by_the_decision_loss(data, size):
    generative, hybrid = (task(data, variant, size=size, seed=3) for variant in ("generative", "hybrid"))
    assert generative.config.hybrid_weight == 0
    assert hybrid.config.hybrid_weight > 0
    own, other = generative.config.as_dict(), hybrid.config.as_dict()
    differ = {name for name in own if own[name] != other[name]}
    if own["counts_beside"]:  # the decision's loss would not be that of the decision
        assert not other["counts_beside"]
        shares_adaptation = own["backbone"] == other["backbone"]
        assert shares_adaptation == (differ <= set(CLASS_STAGE_OPTIONS))
    else:
        assert differ - {"hybrid_classes", "class_shrinkage"} == {"hybrid_weight", "class_dropout"}
        assert not other["class_shrinkage"]
        assert (other["hybrid_classes"] is None) == (data not in ("r52", "20ng")), "all, but of many"
    assert generative.fresh_test == FRESH_TEST.get(data)
    assert generative.name != hybrid.name


def test_a_hybrid_takes_the_adaptation_over_from_a_run_of_the_same_one(tmp_path):
    """Of another backbone there is none to take."""
    expected = {"imdb": True, "chinese_reviews": True, "rotten_tomatoes": False}
    for data in expected:
        generative = task(data, "generative")
        write_json(tmp_path / generative.name / RUN, {"config": generative.config.as_dict()})
        assert accuracy._adapted(generative, tmp_path, None) is None
    found = {data: accuracy._adapted(task(data, "hybrid"), tmp_path, None) for data in expected}
    assert found == {data: tmp_path / f"{data}-generative-0" if taken else None for data, taken in expected.items()}
    assert accuracy._adapted(task("r8", "hybrid"), tmp_path, None) is None, "no such run"


@pytest.mark.parametrize("data", DATA)
def test_another_backbone_goes_before_the_recipes_own(data):
    for variant in ("generative", "hybrid"):
        config = task(data, variant, backbone="folder").config
        assert (config.backbone, config.backbone_layers) == ("folder", None)


@pytest.mark.parametrize(
    "wrong", [("imbd", "generative", "cpu"), ("imdb", "hybird", "cpu"), ("imdb", "generative", "tpu")]
)
def test_unknown_names_are_refused(wrong):
    data, variant, size = wrong
    with pytest.raises(ValueError, match="Expected"):
        task(data, variant, size=size)


@pytest.mark.parametrize("data", DATA)
def test_what_the_texts_ask_for_does_not_depend_on_the_machine(data):
    asked = ("truncation", "discount", "smoothing", "pair_smoothing", "triple_smoothing", "embedding_ridge")
    on_cpu, on_gpu = (task(data, "generative", size=size).config.as_dict() for size in ("cpu", "gpu"))
    assert [on_cpu[name] for name in asked] == [on_gpu[name] for name in asked]
    assert (on_cpu["max_length"] == 128) == (on_gpu["max_length"] == 128), "sentences are short everywhere"
    assert on_gpu["adapt_steps"] * on_gpu["batch_size"] > on_cpu["adapt_steps"] * on_cpu["batch_size"]
    assert on_gpu["backbone"] not in KNOWN, "it needs a hub, or --backbone"


def test_an_encoder_that_the_stages_would_starve_has_steps_of_its_own():
    steps = {data: task(data, "generative").encoder_steps for data in DATA}
    assert {data for data, own in steps.items() if own is not None} == {"20ng"}
    config = task("20ng", "generative").config
    assert config.adapt_steps + config.class_steps < steps["20ng"]
    assert task("20ng", "generative", size="gpu").encoder_steps is None


def test_the_encoders_own_steps_reach_the_fit_and_the_page(runs, tmp_path):
    """At the first evaluation and where it is fitted again."""
    data, here = runs.parent / "toy.csv", tmp_path / "runs"
    config = TrainConfig(backbone="tiny-random", adapt_steps=2, class_steps=2, batch_size=8, max_length=24)
    shutil.copytree(runs / "toy-generative-0", here / "toy-generative-0")
    shutil.rmtree(here / "toy-generative-0" / accuracy.EVALUATION)
    chosen = Task(str(data), "generative", config, ("encoder",), encoder_steps=6)
    output = run_task(chosen, here, command="test")
    assert read(output, "run.json")["baselines"]["encoder"]["steps"] == 6
    summarise(here, tmp_path / "report", size="cpu", command="c")
    assert "| encoder, fine-tuned (6 steps) |" in (tmp_path / "report" / "tables.md").read_text(encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accuracy, "task", lambda *_, **__: replace(chosen, encoder_steps=4))
        accuracy.refit(["encoder"], here, data=[str(data)], variants=["generative"])
    assert read(output, "run.json")["baselines"]["encoder"]["steps"] == 4
    summarise(here, tmp_path / "other", size="cpu", command="c")
    assert "| encoder, fine-tuned |" in (tmp_path / "other" / "tables.md").read_text(encoding="utf-8")


def test_the_encoder_of_a_large_backbone_is_fitted_on_request():
    has = {data: "encoder" in task(data, "generative").rivals for data in DATA}
    assert has == {data: data != "rotten_tomatoes" for data in DATA}
    assert "encoder" in task("rotten_tomatoes", "generative", backbone="folder").rivals
    assert "encoder" in task("rotten_tomatoes", "generative", size="gpu").rivals


def test_another_backbone_comes_with_all_of_its_layers():
    own, other = task("imdb", "generative").config, task("imdb", "generative", backbone="mpnet").config
    assert (other.backbone, other.backbone_layers) == ("mpnet", None)
    assert replace(other, backbone=own.backbone, backbone_layers=own.backbone_layers) == own
    usual = preset("demo")
    chinese = task("chinese_reviews", "generative", backbone="folder").config
    rates = ("learning_rate", "head_learning_rate", "freeze_embeddings")
    assert all(getattr(chinese, name) == getattr(usual, name) for name in rates), "not those of random weights"


@pytest.mark.parametrize(("size", "folder"), [("cpu", "reports/accuracy"), ("gpu", "reports/accuracy/gpu")])
def test_each_size_has_its_report(monkeypatch, size, folder):
    written = []
    monkeypatch.setattr(accuracy, "summarise", lambda runs, output, **_: written.append(output))
    accuracy.main(size=size, data=[])
    monkeypatch.setattr(accuracy_study, "study_of", lambda *_, write, **__: write([]))
    monkeypatch.setattr(accuracy_study, "write_study", lambda *_, output, **__: written.append(output))
    accuracy_study.main("imdb", [], size=size)
    assert written == [report_folder(size), report_folder(size)] == [Path(folder), Path(folder)]


def test_a_target_of_the_gpu_is_read_from_its_report(runs, tmp_path):
    imdb = [{"data": "imdb", "model": "diffusion", "seed": 0, "accuracy": 0.93, "ece": 0.01}]
    write_json(tmp_path / "gpu" / "results.json", {"models": imdb, "evaluations": []})
    write_json(tmp_path / "gpu" / "run.json", {"command": "on a GPU"})
    summarise(runs, tmp_path, size="cpu", command="c")
    found = {row["name"]: (row["value"], row["met"]) for row in read(tmp_path, "targets.json")}
    assert found["imdb_generative_gpu"] == (0.93, True)
    assert found["imdb_generative_cpu"] == (None, False), "on the GPU it was measured"
    commands = {row["name"]: row["command"] for row in read(tmp_path, "targets.json")}
    assert (commands["imdb_generative_gpu"], commands["imdb_generative_cpu"]) == ("on a GPU", "c")


def test_the_conclusions_are_of_the_numbers_of_the_cpu(runs, tmp_path):
    for size in ("cpu", "gpu"):
        summarise(runs, tmp_path / size, size=size, command="c")
    pages = {path.relative_to(tmp_path).as_posix(): path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.md")}
    headings = [line for line in CONCLUSIONS.read_text(encoding="utf-8").splitlines() if line.startswith("## ")]
    first, findings = pages["cpu/README.md"], pages["cpu/findings.md"]
    assert first.index(headings[0]) < first.index("## Targets"), "in short before the tables"
    assert [line for line in findings.splitlines() if line.startswith("## ")] == headings[1:]
    assert "gpu/findings.md" not in pages
    assert not any(heading in pages["gpu/README.md"] for heading in headings)


def test_the_first_page_names_the_others_and_its_links_lead_somewhere(report):
    text = (report / "README.md").read_text(encoding="utf-8")
    links = set(re.findall(r"\]\(([^)]+)\)", text.partition("## Read on")[2]))
    assert links == {"tables.md", "factors.md", "findings.md"}
    assert all((report / name).exists() for name in links)


def test_pages_of_one_data_set_are_listed_wherever_they_lie(tmp_path):
    for name in ("study-a.md", "smoothing-a.md", "x/smoothing-b.md", "gpu/smoothing-c.md"):
        write_atomic(tmp_path / name, "")
    lines = accuracy_report._links(tmp_path)
    assert [re.findall(r"\]\(([^)]+)\)", line) for line in lines] == [
        ["study-a.md"],
        ["smoothing-a.md", "x/smoothing-b.md"],
    ]


def test_conclusions_are_written_beside_the_benchmark():
    assert CONCLUSIONS.parent.name == "benchmarks"


def test_ways_to_calibrate_replay_from_the_kept_scores(runs, report):
    for variant in ("generative", "hybrid"):
        evaluation = runs / f"toy-{variant}-0" / "evaluation"
        held = read_held_out_scores(evaluation / HELD_OUT)
        assert held["evidence"].shape == (len(held["y"]), 2)
        rows = {row["method"]: row for row in calibration_rows(held, load_scores(evaluation / "scores.npz"))}
        by_length = "temperature by length"
        assert list(rows) == ["none", "temperature", by_length, f"{by_length}, lapses", "isotonic"]
        own = read(evaluation, "metrics.json")["diffusion"]
        assert rows[f"{by_length}, lapses"]["nll"] == pytest.approx(own["nll"], rel=1e-6)
        assert rows["none"]["nll"] == pytest.approx(own["uncalibrated"]["nll"], rel=1e-9)
        assert all(len(row["quarters"]) == 4 for row in rows.values())
    assert "temperature by length" in (report / "tables.md").read_text(encoding="utf-8")


def test_calibration_helps_where_the_scores_are_too_sure():
    """Scores of a calibrated model, times eight; the longer a text, the more."""
    generator = np.random.default_rng(0)

    def make(n):
        odds, lengths = generator.normal(0, 2, size=n), generator.integers(10, 200, size=n)
        y = (generator.random(n) < 1 / (1 + np.exp(-odds))).astype(int)
        evidence = np.stack([np.zeros(n), odds * 0.08 * lengths], axis=1)
        return {"evidence": evidence, "y": y, "n_tokens": lengths}

    held, test = make(4000), make(4000)
    test = {**test, "evidence": test["evidence"][..., None], "log_prior": np.log([0.5, 0.5])}
    rows = {row["method"]: row for row in calibration_rows(held, test)}
    assert rows["none"]["ece"] > 0.1
    assert rows["temperature by length"]["ece"] < rows["temperature by length"]["ece_null_high"] * 1.5
    assert rows["temperature by length"]["nll"] < rows["temperature"]["nll"] < rows["none"]["nll"]
    assert rows["isotonic"]["nll"] < rows["none"]["nll"]
