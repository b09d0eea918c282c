"""Loading and building causal models: names, folders, damaged files."""

from __future__ import annotations

import pytest
import torch

from gencls.baselines import causal
from gencls.baselines.causal import load_causal, new_causal, start_of


@pytest.fixture
def folder(tiny_causal, char_tokenizer, tmp_path):
    tiny_causal.save_pretrained(tmp_path / "tiny")
    char_tokenizer.save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def test_loads_a_folder(folder, tiny_causal, char_tokenizer, capfd):
    loaded = load_causal(str(folder))
    for name, value in tiny_causal.named_parameters():
        assert torch.equal(loaded.model.get_parameter(name), value)
    assert not loaded.model.training
    assert loaded.start_id == char_tokenizer.cls_token_id
    assert loaded.source == "folder tiny"
    assert capfd.readouterr() == ("", ""), "the library never prints"


def test_damaged_or_missing_files_are_said(folder, tmp_path):
    (folder / "model.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(ValueError, match=r"a causal language model .* Check the name"):
        load_causal(str(folder))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="a causal language model"):
        load_causal(str(tmp_path / "empty"))


def test_a_hub_name_without_a_hub_is_refused_at_once():
    with pytest.raises(ValueError, match=r"got 'gpt2', and no hub answers\. Use a folder or .*'smollm2'"):
        load_causal("gpt2")
    with pytest.raises(ValueError, match="no hub answers"):
        load_causal("someone/some-model")


def test_a_model_that_caps_its_logits_is_refused(folder, monkeypatch):
    real = causal.hidden_states
    monkeypatch.setattr(causal, "hidden_states", lambda *args: 2 * real(*args))
    with pytest.raises(ValueError, match="scales or caps"):
        load_causal(str(folder))


def test_new_models_are_seeded_sized_and_leave_the_random_state(tiny_causal):
    options = {"width": 48, "n_layers": 2, "n_heads": 4, "n_positions": 16}
    torch.manual_seed(5)
    state = torch.get_rng_state().clone()
    one, same, other = (new_causal(100, seed=seed, **options) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    first = [next(model.parameters()) for model in (one, same, other)]
    assert torch.equal(first[0], first[1])
    assert not torch.equal(first[0], first[2])
    # as a BERT or GPT-2 of this size: the embeddings, and 12 D^2 a layer (norms and biases aside)
    assert one.num_parameters() == pytest.approx(100 * 48 + 2 * 12 * 48**2, rel=0.01)


def test_start_token(char_tokenizer):
    assert start_of(char_tokenizer) == char_tokenizer.cls_token_id
    char_tokenizer.cls_token = None
    with pytest.raises(ValueError, match="begins or ends a text"):
        start_of(char_tokenizer)
