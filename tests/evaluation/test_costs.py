"""The estimate of floating-point operations against counts by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from gencls.baselines.causal import new_causal
from gencls.baselines.causal_per_class import add_adapters
from gencls.baselines.words import word_counter
from gencls.evaluation.costs import (
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
