"""Tiny causal models with random weights, and a toy language for them."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from gencls.baselines.causal import new_causal

START, VOCAB = 1, 24


@pytest.fixture(scope="session")
def tiny_causal():
    """A two-layer model; copy it before you change it."""
    return new_causal(VOCAB, width=16, n_layers=2, n_heads=2, n_positions=32, seed=0)


@pytest.fixture(scope="session")
def toy_orders():
    """Texts that count up (class 0) or down (class 1) in a circle: the same tokens, only the order differs."""

    def make(n: int, seed: int = 0):
        generator = np.random.default_rng(seed)
        y = np.arange(n) % 2
        starts, lengths = generator.integers(20, size=n), generator.integers(4, 12, size=n)
        steps = 1 - 2 * y
        return [4 + (starts[i] + steps[i] * np.arange(lengths[i])) % 20 for i in range(n)], y

    return make


@pytest.fixture
def char_tokenizer():
    """One token for each printable character, with [CLS] in front of texts."""
    vocabulary = {token: index for index, token in enumerate(["[PAD]", "[CLS]", "[UNK]", *"acmopsxy .:-123456789"])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="[PAD]", cls_token="[CLS]", unk_token="[UNK]")
