"""Masked LMs taken apart: the parts are the original model for every architecture; bad files are named."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    DistilBertConfig,
    DistilBertForMaskedLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    MPNetConfig,
    MPNetForMaskedLM,
    RobertaConfig,
    RobertaForMaskedLM,
)
from transformers import logging as transformers_logging

from gencls.data.lengths import groups_of
from gencls.data.quiet import quiet_transformers
from gencls.diffusion import backbones
from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.batches import RowBatch
from gencls.diffusion.conditioning import ConditioningConfig
from gencls.diffusion.denoiser import Denoiser
from gencls.diffusion.padding import encode
from gencls.diffusion.parts import LinearHead, build_backbone, split_model
from gencls.diffusion.tokens import tiny_tokenizer

V = 99
SIZE = {
    "vocab_size": V,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
}
SPECIAL = {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}


def distil_config():
    options = {"vocab_size": V, "dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 24}
    return DistilBertConfig(**options, max_position_embeddings=40, pad_token_id=0)


ARCHITECTURES = {
    "bert": (BertForMaskedLM, lambda: BertConfig(**SIZE)),
    "bert-untied": (BertForMaskedLM, lambda: BertConfig(**SIZE, tie_word_embeddings=False)),
    "roberta": (RobertaForMaskedLM, lambda: RobertaConfig(**SIZE)),
    "distilbert": (DistilBertForMaskedLM, distil_config),
    "mpnet": (MPNetForMaskedLM, lambda: MPNetConfig(**SIZE)),
    "modernbert": (ModernBertForMaskedLM, lambda: ModernBertConfig(**SIZE, **SPECIAL, local_attention=4)),
}


def random_model(architecture):
    """A small model whose every parameter, biases too, is away from its start."""
    make, config = ARCHITECTURES[architecture]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make(config()).eval()
        with torch.no_grad():
            for value in model.parameters():
                value.add_(0.2 * torch.randn_like(value))
    return model


def rows():
    ids = torch.randint(5, V, (3, 12), generator=torch.Generator().manual_seed(1))
    attention = torch.ones_like(ids)
    ids[1, 7:], attention[1, 7:] = 0, 0
    return ids, attention


def log_probs_of(backbone, ids, attention):
    hidden = backbone.encoder(input_ids=ids, attention_mask=attention).last_hidden_state
    features = backbone.head(hidden.flatten(0, 1)).unflatten(0, ids.shape)
    return features @ backbone.projection.T + backbone.bias


@pytest.mark.parametrize("embedded", [False, True])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@torch.no_grad()
def test_rows_in_groups_have_the_same_hidden_states(architecture, embedded, monkeypatch):
    """Whatever a model's positions and its local attention are."""
    monkeypatch.setattr("gencls.data.lengths.groups_of", lambda lengths: groups_of(lengths, 8))
    encoder, (ids, attention) = random_model(architecture).base_model, rows()
    inputs = encoder.get_input_embeddings()(ids) if embedded else ids
    plain, grouped = (encode(encoder, inputs, attention, in_groups=in_groups) for in_groups in (False, True))
    seen = attention.bool()
    torch.testing.assert_close(grouped[seen], plain[seen], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@torch.no_grad()
def test_the_parts_reproduce_the_model(architecture):
    model, (ids, attention) = random_model(architecture), rows()
    expected = model(input_ids=ids, attention_mask=attention).logits
    bias = model.get_output_embeddings().bias
    assert bias.abs().max() > 0.05  # or the test would not see a lost bias
    backbone = split_model("x", model, tiny_tokenizer(), has_head=True, source="test")
    found = log_probs_of(backbone, ids, attention)
    torch.testing.assert_close(found[attention == 1], expected[attention == 1], atol=1e-5, rtol=1e-5)
    is_tied = backbone.projection is backbone.encoder.get_input_embeddings().weight
    assert is_tied == (architecture != "bert-untied")
    assert "decoder" not in str(list(backbone.head.state_dict()))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@torch.no_grad()
def test_a_cut_backbone_is_built_again_from_its_config(architecture):
    """As a saved run does: JSON config, random weights, state dicts."""
    cut = split_model("x", random_model(architecture), tiny_tokenizer(), has_head=True, source="t", n_layers=2)
    config = json.loads(json.dumps(cut.config.to_dict()))
    again = build_backbone("x", config, tiny_tokenizer(), has_head=True, source="t")
    again.encoder.load_state_dict(cut.encoder.state_dict())
    again.head.load_state_dict(cut.head.state_dict())
    again.projection.copy_(cut.projection)
    again.bias.copy_(cut.bias)
    for part in (again.encoder, again.head, cut.encoder, cut.head):
        part.eval()
    ids, attention = rows()
    torch.testing.assert_close(log_probs_of(again, ids, attention), log_probs_of(cut, ids, attention))


@pytest.mark.parametrize("mode", ["independent", "adapter", "conditional"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_step_zero_of_every_mode_is_the_pretrained_model(architecture, mode):
    """Before training no class differs from the backbone; evaluation, training and gradients agree."""
    model, (ids, attention) = random_model(architecture), rows()
    with torch.no_grad():
        expected = model(input_ids=ids, attention_mask=attention).logits.log_softmax(dim=-1)
    scored = attention.bool() & (torch.arange(12) % 3 == 1)
    batch = RowBatch(ids, attention, ids.flip(1), scored)
    wanted = expected[scored].gather(1, batch.target_ids[scored][:, None])[:, 0]
    backbone = split_model("x", model, tiny_tokenizer(), has_head=True, source="t")
    denoiser = Denoiser(backbone, 2, ConditioningConfig(mode, rank=2))
    classes = torch.tensor([0, 1, 2])
    with torch.no_grad():
        torch.testing.assert_close(denoiser.eval()(batch, classes), wanted, atol=1e-4, rtol=1e-4)
    for module in denoiser.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    torch.testing.assert_close(denoiser.train()(batch, classes), wanted, atol=1e-4, rtol=1e-4)


def test_n_layers_cuts_and_checks():
    whole, cut = (load_backbone("tiny-random", n_layers=n) for n in (2, 1))
    assert len(whole.encoder.encoder.layer) == 2
    assert len(cut.encoder.encoder.layer) == cut.config.num_hidden_layers == 1
    for n_layers in (0, 4, -1):
        with pytest.raises(ValueError, match="n_layers"):
            split_model("x", random_model("bert"), tiny_tokenizer(), has_head=True, source="t", n_layers=n_layers)


@pytest.mark.parametrize("n_layers", [0, -1])
def test_n_layers_of_the_tiny_backbone_is_checked_too(n_layers):
    with pytest.raises(ValueError, match="n_layers"):
        load_backbone("tiny-random", n_layers=n_layers)


def test_tiny_is_the_same_every_time_and_leaves_the_global_stream_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = load_backbone("tiny-random")
    assert torch.equal(torch.rand(1), expected)
    second = load_backbone("tiny-random")
    assert torch.equal(first.projection, second.projection)
    assert isinstance(first.head, LinearHead)
    assert all(not value.any() for value in first.head.parameters())
    assert not first.bias.any()


@pytest.fixture
def folder(tmp_path):
    random_model("bert").save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    return tmp_path


@pytest.fixture
def bars(monkeypatch):
    """Transformers with its bars, as a user has it."""
    monkeypatch.setattr("transformers.utils.logging._tqdm_active", True)


@pytest.mark.usefixtures("bars")
def test_a_folder_is_read_without_a_bar(folder, monkeypatch):
    shown, load = [], backbones.AutoModelForMaskedLM.from_pretrained

    def watched(*args, **options):
        shown.append(transformers_logging.is_progress_bar_enabled())
        return load(*args, **options)

    monkeypatch.setattr(backbones.AutoModelForMaskedLM, "from_pretrained", watched)
    load_backbone(str(folder))
    assert shown == [False]
    assert transformers_logging.is_progress_bar_enabled(), "as the user had it"


@pytest.mark.usefixtures("bars")
@pytest.mark.parametrize(("is_folder", "are_shown"), [(True, False), (False, True)])
def test_only_what_comes_from_a_hub_shows_its_bars(is_folder, are_shown, tmp_path):
    with quiet_transformers(str(tmp_path) if is_folder else "some/model"):
        assert transformers_logging.is_progress_bar_enabled() is are_shown
        assert transformers_logging.get_verbosity() == transformers_logging.ERROR


@torch.no_grad()
def test_a_folder_loads_with_its_head(folder):
    ids, attention = rows()
    backbone = load_backbone(str(folder))
    assert backbone.has_head
    assert backbone.name == str(folder)
    expected = random_model("bert")(input_ids=ids, attention_mask=attention).logits
    found = log_probs_of(backbone, ids, attention)
    torch.testing.assert_close(found[attention == 1], expected[attention == 1], atol=1e-5, rtol=1e-5)


def test_a_folder_without_a_head_gets_a_linear_one(tmp_path):
    random_model("bert").bert.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    backbone = load_backbone(str(tmp_path), n_layers=2)
    assert not backbone.has_head
    assert isinstance(backbone.head, LinearHead)
    assert torch.equal(backbone.projection, random_model("bert").bert.embeddings.word_embeddings.weight)


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.99])
def test_truncated_weights_are_a_clear_error(folder, kept):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * kept)])
    with pytest.raises(ValueError, match=r"Expected .*; got .*\. "):
        load_backbone(str(folder))


def test_weights_that_lack_a_layer_are_a_clear_error(folder):
    """Random layers in the place of missing ones would be no pretrained model, and nobody would know."""
    from safetensors.torch import load_file, save_file

    file = folder / "model.safetensors"
    kept = {name: value for name, value in load_file(file).items() if "layer.1." not in name}
    save_file(kept, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"Expected .*; got .*\. "):
        load_backbone(str(folder))


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_damaged_or_missing_json_is_a_clear_error(folder, name, damage):
    file = folder / name
    if damage == "gone":
        file.unlink()
    else:
        file.write_text(file.read_text()[:100])
    with pytest.raises(ValueError, match=r"Expected .*; got .*\. "):
        load_backbone(str(folder))


def test_a_model_without_any_tokenizer_file_is_a_clear_error(folder):
    """transformers then makes a BERT tokenizer of five tokens: every text would be unknown words."""
    for file in folder.glob("*token*"):
        file.unlink()
    assert {file.name for file in folder.iterdir()} == {"config.json", "model.safetensors"}
    with pytest.raises(ValueError, match=r"Expected .*; got .*\. "):
        load_backbone(str(folder))


@pytest.mark.parametrize("name", ["minilmm", "MiniLM", "tinyrandom", "mpnet-base"])
def test_unknown_names_give_the_nearest(monkeypatch, name):
    monkeypatch.setattr(backbones, "hub_reachable", lambda: False)
    with pytest.raises(ValueError, match=r"(nearest: 'mpnet'|minilm|tiny-random)"):
        load_backbone(name)


def test_a_name_that_the_hub_does_not_know_is_a_clear_error(monkeypatch):
    def from_pretrained(*args, **kwargs):
        raise OSError("nobody/nothing is not a valid model identifier")

    monkeypatch.setattr(backbones, "hub_reachable", lambda: True)
    monkeypatch.setattr(backbones.AutoModelForMaskedLM, "from_pretrained", from_pretrained)
    with pytest.raises(ValueError, match=r"nobody/nothing.*minilm"):
        load_backbone("nobody/nothing")


def test_a_model_without_a_projection_is_refused():
    with pytest.raises(ValueError, match="masked language model"):
        split_model("x", random_model("bert").bert, tiny_tokenizer(), has_head=False, source="t")
