"""A backbone from scratch: its characters, its size, and that it is saved as any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.batches import frame_rows
from gencls.diffusion.language_model import LanguageModel, class_free_denoiser
from gencls.diffusion.scratch import OFFSETS, SPECIAL, character_tokenizer, scratch_model
from gencls.diffusion.tokens import tokenize
from gencls.generation.config import GenerationConfig
from gencls.generation.writing import infill

TEXTS = ["床前明月光，/疑是地上霜。", "举头望明月，/低头思故乡。 \U0001f319", "the moon 明月"]


def test_tokens_are_the_characters_seen_often_enough() -> None:
    tokenizer = character_tokenizer(TEXTS, min_count=2)
    kept = [token for token in tokenizer.get_vocab() if token not in SPECIAL]
    assert sorted(kept) == sorted(c for c in set("".join(TEXTS)) if "".join(TEXTS).count(c) >= 2)
    ids = tokenize(["明 月x[MASK]"], tokenizer, max_length=20).ids[0]
    assert tokenizer.convert_ids_to_tokens(ids.tolist())[:4] == ["明", " ", "月", "[UNK]"]
    assert tokenizer.mask_token_id not in ids
    assert tokenizer.decode(tokenizer("明月 明", add_special_tokens=False)["input_ids"]) == "明月 明"


def test_frequent_characters_come_first_whatever_the_order_of_texts() -> None:
    first, second = (character_tokenizer(texts, min_count=1) for texts in (TEXTS, TEXTS[::-1]))
    assert first.get_vocab() == second.get_vocab()
    assert first.convert_ids_to_tokens(len(SPECIAL)) in " 明月"


def test_the_name_says_the_size_and_the_weights_are_those_of_the_seed() -> None:
    backbones = [load_backbone("scratch-64x2", texts=TEXTS) for _ in range(2)]
    assert backbones[0].config.hidden_size == 64 and backbones[0].config.num_hidden_layers == 2
    assert not backbones[0].is_pretrained and not backbones[0].has_head
    for one, other in zip(backbones[0].encoder.parameters(), backbones[1].encoder.parameters(), strict=True):
        assert torch.equal(one, other)


def test_each_head_starts_by_looking_at_a_neighbour_of_its_own() -> None:
    tokenizer = character_tokenizer(TEXTS * 2)
    model = scratch_model(tokenizer, 64, 2)
    model.set_attn_implementation("eager")
    ids = torch.randint(len(SPECIAL), len(tokenizer), (1, 20), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        layers = model(ids, output_attentions=True).attentions
    places = torch.arange(6, 14)
    for head, offset in zip(torch.cat([layer[0] for layer in layers]), OFFSETS, strict=True):
        by_offset = torch.stack([head[places, places + shift].mean() for shift in range(-6, 7)])
        assert int(by_offset.argmax()) - 6 == offset
        assert by_offset.max() > 0.4


def test_wrong_calls_are_said() -> None:
    with pytest.raises(ValueError, match="Give texts="):
        load_backbone("scratch")
    with pytest.raises(ValueError, match="multiples of 64"):
        load_backbone("scratch-100x2", texts=TEXTS)
    with pytest.raises(ValueError, match="Give more texts"):
        load_backbone("scratch-64x1", texts=["abc"])


def test_a_saved_model_is_the_same_and_fills_holes(tmp_path: Path) -> None:
    backbone = load_backbone("scratch-64x1", texts=TEXTS * 2)
    model = LanguageModel(class_free_denoiser(backbone).eval(), backbone)
    again = LanguageModel.load(model.save(tmp_path / "run"))
    ids = tokenize(TEXTS[:1], backbone.tokenizer, max_length=32).ids
    hidden = [np.arange(len(ids[0])) % 3 == 0]
    batch = frame_rows(ids, hidden, hidden, model.denoiser.frame)
    none = torch.zeros(1, dtype=torch.int64)
    with torch.no_grad():
        torch.testing.assert_close(again.denoiser(batch, none), model.denoiser(batch, none), rtol=0, atol=0)
    text = infill(again, "床前[MASK][MASK]光，", GenerationConfig(temperature=0.0, precision="float32"))[0].text
    assert text.startswith("床前") and text.endswith("光，") and len(text) == 6
