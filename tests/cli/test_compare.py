"""``gencls compare`` from the command line to the files, on tiny models."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from gencls.cli.main import main

QUICK = ["--length", "6", "--steps", "3", "--repeats", "1", "--precision", "float32"]


@pytest.fixture(scope="module")
def tiny_causal(tmp_path_factory):
    from gencls.baselines.causal import new_causal
    from gencls.diffusion.tokens import tiny_tokenizer

    folder, tokenizer = tmp_path_factory.mktemp("causal"), tiny_tokenizer()
    model = new_causal(len(tokenizer), width=24, n_layers=1, n_heads=2, n_positions=64, seed=0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_both_write_and_are_shown(toy_run, tiny_causal, tmp_path, capsys):
    words = ["compare", "--model", str(toy_run), "--ar", str(tiny_causal), "--prompt", "abc", *QUICK, "--json"]
    words += ["--animate", str(tmp_path / "both.html"), "--animate", str(tmp_path / "both.gif"), "--watch"]
    assert main(words) == 0
    out = capsys.readouterr().out
    ours, theirs = (json.loads(line) for line in out.splitlines()[:2])
    assert ours["name"].startswith("diffusion, 0.0") and theirs["name"].startswith(f"{tiny_causal.name}, 0.0")
    assert (ours["n_tokens"], ours["n_forwards"]) == (6, 3)
    assert (theirs["n_tokens"], theirs["n_forwards"]) == (6, 6)
    assert ours["text"].startswith("abc") and theirs["text"].startswith("abc")
    assert ours["tokens_per_second"] == pytest.approx(6 / ours["seconds"])
    assert "step 6 of 6" in out  # the terminal's frame
    assert "Side by side: abc" in (tmp_path / "both.html").read_text(encoding="utf-8")
    with Image.open(tmp_path / "both.gif") as gif:
        assert gif.n_frames == 1 + 3 + 6  # a frame for every moment at which one of them took a step


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--repeats", "2"], "an odd number"),
        (["--animate", "out.mp4"], "ends in .gif or .html"),
        (["--order", "alphabetic"], "order"),
        (["--top-p", "2"], "top_p"),
    ],
)
def test_errors_come_before_the_models(capsys, words, match):
    assert main(["compare", "--model", "no-such-run", *words]) == 2
    assert match in capsys.readouterr().err
