"""A run on another data set: scored once, beside itself at home, with bad pairs refused before any work."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from benchmarks import accuracy_shift
from benchmarks.accuracy import run_task
from benchmarks.accuracy_recipes import Task
from benchmarks.accuracy_shift import main
from gencls.data.storage import read_json, write_json
from gencls.training.config import TrainConfig

RIVALS = ("naive_bayes",)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, toy, table):
    folder = tmp_path_factory.mktemp("shift")
    data, other = (str(table(folder / f"{name}.csv", toy(80, seed=seed))) for seed, name in enumerate(("own", "other")))
    config = TrainConfig(backbone="tiny-random", adapt_steps=1, class_steps=1, batch_size=8, max_length=24)
    own = Task(data, "generative", config, RIVALS)
    run_task(own, folder / "runs", command="test")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accuracy_shift, "task", lambda *_, **__: own)
        main([f"own:{other}"], runs=folder / "runs", output=folder / "report", limit=20, rivals=RIVALS, command="first")
    return folder, own, f"own:{other}"


@pytest.fixture
def begun(finished, monkeypatch, tmp_path):
    """A finished evaluation with one rival, in folders of the test's own; nothing may be scored again."""
    folder, own, pair = finished
    monkeypatch.setattr(accuracy_shift, "task", lambda *_, **__: own)
    monkeypatch.setattr(accuracy_shift, "evaluate_run", lambda *_, **__: pytest.fail("scored again"))
    runs = shutil.copytree(folder / "runs", tmp_path / "runs")
    return pair, {"runs": runs, "output": tmp_path / "report", "limit": 20, "rivals": RIVALS}


def record(options):
    (path,) = options["runs"].glob("*/shift-other/run.json")
    return read_json(path)


def test_at_home_and_away(finished):
    folder, _, _ = finished
    rows = read_json(folder / "report" / "shift.json")["rows"]
    assert [row["model"] for row in rows] == ["diffusion", *RIVALS] * 2
    assert rows[0]["data"].endswith("at home")
    assert rows[2]["data"].endswith("on other")
    assert rows[-1]["n_texts"] == 20
    text = (folder / "report" / "shift.md").read_text(encoding="utf-8")
    assert all(f"{100 * row['accuracy']:.1f} [" in text for row in rows)


def test_what_is_there_is_not_made_again(begun, monkeypatch):
    pair, options = begun
    monkeypatch.setattr(accuracy_shift, "add_baselines", lambda *_, **__: pytest.fail("fitted again"))
    path = main([pair], **options)
    with pytest.raises(ValueError, match="scored once"):
        main([pair], **{**options, "limit": 10})
    facts = read_json(options["output"] / "shift.json")["texts"]
    text = path.read_text(encoding="utf-8")
    assert [row["n_texts"] for row in facts][1:] == [20]
    assert f"on other, seed 0 | 20 | last 24 | {100 * facts[1]['share_cut']:.0f} % |" in text


def test_missing_rivals_are_added_and_asked_ones_fitted_again(begun):
    pair, options = begun
    old = record(options)
    path = main([pair], **{**options, "rivals": (*RIVALS, "naive_bayes_words")}, command="second")
    new = record(options)
    assert list(new["baselines"]) == [*RIVALS, "naive_bayes_words"]
    assert new["baselines"]["naive_bayes"] == old["baselines"]["naive_bayes"]
    assert "| naive Bayes, words |" in path.read_text(encoding="utf-8")
    main([pair], **options, refit=("naive_bayes_words",), command="third")
    added = [(entry["command"], entry["baselines"]) for entry in record(options)["added"]]
    assert added == [("second", ["naive_bayes_words"]), ("third", ["naive_bayes_words"])]


def test_a_run_of_another_recipe_is_refused(begun, finished, monkeypatch):
    pair, options = begun
    changed = replace(finished[1], config=replace(finished[1].config, class_steps=2))
    monkeypatch.setattr(accuracy_shift, "task", lambda *_, **__: changed)
    with pytest.raises(ValueError, match="another class_steps"):
        main([pair], **options)


def test_what_an_earlier_page_says_of_other_runs_stays(begun, finished):
    pair, options = begun
    path, own = main([pair], **options), finished[1].data
    page = read_json(options["output"] / "shift.json")
    other = [{**row, "data": row["data"].removeprefix(own)} for row in page["rows"]]
    stale = [{**row, "data": f"{own} on a third"} for row in page["rows"][2:]]
    seeded = [{**row, "seed": 7} for row in page["rows"]]
    facts = [{**row, "data": row["data"].removeprefix(own)} for row in page["texts"]]
    facts = [{name: row[name] for name in row if name != "seed"} for row in facts]  # as on the first page
    write_json(
        options["output"] / "shift.json", {"rows": [*other, *stale, *seeded], "texts": facts, "run": page["run"]}
    )
    main([pair], **options)
    again, text = read_json(options["output"] / "shift.json"), path.read_text(encoding="utf-8")
    assert again["rows"] == [*other, *page["rows"], *seeded]
    assert again["texts"] == [{**row, "seed": 0} for row in (*facts, *page["texts"])]
    assert text.count("on other, seed 0 | naive Bayes |") == 2
    assert f"| {own} on other, seed 7 | naive Bayes |" in text
    assert "a third" not in text
    main([pair], **options, size="gpu")
    assert read_json(options["output"] / "shift.json")["rows"] == page["rows"], "other sizes are other recipes"


@pytest.mark.parametrize(("name", "match"), [("imdb", "pairs TRAINED:USED"), ("imdb:r8", "an evaluated run of imdb")])
def test_bad_pairs_are_refused(tmp_path, name, match):
    with pytest.raises(ValueError, match=match):
        main([name], runs=tmp_path, output=tmp_path / "report")
    assert not (tmp_path / "report").exists()
