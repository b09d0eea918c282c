"""Corruption: which tokens are hidden and scored, with and without a prefix."""

from __future__ import annotations

import numpy as np
import pytest

from gencls.diffusion.collator import DiffusionCollator, Example
from gencls.diffusion.schedule import LevelSchedule
from gencls.diffusion.tokens import TokenFrame

FRAME = TokenFrame(bos=1, eos=2, pad=0, mask=3)
N_TOKENS = 12


def hidden_of(share, n_examples=2000, n_tokens=N_TOKENS, prefix_tokens=None):
    """Hidden tokens (N, L) of many visits of one text."""
    collator = DiffusionCollator(FRAME, LevelSchedule(), 100, share, prefix_tokens)
    ids = np.arange(10, 10 + n_tokens)
    batch = collator([Example(ids, 0, 0, 0, seed) for seed in range(n_examples)])["batch"]
    hidden = (batch.input_ids == FRAME.mask)[:, 1:-1].numpy()
    assert (hidden == batch.scored[:, 1:-1].numpy()).all()
    return hidden


def test_without_a_prefix_the_draws_are_those_of_before():
    hidden = hidden_of(0.0, 4)
    for seed, row in enumerate(hidden):
        generator = np.random.default_rng(seed)
        count = LevelSchedule().draw_count(N_TOKENS, generator=generator)
        assert (row == (generator.permutation(N_TOKENS) < count)).all()


def test_a_prefix_is_of_any_length_and_never_hidden():
    hidden = hidden_of(1.0)
    assert hidden.any(axis=1).all(), "at least one token is hidden"
    first = hidden.argmax(axis=1)
    assert set(first.tolist()) == set(range(N_TOKENS))
    # the last token is behind every prefix; its chance to be hidden is the mean level, a half and half a token
    shares = np.array([np.mean([(k + 1) / (2 * k) for k in range(1, N_TOKENS + 1)])])
    z = (hidden[:, -1].mean() - shares) / np.sqrt(shares * (1 - shares) / len(hidden))
    assert abs(float(z[0])) < 4
    # the first token is hidden only where the prefix is empty
    chance = (1 / N_TOKENS) * (N_TOKENS + 1) / (2 * N_TOKENS)
    z = (hidden[:, 0].mean() - chance) / np.sqrt(chance * (1 - chance) / len(hidden))
    assert abs(z) < 4


def test_a_share_of_the_examples_has_one():
    chance = 0.5 * (N_TOKENS + 1) / (2 * N_TOKENS) * (1 + 1 / N_TOKENS)
    mean = hidden_of(0.5)[:, 0].mean()
    assert abs(mean - chance) / np.sqrt(chance * (1 - chance) / 2000) < 4


@pytest.mark.parametrize("n_scored", [100, 3])
def test_complements_hide_every_token_behind_the_prefix_once(n_scored):
    ids = np.arange(10, 10 + N_TOKENS)
    collator = DiffusionCollator(FRAME, LevelSchedule(), n_scored, 1.0, 2, complementary=True)
    alone = DiffusionCollator(FRAME, LevelSchedule(), n_scored, 1.0, 2)
    for seed in range(200):
        example = Example(ids, 0, 5, 1, seed)
        found, single = collator([example]), alone([example])
        hidden = (found["batch"].input_ids == FRAME.mask)[:, 1:-1].numpy()
        scored = found["batch"].scored[:, 1:-1].numpy()
        assert not hidden[:, :2].any()
        assert (hidden[0] == (single["batch"].input_ids == FRAME.mask)[0, 1:-1].numpy()).all()
        assert (hidden[:, 2:].sum(axis=0) == 1).all()
        assert len(hidden) == (1 if hidden[0, 2:].all() else 2)
        assert (scored & ~hidden).sum() == 0
        assert (scored.sum(axis=1) == np.minimum(hidden.sum(axis=1), n_scored)).all()
        assert found["n_hidden"].tolist() == hidden.sum(axis=1).tolist()
        assert found["fold_ids"].tolist() == [5] * len(hidden)


def test_a_prefix_of_a_fixed_length_is_never_hidden_and_all_behind_it_is():
    hidden = hidden_of(1.0, prefix_tokens=5)
    assert not hidden[:, :5].any()
    # every token behind it is hidden equally often: the mean level of the seven that are left
    n_left, shares = N_TOKENS - 5, hidden[:, 5:].mean(axis=0)
    chance = (n_left + 1) / (2 * n_left)
    assert np.abs((shares - chance) / np.sqrt(chance * (1 - chance) / len(hidden))).max() < 4


def test_a_text_that_is_all_prefix_keeps_its_last_token_to_hide():
    hidden = hidden_of(1.0, 20, prefix_tokens=50)
    assert hidden[:, -1].all() and not hidden[:, :-1].any()


def test_half_of_the_examples_have_a_prefix_of_a_fixed_length():
    share = hidden_of(0.5, prefix_tokens=5)[:, 0].mean()
    chance = 0.5 * (N_TOKENS + 1) / (2 * N_TOKENS)
    assert abs(share - chance) / np.sqrt(chance * (1 - chance) / 2000) < 4


def test_a_text_of_one_token_is_hidden():
    assert hidden_of(1.0, 20, n_tokens=1).all()
