"""Looking inside, against the denoiser's own answers and against attention that is known."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.batches import frame_rows
from gencls.diffusion.conditioning import ConditioningConfig
from gencls.diffusion.denoiser import Denoiser
from gencls.generation.inside import forward_process, nested_masks, observe_layers
from gencls.generation.view import State, legend_entries, states

IDS = [np.arange(5, 15), np.arange(40, 63)]
LEVELS = [0.2, 0.6, 1.0]


def make_denoiser(mode: str = "conditional") -> Denoiser:
    """A tiny denoiser whose head is not zero, as an untrained one's is."""
    torch.manual_seed(0)
    denoiser = Denoiser(load_backbone("tiny-random"), 2, ConditioningConfig(mode)).eval()
    torch.nn.init.normal_(denoiser.network.head.weight)
    torch.nn.init.normal_(denoiser.bias)
    return denoiser


@pytest.mark.parametrize("mode", ["conditional", "independent", "adapter", "prompt"])
def test_the_last_layer_is_the_class_free_model(mode):
    denoiser = make_denoiser(mode)
    seen = observe_layers(denoiser, IDS, LEVELS, seed=3)
    assert seen.right.shape == (2, 3, 3) and seen.attention.shape == (2, 3, 2, 3)
    for row, ids in enumerate(IDS):
        for column, mask in enumerate(nested_masks(ids, LEVELS, seed=3, at_least=1)):
            batch = frame_rows([ids], [mask], [mask], denoiser.frame)
            with torch.no_grad():
                own = denoiser(batch, torch.tensor([2]))
            assert seen.n_hidden[row, column] == mask.sum() == len(own)
            assert seen.log_prob[row, column, -1] == pytest.approx(float(own.sum()), abs=1e-3)
    assert not np.allclose(seen.log_prob[..., 0], seen.log_prob[..., -1])


def test_right_tokens_are_counted():
    """A bias that is larger than anything the layers say: every layer's likeliest token is 7."""
    denoiser = make_denoiser()
    with torch.no_grad():
        denoiser.bias[7] = 1e4
    seen = observe_layers(denoiser, [np.array([7, 7, 8, 9])], [1.0], seed=0)
    assert seen.right[0, 0].tolist() == [2, 2, 2]


def test_even_attention_is_even():
    denoiser = make_denoiser()
    with torch.no_grad():
        for layer in denoiser.network.encoder.encoder.layer:
            layer.attention.self.query.weight.zero_()
            layer.attention.self.query.bias.zero_()
    seen = observe_layers(denoiser, IDS, LEVELS, seed=0)
    assert seen.attention[..., 0] == pytest.approx(np.repeat(seen.visible_share[..., None], 2, axis=2), abs=1e-6)
    assert seen.visible_share[0].tolist() == pytest.approx([8 / 12, 4 / 12, 0])
    assert seen.attention[..., 2] == pytest.approx(
        np.broadcast_to(np.array([2 / 12, 2 / 25])[:, None, None], (2, 3, 2))
    )


def test_attention_is_all_given_away():
    seen = observe_layers(make_denoiser(), IDS, LEVELS, seed=0)
    assert seen.attention.sum(axis=-1) == pytest.approx(np.ones((2, 3, 2)), abs=1e-5)
    assert (seen.attention[:, 2, :, 0] == 0).all()  # nothing is visible


def test_the_denoiser_is_left_as_it_was():
    denoiser = make_denoiser()
    encoder = denoiser.network.encoder
    observe_layers(denoiser, IDS, [0.5], seed=0)
    assert encoder.config._attn_implementation == "sdpa" and not denoiser.training
    assert not encoder._forward_hooks and not encoder._forward_pre_hooks
    denoiser.train()
    observe_layers(denoiser, IDS, [0.5], seed=0)
    assert denoiser.training


def test_masks_are_nested_and_belong_to_the_text():
    masks = nested_masks(IDS[1], [0.0, 0.1, 0.5, 1.0], seed=1)
    assert [int(mask.sum()) for mask in masks] == [0, 2, 12, 23]
    assert all((low <= high).all() for low, high in pairwise(masks))
    again = nested_masks(IDS[1], [0.5], seed=1)[0]
    assert again.tolist() == masks[2].tolist()
    assert nested_masks(IDS[1], [0.5], seed=2)[0].tolist() != again.tolist()


def test_the_forward_process_hides_more_and_more():
    trajectory = forward_process(IDS[0], [0.0, 0.5, 1.0], tokens=[f" {i}" for i in range(20)], mask_id=4, seed=0)
    rows = states(trajectory)
    assert (rows[0] == State.SHOWN).all()
    assert ((rows[1] == State.HIDDEN).sum(), (rows[1] == State.SHOWN).sum()) == (5, 5)
    assert (rows[2] == State.HIDDEN).all()
    assert [entry.words for entry in legend_entries([trajectory])] == ["hidden", "visible"]
    assert trajectory.label == "hidden: 0 %, 50 %, 100 %"


@pytest.mark.parametrize(
    ("ids", "levels"), [([], [0.5]), ([np.array([], dtype=np.int64)], [0.5]), (IDS, [1.5]), (IDS, [])]
)
def test_errors(ids, levels):
    with pytest.raises(ValueError, match=r"texts with tokens|levels in"):
        observe_layers(make_denoiser(), ids, levels, seed=0)
