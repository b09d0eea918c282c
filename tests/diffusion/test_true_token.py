"""The written-out gradient of the vocabulary side: equal to automatic differentiation of the plain formula."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from gencls.diffusion import true_token
from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.batches import RowBatch
from gencls.diffusion.conditioning import ConditioningConfig
from gencls.diffusion.denoiser import Denoiser
from gencls.diffusion.true_token import Additions, row_chunks, true_token_log_probs

N, D, V, G = 7, 4, 11, 3


@pytest.fixture
def inputs(monkeypatch):
    monkeypatch.setattr(true_token, "ROWS", 3)  # two full chunks and a short one
    generator = torch.Generator().manual_seed(0)

    def normal(*shape, grad=True):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_(grad)

    def whole(high, *shape):
        return torch.randint(high, shape, generator=generator)

    entries = []
    for rows in row_chunks(N):
        n = rows.stop - rows.start
        # the same cell twice, and a row without any
        at, columns = torch.tensor([0, 0, n - 1, n - 1]), torch.tensor([2, 2, 0, 10])
        entries.append((at, columns, normal(4, grad=False)))
    additions = Additions(normal(G, V, grad=False), whole(G, N), entries)
    return [normal(N, D), normal(N, 2), normal(V, D), normal(V), whole(V, N), additions]


def plain(features, gate, projection, bias, targets, additions):
    logits = features @ projection.t() + bias + gate[:, :1] * additions.table[additions.index]
    for rows, (at, columns, values) in zip(row_chunks(len(features)), additions.entries, strict=True):
        added = torch.zeros_like(logits).index_put(
            (at + rows.start, columns), values * gate[at + rows.start, 1], accumulate=True
        )
        logits = logits + added
    return functional.log_softmax(logits, dim=1)[torch.arange(len(targets)), targets]


def test_values_and_gradients_equal_automatic_differentiation(inputs):
    weights = torch.linspace(-1, 2, N, dtype=torch.float64)
    ours, theirs = true_token_log_probs(*inputs), plain(*inputs)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    for one, other in zip(*(torch.autograd.grad(v @ weights, inputs[:4]) for v in (ours, theirs)), strict=True):
        assert other.abs().max() > 0.01
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_gradcheck(inputs):
    assert torch.autograd.gradcheck(lambda *values: true_token_log_probs(*values, *inputs[4:]), tuple(inputs[:4]))


def test_logits_at_which_exp_overflows_or_vanishes(inputs):
    for shift in (2000.0, -2000.0):
        moved = [*inputs[:3], (inputs[3] + shift).detach().requires_grad_(), *inputs[4:]]
        ours, theirs = true_token_log_probs(*moved), plain(*moved)
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
        grads = [torch.autograd.grad(values.sum(), moved[0])[0] for values in (ours, theirs)]
        torch.testing.assert_close(*grads, rtol=1e-8, atol=1e-9)


def test_bfloat16_products_are_near(inputs):
    single = [value.detach().float().requires_grad_() for value in inputs[:4]]
    entries = [(at, columns, values.float()) for at, columns, values in inputs[5].entries]
    rest = [inputs[4], Additions(inputs[5].table.float(), inputs[5].index, entries)]
    with torch.autocast("cpu", torch.bfloat16):
        short = true_token_log_probs(*single, *rest)
    exact = true_token_log_probs(*single, *rest)
    assert short.dtype == exact.dtype == torch.float32
    assert not torch.equal(short, exact)
    torch.testing.assert_close(short, exact, rtol=0, atol=0.05)
    grads = [torch.autograd.grad(values.sum(), single) for values in (short, exact)]
    for one, other in zip(*grads, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=0.05, atol=0.05)


def test_nothing_scored_is_nothing(inputs):
    none = [inputs[0][:0], inputs[1][:0], inputs[2], inputs[3], inputs[4][:0]]
    log_probs = true_token_log_probs(*none, Additions(inputs[5].table, inputs[5].index[:0], []))
    assert log_probs.shape == (0,)
    assert not torch.autograd.grad(log_probs.sum(), inputs[3])[0].any()


@pytest.mark.parametrize("mode", ["conditional", "prompt"])
def test_the_denoiser_gives_the_same_with_and_without_gradients(mode):
    model = Denoiser(load_backbone("tiny-random"), 2, ConditioningConfig(mode, rank=2)).eval()
    generator = torch.Generator().manual_seed(0)
    size = model.vocab_size
    keys = torch.arange(size - 1) * size + torch.arange(1, size)
    model.pairs.set_table(keys, torch.randn(2, len(keys), generator=generator))
    model.set_unigram(None, torch.randn(2, size, generator=generator))
    model.use_training_tables(
        torch.randn(3, 2, size, generator=generator), torch.randn(3, 2, len(keys), generator=generator)
    )
    targets = torch.arange(20, 32).reshape(2, 6)
    scored = torch.tensor([[False, True, False, False, True, False], [False, True, True, False, False, False]])
    batch = RowBatch(targets.where(~scored, model.frame.mask), torch.ones_like(targets), targets, scored)
    class_ids, folds = torch.tensor([1, 2]), torch.tensor([2, 0])
    with_gradients = model(batch, class_ids, folds)
    assert with_gradients.requires_grad
    with torch.no_grad():
        without = model(batch, class_ids, folds)
    torch.testing.assert_close(with_gradients.detach(), without, rtol=1e-5, atol=1e-5)
