"""The vocabulary in tiles: normalisers and true logits against a dense log-softmax in float64."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from gencls.diffusion import vocabulary
from gencls.diffusion.neighbours import LEFT, RIGHT, SECOND_LEFT, NeighbourBias
from gencls.diffusion.vocabulary import (
    PROJECTION_ROWS,
    TILE,
    VocabularyTable,
    class_inputs,
    log_normalisers,
    target_logits,
)

C, RANK, WIDTH = 3, 4, 24
#: Two tiles, the second one of another width.
V = TILE + 333
TIGHT = {"atol": 3e-5, "rtol": 1e-6}


@dataclass
class Output:
    """A random output layer and positions: everything in float32, and the dense logits in float64."""

    projection: Tensor
    bias: Tensor
    class_bias: Tensor
    maps: Tensor
    own: Tensor
    pairs: NeighbourBias
    features: Tensor
    low: Tensor
    gate: Tensor
    neighbours: Tensor

    @classmethod
    def random(cls, n_rows, *, vocab_size=V, size=1.0, seed=0, with_triples=False):
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape):
            return torch.randn(*shape, generator=generator)

        class_bias, maps, own = normal(C + 1, vocab_size), normal(C + 1, WIDTH, RANK), normal(C + 1, WIDTH)
        class_bias[C], maps[C], own[C] = 0.0, 0.0, 0.0
        pairs = NeighbourBias(C, vocab_size)
        tokens = torch.randint(5, 60, (2, 900), generator=generator) * (vocab_size // 60)
        keys = (tokens[0] * vocab_size + tokens[1]).unique()
        pairs.set_table(keys, normal(C, len(keys)))
        left, right = torch.randint(5, 60, (2, n_rows), generator=generator) * (vocab_size // 60)
        left[::5], right[::3] = -1, -1
        beyond = torch.full_like(left, -1)
        if with_triples:
            triples = torch.randint(5, 12, (3, 400), generator=generator) * (vocab_size // 60)
            triple_keys = ((triples[0] * vocab_size + triples[1]) * vocab_size + triples[2]).unique()
            pairs.set_table(keys, normal(C, len(keys)), triple_keys, normal(C, len(triple_keys)))
            near = torch.randint(5, 12, (4, n_rows), generator=generator) * (vocab_size // 60)
            near[:, ::2][[SECOND_LEFT, RIGHT]], near[LEFT, ::7] = -1, -1
            neighbours = near.t().contiguous()
        else:
            neighbours = torch.stack([beyond, left, right, beyond], dim=1)
        return cls(
            projection=normal(vocab_size, WIDTH) * 0.3 * size,
            bias=normal(vocab_size) * 2 - 8,
            class_bias=class_bias,
            maps=maps * 0.2,
            own=own * 0.3,
            pairs=pairs,
            features=normal(n_rows, WIDTH),
            low=normal(n_rows, RANK) * 0.3,
            gate=1 + 0.5 * normal(n_rows, 2),
            neighbours=neighbours,
        )

    def features_of(self, index):
        """With the class in them."""
        return self.features + self.low @ self.maps[index].t() + self.own[index]

    def dense(self, index):
        """Logits (n, V) from their definition."""
        gate = self.gate.double()
        features = self.features.double() + self.low.double() @ self.maps[index].double().t() + self.own[index].double()
        logits = features @ self.projection.double().t() + self.bias.double()
        logits += gate[:, :1] * self.class_bias[index].double()
        if index < C:
            size = len(self.bias)
            table = torch.zeros(len(self.bias) ** 2, dtype=torch.float64)
            table[self.pairs.keys] = self.pairs.values[index].double()
            table = table.view(len(self.bias), -1)
            triples = dict(
                zip(self.pairs.triple_keys.tolist(), self.pairs.triple_values[index].double().tolist(), strict=True)
            )
            for row in range(len(logits)):
                second_left, left, right, second_right = self.neighbours[row].tolist()
                if left >= 0:
                    logits[row] += gate[row, 1] * table[left]
                if right >= 0:
                    logits[row] += gate[row, 1] * table[:, right]
                for key, value in triples.items():
                    first, second, third = key // size**2, key // size % size, key % size
                    if (first, second) == (second_left, left):
                        logits[row, third] += gate[row, 1] * value
                    if (first, third) == (left, right):
                        logits[row, second] += gate[row, 1] * value
                    if (second, third) == (right, second_right):
                        logits[row, first] += gate[row, 1] * value
        return logits

    def table(self, dtype):
        maps = [
            torch.cat(
                [
                    self.projection @ self.maps[index],
                    self.class_bias[index][:, None],
                    (self.bias + self.projection @ self.own[index])[:, None],
                ],
                dim=1,
            )
            for index in range(C + 1)
        ]
        return VocabularyTable.build(self.projection, maps, dtype)

    @torch.no_grad()
    def log_z(self, classes, dtype=torch.float32):
        low = torch.zeros_like(self.low)
        inputs = [class_inputs((low if c == C else self.low).to(dtype), self.gate[:, :1]) for c in classes]
        features = self.features.to(dtype)
        return log_normalisers(
            self.table(dtype), features, inputs, classes, self.pairs, self.neighbours, self.gate[:, 1]
        )

    @torch.no_grad()
    def logits_of(self, targets, index, dtype=torch.float32):
        pairs = self.pairs.lookup(self.neighbours, targets, index)
        weights = self.projection, self.bias, self.class_bias[index][targets]
        features = self.features_of(index).to(dtype)
        return target_logits(features, self.gate, targets, *weights, pairs)

    def rows(self, index):
        names = ("features", "low", "gate", "neighbours")
        return replace(self, **{name: getattr(self, name)[index] for name in names})


CLASSES = [1, 0, C, 2]


@pytest.fixture(scope="module")
def output():
    return Output.random(2 * PROJECTION_ROWS)


@pytest.fixture(scope="module")
def dense(output):
    """Dense logits of the first positions, (classes, n, V)."""
    return torch.stack([output.rows(slice(0, 200)).dense(index) for index in CLASSES])


def test_normalisers_equal_a_dense_log_sum(output, dense):
    found = output.log_z(CLASSES)
    assert found.shape == (len(CLASSES), len(output.neighbours))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found[:, :200].double(), dense.logsumexp(dim=2), **TIGHT)


def test_true_logits_equal_the_dense_ones(output, dense):
    targets = torch.randint(5, 60, (len(output.neighbours),), generator=torch.Generator().manual_seed(7)) * (V // 60)
    for place, index in enumerate(CLASSES):
        expected = dense[place].gather(1, targets[:200, None])[:, 0]
        torch.testing.assert_close(output.logits_of(targets, index)[:200].double(), expected, **TIGHT)


def test_the_pairs_and_every_class_part_matter(output, dense):
    """The references above would not see a part that is zero."""
    assert (dense[0] - dense[1]).abs().max() > 1
    log_z = output.log_z([1])
    for name in ("class_bias", "maps", "own"):
        changed = replace(output, **{name: 0 * getattr(output, name)})
        assert (changed.log_z([1]) - log_z).abs().max() > 1e-2
    alone = replace(output, neighbours=torch.full_like(output.neighbours, -1))
    assert (alone.log_z([1]) - log_z).abs().max() > 1e-3
    assert torch.equal(alone.log_z([C]), output.log_z([C]))


def log_ratios(output, dtype, targets):
    first, second = (output.logits_of(targets, c, dtype) - output.log_z([c], dtype)[0] for c in (0, 1))
    return (first - second).double()


def test_bfloat16_costs_log_ratios_little(output, dense):
    """Error of a token's log-ratio: without bias, and small against the ratio's own spread."""
    targets = torch.randint(5, 60, (len(output.neighbours),), generator=torch.Generator().manual_seed(7)) * (V // 60)
    exact = (dense[1] - dense[0]).gather(1, targets[:200, None])[:, 0]
    exact -= dense[1].logsumexp(dim=1) - dense[0].logsumexp(dim=1)
    error = log_ratios(output, torch.bfloat16, targets)[:200] - exact
    plain = log_ratios(output, torch.float32, targets)[:200] - exact
    assert plain.abs().max() < 1e-4
    spread, noise = exact.std().item(), error.std().item()
    assert spread > 1
    assert noise < 0.02 * spread
    assert abs(error.mean().item()) < max(4 * noise / 200**0.5, 0.005)
    assert error.abs().max() < 0.15


def test_bfloat16_normalisers_are_near(output, dense):
    error = output.log_z(CLASSES, torch.bfloat16)[:, :200].double() - dense.logsumexp(dim=2)
    assert error.abs().max() < 0.05
    assert error.pow(2).mean().sqrt() < 0.01


def test_float16_normalisers_are_near(output, dense):
    error = output.log_z(CLASSES, torch.float16)[:, :200].double() - dense.logsumexp(dim=2)
    assert error.abs().max() < 0.02


def test_a_large_bias_keeps_its_digits_in_bfloat16():
    """A softmax over biases alone, 10 nats deep: two columns for each, so the rounding is that of the logits' sum."""
    output = Output.random(PROJECTION_ROWS, vocab_size=600)
    output = replace(output, projection=0 * output.projection, class_bias=output.class_bias * 0)
    output.bias[:] = torch.linspace(-10.03, -3.01, 600)
    output.neighbours[:] = -1
    table = output.table(torch.bfloat16).classes[0][0]
    assert (table[-2:].float().sum(dim=0) - output.bias).abs().max() < 1e-3
    assert (table[-2].float() - output.bias).abs().max() > 0.01


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shift", [200.0, -300.0])
def test_sums_that_overflow_or_vanish_are_computed_again(dtype, shift):
    """Shifted logits shift the normaliser."""
    output = Output.random(PROJECTION_ROWS, vocab_size=700)
    expected = torch.stack([output.dense(index).logsumexp(dim=1) for index in CLASSES]) + shift
    shifted = replace(output, bias=output.bias + shift)
    found = shifted.log_z(CLASSES, dtype).double()
    # logits of 200 to 300 are rounded to 1 in bfloat16, to 1/8 in float16
    bound = {torch.float32: 1e-3, torch.bfloat16: 1.2, torch.float16: 0.15}[dtype]
    assert (found - expected).abs().max() < bound


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_position_does_not_depend_on_the_rest_of_its_chunk(dtype):
    """Neither on its place, nor on whether others overflow."""
    output = Output.random(2 * PROJECTION_ROWS, seed=2)
    expected = output.log_z([0, C], dtype)
    order = torch.randperm(len(output.neighbours), generator=torch.Generator().manual_seed(0))
    assert torch.equal(output.rows(order).log_z([0, C], dtype), expected[:, order])
    wild = replace(output, features=output.features.clone())
    wild.features[7] *= 100.0
    found = wild.log_z([0, C], dtype)
    assert found[:, 7].max() > 100
    others = torch.arange(len(output.neighbours)) != 7
    assert torch.equal(found[:, others], expected[:, others])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_class_does_not_depend_on_the_others(output, dtype):
    together = output.log_z(CLASSES, dtype)
    for place, index in enumerate(CLASSES):
        assert torch.equal(output.log_z([index], dtype)[0], together[place])


@pytest.mark.parametrize("n_rows", [0, PROJECTION_ROWS])
def test_no_position_and_one_chunk(n_rows):
    output = Output.random(n_rows, vocab_size=300)
    assert output.log_z([0, 1]).shape == (2, n_rows)
    assert output.logits_of(torch.zeros(n_rows, dtype=torch.int64), 0).shape == (n_rows,)


def test_a_small_vocabulary_and_one_of_whole_tiles(monkeypatch):
    monkeypatch.setattr(vocabulary, "TILE", 64)
    for vocab_size in (63, 64, 65, 128, 200):
        output = Output.random(PROJECTION_ROWS, vocab_size=vocab_size)
        expected = torch.stack([output.dense(index).logsumexp(dim=1) for index in CLASSES])
        torch.testing.assert_close(output.log_z(CLASSES).double(), expected, **TIGHT)


def test_triples_count_where_two_of_their_tokens_are_seen():
    output = Output.random(PROJECTION_ROWS, vocab_size=300, with_triples=True)
    expected = torch.stack([output.dense(index).logsumexp(dim=1) for index in CLASSES])
    torch.testing.assert_close(output.log_z(CLASSES).double(), expected, **TIGHT)
    targets = torch.randint(5, 12, (PROJECTION_ROWS,), generator=torch.Generator().manual_seed(7)) * 5
    for index in (0, C):
        found = output.logits_of(targets, index).double()
        wanted = output.dense(index).gather(1, targets[:, None])[:, 0]
        torch.testing.assert_close(found, wanted, **TIGHT)
    pairs = output.pairs
    without = replace(output, pairs=NeighbourBias(C, 300))
    without.pairs.set_table(pairs.keys, pairs.values)
    assert (output.log_z([0]) - without.log_z([0])).abs().max() > 0.1
    differing = output.pairs.lookup(output.neighbours, targets, 0) != without.pairs.lookup(
        output.neighbours, targets, 0
    )
    assert 0 < differing.sum() < len(targets)


def test_class_inputs_put_the_gate_before_the_ones():
    low, gate = torch.tensor([[2.0, 3.0]]), torch.tensor([[0.5]])
    assert class_inputs(low, gate).tolist() == [[2.0, 3.0, 0.5, 0.5, 1.0, 1.0]]
    assert class_inputs(low.bfloat16(), gate).dtype == torch.bfloat16


@pytest.mark.parametrize("with_triples", [False, True])
@pytest.mark.parametrize("width", [7, 64, 100, 300, 1000])
def test_entries_by_tile_against_the_dense_ones(width, with_triples):
    vocab_size, n = 300, 50
    output = Output.random(n, vocab_size=vocab_size, with_triples=with_triples)
    pairs, gates = output.pairs, output.gate[:, 1].contiguous()
    tiles = pairs.by_tile(output.neighbours, gates, width)
    for index in range(C + 1):
        rows, columns, values = pairs.entries(output.neighbours, torch.full((n,), index), None)
        expected = torch.zeros(n, vocab_size).index_put((rows, columns), values * gates[rows], accumulate=True)
        parts = []
        for tile, start in enumerate(range(0, vocab_size, width)):
            logits = torch.zeros(n, min(width, vocab_size - start))
            tiles.add_to(logits, tile, tiles.additions(index, torch.float32))
            parts.append(logits)
        assert len(tiles.bounds) == len(parts) + 1
        torch.testing.assert_close(torch.cat(parts, dim=1), expected, atol=1e-6, rtol=1e-6)
        assert expected.any() == (index < C)


def test_entries_by_tile_follow_a_new_table_and_an_empty_one():
    output = Output.random(20, vocab_size=300)
    pairs, places = output.pairs, (output.neighbours, output.gate[:, 1])
    first = pairs.by_tile(*places, 64)
    assert len(first.cells) > 0
    pairs.set_table(pairs.keys, 2 * pairs.values)
    again = pairs.by_tile(*places, 64)
    torch.testing.assert_close(again.additions(0, torch.float32), 2 * first.additions(0, torch.float32))
    pairs.set_table(pairs.keys[:0], pairs.values[:, :0])
    empty = pairs.by_tile(*places, 64)
    assert len(empty.cells) == 0
    assert np.unique(empty.bounds).tolist() == [0]
