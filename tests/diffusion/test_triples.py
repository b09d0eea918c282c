"""Triples: counted, smoothed towards their pairs, and added where two of their tokens are visible."""

from __future__ import annotations

import copy
import pickle
from collections import Counter

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.batches import EncodedPositions, frame_rows
from gencls.diffusion.conditioning import ConditioningConfig
from gencls.diffusion.denoiser import Denoiser
from gencls.diffusion.ngrams import NgramCounts, count_ngrams, ngram_scores
from gencls.diffusion.smoothing import choose_smoothing
from gencls.diffusion.statistics import ClassStatistics
from gencls.diffusion.triples import triple_deviations

C, V, F = 2, 7, 3
MODES = ["independent", "adapter", "conditional", "prompt"]


def made(n_texts=40, seed=0, *, low=0, high=V):
    generator = np.random.default_rng(seed)
    texts = [generator.integers(low, high, size=length) for length in generator.integers(0, 9, size=n_texts)]
    return texts, np.arange(n_texts) % C, generator.permutation(np.arange(n_texts) % F)


def test_counting_against_a_loop():
    texts, labels, folds = made()
    counted = count_ngrams(texts, labels, folds, C, V, order=3, min_count=2)
    expected = Counter(
        (int(fold), int(label), *map(int, ids[place : place + 3]))
        for ids, label, fold in zip(texts, labels, folds, strict=True)
        for place in range(len(ids) - 2)
    )
    total = Counter()
    for (_, _, *run), count in expected.items():
        total[tuple(run)] += count
    keys = sorted((a * V + b) * V + c for (a, b, c), count in total.items() if count >= 2)
    assert counted.keys.tolist() == keys
    for place, key in enumerate(keys):
        run = key // V**2, key // V % V, key % V
        for fold in range(F):
            assert counted.counts[fold, :, place].tolist() == [expected[(fold, label, *run)] for label in range(C)]


def shares_of(counts, expected, smoothing):
    return (counts + smoothing * expected) / (counts.sum() + smoothing)


@pytest.mark.parametrize("without_fold", [None, 1])
def test_deviations_against_their_definition(without_fold):
    texts, labels, folds = made(400)
    statistics = ClassStatistics.from_texts(texts, labels, folds, C, V, with_triples=True)
    smoothing = {"unigram": 0.5, "pair": 2.0, "triple": 3.0}
    found = statistics.table(**smoothing, without_fold=without_fold)
    kept = [f for f in range(F) if f != without_fold]
    tokens = statistics.counts[kept].sum(axis=0) + 0.5
    prior = tokens.sum(axis=1) / tokens.sum()
    token = np.exp(found.deviations) * prior[:, None]
    token /= token.sum(axis=0)
    pairs = dict(zip(statistics.pairs.keys.tolist(), statistics.pairs.counts[kept].sum(axis=0).T, strict=True))

    def pair_share(left, right):
        expected = token[:, left] * token[:, right] / prior
        expected = expected / expected.sum()
        key = left * V + right
        return shares_of(pairs[key], expected, 2.0) if key in pairs else expected

    triples = statistics.triples.counts[kept].sum(axis=0).T
    assert len(triples) > 10
    for place, key in enumerate(statistics.triples.keys.tolist()):
        first, second, third = key // V**2, key // V % V, key % V
        expected = pair_share(first, second) * pair_share(second, third) / token[:, second]
        expected = expected / expected.sum()
        wanted = np.log(shares_of(triples[place], expected, 3.0) / expected)
        np.testing.assert_allclose(found.triple_deviations[:, place], wanted, atol=1e-9)


def test_no_pairs_and_much_smoothing():
    empty = NgramCounts(np.zeros(0, dtype=np.int64), np.zeros((1, C, 0)), V)
    triples = NgramCounts(np.array([(1 * V + 2) * V + 3]), np.zeros((1, C, 1)), V, 3)
    known = empty, np.zeros((C, 0)), np.zeros((C, V)), np.log([0.5, 0.5])
    counts = np.array([[6.0], [1.0]])
    # independent tokens without a preference expect half of each: (6 + 2 / 2) / 9 and (1 + 2 / 2) / 9
    found = triple_deviations(triples, counts, *known, 2.0)
    np.testing.assert_allclose(found[:, 0], np.log([14 / 9, 4 / 9]), atol=1e-12)
    assert np.abs(triple_deviations(triples, counts, *known, 1e9)).max() < 1e-6


def test_tables_without_triples_are_as_they_were():
    texts, labels, folds = made(60)
    plain, more = (
        ClassStatistics.from_texts(texts, labels, folds, C, V, with_triples=wanted) for wanted in (False, True)
    )
    one, other = plain.table(unigram=1.0, pair=2.0), more.table(unigram=1.0, pair=2.0)
    assert plain.triples.keys.size == 0 < more.triples.keys.size
    assert np.array_equal(plain.scores(one, texts), more.scores(other, texts))
    third = more.table(unigram=1.0, pair=2.0, triple=2.0)
    added = ngram_scores(more.triples, third.triple_deviations, texts)
    np.testing.assert_allclose(more.scores(third, texts) - more.scores(other, texts), added, atol=1e-9)


def test_triples_are_chosen_where_only_they_tell_the_classes_apart_and_not_where_nothing_does():
    """Each third token is the sum of the two before it, or one more: no pair is more frequent in a class."""
    generator = np.random.default_rng(0)

    def text(label, n_tokens=20):
        ids = list(generator.integers(0, 2, size=2))
        for _ in range(n_tokens):
            ids.append((ids[-1] + ids[-2] + label) % 2 if generator.random() < 0.9 else generator.integers(0, 2))
        return np.array(ids)

    labels, folds = np.arange(80) % 2, np.arange(80) // 2 % F
    candidates = {"unigram": (1.0,), "pair": (1.0, 1e6), "triple": (1.0, 1e6)}
    texts = [text(label) for label in labels]
    statistics = ClassStatistics.from_texts(texts, labels, folds, C, V, with_triples=True)
    assert choose_smoothing(statistics, texts, labels, folds, **candidates)[0]["triple"] == 1.0
    same = [texts[row // 2 * 2] for row in range(80)]  # each text in both classes, in one fold
    statistics = ClassStatistics.from_texts(same, labels, folds, C, V, with_triples=True)
    assert choose_smoothing(statistics, same, labels, folds, **candidates)[0]["triple"] is None


def denoiser_with_triples(mode, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        denoiser = Denoiser(load_backbone("tiny-random"), C, ConditioningConfig(mode, rank=2, n_prompt_tokens=3))
        with torch.no_grad():
            for value in denoiser.parameters():
                value.add_(0.05 * torch.randn_like(value))
        tokens = torch.randint(5, 10, (3, 300))
        size = denoiser.vocab_size
        pairs = (tokens[0] * size + tokens[1]).unique()
        triples = ((tokens[0] * size + tokens[1]) * size + tokens[2]).unique()
        denoiser.pairs.set_table(pairs, torch.randn(C, len(pairs)), triples, torch.randn(C, len(triples)))
    return denoiser.eval()


def batch_of(frame, seed=1):
    generator = np.random.default_rng(seed)
    texts = [generator.integers(5, 10, size=length) for length in (3, 9, 12, 1)]
    hidden = [generator.random(len(ids)) < 0.4 for ids in texts]
    hidden[0][:] = True
    return frame_rows(texts, hidden, hidden, frame)


@pytest.mark.parametrize("mode", MODES)
@torch.no_grad()
def test_all_ways_through_the_model_agree(mode):
    """`forward`, which normalises over whole rows of logits, and `read`, in tiles; with a change where triples are."""
    denoiser = denoiser_with_triples(mode)
    batch = batch_of(denoiser.frame)
    targets = batch.target_ids[batch.scored]
    classes = [1, C, 0]
    encoded = EncodedPositions.cat([denoiser.encode(batch, classes)])
    found = denoiser.read(encoded, classes, torch.arange(len(targets)), targets)
    for row, index in zip(found, classes, strict=True):
        torch.testing.assert_close(row, denoiser(batch, torch.full((4,), index)), atol=2e-5, rtol=1e-5)
    before = denoiser(batch, torch.zeros(4, dtype=torch.int64))
    denoiser.pairs.set_table(denoiser.pairs.keys, denoiser.pairs.values)
    after = denoiser(batch, torch.zeros(4, dtype=torch.int64))
    of_first = batch.scored.nonzero()[:, 0] == 0
    assert torch.equal(before[of_first], after[of_first]), "a text that is all hidden completes nothing"
    assert (before - after).abs().max() > 0.05


@torch.no_grad()
def test_probabilities_sum_to_one_over_all_ways_to_fill_a_hidden_token():
    denoiser = denoiser_with_triples("conditional")
    frame, text, hidden = denoiser.frame, np.array([5, 6, 7, 8, 9]), np.array([False, False, True, False, False])
    filled = [np.where(hidden, token, text) for token in range(denoiser.vocab_size)]
    batch = frame_rows(filled, [hidden] * len(filled), [hidden] * len(filled), frame)
    for index in range(C + 1):
        log_probs = denoiser(batch, torch.full((len(filled),), index))
        assert log_probs.exp().sum().item() == pytest.approx(1.0, abs=1e-5)


def test_the_training_tables_of_a_fold_reach_the_triples():
    denoiser = denoiser_with_triples("conditional").train()
    batch, classes = batch_of(denoiser.frame), torch.tensor([0, 1, 0, 1])
    n_all = len(denoiser.pairs.keys) + len(denoiser.pairs.triple_keys)
    plain = denoiser(batch, classes).detach()
    whole = torch.cat([denoiser.pairs.values, denoiser.pairs.triple_values], dim=1)
    denoiser.use_training_tables(None, torch.stack([whole, whole.clone()]))
    folds = torch.tensor([0, 1, 1, 0])
    torch.testing.assert_close(denoiser(batch, classes, folds).detach(), plain, atol=1e-6, rtol=1e-6)
    changed = torch.zeros(2, C, n_all)
    denoiser.use_training_tables(None, changed)
    assert (denoiser(batch, classes, folds).detach() - plain).abs().max() > 0.05


@torch.no_grad()
def test_saved_and_loaded_and_a_state_from_before_the_triples(tmp_path):
    first, second = denoiser_with_triples("conditional", seed=0), denoiser_with_triples("conditional", seed=1)
    batch, classes = batch_of(first.frame), torch.tensor([0, 1, 0, C])
    save_file({name: value.clone() for name, value in first.state_dict().items()}, tmp_path / "it.safetensors")
    second.load_state_dict(load_file(tmp_path / "it.safetensors"))
    assert torch.equal(first(batch, classes), second(batch, classes))
    old = {name: value for name, value in load_file(tmp_path / "it.safetensors").items() if "triple" not in name}
    second.load_state_dict(old)
    first.pairs.set_table(first.pairs.keys, first.pairs.values)
    assert torch.equal(first(batch, classes), second(batch, classes))


def test_what_is_kept_of_the_tables_is_neither_pickled_nor_in_the_way_of_training():
    denoiser = denoiser_with_triples("conditional")
    batch, classes = batch_of(denoiser.frame), torch.tensor([0, 1, 0, 1])
    with torch.inference_mode():
        before = denoiser(batch, classes)
    small = len(pickle.dumps(denoiser.pairs))
    denoiser.pairs.prepare(64)
    assert len(pickle.dumps(denoiser.pairs)) == small
    with torch.inference_mode():
        assert torch.equal(copy.deepcopy(denoiser)(batch, classes), before)
    denoiser.train()(batch, classes).sum().backward()
    assert denoiser.gate.weight.grad[1].abs().sum() > 0
