"""``gencls show`` from the command line to the pictures, on a tiny run."""

from __future__ import annotations

import pytest
from PIL import Image

from gencls.cli.main import main


def is_picture(path) -> bool:
    with Image.open(path) as picture:
        return picture.format == "PNG" and picture.width > 700


def test_masking(toy_run, tmp_path, capsys):
    words = ["show", "masking", str(toy_run), "--text", "abcd [MASK]", "--levels", "0,0.5,1"]
    assert main([*words, "--output", str(tmp_path / "m.png")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "0 % hidden · 10 of 10 tokens visible"
    assert lines[1].replace(" ", "") == "abcd[MASK]"  # the name of a special token is text
    assert (lines[4].count("░"), lines[7].count("░")) == (5, 10)
    assert is_picture(tmp_path / "m.png")
    assert main([*words, "--output", str(tmp_path / "m.html")]) == 0
    assert "What the model sees" in (tmp_path / "m.html").read_text(encoding="utf-8")


def test_schedules(tmp_path, capsys):
    assert main(["show", "schedules", "--length", "8", "--steps", "4", "--output", str(tmp_path / "s.png")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["linear", "6", "4", "2", "0"]
    assert [line.split()[0] for line in lines[:3]] == ["linear", "cosine", "exponential"]
    assert is_picture(tmp_path / "s.png")


def test_layers(toy_run, tmp_path, capsys):
    words = ["show", "layers", str(toy_run), "--max-texts", "3", "--levels", "0.5,1", "--output"]
    assert main([*words, str(tmp_path / "a.png")]) == 0
    first = capsys.readouterr().out.splitlines()
    assert first[0].startswith("3 texts") and "layer 2" in first[1]
    assert [line.split()[0] for line in first[2:4]] == ["50", "100"]
    assert is_picture(tmp_path / "a.png")
    (tmp_path / "own.txt").write_text("abcd\n\nefgh\n", encoding="utf-8")
    assert main([*words, str(tmp_path / "a.png"), "--texts", str(tmp_path / "own.txt")]) == 0
    assert capsys.readouterr().out.startswith("2 texts")


def test_levels(toy_run, tmp_path, capsys):
    assert main(["show", "levels", str(toy_run), "--output", str(tmp_path / "l.png")]) == 0
    assert "nats per hidden token" in capsys.readouterr().out
    assert is_picture(tmp_path / "l.png")


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["schedules", "--output", "s.jpg"], "ends in .png"),
        (["schedules", "--steps", "9", "--length", "8"], "1 <= steps <= length"),
        (["masking", "nowhere", "--output", "m.mp4"], "ends in .gif or .html"),
        (["masking", "nowhere"], "nowhere"),
        (["layers", "nowhere", "--levels", "half"], "'half'"),
        (["levels", "nowhere"], "training_log.jsonl"),
    ],
)
def test_errors(capsys, words, match, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["show", *words]) == 2
    assert match in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
