"""Causal language models as masked ones: open to both sides, moved by one position, otherwise as pretrained."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
    MambaConfig,
    MambaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from gencls.data import gguf, pretrained
from gencls.data.gguf import REGISTRY_CAUSAL
from gencls.diffusion.attention import PRODUCTS
from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.batches import RowBatch
from gencls.diffusion.bidirectional import MASK_TOKEN, is_causal_only, see_both_sides, stay_in_place
from gencls.diffusion.conditioning import ConditioningConfig
from gencls.diffusion.denoiser import Denoiser
from gencls.diffusion.parts import build_backbone
from gencls.diffusion.reader import _in_bfloat16, attend_by
from gencls.diffusion.tokens import tiny_tokenizer
from gencls.generation.inside import observe_layers

V = len(tiny_tokenizer())
SIZE = {"vocab_size": V, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 24}
ARCHITECTURES = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZE, num_key_value_heads=2, tie_word_embeddings=True)),
    "llama-untied": lambda: LlamaForCausalLM(LlamaConfig(**SIZE, tie_word_embeddings=False)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZE, num_key_value_heads=2, tie_word_embeddings=True)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=V, n_embd=16, n_layer=3, n_head=4, n_positions=40)),
}


def random_model(architecture):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = ARCHITECTURES[architecture]().eval()
        with torch.no_grad():
            for value in model.parameters():
                value.add_(0.2 * torch.randn_like(value))
    return model


def causal_tokenizer(**special):
    """The characters of `tiny_tokenizer` without what a causal model has no use for."""
    tokenizer = tiny_tokenizer()
    tokenizer.mask_token = tokenizer.cls_token = tokenizer.sep_token = tokenizer.pad_token = None
    for name, token in special.items():
        setattr(tokenizer, name, token)
    return tokenizer


@pytest.fixture(params=ARCHITECTURES)
def architecture(request):
    return request.param


@pytest.fixture
def folder(architecture, tmp_path):
    random_model(architecture).save_pretrained(tmp_path)
    causal_tokenizer(eos_token="[SEP]").save_pretrained(tmp_path)
    return tmp_path


def rows():
    """Framed rows of 12 and 8 positions."""
    ids = torch.randint(5, V, (2, 12), generator=torch.Generator().manual_seed(1))
    attention = torch.ones_like(ids)
    ids[:, 0], ids[1, 8:], attention[1, 8:] = 3, 0, 0
    return ids, attention


def hidden_of(backbone, ids, attention):
    return backbone.encoder(input_ids=ids, attention_mask=attention).last_hidden_state


@torch.no_grad()
def test_the_special_tokens_are_completed_and_the_mask_starts_at_the_mean(folder, architecture):
    backbone, before = load_backbone(str(folder)), random_model(architecture)
    end = tiny_tokenizer().convert_tokens_to_ids("[SEP]")
    assert backbone.frame.as_dict() == {"bos": end, "eos": end, "pad": end, "mask": V}
    assert backbone.tokenizer.mask_token == MASK_TOKEN
    for found, known in (
        (backbone.encoder.get_input_embeddings().weight, before.get_input_embeddings().weight),
        (backbone.projection, before.get_output_embeddings().weight),
    ):
        assert torch.equal(found[:V], known)
        torch.testing.assert_close(found[V], known.mean(dim=0))
    assert (backbone.projection is backbone.encoder.get_input_embeddings().weight) == (architecture != "llama-untied")
    assert backbone.has_head
    assert not list(backbone.head.parameters())


def test_tokens_that_are_there_are_kept(tmp_path):
    random_model("llama").save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    backbone = load_backbone(str(tmp_path))
    assert backbone.frame.as_dict() == {"bos": 2, "eos": 3, "pad": 0, "mask": 4}
    assert len(backbone.projection) == V


@pytest.mark.parametrize("embedded", [False, True])
@torch.no_grad()
def test_who_sees_whom(folder, embedded):
    """Each both sides; but none the padding or another hidden token, and the first position itself alone."""
    backbone, (ids, attention) = load_backbone(str(folder)), rows()
    backbone.encoder.eval()
    table, mask = backbone.encoder.get_input_embeddings().weight, backbone.frame.mask
    ids[0, 5:7] = mask

    def moved(row, changed):
        """Positions (the last one gives no answer) whose hidden state is another one for other ids."""
        states = [
            backbone.encoder(**inputs, attention_mask=attention).last_hidden_state[row, 1:]
            for inputs in (
                {"inputs_embeds": table[part]} if embedded else {"input_ids": part} for part in (ids, changed)
            )
        ]
        return set(((states[1] - states[0]).abs().amax(dim=1) > 1e-6).nonzero()[:, 0].tolist())

    def with_other(row, place):
        changed = ids.clone()
        changed[row, place] = 6 if ids[row, place] == 5 else 5
        return changed

    everywhere = set(range(11))
    assert moved(0, with_other(0, 0)) == everywhere
    for place in (1, 4, 7, 11):
        assert moved(0, with_other(0, place)) == everywhere - {0}, place
    assert not moved(1, with_other(1, 9)) & set(range(8))
    before = backbone.encoder(input_ids=ids, attention_mask=attention).last_hidden_state[0, 1:]
    table[mask] = torch.randn(16, generator=torch.Generator().manual_seed(2))
    after = backbone.encoder(input_ids=ids, attention_mask=attention).last_hidden_state[0, 1:]
    assert ((after - before).abs().amax(dim=1) > 1e-6).nonzero()[:, 0].tolist() == [5, 6]


@torch.no_grad()
def test_a_position_answers_with_the_hidden_state_before_it(architecture):
    """The last position sees what it sees in the causal model: its prediction of what comes next is the same."""
    model, (ids, _) = random_model(architecture), rows()
    expected = model(input_ids=ids[:1, :2]).logits[:, :2]
    embeddings = model.get_output_embeddings()
    encoder = model.base_model
    see_both_sides(encoder, V - 1)
    output = encoder(input_ids=ids[:1, :2], attention_mask=torch.ones(1, 2), output_hidden_states=True)
    assert torch.equal(output.hidden_states[-1], output.last_hidden_state)
    found = embeddings(output.last_hidden_state)
    torch.testing.assert_close(found[:, 0], expected[:, 0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[:, 1], expected[:, 0], atol=1e-5, rtol=1e-5)
    padded = torch.cat([ids[:1, :2], ids[:1, :1]], dim=1)
    output = encoder(input_ids=padded, attention_mask=torch.ones(1, 3) * torch.tensor([1, 1, 0]))
    torch.testing.assert_close(embeddings(output.last_hidden_state)[:, 2], expected[:, 1], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_cut_backbone_is_built_again_from_its_config(folder):
    """As a saved run does: JSON config, random weights, state dicts."""
    cut, (ids, attention) = load_backbone(str(folder), n_layers=2), rows()
    config = json.loads(json.dumps(cut.config.to_dict()))
    again = build_backbone("x", config, cut.tokenizer, has_head=True, source="t")
    again.encoder.load_state_dict(cut.encoder.state_dict())
    for part in (again, cut):
        part.encoder.eval()
    torch.testing.assert_close(hidden_of(again, ids, attention), hidden_of(cut, ids, attention))
    assert cut.config.num_hidden_layers == 2


@pytest.mark.parametrize("mode", ["independent", "conditional", "prompt", "adapter"])
def test_the_ways_through_a_denoiser_agree(folder, architecture, mode):
    """Training, evaluation and the fast way of scoring, with the attentions of each, and rows padded or not."""
    if (architecture, mode) == ("gpt2", "adapter"):
        with pytest.raises(ValueError, match="linear"):
            Denoiser(load_backbone(str(folder)), 2, ConditioningConfig(mode, rank=2))
        return
    backbone, (ids, attention) = load_backbone(str(folder)), rows()
    denoiser = Denoiser(backbone, 2, ConditioningConfig(mode, rank=2))
    for n_rows in (1, 2):
        seen = attention[:n_rows]
        scored = seen.bool() & (torch.arange(12) % 3 == 1)
        rows_seen = ids[:n_rows].masked_fill(scored, backbone.frame.mask)
        batch = RowBatch(rows_seen, seen, ids[:n_rows].roll(1, dims=1), scored)
        classes = torch.ones(n_rows, dtype=torch.int64)
        with torch.no_grad():
            expected = denoiser.eval()(batch, classes)
            attend_by(denoiser, PRODUCTS)
            torch.testing.assert_close(denoiser(batch, classes), expected, atol=1e-4, rtol=1e-4)
            hidden = denoiser.eval().encode(batch, [0, 1, 2, 0, 1, 1]).hidden[-1]  # two groups of adapters
        plain, _ = denoiser.features(batch, classes)
        assert hidden.shape == plain.shape
        torch.testing.assert_close(denoiser.network.head_of(1)(hidden), plain, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(denoiser.train()(batch, classes), expected, atol=1e-4, rtol=1e-4)


def test_scoring_in_bfloat16_keeps_the_rotary_frequencies(tmp_path):
    random_model("llama").save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    denoiser = Denoiser(load_backbone(str(tmp_path)), 2, ConditioningConfig()).eval()
    short, own = _in_bfloat16(denoiser.network), denoiser.network
    frequencies = short.encoder.rotary_emb.inv_freq
    assert frequencies.dtype == torch.float32
    assert torch.equal(frequencies, own.encoder.rotary_emb.inv_freq)
    assert frequencies is not own.encoder.rotary_emb.inv_freq
    assert short.encoder.embed_tokens.weight.dtype == torch.bfloat16


@torch.no_grad()
def test_who_reads_texts_reads_them_in_place(folder):
    """The encoder that is fine-tuned beside a classifier: it averages over positions."""
    moved, (ids, attention) = load_backbone(str(folder)), rows()
    states = hidden_of(moved, ids, attention)
    stay_in_place(moved.encoder)
    still = hidden_of(moved, ids, attention)
    assert torch.equal(states[:, 1:], still[:, :-1])
    assert not torch.equal(still[:, 0], still[:, 1])
    changed = ids.clone()
    changed[0, 11] = 6 if ids[0, 11] == 5 else 5
    assert not torch.equal(hidden_of(moved, changed, attention)[0, 1], still[0, 1]), "it still sees both sides"


def test_rows_without_a_token_start_at_the_mean_too(tmp_path):
    """Models may have more rows than their tokenizer has tokens."""
    model = random_model("llama")
    model.resize_token_embeddings(V + 5)
    model.save_pretrained(tmp_path)
    causal_tokenizer(eos_token="[SEP]").save_pretrained(tmp_path)
    backbone = load_backbone(str(tmp_path))
    assert len(backbone.projection) == V + 5
    assert backbone.frame.mask == V
    torch.testing.assert_close(backbone.projection[V], backbone.projection[:V].mean(dim=0))


def test_a_masked_model_stays_one_whatever_its_config_says(tmp_path):
    with torch.random.fork_rng(devices=[]):
        model = BertForMaskedLM(BertConfig(**SIZE))
    model.config.is_causal = False
    model.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    assert list(load_backbone(str(tmp_path)).head.parameters())


def test_its_layers_are_not_looked_into(tmp_path):
    """They speak of the next position, and are normed after the last one only."""
    random_model("llama").save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    denoiser = Denoiser(load_backbone(str(tmp_path)), 2, ConditioningConfig())
    with pytest.raises(ValueError, match="layers of a masked language model"):
        observe_layers(denoiser, [np.arange(5, 9)], levels=(0.5,), seed=0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: MambaForCausalLM(MambaConfig(vocab_size=V, hidden_size=16, num_hidden_layers=1, state_size=4)),
        lambda: BloomForCausalLM(BloomConfig(vocab_size=V, hidden_size=16, n_layer=1, n_head=2)),
        lambda: OPTForCausalLM(OPTConfig(**SIZE, ffn_dim=24, word_embed_proj_dim=16)),
    ],
    ids=["mamba", "bloom", "opt"],
)
def test_an_architecture_that_takes_no_such_mask_is_refused(make, tmp_path, capfd):
    make().save_pretrained(tmp_path)
    causal_tokenizer(eos_token="[SEP]").save_pretrained(tmp_path)
    capfd.readouterr()
    with pytest.raises(ValueError, match=r"attention transformers can open.*smollm2"):
        load_backbone(str(tmp_path))


def test_what_is_a_causal_model(tmp_path):
    assert not is_causal_only(str(tmp_path)), "an empty folder is nobody's"
    random_model("gpt2").save_pretrained(tmp_path / "gpt2")
    assert is_causal_only(str(tmp_path / "gpt2"))
    load_backbone("tiny-random").encoder.save_pretrained(tmp_path / "bert")
    assert not is_causal_only(str(tmp_path / "bert"))


def test_the_registry_model_is_read_after_its_document_separator(tmp_path, monkeypatch):
    random_model("llama").save_pretrained(tmp_path)
    start = REGISTRY_CAUSAL["smollm2"].start
    tokenizer = causal_tokenizer(bos_token="[CLS]", eos_token="[SEP]", pad_token="[PAD]")
    tokenizer.add_special_tokens({"additional_special_tokens": [start]})
    tokenizer.save_pretrained(tmp_path)
    monkeypatch.setattr(pretrained, "hub_reachable", lambda: False)
    monkeypatch.setattr(gguf.RegistryCausal, "unpacked", lambda self, cache: tmp_path)
    backbone = load_backbone("smollm2")
    monkeypatch.chdir(tmp_path.parent)
    (tmp_path.parent / "smollm2").symlink_to(tmp_path)
    assert load_backbone("smollm2").frame.bos == 2, "a folder of that name has its own"
    assert backbone.frame.as_dict() == {"bos": V, "eos": V, "pad": 0, "mask": V + 1}
    assert backbone.source == REGISTRY_CAUSAL["smollm2"].source


def test_unusable_models_are_refused(tmp_path, monkeypatch):
    random_model("llama").save_pretrained(tmp_path)
    causal_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="begins or ends a text"):
        load_backbone(str(tmp_path))
    causal_tokenizer(eos_token="[SEP]").save_pretrained(tmp_path)
    model = LlamaModel.forward
    with monkeypatch.context() as patch:
        patch.setattr(LlamaModel, "forward", lambda self, attention_mask=None, **options: model(self, **options))
        with pytest.raises(ValueError, match="attention transformers can open"):
            load_backbone(str(tmp_path))
    forward = LlamaForCausalLM.forward

    def capped(self, *args, **options):
        output = forward(self, *args, **options)
        output.logits = 2 * output.logits
        return output

    monkeypatch.setattr(LlamaForCausalLM, "forward", capped)
    with pytest.raises(ValueError, match="scales or caps"):
        load_backbone(str(tmp_path))


def test_damaged_or_missing_weights_are_said(tmp_path):
    from safetensors.torch import load_file, save_file

    random_model("llama").save_pretrained(tmp_path)
    causal_tokenizer(eos_token="[SEP]").save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    whole = load_file(file)
    save_file({name: value for name, value in whole.items() if "layers.1." not in name}, file, {"format": "pt"})
    with pytest.raises(ValueError, match=r"weights of the whole model; got .* without .*layers\.1\."):
        load_backbone(str(tmp_path))
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"Expected a causal language model .*; got .*\. Check"):
        load_backbone(str(tmp_path))
