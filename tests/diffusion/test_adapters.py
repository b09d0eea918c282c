"""Adapters of all classes in one pass: equal to a pass for each class, on shared weights, and nobody's state."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    DistilBertConfig,
    DistilBertForMaskedLM,
    ElectraConfig,
    ElectraForMaskedLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    MPNetConfig,
    MPNetForMaskedLM,
    RobertaConfig,
    RobertaForMaskedLM,
)

from gencls.diffusion.adapters import STACKED, adapted_layers, grouped_encoder, without_adapters
from gencls.diffusion.batches import RowBatch
from gencls.diffusion.conditioning import ConditioningConfig
from gencls.diffusion.denoiser import Denoiser
from gencls.diffusion.parts import layer_stack, split_model
from gencls.diffusion.reader import KEPT_GROUPED
from gencls.diffusion.tokens import tiny_tokenizer

V, C, N_LAYERS = 99, 3, 3
SIZE = {
    "vocab_size": V,
    "hidden_size": 32,
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
}
SPECIAL = {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
DISTIL = {"vocab_size": V, "dim": 32, "n_layers": N_LAYERS, "n_heads": 2, "hidden_dim": 48, "pad_token_id": 0}
MODELS = {
    "bert": (BertForMaskedLM, lambda: BertConfig(**SIZE)),
    "roberta": (RobertaForMaskedLM, lambda: RobertaConfig(**SIZE)),
    "distilbert": (DistilBertForMaskedLM, lambda: DistilBertConfig(**DISTIL, max_position_embeddings=40)),
    "mpnet": (MPNetForMaskedLM, lambda: MPNetConfig(**SIZE)),
    # a linear map between embeddings and layers
    "electra": (ElectraForMaskedLM, lambda: ElectraConfig(**SIZE, embedding_size=16)),
    # layers of two kinds
    "modernbert": (ModernBertForMaskedLM, lambda: ModernBertConfig(**SIZE, **SPECIAL, local_attention=4)),
}
CLOSE = {"atol": 2e-5, "rtol": 1e-4}
ALL = (0, 1, 2, C)


def make(name="bert", n_layers=None, n_classes=C):
    """A denoiser whose adapters differ and matter."""
    kind, config = MODELS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        backbone = split_model(name, kind(config()), tiny_tokenizer(), has_head=True, source="random")
        options = ConditioningConfig("adapter", rank=2, adapter_layers=n_layers)
        denoiser = Denoiser(backbone, n_classes, options)
        with torch.no_grad():
            for value in denoiser.parameters():
                value.add_(0.15 * torch.randn_like(value))
    return denoiser.eval()


def make_batch(lengths=(14, 9, 14), width=14):
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, V, (len(lengths), width), generator=generator)
    attention = (torch.arange(width) < torch.tensor(lengths)[:, None]).long()
    scored = attention.bool() & (torch.arange(width) % 3 == 1)
    return RowBatch(torch.where(attention.bool(), ids, 0), attention, ids, scored)


@torch.no_grad()
def one_by_one(denoiser, batch, class_ids):
    inputs = batch.input_ids, batch.attention_mask, batch.scored
    return torch.stack([denoiser.network.hidden(*inputs, index) for index in class_ids])


@torch.no_grad()
def together(denoiser, batch, class_ids, dtype=torch.float32):
    return denoiser.encode(batch, class_ids, dtype).hidden


@pytest.fixture(scope="module")
def denoiser():
    return make(n_layers=1)


@pytest.mark.parametrize("n_layers", [None, 1, 2])
@pytest.mark.parametrize("name", MODELS)
def test_together_equals_one_by_one(name, n_layers):
    denoiser = make(name, n_layers)
    for batch in (make_batch(), make_batch((14, 14)), make_batch((9,))):
        for class_ids in (ALL, (C, 1), (2,), (C,), (1, 1)):
            expected = one_by_one(denoiser, batch, class_ids)
            torch.testing.assert_close(together(denoiser, batch, class_ids), expected, **CLOSE)
    apart = one_by_one(denoiser, make_batch(), ALL)
    for first in range(len(ALL)):
        for second in range(first):
            assert (apart[first] - apart[second]).abs().max() > 0.05


@pytest.mark.parametrize("name", MODELS)
def test_no_class_is_the_backbone_itself(name):
    denoiser, batch = make(name), make_batch()
    encoder = without_adapters(denoiser.network.encoder)
    assert not adapted_layers(encoder)
    with torch.no_grad():
        hidden = encoder(input_ids=batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
    torch.testing.assert_close(together(denoiser, batch, (0, C))[1], hidden[batch.scored], **CLOSE)


@pytest.mark.parametrize("n_layers", [None, 1])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_short_types_are_near(dtype, n_layers):
    denoiser, batch = make(n_layers=n_layers), make_batch()
    plain, short = together(denoiser, batch, ALL), together(denoiser, batch, ALL, dtype)
    assert not torch.equal(short.float(), plain)
    torch.testing.assert_close(short.float(), plain, atol=0.1, rtol=0.05)


@pytest.mark.parametrize("group", [1, 2, 3])
@pytest.mark.parametrize("name", ["bert", "mpnet", "modernbert"])
def test_groups_of_any_size_give_the_same(name, group, monkeypatch):
    """With more classes than fit in one product."""
    denoiser, batch = make(name, 2), make_batch()
    expected = together(denoiser, batch, ALL)
    monkeypatch.setattr("gencls.diffusion.adapters.CLASS_GROUP", group)
    denoiser.forget()
    torch.testing.assert_close(together(denoiser, batch, ALL), expected, **CLOSE)


def rows_by_layer(denoiser, class_ids, batch):
    """Rows that the first product of each layer sees, call by call."""
    encoder = denoiser._grouped_encoder(class_ids, torch.float32)
    seen, hooks = [], []
    for layer in encoder.modules():
        if hasattr(layer, "intermediate"):
            hooks.append(layer.intermediate.register_forward_pre_hook(lambda _, given: seen.append(len(given[0]))))
    together(denoiser, batch, class_ids)
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize(("n_layers", "expected"), [(1, [3, 3, 12]), (2, [3, 12, 12]), (3, [12] * 3), (None, [12] * 3)])
def test_layers_below_the_first_adapter_run_once(n_layers, expected):
    denoiser = make(n_layers=n_layers)
    assert rows_by_layer(denoiser, ALL, make_batch()) == expected


def test_a_group_bounds_the_rows_of_a_product(monkeypatch):
    monkeypatch.setattr("gencls.diffusion.adapters.CLASS_GROUP", 2)
    assert rows_by_layer(make(n_layers=2, n_classes=5), range(5), make_batch()) == [3, 6, 6, 6, 6, 3, 3]


def test_only_known_models_part_between_layers():
    assert {MODELS[name][1]().model_type for name in MODELS} - {"modernbert"} < set(STACKED)
    assert rows_by_layer(make("electra"), ALL, make_batch()) == [12] * 3  # its map before the layers has adapters too
    assert rows_by_layer(make("electra", 1), ALL, make_batch()) == [3, 3, 12]


@pytest.mark.parametrize("n_layers", [None, 1])
def test_float32_shares_the_weights_of_the_backbone(n_layers):
    denoiser = make(n_layers=n_layers)
    encoder = denoiser._grouped_encoder(ALL, torch.float32)
    own = {value.data_ptr() for value in denoiser.parameters()}
    assert {value.data_ptr() for value in encoder.parameters()} <= own
    adapters = sum(value.numel() for name, value in denoiser.named_parameters() if "lora_" in name)
    copied = sum(value.numel() for value in encoder.buffers() if value.is_floating_point())
    assert copied == adapters // C * len(ALL)
    assert not [name for name in denoiser.state_dict() if "grouped" in name]


def test_no_gradient_and_no_mode_of_the_model_changes(denoiser):
    model = copy.deepcopy(denoiser).train()
    trained = [value.requires_grad for value in model.parameters()]
    together(model, make_batch(), ALL)
    assert all(module.training for module in model.modules())
    assert not any(module.training for module in model._grouped[0][1].modules())
    assert [value.requires_grad for value in model.parameters()] == trained
    assert len(adapted_layers(model.network.encoder)) == 6


@torch.no_grad()
def change_adapter(denoiser):
    next(v for name, v in denoiser.named_parameters() if "lora_B.class_1" in name).mul_(3)


@torch.no_grad()
def change_backbone(denoiser):
    layer_stack(denoiser.network.encoder)[0].intermediate.dense.weight.mul_(2)


def replace_backbone(denoiser):
    dense = layer_stack(denoiser.network.encoder)[0].intermediate.dense
    dense.weight = torch.nn.Parameter(2 * dense.weight.detach())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("change", [change_adapter, change_backbone, replace_backbone])
def test_a_change_of_a_weight_is_seen(denoiser, change, dtype):
    model, batch = copy.deepcopy(denoiser), make_batch()
    before = together(model, batch, ALL, dtype)
    kept = model._grouped
    assert torch.equal(together(model, batch, ALL, dtype), before)
    assert model._grouped is kept  # made once
    change(model)
    after = together(model, batch, ALL, dtype)
    assert (after - before).abs().max() > 0.05
    assert len(model._grouped) == 1  # what is out of date is dropped
    torch.testing.assert_close(after.float(), one_by_one(model, batch, ALL), atol=0.1, rtol=0.05)


def test_few_sets_of_classes_are_kept_and_none_is_saved(denoiser):
    model, batch = copy.deepcopy(denoiser), make_batch()
    assert model._grouped == ()
    size = len(pickle.dumps(model))
    for class_ids in (ALL, (0, 1), (1, 2), (0, 1)):
        together(model, batch, class_ids)
    assert {key[1][0] for key, _ in model._grouped} == {(0, 1), (1, 2)}
    assert len(model._grouped) == KEPT_GROUPED
    assert len(pickle.dumps(model)) < 1.01 * size
    model.train()
    assert model._grouped == ()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_threads_get_the_same_bits(dtype):
    denoiser, batches = make(n_layers=2), [make_batch((length, 14)) for length in range(2, 14)]
    with torch.inference_mode():
        denoiser.prepare(dtype, ALL)
    made = denoiser._grouped
    expected = [together(denoiser, batch, ALL, dtype) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda batch: together(denoiser, batch, ALL, dtype), batches * 5))
    assert denoiser._grouped is made
    assert all(torch.equal(value, other) for value, other in zip(found, expected * 5, strict=True))


def test_a_row_does_not_depend_on_its_neighbours(denoiser):
    batch = make_batch()
    changed = RowBatch(*(getattr(batch, name).clone() for name in batch.__dataclass_fields__))
    changed.input_ids[1, :9] = changed.input_ids[0, :9]
    first, second = together(denoiser, batch, ALL), together(denoiser, changed, ALL)
    is_other = batch.scored.nonzero()[:, 0] == 1
    assert torch.equal(first[:, ~is_other], second[:, ~is_other])
    assert not torch.equal(first[:, is_other], second[:, is_other])


@pytest.mark.parametrize("n_layers", [1, 2])
def test_adapters_are_in_the_last_layers_and_train_there_only(n_layers):
    denoiser = make(n_layers=n_layers).train()
    names = denoiser.network.class_parameter_names()
    layers = {int(name.split(".layer.")[1].split(".")[0]) for name in names}
    assert layers == set(range(N_LAYERS - n_layers, N_LAYERS))
    assert len(names) == n_layers * 6 * 2 * C  # six linear maps a layer, two factors a class
    for name, value in denoiser.named_parameters():
        value.requires_grad_(name.removeprefix("network.") in names)
    batch = make_batch()
    denoiser(batch, torch.tensor([0, 1, 0])).sum().backward()
    moved = {name for name, value in denoiser.network.named_parameters() if value.grad is not None}
    assert moved == {name for name in names if "class_2" not in name}


@pytest.mark.parametrize("n_layers", [4, 400])
def test_more_adapter_layers_than_there_are(n_layers):
    with pytest.raises(ValueError, match=r"(?s)Expected 1 <= adapter_layers <= 3, .*; got 4.*\. \w"):
        make(n_layers=n_layers)


@pytest.mark.parametrize("n_layers", [0, -1])
def test_no_adapter_layer_makes_no_sense(n_layers):
    with pytest.raises(ValueError, match=r"(?s)Expected adapter_layers >= 1; got .*\. \w"):
        ConditioningConfig("adapter", adapter_layers=n_layers)


def test_products_are_of_the_equation():
    """One linear map, against the equation written out, in float64."""
    denoiser, rows = make(n_layers=1).double(), torch.randn(3, 5, 32, dtype=torch.float64)
    encoder = denoiser.network.encoder
    name, layer = next(iter(adapted_layers(encoder).items()))
    grouped = grouped_encoder(encoder, without_adapters(encoder), (2, C)).encoders[0]
    found = grouped.get_submodule(name.replace("layer.2", "layer.2.groups.0.0"))(torch.cat([rows, rows]))
    down, up = (pair["class_2"].weight for pair in (layer.lora_A, layer.lora_B))
    plain = rows @ layer.weight.T + layer.bias
    assert layer.scaling["class_2"] == 2
    torch.testing.assert_close(found[:3], plain + 2 * (rows @ down.T) @ up.T)
    torch.testing.assert_close(found[3:], plain)
