"""Runs whose class tables stand beside the network: of one training there may be several tables."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from gencls.data.storage import read_json, write_json
from gencls.evaluation.runs import train_run
from gencls.evaluation.same_run import identity_of, take_stages
from gencls.training.loop import StageTrainer
from gencls.training.plan import PLAN

OTHER_TABLES = {
    "smoothing": [0.05],
    "pair_smoothing": [],
    "discount": [0.5],
    "interpolation": [0.5],
    "length_exponent": [1.0],
    "embedding_ridge": 1.0,
}


@pytest.fixture(scope="module")
def uneven(tmp_path_factory, table):
    """A data set of two classes of letters, whose long texts say one word over and over."""
    generator, letters = np.random.default_rng(0), {"left": list("abcdefgh"), "right": list("efghijkl")}
    labels = ["left", "right"] * 90
    words = [["".join(generator.choice(letters[label], 4)) for _ in range(3)] for label in labels]
    texts = [" ".join(words[:1] * 12 if row % 12 < 4 else words) for row, words in enumerate(words)]
    return str(table(tmp_path_factory.mktemp("uneven") / "uneven.csv", (texts, labels)))


@pytest.fixture(scope="module")
def beside(config):
    return replace(config, counts_beside=True, smoothing=(1.0,), max_length=64)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, uneven, beside):
    folder = tmp_path_factory.mktemp("runs") / "trained"
    train_run(uneven, folder, beside)
    return folder


def begun(source, folder, **options):
    """Which stages a run that differs in some options takes over, and its plan."""
    identity, budget = identity_of(source), options.pop("time_budget", None)
    take_stages(source, folder, {**identity, "config": {**identity["config"], **options}}, time_budget=budget)
    stages = sorted(path.name for path in (folder / "checkpoints").iterdir())
    return stages, read_json(folder / PLAN) if (folder / PLAN).exists() else None


@pytest.mark.parametrize("name", OTHER_TABLES)
def test_both_stages_are_taken_over_where_only_the_tables_differ(trained, tmp_path, name):
    stages, plan = begun(trained, tmp_path / "run", **{name: OTHER_TABLES[name]})
    assert stages == ["adapt", "classes"]
    theirs = read_json(trained / PLAN)
    assert theirs.pop("identity")
    assert theirs.pop("smoothing")["length_exponent"] == 0
    assert plan == {**theirs, "smoothing": None}


def test_the_plan_is_kept_where_the_tables_are_the_same(trained, tmp_path):
    stages, plan = begun(trained, tmp_path / "run", class_shrinkage=5.0)
    assert stages == ["adapt", "classes"]
    assert plan == read_json(trained / PLAN)


@pytest.mark.parametrize("changes", [{"class_steps": 2}, {"time_budget": 1.0}], ids=str)
def test_another_stage_of_the_classes_is_trained_with_its_own_tables(trained, tmp_path, changes):
    assert begun(trained, tmp_path / "run", smoothing=[0.05], **changes) == (["adapt"], None)


@pytest.mark.parametrize("is_beside", [(False, False), (True, False), (False, True)], ids=str)
@pytest.mark.parametrize("name", OTHER_TABLES)
def test_other_tables_are_refused_where_a_network_learns_with_them(trained, tmp_path, is_beside, name):
    source = shutil.copytree(trained, tmp_path / "source")
    record = read_json(source / "run.json")
    write_json(source / "run.json", {**record, "config": {**record["config"], "counts_beside": is_beside[0]}})
    changes = {"counts_beside": is_beside[1], name: OTHER_TABLES[name]}
    with pytest.raises(ValueError, match=rf"a run of the same {name};"):
        begun(source, tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


def test_other_triples_are_refused_beside_the_network_too(trained, tmp_path):
    """They are counted on demand: the tables would have other keys."""
    with pytest.raises(ValueError, match="a run of the same triple_smoothing;"):
        begun(trained, tmp_path / "run", triple_smoothing=[4.0])


def scores_of(classifier, texts=("abcd efgh", "ijkl ijkl abcd", "efgh " * 10)):
    return classifier.denoiser_.count_scores(classifier.scoring_ids(list(texts)))


def network_of(folder):
    weights = load_file(folder / "model.safetensors")
    return {name: value for name, value in weights.items() if name != "class_bias" and not name.startswith("pairs.")}


def are_equal(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("changes", [{"smoothing": (0.05,)}, {"length_exponent": (1.0,)}], ids=lambda one: str(*one))
def test_a_run_that_takes_the_classes_over_has_tables_of_its_own(
    tmp_path, uneven, trained, beside, changes, monkeypatch
):
    ours = replace(beside, **changes)
    anew = train_run(uneven, tmp_path / "anew", ours)
    with monkeypatch.context() as context:
        context.setattr(StageTrainer, "training_step", lambda *_, **__: pytest.fail("trained again"))
        taken = train_run(uneven, tmp_path / "taken", ours, adapted=trained)
    assert are_equal(network_of(tmp_path / "taken"), network_of(trained))
    plain = train_run(uneven, trained, beside)
    assert np.abs(scores_of(taken) - scores_of(plain)).max() > 0.1
    np.testing.assert_array_equal(scores_of(taken), scores_of(anew))
    plans = [read_json(tmp_path / name / PLAN) for name in ("taken", "anew")]
    assert plans[0] == plans[1] == taken.training_record_["plan"]
    assert plans[0]["identity"] != read_json(trained / PLAN)["identity"]
    assert plans[0]["smoothing"] == taken.training_record_["smoothing"] == anew.training_record_["smoothing"]
    if "length_exponent" in changes:
        assert plans[0]["smoothing"]["length_exponent"] == 1
        assert are_equal(*(load_file(tmp_path / name / "model.safetensors") for name in ("taken", "anew")))
    monkeypatch.setattr("gencls.classifier.estimator.DiffusionClassifier.fit", None)
    again = train_run(uneven, tmp_path / "taken", ours, adapted=trained)
    np.testing.assert_array_equal(scores_of(again), scores_of(taken))


def test_a_run_that_was_killed_with_the_stages_taken_over_goes_on(tmp_path, uneven, trained, beside, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    ours = replace(beside, smoothing=(0.05,))
    wanted = train_run(uneven, tmp_path / "at once", ours, adapted=trained)
    with monkeypatch.context() as context:
        context.setattr("gencls.training.per_class.set_statistics", killed)
        with pytest.raises(KeyboardInterrupt):
            train_run(uneven, tmp_path / "killed", ours, adapted=trained)
    assert read_json(tmp_path / "killed" / PLAN)["smoothing"] is None
    found = train_run(uneven, tmp_path / "killed", ours)
    np.testing.assert_array_equal(scores_of(found), scores_of(wanted))
    assert read_json(tmp_path / "killed" / PLAN) == read_json(tmp_path / "at once" / PLAN)
