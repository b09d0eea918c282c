"""The denoiser in all four modes: normalised, independent of the batch, classes apart, trainable, saved."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from gencls.data.lengths import GROUP_POSITIONS, groups_of
from gencls.diffusion import denoiser as denoiser_module
from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.batches import EncodedPositions, RowBatch
from gencls.diffusion.conditioning import ConditioningConfig
from gencls.diffusion.denoiser import Denoiser
from gencls.diffusion.vocabulary import PROJECTION_ROWS

C = 3
MODES = ["independent", "adapter", "conditional", "prompt"]
CLOSE = {"atol": 2e-5, "rtol": 1e-5}


def make(mode, seed=0):
    """A denoiser away from its start, so that no two classes agree and no part is zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        denoiser = Denoiser(load_backbone("tiny-random"), C, ConditioningConfig(mode, rank=2, n_prompt_tokens=3))
        with torch.no_grad():
            for value in denoiser.parameters():
                value.add_(0.1 * torch.randn_like(value))
            denoiser.set_unigram(None, torch.randn(C, denoiser.vocab_size))
            keys = torch.randperm(denoiser.vocab_size**2)[: 3000 + 100 * seed].sort().values
            denoiser.pairs.set_table(keys, torch.randn(C, len(keys)))
    return denoiser.eval()


def make_batch(frame, lengths=(6, 1, 9, 4), width=None, seed=0):
    """Framed and padded rows of random characters; half of the tokens hidden, the first always."""
    rng = np.random.default_rng(seed)
    shape = (len(lengths), width or max(lengths) + 2)
    targets, attention = torch.full(shape, frame.pad), torch.zeros(shape, dtype=torch.long)
    scored = torch.zeros(shape, dtype=torch.bool)
    for row, length in enumerate(lengths):
        targets[row, : length + 2] = torch.from_numpy(frame.frame(rng.integers(5, 99, size=length)))
        attention[row, : length + 2] = 1
        scored[row, 1 : length + 1] = torch.from_numpy(rng.random(length) < 0.5)
        scored[row, 1] = True
    return RowBatch(torch.where(scored, frame.mask, targets), attention, targets, scored)


def rows_of(batch, index):
    return RowBatch(*(getattr(batch, name)[index] for name in batch.__dataclass_fields__))


@torch.no_grad()
def encode_and_read(denoiser, batches, class_ids, dtype=torch.float32):
    """The fast way to what `forward` gives, (C, n_scored) for each batch; the batches are read together."""
    encoded = [denoiser.encode(batch, class_ids, dtype) for batch in batches]
    sizes = [int(batch.scored.sum()) for batch in batches]
    assert [len(positions) for positions in encoded] == sizes
    targets = torch.cat([batch.target_ids[batch.scored] for batch in batches])
    with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
        positions = EncodedPositions.cat(encoded)
        assert len(positions) % PROJECTION_ROWS == 0
        values = denoiser.read(positions, class_ids, torch.arange(len(targets)), targets)
    assert values.shape == (len(class_ids), len(targets))
    assert values.dtype == torch.float32
    return list(values.split(sizes, dim=1))


@pytest.fixture(scope="module", params=MODES)
def denoiser(request):
    return make(request.param)


@pytest.mark.parametrize("class_id", [0, 2, C])
@torch.no_grad()
def test_log_probs_of_all_candidates_sum_to_one(denoiser, class_id):
    one = rows_of(make_batch(denoiser.frame), slice(2, 3))
    place = one.scored[0].nonzero()[-1, 0]
    batch = RowBatch(*(getattr(one, name).repeat(99, 1) for name in one.__dataclass_fields__))
    batch.scored = torch.zeros_like(batch.scored)
    batch.scored[:, place] = True
    batch.target_ids[:, place] = torch.arange(99)
    log_probs = denoiser(batch, torch.full((99,), class_id))
    assert log_probs.shape == (99,)
    assert log_probs.double().exp().sum().item() == pytest.approx(1.0, abs=1e-5)
    assert log_probs.max() < 0


@torch.no_grad()
def test_a_mixed_batch_equals_its_rows_one_by_one(denoiser):
    batch, classes = make_batch(denoiser.frame), torch.tensor([2, C, 0, 2])
    together = denoiser(batch, classes)
    alone = torch.cat([denoiser(rows_of(batch, slice(i, i + 1)), classes[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(together, alone, **CLOSE)
    by_class = {c: denoiser(batch, torch.full((4,), c)) for c in range(C + 1)}
    row_of = batch.scored.nonzero()[:, 0]
    chosen = torch.stack([by_class[int(classes[row])][place] for place, row in enumerate(row_of)])
    torch.testing.assert_close(together, chosen, **CLOSE)
    for first in range(C + 1):
        for second in range(first):
            assert (by_class[first] - by_class[second]).abs().max() > 1e-3


def test_by_class_equals_one_call_a_class_and_so_do_its_gradients(denoiser):
    batch = make_batch(denoiser.frame)
    folds = torch.tensor([0, 1, 1, 0])
    wanted = torch.stack([denoiser(batch, torch.full((4,), c), folds) for c in range(C)])
    weights = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(0))
    parameters = [value for value in denoiser.parameters() if value.requires_grad]
    expected = torch.autograd.grad((wanted * weights).sum(), parameters, allow_unused=True)
    together = denoiser.by_class(batch, folds)
    torch.testing.assert_close(together, wanted, **CLOSE)
    found = torch.autograd.grad((together * weights).sum(), parameters, allow_unused=True)
    assert any(value is not None and value.abs().max() > 0 for value in found)
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


@torch.no_grad()
def test_candidates_of_each_row_are_columns_of_all_classes(denoiser):
    batch, folds = make_batch(denoiser.frame), torch.tensor([0, 1, 1, 0])
    everything, rows = denoiser.by_class(batch, folds), batch.scored.nonzero()[:, 0]
    candidates = torch.tensor([[2, 0], [0, 1], [1, 2], [2, 1]])
    found = denoiser.by_class(batch, folds, candidates)
    expected = torch.stack([everything.gather(0, column[rows][None])[0] for column in candidates.unbind(1)])
    torch.testing.assert_close(found, expected, **CLOSE)


@pytest.mark.parametrize("class_ids", [(0, 1, 2, C), (C, 1), (C,), (0,), (1, 1)])
def test_encode_and_read_equal_one_call_a_class(denoiser, class_ids):
    """Positions of several batches of other shapes in one pool, up to several chunks of it."""
    shapes = [(6, 1, 9, 4), (30, 2, 7, 7), (200, 120, 90, 180)]
    batches = [make_batch(denoiser.frame, lengths=shape, seed=seed) for seed, shape in enumerate(shapes)]
    assert sum(int(batch.scored.sum()) for batch in batches) > PROJECTION_ROWS
    found = encode_and_read(denoiser, batches, class_ids)
    for batch, values in zip(batches, found, strict=True):
        expected = torch.stack([denoiser(batch, torch.full((4,), index)) for index in class_ids]).detach()
        torch.testing.assert_close(values, expected, **CLOSE)
    torch.testing.assert_close(encode_and_read(denoiser, batches[:1], class_ids)[0], found[0], **CLOSE)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_encode_and_read_in_short_types_are_near(denoiser, dtype):
    batches, class_ids = [make_batch(denoiser.frame, lengths=(30, 12, 25, 40))], (0, 2, C)
    plain, short = (encode_and_read(denoiser, batches, class_ids, kind)[0] for kind in (torch.float32, dtype))
    assert not torch.equal(short, plain)
    torch.testing.assert_close(short, plain, atol=0.2, rtol=0.02)
    assert (short - plain).mean(dim=1).abs().max() < 0.02


@torch.no_grad()
def test_one_row_answers_for_several_texts(denoiser):
    """Any position may be asked for any token, any number of times."""
    batch, class_ids = make_batch(denoiser.frame), (1, C)
    n_scored = int(batch.scored.sum())
    places = torch.arange(n_scored).repeat_interleave(denoiser.vocab_size)
    tokens = torch.arange(denoiser.vocab_size).repeat(n_scored)
    positions = EncodedPositions.cat([denoiser.encode(batch, class_ids)])
    log_probs = denoiser.read(positions, class_ids, places, tokens).view(2, n_scored, -1)
    torch.testing.assert_close(log_probs.double().exp().sum(dim=2), torch.ones(2, n_scored).double(), **CLOSE)
    targets = batch.target_ids[batch.scored]
    for values, index in zip(log_probs, class_ids, strict=True):
        expected = denoiser(batch, torch.full((4,), index))
        torch.testing.assert_close(values.gather(1, targets[:, None])[:, 0], expected, **CLOSE)


def test_classes_share_hidden_states_where_the_mode_says_so(denoiser):
    encoded = denoiser.encode(make_batch(denoiser.frame), (0, 1, C))
    assert len(encoded.hidden) == (1 if denoiser.network.shares_hidden else 3)
    assert denoiser.network.shares_hidden == (mode_of(denoiser) == "conditional")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_reading_follows_every_weight(dtype):
    """Nothing that was derived from old weights is used."""
    denoiser = make("conditional")
    batches, before = [make_batch(denoiser.frame)], None
    weights = {"bias": denoiser.bias, "class_bias": denoiser.class_bias, "gate": denoiser.gate.weight}
    weights |= {name: getattr(denoiser.network, name) for name in ("up", "down", "embedding")}
    weights |= {"projection": denoiser.projection, "pairs": denoiser.pairs.values}
    for name, value in weights.items():
        before = encode_and_read(denoiser, batches, (0, 1), dtype)[0]
        if name == "pairs":
            denoiser.pairs.set_table(denoiser.pairs.keys, 3 * value)
        else:
            with torch.no_grad():
                value.mul_(1.5)
        after = encode_and_read(denoiser, batches, (0, 1), dtype)[0]
        assert not torch.equal(after, before), name
        assert torch.equal(encode_and_read(copy.deepcopy(denoiser), batches, (0, 1), dtype)[0], after), name
    expected = torch.stack([denoiser(batches[0], torch.full((4,), index)) for index in (0, 1)]).detach()
    torch.testing.assert_close(encode_and_read(denoiser, batches, (0, 1))[0], expected, **CLOSE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_reading_after_loading_other_weights(dtype):
    first, second = make("conditional", seed=0), make("conditional", seed=1)
    batches = [make_batch(first.frame)]
    expected = encode_and_read(first, batches, (0, C), dtype)[0]
    assert (encode_and_read(second, batches, (0, C), dtype)[0] - expected).abs().max() > 1e-2
    second.load_state_dict(first.state_dict())
    assert torch.equal(encode_and_read(second, batches, (0, C), dtype)[0], expected)


@torch.no_grad()
def test_padding_and_row_order_change_nothing(denoiser):
    batch, wide = make_batch(denoiser.frame), make_batch(denoiser.frame, width=40)
    classes = torch.tensor([1, 0, C, 2])
    expected = denoiser(batch, classes)
    torch.testing.assert_close(denoiser(wide, classes), expected, **CLOSE)
    order = torch.tensor([3, 1, 0, 2])
    sizes = batch.scored.sum(dim=1).tolist()
    parts = expected.split(sizes)
    shuffled = denoiser(rows_of(batch, order), classes[order])
    torch.testing.assert_close(shuffled, torch.cat([parts[i] for i in order]), **CLOSE)


@pytest.mark.parametrize("rows", [1, 5, 1024])
def test_chunks_without_gradients_equal_the_gradient_path(denoiser, monkeypatch, rows):
    batch, classes = make_batch(denoiser.frame), torch.tensor([0, 1, 2, C])
    with_gradient = denoiser(batch, classes)
    assert with_gradient.requires_grad
    monkeypatch.setattr(denoiser_module, "PROJECTION_ROWS", rows)
    with torch.no_grad():
        torch.testing.assert_close(denoiser(batch, classes), with_gradient.detach(), **CLOSE)


@pytest.mark.parametrize("n_positions", [GROUP_POSITIONS, 12])
def test_training_and_evaluation_agree(denoiser, monkeypatch, n_positions):
    """Eager attention and groups of rows in training, fused and padded in evaluation: the same function."""
    batch = make_batch(denoiser.frame, lengths=(6, 1, 9, 4, 9, 2, 3, 8))
    classes = torch.tensor([0, 1, 0, 1, 2, 2, C, C])
    found = []

    def groups(lengths):
        found.append(list(groups_of(lengths, n_positions)))
        return found[-1]

    monkeypatch.setattr("gencls.data.lengths.groups_of", groups)
    with torch.no_grad():
        evaluated = denoiser.eval()(batch, classes)
        assert not found
        trained = denoiser.train()(batch, classes)
    denoiser.eval()
    torch.testing.assert_close(trained, evaluated, **CLOSE)
    assert found
    assert n_positions == GROUP_POSITIONS or len(found[0]) > 1


def test_nothing_scored_and_empty_texts(denoiser):
    batch = make_batch(denoiser.frame, lengths=(3, 2))
    batch.scored = torch.zeros_like(batch.scored)
    assert [values.shape for values in encode_and_read(denoiser, [batch], (0, C))] == [(2, 0)]
    classes = torch.tensor([0, C])
    assert denoiser(batch, classes).shape == (0,)
    with torch.no_grad():
        assert denoiser(batch, classes).shape == (0,)
        with_empty = make_batch(denoiser.frame, lengths=(3, 2))
        with_empty.target_ids[1] = torch.tensor([denoiser.frame.bos, denoiser.frame.eos, 0, 0, 0])
        with_empty.input_ids[1], with_empty.attention_mask[1] = (
            with_empty.target_ids[1],
            torch.tensor([1, 1, 0, 0, 0]),
        )
        with_empty.scored[1] = False
        assert torch.isfinite(denoiser(with_empty, classes)).all()


@torch.no_grad()
def test_no_class_knows_nothing_of_the_classes(denoiser):
    """Whatever happens to the parts of the classes, index C gives the same bits."""
    changed = make(mode_of(denoiser))
    batch = make_batch(changed.frame)
    classes = [torch.full((4,), index) for index in (C, 0)]
    before = [changed(batch, ids) for ids in classes]
    changed.set_unigram(None, torch.randn(C, changed.vocab_size, generator=torch.Generator().manual_seed(9)))
    names = {f"network.{name}" for name in changed.network.class_parameter_names()}
    for name, value in changed.named_parameters():
        if name in names:
            (value[:-1] if name == "network.tokens" else value).mul_(3.0)
    assert torch.equal(changed(batch, classes[0]), before[0])
    assert (changed(batch, classes[1]) - before[1]).abs().max() > 1e-2


def mode_of(denoiser):
    return type(denoiser.network).__name__.lower()


@pytest.mark.parametrize("mode", ["adapter", "independent"])
def test_training_one_class_leaves_the_others_alone(mode):
    denoiser = make(mode)
    batch = make_batch(denoiser.frame)
    classes = [torch.full((4,), index) for index in range(C + 1)]
    with torch.no_grad():
        before = [denoiser(batch, ids) for ids in classes]
    names = {f"network.{name}" for name in denoiser.network.class_parameter_names()}
    for name, value in denoiser.named_parameters():
        value.requires_grad_(name in names)
    optimiser = torch.optim.AdamW([p for p in denoiser.parameters() if p.requires_grad], lr=0.003, weight_decay=0.1)
    for _ in range(4):
        optimiser.zero_grad()
        (-denoiser.train()(batch, classes[0]).mean()).backward()
        optimiser.step()
    denoiser.eval()
    with torch.no_grad():
        after = [denoiser(batch, ids) for ids in classes]
    assert after[0].mean() > before[0].mean() + 1e-3
    for index in (1, 2, C):
        assert torch.equal(after[index], before[index])


def test_gradient_reaches_every_part(denoiser):
    for value in denoiser.parameters():
        value.requires_grad_(True)
    denoiser.zero_grad()
    batch = make_batch(denoiser.frame)
    sum(denoiser(batch, torch.full((4,), index)).sum() for index in range(C + 1)).backward()
    known = {name for name, _ in denoiser.named_parameters()}
    assert denoiser.class_parameter_names() <= known
    unreached = [name for name, value in denoiser.named_parameters() if value.grad is None or not value.grad.any()]
    denoiser.zero_grad()
    assert unreached == []


def test_optimiser_groups_hold_every_trainable_parameter_once(denoiser):
    rates = {"learning_rate": 1.0, "head_learning_rate": 2.0, "class_learning_rate": 3.0}
    grouped = [value for group in denoiser.parameter_groups(**rates) for value in group["params"]]
    trainable = [value for value in denoiser.parameters() if value.requires_grad]
    assert len({id(value) for value in grouped}) == len(grouped) == len(trainable)
    assert {id(value) for value in grouped} == {id(value) for value in trainable}


@pytest.mark.parametrize("mode", MODES)
@torch.no_grad()
def test_state_dict_round_trip(mode):
    first, second = make(mode, seed=0), make(mode, seed=1)
    first.use_training_tables(torch.zeros(2, C, first.vocab_size), None)
    batch, classes = make_batch(first.frame), torch.tensor([0, 1, 2, C])
    assert (first(batch, classes) - second(batch, classes)).abs().max() > 1e-2
    state = {name: value.clone() for name, value in first.state_dict().items()}
    second.load_state_dict(state)
    assert torch.equal(first(batch, classes), second(batch, classes))


@torch.no_grad()
def test_no_weight_of_before_a_load_is_kept_in_lower_precision():
    first, second = make("conditional", seed=0), make("conditional", seed=1)
    batch, classes = make_batch(first.frame), torch.tensor([0, 1, 2, C])

    def score(denoiser):
        # a context of its own each time: autocast keeps cast weights until its context ends
        with torch.autocast("cpu", torch.bfloat16):
            return denoiser(batch, classes)

    expected = score(first)
    assert not torch.equal(score(second), expected)
    second.load_state_dict(first.state_dict())
    assert torch.equal(score(second), expected)


@torch.no_grad()
def test_fold_tables_are_used_in_place_of_the_full_one(denoiser):
    batch, classes = make_batch(denoiser.frame), torch.tensor([0, 1, 2, C])
    full = denoiser.class_bias[:-1].clone()
    tables = torch.randn(2, C, denoiser.vocab_size, generator=torch.Generator().manual_seed(3))
    plain = denoiser(batch, classes)
    expected = []
    for table in tables:
        denoiser.set_unigram(None, table)
        expected.append(denoiser(batch, classes))
    denoiser.set_unigram(None, full)
    denoiser.use_training_tables(tables, None)
    folds = torch.tensor([1, 0, 1, 1])
    found = denoiser(batch, classes, folds)
    unfolded = denoiser(batch, classes)
    denoiser.use_training_tables(None, None)
    row_of = batch.scored.nonzero()[:, 0]
    torch.testing.assert_close(found, torch.where(folds[row_of] == 1, expected[1], expected[0]), **CLOSE)
    assert torch.equal(unfolded, plain)
    assert torch.equal(denoiser(batch, classes, folds), plain)


@pytest.mark.parametrize("options", [{"mode": "lora"}, {"rank": 0}, {"n_prompt_tokens": 0}])
def test_bad_conditioning_is_refused(options):
    with pytest.raises(ValueError, match=r"Expected .*; got .*\. "):
        ConditioningConfig(**options)
