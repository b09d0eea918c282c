"""The poem benchmark from a file of poems to its report, in small; and that the report says what was measured."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import poem_completion
from benchmarks.poem_completion import main
from benchmarks.poem_config import PRESETS, PoemConfig
from benchmarks.poem_leakage import leaked
from benchmarks.poem_material import load_material, windows
from benchmarks.poem_models import Recipe
from benchmarks.poem_pretrained import Pair
from benchmarks.poem_study import Task, holes_of
from gencls.data.poems import author_key
from gencls.data.storage import read_json

TINY = Recipe(64, 1, n_steps=2, batch_size=4, learning_rate=1e-3)
CONFIG = PoemConfig(
    {"small": TINY, "base": TINY},
    max_length=24,
    ratios=(0.1, 0.3, 0.7),
    n_validation=4,
    steps=(1, 2),
    leaks=(1.0,),
)


@pytest.fixture(scope="module")
def poems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = np.random.default_rng(0)
    signs = [chr(0x4E00 + n) for n in range(60)]

    def poem(number: int) -> dict[str, str]:
        lines = ["".join(generator.choice(signs, size=6)) + "。" for _ in range(3)]
        return {"title": f"<b>{number}|</b>", "author": f"a{number % 60}", "content": "\n".join(lines)}

    path = tmp_path_factory.mktemp("poems") / "poems.jsonl"
    path.write_text("\n".join(json.dumps(poem(number)) for number in range(120)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def finished(poems: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder, n_threads = tmp_path_factory.mktemp("benchmark"), torch.get_num_threads()
    torch.set_num_threads(1)  # nine models of a thousand numbers: threads only wait for one another
    try:
        main(CONFIG, folder / "run", folder / "report", poems=poems)
    finally:
        torch.set_num_threads(n_threads)
    return folder / "run", folder / "report"


def test_the_report_has_what_was_promised(finished: tuple[Path, Path]) -> None:
    _, report = finished
    targets = {row["name"]: row for row in read_json(report / "targets.json")}
    assert set(targets) == {
        *(f"margin_low_0.{n}" for n in range(1, 7)),
        "test_poems_in_training",
        "cpu_minutes",
    }
    assert targets["test_poems_in_training"]["value"] == 0 and targets["test_poems_in_training"]["met"]
    levels = read_json(report / "metrics.json")["sizes"]["base"]
    assert targets["margin_low_0.3"]["value"] == levels["0.3"]["margin"]["low"]
    assert targets["margin_low_0.2"]["value"] is None and not targets["margin_low_0.2"]["met"]
    assert {"accuracy.png", "leakage.png", "report.md", "report.html", "table.txt"} <= {
        p.name for p in report.iterdir()
    }


def test_every_way_fills_the_same_holes(finished: tuple[Path, Path]) -> None:
    levels = read_json(finished[1] / "metrics.json")["sizes"]["small"]
    for row in levels.values():
        assert len({(way["n_holes"], way["n_poems"]) for way in row["ways"].values()}) == 1
    assert "causal iterated" in levels["0.3"]["ways"] and "causal iterated" not in levels["0.7"]["ways"]


def test_text_of_the_poems_is_escaped(finished: tuple[Path, Path]) -> None:
    page = (finished[1] / "report.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;" in page and "<b>" not in page
    assert "<b>" not in (finished[1] / "report.md").read_text(encoding="utf-8")


def test_a_report_without_examples_has_no_word_of_a_poem(
    finished: tuple[Path, Path], poems: Path, tmp_path: Path
) -> None:
    output = shutil.copytree(finished[1], tmp_path / "report")
    main(CONFIG, finished[0], output, poems=poems, with_examples=False)
    assert not (output / "examples.png").exists()
    lines = {line for row in poems.read_text("utf-8").splitlines() for line in json.loads(row)["content"].split("\n")}
    for name in ("report.html", "report.md", "metrics.json", "run.json"):
        page, full = ((folder / name).read_text("utf-8") for folder in (output, finished[1]))
        assert not any(line[:3] in page for line in lines)
        assert name not in ("report.html", "report.md") or any(line[:3] in full for line in lines)
        assert "Examples" not in page


def test_a_second_call_neither_trains_nor_fills(
    finished: tuple[Path, Path], poems: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, report = finished
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*.npy")}
    metrics = read_json(report / "metrics.json")
    monkeypatch.setattr("benchmarks.poem_models.train_language_model", lambda *a, **k: pytest.fail("trained again"))
    monkeypatch.setattr("benchmarks.poem_models.train_infiller", lambda *a, **k: pytest.fail("trained again"))
    main(CONFIG, run, report, poems=poems)
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*.npy")} == before
    assert read_json(report / "metrics.json") == metrics


def test_a_folder_of_another_run_is_refused(finished: tuple[Path, Path], poems: Path) -> None:
    with pytest.raises(ValueError, match="another one in"):
        main(replace(CONFIG, seed=1), finished[0], finished[1], poems=poems)


def test_leaked_poems_are_in_training_and_only_there(poems: Path) -> None:
    options: dict[str, Any] = {"source": "auto", "max_length": 24, "max_poems": None, "smoothing": 1.0}
    clean = load_material(poems, **options)
    mixed = leaked(clean, 1.0, smoothing=1.0, seed=0)
    assert {poem.text for poem in mixed.splits.test} <= {poem.text for poem in mixed.splits.train}
    assert len(mixed.splits.train) == len(clean.splits.train)
    authors = {author_key(poem.author) for poem in clean.splits.train}
    assert not authors & {author_key(poem.author) for poem in clean.splits.test}


def test_a_causal_model_without_its_config_is_not_guessed(
    finished: tuple[Path, Path], poems: Path, tmp_path: Path
) -> None:
    """Its weights fit in networks of other heads, which would be read without a word."""
    run = shutil.copytree(finished[0], tmp_path / "run")
    (run / "models" / "small-causal" / "config.json").unlink()
    with pytest.raises(ValueError, match=r"Expected a causal model with .*; got small-causal of an earlier version"):
        main(CONFIG, run, tmp_path / "report", poems=poems)


def test_the_original_protocol_stands_beside_the_honest_one(finished: tuple[Path, Path]) -> None:
    found = read_json(finished[1] / "metrics.json")["original"]
    assert found["size"] == "small" and 0.8 < found["share"] < 1
    assert set(found["levels"]) == {"0.1", "0.3"}  # the original went up to 60 %
    for row in found["levels"].values():
        for side in ("diffusion", "causal"):
            assert row[side]["expected"]["low"] <= row[side]["expected"]["accuracy"] <= row[side]["expected"]["high"]
    page = (finished[1] / "report.md").read_text(encoding="utf-8")
    assert "## What the original protocol would say" in page and "THE FIRST FOUR ROWS ARE NO RESULT" in page


def test_holes_behind_the_prefix(finished: tuple[Path, Path]) -> None:
    levels = read_json(finished[1] / "metrics.json")["prefix"]["levels"]
    assert set(levels) == {"0.1", "0.3", "0.6"}
    assert set(levels["0.3"]["ways"]) == {"diffusion prefix 16 1", "diffusion 1", "causal left", "middle"}


def test_protected_tokens_are_in_sight_and_the_level_is_of_the_others(poems: Path) -> None:
    material = load_material(poems, source="auto", max_length=24, max_poems=None, smoothing=1.0)
    task = Task("test", "tokens", 0.5, n_protected=16)
    found = holes_of(material, task, seed=0)
    for place, hole in zip(found.places, found.hidden, strict=True):
        assert not hole[:16].any()
        assert hole.sum() == round(0.5 * material.is_known("test", place)[16:].sum())
    assert not holes_of(material, replace(task, n_protected=24), seed=0).places
    assert len({task.name, replace(task, n_protected=0).name, replace(task, n_poems=16).name}) == 3


def test_windows_hold_all_of_a_poem() -> None:
    text = "一二三/四五六七八九十/一/二"
    found = windows(text, 5)
    assert max(map(len, found)) <= 5
    assert "".join(found).replace("/", "") == text.replace("/", "")


def test_sizes_of_a_preset_are_trained_alike() -> None:
    for config in PRESETS.values():
        assert len(config.sizes) == 2
        assert all(recipe.width % 64 == 0 for recipe in config.sizes.values())


def test_the_command_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from gencls.cli.main import main as gencls

    (tmp_path / "table.txt").write_text("the table")
    seen: dict[str, Any] = {}

    def fake(config: PoemConfig, run: Path, output: Path, **options: Any) -> Path:
        seen.update(config=config, run=run, output=output, **options)
        return tmp_path / "report.html"

    monkeypatch.setattr(poem_completion, "main", fake)
    folders = [str(tmp_path), str(tmp_path)]
    assert gencls(["benchmark", "poems", "--preset", "cpu", "--pretrained", *folders]) == 0
    assert seen["config"].pretrained == Pair(*folders) and seen["config"].identity() == PRESETS["cpu"].identity()
    capsys.readouterr()
    assert seen["with_examples"]
    assert gencls(["benchmark", "poems", "--without-examples"]) == 0 and not seen["with_examples"]
    capsys.readouterr()
    assert gencls(["benchmark", "poems", "--preset", "cpu", "--poems", "mine.jsonl"]) == 0
    assert seen["poems"] == Path("mine.jsonl") and seen["run"] == Path("runs/poems-cpu")
    assert seen["command"] == "gencls benchmark poems --preset cpu --poems mine.jsonl"
    assert capsys.readouterr().out == f"the table\nreport: {tmp_path / 'report.html'}\n"
