"""Completion of a user's text: what is given stays, alternatives are probabilities, and wrong calls are said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gencls.cli.main import main
from gencls.diffusion.associations import set_associations
from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.language_model import LanguageModel, class_free_denoiser
from gencls.diffusion.tokens import tokenize
from gencls.generation.completion import complete

TEXTS = ["床前明月光/疑是地上霜", "举头望明月/低头思故乡", "the moon 明月", "明月明月明月/光"] * 2


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    import numpy as np

    backbone = load_backbone("scratch-64x1", texts=TEXTS)
    denoiser = class_free_denoiser(backbone).eval()
    set_associations(denoiser, tokenize(TEXTS, backbone.tokenizer, max_length=20).ids, np.arange(8) % 2, 0.01)
    return LanguageModel(denoiser, backbone)


def test_what_is_given_stays_and_the_counts_fill(model: LanguageModel) -> None:
    found = complete(model, "床前明[MASK]光\n  疑是[MASK]上霜\n未知字龘", n_alternatives=3)
    assert found.text == "床前明月光/疑是地上霜/未知字龘"
    assert [len(hole) for hole in found.alternatives] == [3, 3]
    for hole in found.alternatives:
        values = [one.probability for one in hole]
        assert values == sorted(values, reverse=True) and 0 < sum(values) <= 1 + 1e-6
    assert found.alternatives[0][0].token == "月"


def test_latin_letters_get_no_spaces(model: LanguageModel) -> None:
    assert len(complete(model, "th[MASK] moon").text) == len("the moon")


def test_probabilities_of_all_tokens_sum_to_one(model: LanguageModel) -> None:
    (hole,) = complete(model, "明[MASK]", n_alternatives=10_000).alternatives
    assert sum(one.probability for one in hole) == pytest.approx(1, abs=1e-5)
    assert all("[" not in one.token for one in hole)


def test_wrong_calls_are_said(model: LanguageModel) -> None:
    with pytest.raises(ValueError, match="template with a hole"):
        complete(model, "明月")
    with pytest.raises(ValueError, match="n_alternatives >= 1"):
        complete(model, "明[MASK]", n_alternatives=0)


def test_the_verb(model: LanguageModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = model.save(tmp_path / "run")
    words = ["complete", "--model", str(folder), "明[MASK]光", "--alternatives", "2", "--device", "cpu"]
    assert main(words) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == "明月光" and second.startswith("1: 月 ")
    assert main([*words, "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["text"] == "明月光" and len(row["holes"][0]) == 2
    assert main(["complete", "--model", str(folder), "明月"]) == 2
    assert "Write [MASK]" in capsys.readouterr().err
