"""A run on another data set: scored once, beside itself at home, with bad pairs refused before any work."""

from __future__ import annotations

import pytest

from benchmarks import accuracy_shift
from benchmarks.accuracy import run_task
from benchmarks.accuracy_recipes import Task
from benchmarks.accuracy_shift import main
from gencls.data.storage import read_json
from gencls.training.config import TrainConfig


@pytest.fixture(scope="module")
def pair(tmp_path_factory, toy, table):
    folder = tmp_path_factory.mktemp("shift")
    data, other = (str(table(folder / f"{name}.csv", toy(80, seed=seed))) for seed, name in enumerate(("own", "other")))
    config = TrainConfig(backbone="tiny-random", adapt_steps=1, class_steps=1, batch_size=8, max_length=24)
    own = Task(data, "generative", config, ("naive_bayes",))
    run_task(own, folder / "runs", command="test")
    return folder, own, other


def test_at_home_and_away(pair, monkeypatch, tmp_path):
    folder, own, other = pair
    monkeypatch.setattr(accuracy_shift, "task", lambda *_, **__: own)
    options = {"runs": folder / "runs", "output": tmp_path, "rivals": ("naive_bayes",), "command": "c"}
    path = main([f"own:{other}"], limit=20, **options)
    rows = read_json(tmp_path / "shift.json")["rows"]
    assert [row["model"] for row in rows] == ["diffusion", "naive_bayes"] * 2
    assert [row["data"].endswith(end) for row, end in zip(rows[::2], ("at home", "on other"), strict=True)] == [
        True
    ] * 2
    assert rows[-1]["n_texts"] == 20
    assert all(f"{100 * row['accuracy']:.1f} [" in path.read_text(encoding="utf-8") for row in rows)
    monkeypatch.setattr(accuracy_shift, "evaluate_run", lambda *_, **__: pytest.fail("scored again"))
    main([f"own:{other}"], limit=20, **options)
    with pytest.raises(ValueError, match="scored once"):
        main([f"own:{other}"], limit=10, **options)


@pytest.mark.parametrize(("name", "match"), [("imdb", "pairs TRAINED:USED"), ("imdb:r8", "an evaluated run of imdb")])
def test_bad_pairs_are_refused(tmp_path, name, match):
    with pytest.raises(ValueError, match=match):
        main([name], runs=tmp_path, output=tmp_path / "report")
    assert not (tmp_path / "report").exists()
