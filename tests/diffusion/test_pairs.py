"""Class statistics of neighbouring tokens: closed forms, and the sparse table against dense loops."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.batches import EncodedPositions, RowBatch, frame_rows
from gencls.diffusion.conditioning import ConditioningConfig
from gencls.diffusion.denoiser import Denoiser
from gencls.diffusion.neighbours import NeighbourBias
from gencls.diffusion.ngrams import NgramCounts, count_ngrams, ngram_scores
from gencls.diffusion.pairs import pair_deviations

C, V = 3, 99
MODES = ["independent", "adapter", "conditional", "prompt"]
CLOSE = {"atol": 2e-5, "rtol": 1e-5}


def one_pair(counts, share_left, share_right, prior, smoothing):
    """Deviations (C,) of the pair (0, 1) where the tokens have the given shares of the classes."""
    with np.errstate(divide="ignore"):
        deviations = np.log(np.stack([share_left, share_right], axis=1) / np.asarray(prior)[:, None])
    pairs = NgramCounts(np.array([1]), np.zeros((1, 2, 1)), 2)
    return pair_deviations(pairs, np.array(counts, float)[:, None], deviations, np.log(prior), smoothing)[:, 0]


def test_deviations_in_closed_form_without_unigram_signal():
    # q = (1/2, 1/2); (3 + 2/2) / (4 + 2) = 2/3 and (1 + 2/2) / (4 + 2) = 1/3
    found = one_pair([3, 1], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5], 2.0)
    np.testing.assert_allclose(found, np.log([4 / 3, 2 / 3]), rtol=1e-12)


def test_deviations_in_closed_form_with_unigram_signal_and_uneven_classes():
    # q is in proportion to (0.8 * 0.6 / 0.75, 0.2 * 0.4 / 0.25) = (0.64, 0.32): (2/3, 1/3)
    found = one_pair([1, 5], [0.8, 0.2], [0.6, 0.4], [0.75, 0.25], 3.0)
    np.testing.assert_allclose(found, np.log([1 / 2, 2.0]), rtol=1e-12)


@pytest.mark.parametrize("smoothing", [0.5, 4.0, 100.0])
def test_counts_as_expected_deviate_by_nothing(smoothing):
    found = one_pair([20, 10], [0.8, 0.2], [0.6, 0.4], [0.75, 0.25], smoothing)
    np.testing.assert_allclose(found, 0.0, atol=1e-12)


def test_no_count_is_no_deviation_and_much_smoothing_is_none():
    np.testing.assert_allclose(one_pair([0, 0], [0.8, 0.2], [0.6, 0.4], [0.75, 0.25], 1.0), 0.0, atol=1e-12)
    assert np.abs(one_pair([9, 0], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5], 1e9)).max() < 1e-7


def test_counting_by_hand():
    texts = [np.array(ids) for ids in ([0, 1, 1], [0, 1], [2], [1, 1, 1], [2, 0])]
    labels, folds = np.array([0, 1, 1, 1, 0]), np.array([0, 1, 1, 0, 1])
    pairs = count_ngrams(texts, labels, folds, 2, 3, min_count=2)
    assert pairs.keys.tolist() == [0 * 3 + 1, 1 * 3 + 1]  # (2, 0) was seen once
    assert pairs.counts.tolist() == [[[1, 1], [0, 2]], [[0, 0], [1, 0]]]
    assert count_ngrams(texts, labels, folds, 2, 3, min_count=1).keys.tolist() == [1, 4, 6]


@pytest.mark.parametrize("order", [2, 3])
def test_whole_weights_count_as_that_many_copies(order):
    generator = np.random.default_rng(3)
    texts = [generator.integers(0, 4, size=length) for length in generator.integers(0, 9, size=20)]
    labels, folds, weights = np.arange(20) % 2, np.arange(20) % 3, generator.integers(1, 4, size=20)
    found = count_ngrams(texts, labels, folds, 2, 4, order=order, min_count=1, weights=weights.astype(float))
    copies = np.repeat(np.arange(20), weights)
    of_copies = [texts[row] for row in copies]
    wanted = count_ngrams(of_copies, labels[copies], folds[copies], 2, 4, order=order, min_count=1)
    assert found.keys.tolist() == wanted.keys.tolist()
    np.testing.assert_allclose(found.counts, wanted.counts, rtol=1e-12)


def test_runs_are_left_out_by_how_often_they_are_seen_whatever_they_weigh():
    texts = [np.array(ids) for ids in ([0, 1], [0, 1], [2, 0])]
    weights = np.array([0.1, 0.2, 50.0])
    pairs = count_ngrams(texts, np.zeros(3, dtype=int), np.zeros(3, dtype=int), 1, 3, min_count=2, weights=weights)
    assert pairs.keys.tolist() == [0 * 3 + 1]
    np.testing.assert_allclose(pairs.counts, [[[0.3]]], rtol=1e-12)


def test_texts_without_any_pair():
    pairs = count_ngrams([np.array([1]), np.array([], dtype=int)], np.array([0, 1]), np.array([0, 1]), 2, 3)
    assert pairs.counts.shape == (2, 2, 0)
    assert ngram_scores(pairs, np.zeros((2, 0)), [np.array([1, 2, 0])]).tolist() == [[0.0, 0.0]]


def dense(keys, values):
    """The same table as (C + 1, V, V); the last class is none."""
    table = np.zeros((C + 1, V * V))
    table[:C, keys] = values
    return table.reshape(C + 1, V, V)


def random_table(n_pairs=400, seed=0):
    generator = np.random.default_rng(seed)
    # few distinct tokens, so that neighbours in random texts are often in the table
    left, right = generator.integers(5, 30, size=(2, n_pairs))
    keys = np.unique(left * V + right)
    return keys, generator.normal(size=(C, len(keys)))


def test_pair_scores_against_a_loop():
    keys, values = random_table()
    generator, table = np.random.default_rng(1), dense(*random_table())
    texts = [generator.integers(5, 40, size=length) for length in (0, 1, 2, 30)]
    expected = [[sum(table[c, u, v] for u, v in pairwise(ids)) for c in range(C)] for ids in texts]
    pairs = NgramCounts(keys, np.zeros((1, C, len(keys))), V)
    np.testing.assert_allclose(ngram_scores(pairs, values, texts), expected, atol=1e-12)
    assert np.abs(expected).max() > 0.1


def around(left, right):
    """Neighbours of which the second ones are hidden."""
    nothing = np.full_like(left, -1)
    return torch.from_numpy(np.stack([nothing, left, right, nothing], axis=1))


@pytest.mark.parametrize("with_folds", [False, True])
def test_entries_against_a_dense_loop(with_folds):
    keys, values = random_table()
    bias = NeighbourBias(C, V)
    bias.set_table(torch.from_numpy(keys), torch.from_numpy(values))
    tables, folds = np.stack([values, 2 * values, -values]), None
    generator = np.random.default_rng(2)
    left, right = generator.integers(5, 35, size=(2, 40))
    left[:9], right[5:13] = -1, -1
    classes, fold_of = generator.integers(0, C + 1, size=40), generator.integers(1, 3, size=40)
    if with_folds:
        bias.training_values, folds = torch.from_numpy(tables).float(), torch.from_numpy(fold_of)
    rows, columns, found = bias.entries(around(left, right), torch.from_numpy(classes), folds)
    added = torch.zeros(40, V).index_put((rows, columns), found, accumulate=True)
    expected = np.zeros((40, V))
    for row in range(40):
        table = dense(keys, tables[fold_of[row] if with_folds else 0])[classes[row]]
        if left[row] >= 0:
            expected[row] += table[left[row]]
        if right[row] >= 0:
            expected[row] += table[:, right[row]]
    np.testing.assert_allclose(added.numpy(), expected, atol=1e-6)
    assert (np.abs(expected).sum(axis=1) > 0).sum() > 15


def make(mode="conditional", *, seed=0, n_pairs=400):
    """A denoiser away from its start, with a table of pairs."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        denoiser = Denoiser(load_backbone("tiny-random"), C, ConditioningConfig(mode, rank=2, n_prompt_tokens=3))
        with torch.no_grad():
            for value in denoiser.parameters():
                value.add_(0.1 * torch.randn_like(value))
            denoiser.set_unigram(None, torch.randn(C, V))
    keys, values = random_table(n_pairs, seed)
    denoiser.pairs.set_table(torch.from_numpy(keys), torch.from_numpy(values))
    return denoiser.eval()


def make_batch(frame, *, share=0.5, seed=0):
    generator = np.random.default_rng(seed)
    texts = [generator.integers(5, 30, size=length) for length in (12, 7, 9, 1)]
    hidden = [generator.random(len(ids)) < share for ids in texts]
    for mask in hidden:
        mask[0] = True
    return frame_rows(texts, hidden, hidden, frame)


def without_pairs(denoiser, batch, classes):
    keys, values = denoiser.pairs.keys, denoiser.pairs.values
    denoiser.pairs.set_table(keys[:0], values[:, :0])
    result = denoiser(batch, classes)
    denoiser.pairs.set_table(keys, values)
    return result


@torch.no_grad()
def test_probabilities_still_sum_to_one():
    denoiser = make()
    batch = make_batch(denoiser.frame)
    row = slice(0, 1)
    one = RowBatch(*(getattr(batch, name)[row].repeat(V, 1) for name in batch.__dataclass_fields__))
    place = one.scored[0].nonzero()[-1, 0]
    one.scored = torch.zeros_like(one.scored)
    one.scored[:, place], one.target_ids[:, place] = True, torch.arange(V)
    for index in (0, C):
        total = denoiser(one, torch.full((V,), index)).double().exp().sum()
        assert abs(total.item() - 1.0) < 1e-5


@torch.no_grad()
def test_pairs_add_where_a_neighbour_is_visible_and_nowhere_else():
    denoiser, classes = make(), torch.tensor([0, 1, 2, 0])
    some = make_batch(denoiser.frame)
    assert (denoiser(some, classes) - without_pairs(denoiser, some, classes)).abs().max() > 0.1
    everything_hidden = make_batch(denoiser.frame, share=1.0)
    assert torch.equal(denoiser(everything_hidden, classes), without_pairs(denoiser, everything_hidden, classes))
    no_class = torch.full((4,), C)
    assert torch.equal(denoiser(some, no_class), without_pairs(denoiser, some, no_class))


@torch.no_grad()
def test_logits_by_hand():
    """The whole output layer for one position: unigram and pair tables times their gates, softmax."""
    denoiser = make()
    ids = np.array([7, 8, 9])
    hidden = np.array([False, True, False])
    batch = frame_rows([ids], [hidden], [hidden], denoiser.frame)
    features, gate = denoiser.features(batch, torch.tensor([1]))
    table = dense(denoiser.pairs.keys.numpy(), denoiser.pairs.values.numpy())[1]
    logits = (features @ denoiser.projection.T + denoiser.bias + gate[:, :1] * denoiser.class_bias[1]).double()
    logits = logits + gate[:, 1:].double() * torch.from_numpy(table[7] + table[:, 9])
    expected = logits.log_softmax(dim=1)[:, 8]
    torch.testing.assert_close(denoiser(batch, torch.tensor([1])).double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("n_pairs", [0, 20])
@torch.no_grad()
def test_safetensors_round_trip_with_another_number_of_pairs(tmp_path, n_pairs):
    first, second = make(seed=0), make(seed=1, n_pairs=n_pairs)
    batch, classes = make_batch(first.frame), torch.tensor([0, 1, 2, C])
    second(batch, classes)  # so that whatever is kept of the old table would show
    save_file({name: value.clone() for name, value in first.state_dict().items()}, tmp_path / "it.safetensors")
    second.load_state_dict(load_file(tmp_path / "it.safetensors"))
    assert torch.equal(first(batch, classes), second(batch, classes))


@torch.no_grad()
def test_a_state_without_pairs_is_reported_as_missing():
    state = {name: value for name, value in make().state_dict().items() if not name.startswith("pairs.")}
    missing, _ = make(seed=1).load_state_dict(state, strict=False)
    assert sorted(missing) == ["pairs.keys", "pairs.triple_keys", "pairs.triple_values", "pairs.values"]


@pytest.mark.parametrize("mode", MODES)
@torch.no_grad()
def test_encode_and_read_add_the_pairs_of_each_class(mode):
    denoiser = make(mode)
    batch, classes = make_batch(denoiser.frame), [2, 0, C]
    targets = batch.target_ids[batch.scored]
    places = torch.arange(len(targets))
    found = denoiser.read(EncodedPositions.cat([denoiser.encode(batch, classes)]), classes, places, targets)
    for row, index in zip(found, classes, strict=True):
        torch.testing.assert_close(row, denoiser(batch, torch.full((4,), index)), **CLOSE)
    assert (found[0] - found[1]).abs().max() > 0.1


def test_lookup_against_the_dense_table():
    keys, values = random_table()
    bias, table = NeighbourBias(C, V), dense(keys, values)
    generator = np.random.default_rng(4)
    first, second = generator.integers(-1, 35, size=(2, 500))
    nothing = np.full_like(first, -1)
    asked = around(first, nothing), torch.from_numpy(second)
    assert not bias.lookup(*asked, 0).any()  # an empty table
    bias.set_table(torch.from_numpy(keys), torch.from_numpy(values))
    for index in range(C + 1):
        expected = np.where((first >= 0) & (second >= 0), table[index, first, second], 0.0)
        found = bias.lookup(*asked, index)
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
        found = bias.lookup(around(nothing, second), torch.from_numpy(first), index)
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
        assert expected.any() == (index < C)


def test_a_neighbour_that_is_missing_is_not_taken_for_another_pair():
    """-1 * V + second is a negative key, and first * V - 1 is that of the pair (first - 1, V - 1)."""
    bias = NeighbourBias(1, V)
    bias.set_table(torch.tensor([0, 6 * V + V - 1]), torch.tensor([[1.0, 2.0]]))
    nothing = np.full(3, -1)
    seen = around(np.array([7, -1, 6]), nothing)
    assert bias.lookup(seen, torch.tensor([-1, 0, V - 1]), 0).tolist() == [0.0, 0.0, 2.0]


def test_gradients_reach_the_gate_of_the_pairs():
    denoiser = make()
    batch, classes = make_batch(denoiser.frame), torch.tensor([0, 1, 2, 0])
    with torch.inference_mode():
        denoiser(batch, classes)  # an index made here must not spoil training later
    denoiser.train()(batch, classes).sum().backward()
    assert denoiser.gate.weight.grad[1].abs().sum() > 0
