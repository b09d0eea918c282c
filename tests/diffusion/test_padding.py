"""Rows encoded in groups of about equal length: the same numbers, and no row wider than it must be."""

from __future__ import annotations

import pytest
import torch

from gencls.data.lengths import GROUP_POSITIONS
from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.padding import encode


@pytest.fixture(scope="module")
def encoder():
    return load_backbone("tiny-random").encoder.eval()  # without dropout


@pytest.fixture
def rows():
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([3, 400, 17, 90, 400, 2, 250, 64])
    mask = (torch.arange(400) < lengths[:, None]).long()
    return torch.randint(5, 30, mask.shape, generator=generator) * mask, mask


@pytest.mark.parametrize("embedded", [False, True])
def test_groups_change_no_hidden_state(encoder, rows, embedded):
    ids, mask = rows
    inputs = encoder.get_input_embeddings()(ids) if embedded else ids
    plain, grouped = (encode(encoder, inputs, mask, in_groups=in_groups) for in_groups in (False, True))
    seen = mask.bool()
    torch.testing.assert_close(grouped[seen], plain[seen], rtol=1e-4, atol=1e-5)
    assert grouped.shape == plain.shape


def test_groups_change_no_gradient(encoder, rows):
    ids, mask = rows
    gradients = []
    for in_groups in (False, True):
        encoder.zero_grad()
        hidden = encode(encoder, ids, mask, in_groups=in_groups)
        (hidden * mask[..., None]).pow(3).sum().backward()
        gradients.append(encoder.encoder.layer[0].attention.self.query.weight.grad.clone())
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4 * float(gradients[0].abs().max()))


def test_no_group_is_wider_than_its_longest_row(encoder, rows, monkeypatch):
    ids, mask = rows
    shapes = []

    class Spy:
        def __call__(self, *, input_ids, attention_mask):
            assert attention_mask[0].all()
            shapes.append(tuple(input_ids.shape))
            return encoder(input_ids=input_ids, attention_mask=attention_mask)

    encode(Spy(), ids, mask, in_groups=True)
    assert shapes == [(2, 400), (4, 250), (2, 3)]
    assert all(n_rows * width <= GROUP_POSITIONS for n_rows, width in shapes)
