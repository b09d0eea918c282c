"""The autoregressive rival: the same as without kept keys and values, and recorded step by step."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gencls.baselines.causal import new_causal, start_of
from gencls.diffusion.tokens import tiny_tokenizer
from gencls.generation.autoregressive import NOT_YET, CausalWriter
from gencls.generation.config import GenerationConfig

GREEDY = GenerationConfig(length=10, temperature=0)


@pytest.fixture(scope="module")
def writer():
    tokenizer = tiny_tokenizer()
    model = new_causal(len(tokenizer), width=24, n_layers=2, n_heads=2, n_positions=40, seed=0)
    return CausalWriter.of(model, tokenizer, start_of(tokenizer))


@torch.no_grad()
def plain_greedy(writer: CausalWriter, ids: list[int], n_tokens: int) -> tuple[list[int], list[float]]:
    """Every pass reads everything again."""
    row, probabilities = [writer.start_id, *ids], []
    for _ in range(n_tokens):
        logits = writer.model(input_ids=torch.tensor([row])).logits[0, -1].float()
        logits[writer.vocabulary.is_banned] = -torch.inf
        probabilities.append(float(logits.softmax(0).max()))
        row.append(int(logits.argmax()))
    return row[1:], probabilities


def test_greedy_is_that_of_passes_without_a_cache(writer):
    trajectory = writer.write(GREEDY, prefix="a film")
    given = trajectory.token_ids[trajectory.given].tolist()
    wanted, probabilities = plain_greedy(writer, given, 10)
    assert trajectory.token_ids.tolist() == wanted
    assert trajectory.steps[-1].confidence[~trajectory.given] == pytest.approx(probabilities, abs=1e-5)


def test_each_step_reveals_the_next_token_and_keeps_the_rest(writer):
    trajectory = writer.write(GenerationConfig(length=12), prefix="ab", label="a label")
    assert [step.n_forwards for step in trajectory.steps] == list(range(13))
    assert trajectory.pieces(trajectory.steps[0]) == [" a", " b", *[None] * 12]
    for number, step in enumerate(trajectory.steps):
        hidden = np.arange(14) >= 2 + number
        assert (step.token_ids == NOT_YET).tolist() == hidden.tolist()
        assert np.isnan(step.confidence).tolist() == (hidden | trajectory.given).tolist()
        assert np.flatnonzero(step.revealed).tolist() == ([] if number == 0 else [1 + number])
        assert step.token_ids[~hidden].tolist() == trajectory.token_ids[~hidden].tolist()
    seconds = [step.seconds for step in trajectory.steps]
    assert seconds == sorted(seconds)
    assert trajectory.text.startswith("ab") and trajectory.label == "a label"


def test_the_seed_and_nothing_else_decides(writer):
    config = GenerationConfig(length=20)
    texts = [writer.write(config, prefix="x", seed=seed).text for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_the_options_of_the_choice_are_kept(writer):
    greedy = writer.write(GREEDY, prefix="x").text
    assert writer.write(GenerationConfig(length=10, top_k=1), prefix="x", seed=5).text == greedy
    assert writer.write(GenerationConfig(length=10, top_p=1e-9), prefix="x", seed=5).text == greedy
    never_twice = writer.write(GenerationConfig(length=25, temperature=0, repetition_penalty=1e6), prefix="x")
    assert len(set(never_twice.token_ids.tolist())) == 26


def test_special_tokens_are_never_written(writer):
    trajectory = writer.write(GenerationConfig(length=30, temperature=50.0))
    assert not set(trajectory.token_ids.tolist()) & set(writer.vocabulary.banned_ids.tolist())


def test_too_long_a_text_is_refused(writer):
    with pytest.raises(ValueError, match="at most 39 tokens"):
        writer.write(GenerationConfig(length=40))
