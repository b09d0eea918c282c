"""The estimate of floating-point operations against counts by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM
from transformers.pytorch_utils import Conv1D

from gencls.baselines.causal import new_causal
from gencls.baselines.causal_per_class import add_adapters
from gencls.baselines.words import word_counter
from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.batches import frame_rows
from gencls.diffusion.conditioning import ConditioningConfig
from gencls.diffusion.denoiser import Denoiser
from gencls.diffusion.tokens import tiny_tokenizer
from gencls.evaluation.costs import (
    DenoiserSizes,
    denoiser_scoring_flops,
    denoiser_training_flops,
    forward_flops,
    matrix_parameters,
    mean_features,
    mean_length,
    trainable_parameters,
    training_flops,
)


def test_lookup_tables_cost_nothing_and_a_tied_projection_counts_once():
    plain = nn.Sequential(nn.Embedding(100, 8), nn.Linear(8, 3))
    assert matrix_parameters(plain) == 8 * 3 + 3
    head = nn.Linear(8, 100, bias=False)
    tied = nn.Sequential(nn.Embedding(100, 8), head)
    tied[0].weight = head.weight
    assert matrix_parameters(tied) == 100 * 8


def test_estimate_is_near_what_torch_counts():
    """Forward and backward of a causal model: the estimate leaves out attention, some 5 % here."""
    model = new_causal(300, width=64, n_layers=2, n_heads=2, n_positions=32, seed=0)
    model.set_attn_implementation("eager")
    ids = torch.arange(32)[None]
    with FlopCounterMode(display=False) as forward:
        loss = model(ids, labels=ids).loss
    with FlopCounterMode(display=False) as backward:
        loss.backward()
    n = matrix_parameters(model)
    assert forward.get_total_flops() == pytest.approx(forward_flops(n, 32), rel=0.1)
    assert forward.get_total_flops() + backward.get_total_flops() == pytest.approx(training_flops(n, 32), rel=0.1)


def test_adapters_save_the_gradient_of_the_frozen_weights():
    model = new_causal(300, width=64, n_layers=2, n_heads=2, n_positions=32, seed=0)
    n = matrix_parameters(model)
    adapted = add_adapters(model, 2, 2, seed=0)
    few = trainable_parameters(adapted)
    assert 0 < few < n / 5
    assert training_flops(n, 10, n_trainable=few) == (4 * n + 2 * few) * 10


def test_means():
    assert mean_length([np.zeros(3), np.zeros(1)]) == 2.0
    assert mean_length([]) == 0.0
    texts = ["a b", "a a", "b"]
    assert mean_features(word_counter(3, longest=1).fit(texts), texts) == pytest.approx(4 / 3)


def test_a_denoisers_sizes_are_those_of_its_parts_and_scoring_is_what_torch_counts():
    backbone = load_backbone("tiny-random")
    denoiser = Denoiser(backbone, 3, ConditioningConfig("conditional", rank=4)).eval()
    sizes = DenoiserSizes.of({name: tuple(value.shape) for name, value in denoiser.state_dict().items()})
    linear = [module for module in denoiser.network.encoder.modules() if isinstance(module, nn.Linear)]
    assert sizes.encoder == sum(module.weight.numel() for module in linear)
    width, n_words = backbone.config.hidden_size, denoiser.vocab_size
    assert (sizes.head, sizes.projection, sizes.class_maps) == (width**2, n_words * width, 4 * (2 * width + n_words))
    ids, hidden = np.full(40, 8), np.ones(40, dtype=bool)
    batch = frame_rows([ids], [hidden], [hidden], denoiser.frame)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        denoiser.features(batch, torch.tensor([3]))
    before_words = replace(sizes, projection=0, class_maps=4 * 2 * width)
    estimate = denoiser_scoring_flops(before_words, 40, n_forwards=42 / 40, n_draws=1, n_classes=3)
    # the counter does not see the fused attention; the estimate leaves out the gate and the class embedding
    assert counter.get_total_flops() == pytest.approx(estimate, rel=0.01)


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (LlamaForCausalLM, LlamaConfig(vocab_size=99, hidden_size=16, num_attention_heads=2, num_hidden_layers=2)),
        (GPT2LMHeadModel, GPT2Config(vocab_size=99, n_embd=16, n_layer=2, n_head=2, n_positions=30)),
    ],
    ids=["llama", "gpt2"],
)
def test_tables_of_a_causal_encoder_multiply_nothing(kind, config, tmp_path):
    kind(config).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    denoiser = Denoiser(load_backbone(str(tmp_path)), 2, ConditioningConfig(rank=4))
    sizes = DenoiserSizes.of({name: tuple(value.shape) for name, value in denoiser.state_dict().items()})
    products = [module for module in denoiser.network.encoder.modules() if isinstance(module, (nn.Linear, Conv1D))]
    assert (sizes.encoder, sizes.head) == (sum(module.weight.numel() for module in products), 0)


def test_a_decision_costs_the_other_classes():
    sizes = DenoiserSizes(encoder=100, head=10, projection=50, class_maps=5)
    plain = denoiser_training_flops(sizes, 80, 20)
    assert denoiser_training_flops(sizes, 80, 20, n_decided=0, n_classes=7) == plain
    assert denoiser_training_flops(sizes, 80, 20, n_decided=20, n_classes=3) == plain + 2 * 20 * (4 * 50 + 6 * 5)
