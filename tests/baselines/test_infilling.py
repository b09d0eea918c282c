"""Causal models that fill holes: rows by hand, and every shortcut against the long way round."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from gencls.baselines.causal import new_causal
from gencls.baselines.filling import fill_in_the_middle, fill_left_to_right, infilling_nats
from gencls.baselines.infilling import NeighbourCausal, train_infiller
from gencls.baselines.infilling_rows import Specials, collate, hole_weights, infilling_row, plain_row
from gencls.baselines.neighbours import NeighbourCounts
from gencls.baselines.rescoring import Rescoring, rescore

V = 20
SPECIALS = Specials(start=17, separator=18, mask=19)


def make_counts(seed: int = 0) -> NeighbourCounts:
    generator = np.random.default_rng(seed)
    keys = np.sort(generator.choice(V * V, size=60, replace=False)).astype(np.int64)
    return NeighbourCounts(keys, generator.random(60), generator.random((2, 60)))


def pretrained_kind() -> GPT2LMHeadModel:
    """A model with absolute positions and dropout, as those that are fine-tuned."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return GPT2LMHeadModel(GPT2Config(vocab_size=V, n_positions=64, n_embd=32, n_layer=2, n_head=2)).eval()


@pytest.fixture(scope="module", params=["rotary", "absolute"])
def network(request: pytest.FixtureRequest) -> NeighbourCausal:
    new = new_causal(V, width=32, n_layers=2, n_heads=2, n_positions=64, seed=0)
    model = new if request.param == "rotary" else pretrained_kind()
    model.set_attn_implementation("eager")
    with torch.no_grad():
        for value in model.parameters():
            value.mul_(8.0 if value.ndim > 1 else 1.0)  # far from uniform, so that mistakes show
    return NeighbourCausal(model, np.log(np.random.default_rng(1).dirichlet(np.ones(V))), make_counts()).eval()


def material(n_texts: int = 5, seed: int = 3) -> tuple[list[np.ndarray], list[np.ndarray]]:
    generator = np.random.default_rng(seed)
    texts = [generator.integers(16, size=length) for length in generator.integers(4, 12, size=n_texts)]
    return texts, [generator.permutation(len(ids)) < max(1, len(ids) // 3) for ids in texts]


def log_probs_left(network: NeighbourCausal, tokens: np.ndarray) -> np.ndarray:
    """log p(. | left) at every place, (L, V), by one plain row."""
    batch = collate([plain_row(tokens, SPECIALS)])
    batch.pop("targets")
    with torch.no_grad():
        return network.log_probs(**batch).numpy()


def test_rows_by_hand() -> None:
    ids, hidden = np.array([1, 2, 3, 4]), np.array([False, True, True, False])
    row = infilling_row(ids, hidden, SPECIALS)
    assert row.input_ids.tolist() == [17, 1, 19, 19, 4, 18, 2]
    assert row.positions.tolist() == [0, 1, 2, 3, 4, 2, 3]
    assert row.columns.tolist() == [0, 3, 5, 6]
    assert row.targets.tolist() == [1, 4, 2, 3]
    assert row.left.tolist() == [-1, -1, 1, 2]
    assert row.right.tolist() == [-1, -1, -1, 4]
    plain = plain_row(ids, SPECIALS)
    assert plain.input_ids.tolist() == [17, 1, 2, 3] and plain.left.tolist() == [-1, 1, 2, 3]


def test_the_table_adds_what_a_dense_one_would(network: NeighbourCausal) -> None:
    counts, table = make_counts(), network.table
    assert table is not None
    left, right = torch.tensor([3, -1, 7, -1]), torch.tensor([5, 2, -1, -1])
    gate, folds = torch.tensor([1.0, 0.5, 2.0, 1.0]), torch.tensor([1, 0, 1, 0])
    for fold, found in (
        (None, table.additions(left, right, gate, None)),
        (folds, table.additions(left, right, gate, folds)),
    ):
        for place in range(4):
            dense = np.zeros((V, V))
            dense[np.divmod(counts.keys, V)] = counts.values if fold is None else counts.training_values[fold[place]]
            expected = np.zeros(V)
            expected += dense[left[place]] if left[place] >= 0 else 0
            expected += dense[:, right[place]] if right[place] >= 0 else 0
            np.testing.assert_allclose(found[place], expected * gate[place].item(), atol=1e-6)


def test_left_to_right_is_the_loop_over_prefixes(network: NeighbourCausal) -> None:
    texts, hidden = material()
    for ids, hole, found in zip(texts, hidden, fill_left_to_right(network, texts, hidden, SPECIALS), strict=True):
        tokens = np.where(hole, 0, ids)
        for place in np.flatnonzero(hole):
            tokens[place] = log_probs_left(network, tokens)[place].argmax()
        np.testing.assert_array_equal(found.token_ids, tokens)
        np.testing.assert_array_equal(found.best[:, 0], tokens[hole])


def test_in_the_middle_is_the_loop_over_rows(network: NeighbourCausal) -> None:
    texts, hidden = material()
    for ids, hole, found in zip(texts, hidden, fill_in_the_middle(network, texts, hidden, SPECIALS), strict=True):
        tokens, places = np.where(hole, 0, ids), np.flatnonzero(hole)
        for number, place in enumerate(places):
            batch = collate([infilling_row(tokens, hole, SPECIALS)])
            batch.pop("targets")
            with torch.no_grad():
                tokens[place] = network.log_probs(**batch)[len(ids) - len(places) + number].argmax()
        np.testing.assert_array_equal(found.token_ids, tokens)


@pytest.mark.parametrize("in_the_middle", [True, False])
def test_the_chain_rule_gives_a_distribution(network: NeighbourCausal, in_the_middle: bool) -> None:
    """Summed over all fillings of two holes at the end, the probabilities are one."""
    pairs = [(a, b) for a in range(V) for b in range(V)]
    texts = [np.array([3, 5, 1, a, b]) for a, b in pairs]
    hidden = [np.array([False, False, False, True, True])] * len(texts)
    nats = infilling_nats(network, texts, hidden, SPECIALS, in_the_middle=in_the_middle)
    np.testing.assert_allclose(np.exp(-nats).sum(), 1, rtol=1e-5)


@pytest.mark.parametrize("sees_guesses", [False, True])
def test_branches_score_as_whole_texts_do(network: NeighbourCausal, sees_guesses: bool) -> None:
    """With all tokens as candidates and the whole right side, the score is log p of the text with the candidate."""
    texts, hidden = material()
    start = fill_left_to_right(network, texts, hidden, SPECIALS)
    config = Rescoring(n_candidates=V, window=50, n_sweeps=2, sees_guesses=sees_guesses)
    for first, hole, found in zip(start, hidden, rescore(network, start, hidden, SPECIALS, config), strict=True):
        tokens = first.token_ids.copy()
        places = np.flatnonzero(hole)
        for turn in [places[::2], places[1::2]] * 2:
            scores = [_scores(network, tokens, hole, place, sees_guesses) for place in turn]
            for place, values in zip(turn, scores, strict=True):
                tokens[place] = values.argmax()
        np.testing.assert_array_equal(found.token_ids, tokens)


def _scores(
    network: NeighbourCausal, tokens: np.ndarray, hole: np.ndarray, place: int, sees_guesses: bool
) -> np.ndarray:
    end = len(tokens)
    if not sees_guesses and hole[place + 1 :].any():
        end = place + 1 + int(np.argmax(hole[place + 1 :]))
    scores = np.zeros(V)
    for candidate in range(V):
        text = np.concatenate([tokens[:place], [candidate], tokens[place + 1 : end]])
        log_probs = log_probs_left(network, text)
        scores[candidate] = sum(log_probs[i, text[i]] for i in range(place, end))
    return scores


def test_hidden_tokens_of_a_row_weigh_half_of_it_at_every_level() -> None:
    ids = np.arange(1, 11)
    for n_hidden in (1, 4, 10):
        row = infilling_row(ids, np.arange(10) < n_hidden, SPECIALS)
        weights = hole_weights(row)
        assert weights[len(weights) - n_hidden :].sum() == pytest.approx(5)
        assert weights[: len(weights) - n_hidden].tolist() == [1.0] * (10 - n_hidden)


@pytest.mark.parametrize("in_the_middle", [True, False])
def test_training_lowers_the_loss_and_resumes(tmp_path: Path, in_the_middle: bool) -> None:
    texts = [np.arange(start, start + 6) % 16 for start in range(12)]

    def train(folder: Path | None, n_steps: int = 60) -> NeighbourCausal:
        fresh = NeighbourCausal(
            new_causal(V, width=32, n_layers=1, n_heads=2, n_positions=64, seed=0), None, make_counts()
        )
        options = {"n_steps": n_steps, "batch_size": 6, "learning_rate": 1e-2, "seed": 0, "checkpoints": folder}
        record = train_infiller(
            fresh, texts, [0, 1] * 6, SPECIALS, in_the_middle=in_the_middle, save_steps=40, **options
        )
        assert record["steps"] == n_steps and record["tokens_seen"] == n_steps * 36
        return fresh

    network = train(tmp_path / "whole")
    hidden = [np.array([False, False, True, False, True, False])] * len(texts)
    nats = infilling_nats(network, texts, hidden, SPECIALS, in_the_middle=in_the_middle) / 2
    assert nats.mean() < 0.5 * np.log(16)
    again = train(tmp_path / "whole")  # finished: read back
    for one, other in zip(network.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
