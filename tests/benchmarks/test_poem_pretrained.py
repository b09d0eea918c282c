"""The pretrained pair from two tiny models in folders: fine-tuned, measured on the same holes, refused where none."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertTokenizer, GPT2Config, GPT2LMHeadModel

from benchmarks import poem_completion, poem_pretrained
from benchmarks.poem_completion import main
from benchmarks.poem_config import PRESETS, PoemConfig
from benchmarks.poem_material import load_material
from benchmarks.poem_models import Recipe
from benchmarks.poem_pretrained import Pair, out_of_reach, pretrained_material, shared_vocabulary
from benchmarks.poem_study import Task, holes_of
from gencls.data.storage import read_json

SIGNS = [chr(0x4E00 + n) for n in range(40)]
#: A piece of a word and a word of letters, as in the vocabulary of the Chinese BERTs; the last sign is not in it.
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "ab", "##" + SIGNS[0], "/", "。", *SIGNS[:-1]]
TINY = Recipe(64, 1, n_steps=2, batch_size=4, learning_rate=1e-3)
CONFIG = PoemConfig(
    {"small": TINY},
    max_length=24,
    ratios=(0.3,),
    n_validation=4,
    steps=(1,),
    leaks=(),
    variants=False,
)
SIZES = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


def save_tokenizer(folder: Path, vocabulary: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)


def save_masked(folder: Path, vocabulary: list[str] = VOCABULARY, n_positions: int = 32) -> str:
    save_tokenizer(folder, vocabulary)
    config = BertConfig(vocab_size=len(vocabulary), max_position_embeddings=n_positions, **SIZES)
    BertForMaskedLM(config).save_pretrained(folder)
    return str(folder)


def save_causal(folder: Path, vocabulary: list[str] = VOCABULARY, n_positions: int = 32) -> str:
    save_tokenizer(folder, vocabulary)
    config = GPT2Config(vocab_size=len(vocabulary), n_positions=n_positions, n_embd=32, n_layer=1, n_head=2)
    GPT2LMHeadModel(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def poems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = np.random.default_rng(0)

    def poem(number: int) -> dict[str, str]:
        lines = ["".join(generator.choice(SIGNS, size=6)) + "。" for _ in range(3)]
        return {"title": str(number), "author": f"a{number % 40}", "content": "\n".join(lines)}

    path = tmp_path_factory.mktemp("poems") / "poems.jsonl"
    path.write_text("\n".join(json.dumps(poem(number)) for number in range(80)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def finished(poems: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[PoemConfig, Path]:
    """A run whose pretrained models are out of reach afterwards, as those of a hub that no longer answers."""
    folder, n_threads = tmp_path_factory.mktemp("benchmark"), torch.get_num_threads()
    masked, causal = save_masked(folder / "masked"), save_causal(folder / "causal")
    config = replace(CONFIG, pretrained=Pair(masked, causal, n_steps=2, batch_size=4))
    torch.set_num_threads(1)
    try:
        main(config, folder / "run", folder / "report", poems=poems)
    finally:
        torch.set_num_threads(n_threads)
    for name in ("masked", "causal"):
        (folder / name).rename(folder / f"{name}-gone")
    return config, folder


def test_the_pair_is_one_more_size_with_all_protocols(finished: tuple[PoemConfig, Path]) -> None:
    _, folder = finished
    metrics = read_json(folder / "report" / "metrics.json")
    assert metrics["headline"] == "small" and list(metrics["sizes"]) == ["small", "pretrained"]
    ways = metrics["sizes"]["pretrained"]["0.3"]["ways"]
    assert set(ways) == {"diffusion 1", "causal left", "causal rescored", "causal iterated", "middle"}
    recipes = {name: row["recipe"] for name, row in metrics["models"].items() if name.startswith("pretrained")}
    assert {(one["n_steps"], one["batch_size"], one["with_counts"]) for one in recipes.values()} == {(2, 4, False)}
    assert {one["backbone"] for one in recipes.values()} == {"masked", "causal"}  # no more of a path than its end
    targets = {row["name"]: row["value"] for row in read_json(folder / "report" / "targets.json")}
    assert targets["margin_low_0.3"] == metrics["sizes"]["small"]["0.3"]["margin"]["low"]
    page = (folder / "report" / "report.md").read_text(encoding="utf-8")
    assert "size pretrained" in page and "Fine-tuned pretrained models, at 30 %" in page


def test_a_finished_pair_is_read_back_where_its_models_are_out_of_reach(
    finished: tuple[PoemConfig, Path], poems: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, folder = finished
    for name in ("train_language_model", "train_infiller"):
        monkeypatch.setattr(f"benchmarks.poem_models.{name}", lambda *a, **k: pytest.fail("trained again"))
    before = read_json(folder / "report" / "metrics.json")
    for path in (folder / "run" / "answers" / "pretrained").rglob("*.npy"):
        path.unlink()  # so that the models answer again
    main(config, folder / "run", tmp_path / "report", poems=poems)
    assert read_json(tmp_path / "report" / "metrics.json")["sizes"] == before["sizes"]


def test_another_pair_is_refused_in_the_same_folder(finished: tuple[PoemConfig, Path], poems: Path) -> None:
    config, folder = finished
    assert config.pretrained is not None
    other = replace(config, pretrained=replace(config.pretrained, n_steps=3))
    with pytest.raises(ValueError, match="Expected a run of the same pretrained pair; got"):
        main(other, folder / "run", folder / "other", poems=poems)


def test_a_character_is_a_token_and_holes_are_those_of_the_other_models(poems: Path, tmp_path: Path) -> None:
    base = load_material(poems, source="auto", max_length=24, max_poems=None, smoothing=1.0)
    pair = Pair(save_masked(tmp_path / "masked"), save_causal(tmp_path / "causal"))
    own = pretrained_material(pair, base, tmp_path / "kept", smoothing=1.0, seed=0)
    assert [len(ids) for ids in own.test] == [len(ids) for ids in base.test]
    assert own.test[0].tolist() == [VOCABULARY.index(sign) if sign in VOCABULARY else 1 for sign in own.text("test", 0)]
    task = Task("test", "tokens", 0.5)
    for_base = holes_of(base, task, seed=0)
    for_own = holes_of(own, task, seed=0, drawn_for=base)
    n_unknown = 0
    for place, hole in zip(for_own.places, for_own.hidden, strict=True):
        unknown = np.array([sign == SIGNS[-1] for sign in own.text("test", place)])
        before = for_base.hidden[for_base.places.index(place)]
        np.testing.assert_array_equal(hole, before & ~unknown)
        n_unknown += int((before & unknown).sum())
    assert n_unknown > 0  # or the test would not look at what it is for


def test_no_pair_is_refused(tmp_path: Path) -> None:
    save_tokenizer(tmp_path / "masked", VOCABULARY)
    save_tokenizer(tmp_path / "other", [*VOCABULARY[:-2], VOCABULARY[-1], VOCABULARY[-2]])
    save_tokenizer(tmp_path / "longer", [*VOCABULARY, SIGNS[-1]])
    masked = str(tmp_path / "masked")
    with pytest.raises(ValueError, match=r"Expected a pair .*; got .*\. Use two models"):
        shared_vocabulary(Pair(masked, str(tmp_path / "other")), SIGNS)
    with pytest.raises(ValueError, match="as None and as"):
        shared_vocabulary(Pair(masked, str(tmp_path / "longer")), SIGNS)
    assert len(shared_vocabulary(Pair(masked, str(tmp_path / "longer")), SIGNS[:-1])) == len(VOCABULARY)


def test_a_model_that_is_too_short_is_refused_before_any_training(poems: Path, tmp_path: Path) -> None:
    pair = Pair(save_masked(tmp_path / "masked"), save_causal(tmp_path / "causal", n_positions=25))
    with pytest.raises(ValueError, match="Expected a model with 26 positions; got 25"):
        main(replace(CONFIG, pretrained=pair), tmp_path / "run", tmp_path / "report", poems=poems)
    assert not (tmp_path / "run" / "models").exists()


def test_out_of_reach_it_is_left_out_with_a_word_and_refused_where_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(poem_pretrained, "is_reachable", lambda name: False)
    pair = PRESETS["gpu"].pretrained
    assert pair is not None and PRESETS["cpu"].pretrained is None
    reason = out_of_reach(pair, tmp_path)
    assert reason is not None and pair.masked in reason and pair.causal in reason
    study = poem_completion.Study.__new__(poem_completion.Study)
    study.config, study.folder, study.pretrained = PRESETS["gpu"], tmp_path, None
    with caplog.at_level(logging.WARNING, "gencls.benchmarks"):
        assert study.add_pretrained() == reason
    assert reason in caplog.text and study.sizes == ["small", "base"]
    with pytest.raises(ValueError, match=r"^Expected pretrained models that this machine can reach"):
        poem_completion.run_command(["--pretrained", pair.masked, pair.causal, "--run", str(tmp_path)])


def test_the_identity_of_a_run_is_that_of_one_without_a_pair() -> None:
    assert replace(CONFIG, pretrained=Pair("a", "b")).identity() == CONFIG.identity()
    prefix = replace(CONFIG, sizes={"small": replace(TINY, prefix_tokens=16)})
    assert prefix.identity() != CONFIG.identity()
