"""Attention by two products: the same function as PyTorch's, for any mask and any scores, row by row the same bits."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from gencls.diffusion.attention import PRODUCTS, products_attention
from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.batches import RowBatch
from gencls.diffusion.conditioning import ConditioningConfig
from gencls.diffusion.denoiser import Denoiser

B, H, L, D = 5, 3, 17, 8
LENGTHS = torch.tensor([17, 9, 1, 16, 12])


def inputs(size=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    query, key, value = (torch.randn(B, H, L, D, generator=generator) for _ in range(3))
    return query * size, key * size, value


def mask_of(kind):
    generator = torch.Generator().manual_seed(1)
    keys = (torch.arange(L) < LENGTHS[:, None])[:, None, None].expand(B, 1, L, L)
    if kind == "none":
        return None
    if kind == "padding":
        return keys
    if kind == "by query":
        return keys & (torch.rand(B, 1, L, L, generator=generator) < 0.7) | torch.eye(L, dtype=torch.bool)
    if kind == "by head":
        return keys.expand(B, H, L, L) & (torch.rand(B, H, L, L, generator=generator) < 0.7) | torch.eye(
            L, dtype=torch.bool
        )
    return torch.randn(B, 1, L, L, generator=generator).masked_fill(~keys, torch.finfo(torch.float32).min)


MASKS = ["none", "padding", "by query", "by head", "additive"]


def attend(query, key, value, mask, **options):
    context, weights = products_attention(torch.nn.Identity(), query, key, value, mask, **options)
    assert weights is None
    assert context.shape == (B, L, H, D)
    return context.transpose(1, 2)


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("scaling", [None, 0.3])
def test_equals_the_fused_kernel(kind, scaling):
    parts, mask = inputs(), mask_of(kind)
    expected = scaled_dot_product_attention(*parts, attn_mask=mask, scale=scaling)
    torch.testing.assert_close(attend(*parts, mask, scaling=scaling), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("size", [10.0, 40.0])
def test_scores_that_overflow_exp(kind, size):
    query, key, value = inputs(size)
    mask = mask_of(kind)
    scores = (query * D**-0.5) @ key.transpose(2, 3)
    assert (scores - scores.mean(dim=3, keepdim=True)).amax() > 89
    expected = scaled_dot_product_attention(query.double(), key.double(), value.double(), attn_mask=_double(mask))
    found = attend(query, key, value, mask)
    # a score of 1000 has an error of 1e-4 in float32
    torch.testing.assert_close(found.double(), expected, atol=2e-3, rtol=2e-3)


def _double(mask):
    return mask.double() if mask is not None and mask.dtype == torch.float32 else mask


@pytest.mark.parametrize("distance", [60.0, 100.0, 200.0, 1000.0])
def test_hidden_keys_far_from_the_seen_ones(distance):
    """The mean key counts what is hidden too: the scores that are seen may be so low that exp loses their digits."""
    query, key, value = inputs()
    mask = mask_of("padding")
    seen = mask[:, 0, 0]
    query[..., 0], key[..., 0] = D**0.5, 0.0
    key[:, :, :, 0] = torch.where(seen, 0.0, distance)[:, None]
    expected = scaled_dot_product_attention(query, key, value, attn_mask=mask)
    torch.testing.assert_close(attend(query, key, value, mask), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["none", "padding"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_does_not_depend_on_its_mates(kind, dtype):
    """Also where the mates, or other heads, have to be computed again."""
    mask = mask_of(kind)
    calm, wild = inputs(), inputs(60.0, seed=1)
    for repaired in ([], [3], [0, 1, 2, 4], [1, 3]):
        parts = [part.clone() for part in calm]
        for part, other in zip(parts, wild, strict=True):
            part[repaired, 1] = other[repaired, 1]
        parts = [part.to(dtype) for part in parts]
        together = attend(*parts, mask)
        for mates in (calm, wild):
            for row in range(B):
                mixed = [other.to(dtype).clone() for other in mates]
                for part, own in zip(mixed, parts, strict=True):
                    part[row] = own[row]
                assert torch.equal(attend(*mixed, mask)[row], together[row])


def test_bfloat16_is_near_float32():
    parts, mask = inputs(), mask_of("padding")
    short = attend(*(part.bfloat16() for part in parts), mask)
    assert short.dtype == torch.bfloat16
    torch.testing.assert_close(short.float(), attend(*parts, mask), atol=0.05, rtol=0.05)


@pytest.fixture
def denoiser():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Denoiser(load_backbone("tiny-random"), 2, ConditioningConfig("conditional", rank=2))
        with torch.no_grad():
            for value in model.parameters():
                value.add_(0.1 * torch.randn_like(value))
    return model.eval()


def rows(frame, lengths=(9, 4, 7)):
    targets = torch.full((len(lengths), max(lengths) + 2), frame.pad)
    for row, length in enumerate(lengths):
        ids = np.random.default_rng(row).integers(5, 99, size=length)
        targets[row, : length + 2] = torch.from_numpy(frame.frame(ids))
    attention = (torch.arange(targets.shape[1]) < torch.tensor(lengths)[:, None] + 2).long()
    scored = torch.zeros_like(targets, dtype=torch.bool)
    scored[:, [1, 3]] = True
    return RowBatch(torch.where(scored, frame.mask, targets), attention, targets, scored)


@pytest.mark.parametrize("lengths", [(9, 4, 7), (5, 5, 5)])
@torch.no_grad()
def test_a_backbone_finds_it_by_name(denoiser, lengths):
    batch = rows(denoiser.frame, lengths)
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    encoder = denoiser.network.encoder
    expected = encoder(**inputs).last_hidden_state
    encoder.set_attn_implementation(PRODUCTS)
    seen = batch.attention_mask.bool()
    found = encoder(**inputs).last_hidden_state
    assert not torch.equal(found, expected)  # another kernel ran
    torch.testing.assert_close(found[seen], expected[seen], atol=1e-5, rtol=1e-5)


def encode(denoiser, dtype=torch.bfloat16):
    with torch.inference_mode():
        return denoiser.encode(rows(denoiser.frame), [0, 1], dtype).hidden


def changed_in_place(denoiser):
    with torch.no_grad():
        denoiser.network.encoder.get_input_embeddings().weight.mul_(1.5)


def optimised(denoiser):
    optimiser = torch.optim.AdamW(denoiser.network.parameters(), lr=0.1)
    denoiser(rows(denoiser.frame), torch.zeros(3, dtype=torch.int64)).sum().backward()
    optimiser.step()


def loaded(denoiser):
    state = {name: 1.5 * value if value.is_floating_point() else value for name, value in denoiser.state_dict().items()}
    denoiser.load_state_dict(state)


def replaced(denoiser):
    embeddings = denoiser.network.encoder.get_input_embeddings()
    embeddings.weight = torch.nn.Parameter(1.5 * embeddings.weight.detach())


@pytest.mark.parametrize("change", [changed_in_place, optimised, loaded, replaced])
def test_the_short_network_follows_the_weights(denoiser, change):
    before = encode(denoiser)
    assert torch.equal(encode(denoiser), before)
    kept = denoiser._short
    assert encode(denoiser) is not None
    assert denoiser._short is kept  # made once
    change(denoiser)
    after = encode(denoiser)
    assert (after.float() - before.float()).abs().max() > 0.05
    torch.testing.assert_close(after.float(), encode(denoiser, torch.float32), atol=0.1, rtol=0.1)
    fresh = copy.deepcopy(denoiser)
    assert torch.equal(encode(fresh), after)


def test_the_short_network_is_no_part_of_the_model(denoiser):
    names, size = list(denoiser.state_dict()), len(pickle.dumps(denoiser))
    before = encode(denoiser)
    with torch.inference_mode():
        denoiser.prepare(torch.bfloat16, (0, 1))
    assert denoiser._short is not None
    assert denoiser._vocabulary is not None
    assert list(denoiser.state_dict()) == names
    assert all(value.dtype == torch.float32 for value in denoiser.parameters())
    # the pairs' index, for a vocabulary of 99, is the only thing that may be added
    assert len(pickle.dumps(denoiser)) < size + 40_000
    clone = pickle.loads(pickle.dumps(denoiser))
    assert clone._short is None
    assert clone._vocabulary is None
    assert torch.equal(encode(clone), before)


def test_training_drops_the_short_network_and_keeps_its_own_attention(denoiser):
    encode(denoiser)
    assert denoiser.network.encoder.config._attn_implementation == "sdpa"
    assert denoiser._short[1].encoder.config._attn_implementation == PRODUCTS
    denoiser.train()
    assert denoiser._short is None
    assert denoiser.network.encoder.config._attn_implementation == "eager"
    denoiser.eval()


def test_products_that_overflow_before_their_sum_does():
    query = torch.ones(1, 1, 2, 1)
    key = torch.tensor([[[[87.3], [-87.3]]]])  # the larger weight is 9e37, its product with 6 beyond float32
    value = torch.tensor([[[[6.0], [1.0]]]])
    context, _ = products_attention(nn.Identity(), query, key, value, None, scaling=1.0)
    torch.testing.assert_close(context.flatten(), torch.tensor([6.0, 6.0]))


@pytest.mark.parametrize("kind", MASKS)
def test_heads_that_share_keys_and_values(kind):
    """Grouped queries: as if each head had its own copy."""
    query, key, value = inputs()
    query = torch.cat([query, query.flip(3)], dim=1)
    repeated = [states.repeat_interleave(2, dim=1) for states in (key, value)]
    mask = mask_of("padding" if kind == "by head" else kind)
    found, _ = products_attention(torch.nn.Identity(), query, key, value, mask)
    expected = scaled_dot_product_attention(query, *repeated, attn_mask=mask)
    torch.testing.assert_close(found.transpose(1, 2), expected, atol=1e-5, rtol=1e-5)
