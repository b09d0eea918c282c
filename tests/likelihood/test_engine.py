"""The engine: equal to a naive loop, exact in closed form, the same bits however it is called."""

from __future__ import annotations

import itertools
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForMaskedLM

from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.batches import RowBatch
from gencls.diffusion.conditioning import ConditioningConfig
from gencls.diffusion.denoiser import Denoiser
from gencls.diffusion.parts import split_model
from gencls.diffusion.tokens import TokenFrame
from gencls.diffusion.vocabulary import PROJECTION_ROWS
from gencls.likelihood.engine import Scores, score_texts
from gencls.likelihood.estimators import Estimator
from gencls.likelihood.rows import MICRO_BATCH_TOKENS, bucket_of, row_limit
from gencls.likelihood.store import ScoreStore

V, LONGEST, N_CLASSES = 3, 4, 2
FRAME = TokenFrame(bos=3, eos=4, pad=5, mask=6)
ESTIMATORS = [
    *(Estimator("path", n_steps=3, n_mc_samples=3, order=order) for order in ("spaced", "uniform", "left_to_right")),
    Estimator("path", n_steps=5, n_mc_samples=2),
    Estimator("importance_path", n_steps=2, n_mc_samples=2, n_importance=3),
    Estimator("elbo", n_mc_samples=5),
    Estimator("complementary_elbo", n_mc_samples=4),
    Estimator("bernoulli", n_mc_samples=5),
    Estimator("chain", n_mc_samples=2),
]
NAMES = [f"{estimator.name}-{estimator.order}-{estimator.n_steps}" for estimator in ESTIMATORS]


class TableScorer(nn.Module):
    """Exact conditionals of one random joint table a class and length; float64, deliberately slow."""

    def __init__(self) -> None:
        super().__init__()
        generator = np.random.default_rng(5)
        self.frame, self.n_classes, self.n_calls = FRAME, N_CLASSES, 0
        self.tables = {}
        for length in range(1, LONGEST + 1):
            table = generator.dirichlet(np.full(V**length, 0.7), size=N_CLASSES)
            table = np.concatenate([table, table.mean(axis=0, keepdims=True)])
            self.tables[length] = np.log(table).reshape(N_CLASSES + 1, *(V,) * length)

    def log_p(self, ids, class_id):
        return self.tables[len(ids)][(class_id, *ids)]

    def forward(self, batch, class_ids):
        self.n_calls += 1
        out = []
        for row, column in batch.scored.nonzero().tolist():
            length = int(batch.attention_mask[row].sum()) - 2
            seen = batch.input_ids[row, 1 : length + 1].tolist()
            inside = 1 <= column <= length and seen[column - 1] == FRAME.mask
            place = column - 1
            out.append(self._conditional(batch, row, seen, place, class_ids) if inside else 99.0)
        return torch.tensor(out, dtype=torch.float64)

    def _conditional(self, batch, row, seen, place, class_ids):
        table = self.tables[len(seen)][int(class_ids[row])]
        index = [slice(None) if token == FRAME.mask else token for token in seen]
        total = np.logaddexp.reduce(table[tuple(index)], axis=None)
        index[place] = int(batch.target_ids[row, place + 1])
        return float(np.logaddexp.reduce(table[tuple(index)], axis=None) - total)


def naive_steps(scorer, ids, estimator, seed, class_id, n_context=0):
    """One row at a time, (K', R): no padding, no batch, nothing shared."""
    plan = estimator.plan(ids[n_context:], seed=seed)
    steps = np.zeros(plan.weights.shape)
    start = n_context + scorer.frame.n_before
    for k, r in np.ndindex(plan.weights.shape):
        if plan.scored[k, r].any():
            framed = torch.from_numpy(scorer.frame.frame(ids))[None]
            inputs, scored = framed.clone(), torch.zeros_like(framed, dtype=torch.bool)
            stop = start + plan.masked.shape[2]
            inputs[0, start:stop][torch.from_numpy(plan.masked[k, r])] = scorer.frame.mask
            scored[0, start:stop] = torch.from_numpy(plan.scored[k, r])
            batch = RowBatch(inputs, torch.ones_like(framed), framed, scored)
            with torch.inference_mode():
                steps[k, r] = plan.weights[k, r] * float(scorer(batch, torch.tensor([class_id])).double().sum())
    return steps


def naive_samples(scorer, texts, estimator, seed, classes, contexts=None):
    contexts = contexts or [0] * len(texts)
    samples = np.zeros((len(texts), len(classes), estimator.n_plan_draws))
    for (n, ids), (c, class_id) in itertools.product(enumerate(texts), enumerate(classes)):
        samples[n, c] = naive_steps(scorer, ids, estimator, seed, class_id, contexts[n]).sum(axis=1)
    return estimator.combine(samples)


def random_texts(lengths, *, low=0, high=V, seed=0):
    generator = np.random.default_rng(seed)
    return [generator.integers(low, high, size=int(length)) for length in lengths]


def away_from_its_start(model):
    """Give the classes differences in every part."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.randn(value.shape, generator=generator) * 0.1)
        deviations = torch.randn(model.n_classes, model.vocab_size, generator=generator)
        model.set_unigram(None, deviations)
        keys = torch.randint(model.vocab_size**2, (5 * model.vocab_size,), generator=generator).unique()
        model.pairs.set_table(keys, torch.randn(model.n_classes, len(keys), generator=generator))
    return model.eval()


@pytest.fixture(scope="module")
def denoiser():
    """A real denoiser on a random backbone."""
    return away_from_its_start(
        Denoiser(load_backbone("tiny-random"), N_CLASSES, ConditioningConfig("conditional", rank=4))
    )


def wide_model(conditioning, n_classes=N_CLASSES):
    """Wide enough for the kernels of real models, and with a vocabulary of two tiles."""
    config = BertConfig(
        vocab_size=4500,
        hidden_size=192,
        num_hidden_layers=2,
        num_attention_heads=6,
        intermediate_size=384,
        max_position_embeddings=300,
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokenizer = load_backbone("tiny-random").tokenizer
        backbone = split_model("wide", BertForMaskedLM(config), tokenizer, has_head=False, source="random")
        model = Denoiser(backbone, n_classes, conditioning)
    return away_from_its_start(model)


@pytest.fixture(scope="module")
def wide():
    return wide_model(ConditioningConfig("conditional", rank=4))


#: 126 and 128 tokens fill their rows of 128 and 130 positions; 127 leave one position of 130 empty, 255 three of 260.
LENGTHS = [0, 1, 2, 9, 9, 9, 30, 62, 63, 126, 127, 127, 128, 255, 258]


@pytest.fixture(autouse=True)
def _short_spans(monkeypatch):
    """Few texts are divided between threads too."""
    monkeypatch.setattr("gencls.likelihood.parallel.MIN_SPAN", 10)


@pytest.fixture(scope="module")
def texts():
    return random_texts(np.random.default_rng(3).permutation([*LENGTHS, *range(3, 43, 2)]), low=5, high=99)


@contextmanager
def torch_threads(n):
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def score(scorer, texts, estimator, **options):
    return score_texts(scorer, texts, estimator, **({"seed": 0, "precision": "float32"} | options))


def real_rows(batches):
    """Rows in which something is asked; the others fill up."""
    return sum(int(batch.scored.any(dim=1).sum()) for batch in batches)


@pytest.fixture
def encoded(denoiser, monkeypatch):
    """The batches that the encoder of the denoiser sees."""
    batches, encode = [], denoiser.encode

    def spy(batch, *options):
        batches.append(batch)
        return encode(batch, *options)

    monkeypatch.setattr(denoiser, "encode", spy)
    return batches


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=NAMES)
@pytest.mark.parametrize("classes", [None, [2, 0]])
def test_equals_a_naive_loop(estimator, classes):
    scorer, texts = TableScorer(), random_texts([0, 4, 2, 1, 3, 4, 2, 1, 3])
    scores = score(scorer, texts, estimator, seed=3, classes=classes)
    expected = naive_samples(scorer, texts, estimator, 3, classes or [0, 1])
    np.testing.assert_allclose(scores.samples, expected, rtol=0, atol=1e-9)
    assert scores.samples.dtype == np.float64
    assert scores.n_tokens.tolist() == [len(ids) for ids in texts]


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=NAMES)
def test_steps_equal_a_naive_loop_and_add_up(estimator):
    scorer, texts = TableScorer(), random_texts([3, 0, 4, 4, 1])
    scores = score(scorer, texts, estimator, by_step=True)
    for (n, ids), c in itertools.product(enumerate(texts), range(N_CLASSES)):
        expected = naive_steps(scorer, ids, estimator, 0, c)
        n_steps = expected.shape[1]
        np.testing.assert_allclose(scores.steps[n, c, :, :n_steps], expected, rtol=0, atol=1e-9)
        assert not scores.steps[n, c, :, n_steps:].any()
    np.testing.assert_array_equal(estimator.combine(np.cumsum(scores.steps, axis=3)[..., -1]), scores.samples)
    np.testing.assert_array_equal(score(scorer, texts, estimator).samples, scores.samples)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=NAMES)
def test_context_is_seen_and_not_scored(estimator):
    scorer, texts, contexts = TableScorer(), random_texts([4, 4, 3, 2, 4]), [1, 3, 0, 2, 2]
    scores = score(scorer, texts, estimator, n_context=contexts)
    expected = naive_samples(scorer, texts, estimator, 0, [0, 1], contexts)
    np.testing.assert_allclose(scores.samples, expected, rtol=0, atol=1e-9)
    assert scores.n_tokens.tolist() == [3, 1, 3, 0, 2]
    assert not scores.samples[3].any()


def test_a_chain_given_its_context_is_the_conditional_probability():
    scorer, ids = TableScorer(), np.array([2, 0, 1, 1])
    samples = score(scorer, [ids], Estimator("chain", n_mc_samples=2), n_context=[2]).samples
    for class_id in range(N_CLASSES):
        table = scorer.tables[4][class_id]
        expected = scorer.log_p(ids, class_id) - np.logaddexp.reduce(table[2, 0], axis=None)
        np.testing.assert_allclose(samples[0, class_id], expected, atol=1e-12)


@pytest.mark.parametrize("name, n_steps", [("path", LONGEST), ("chain", 1)])
def test_a_full_path_over_exact_conditionals_is_the_log_probability(name, n_steps):
    scorer, texts = TableScorer(), random_texts([1, 3, 4, 4, 3, 1])
    scores = score(scorer, texts, Estimator(name, n_steps=n_steps, n_mc_samples=3), classes=[0, 1, 2])
    expected = [[scorer.log_p(ids, class_id) for class_id in range(3)] for ids in texts]
    np.testing.assert_allclose(scores.samples, np.repeat(np.array(expected)[..., None], 3, axis=2), atol=1e-12)


@pytest.mark.parametrize("estimator", ESTIMATORS[:-1], ids=NAMES[:-1])
def test_a_denoiser_equals_single_unpadded_rows(denoiser, estimator):
    texts, contexts = random_texts([1, 9, 9, 127, 30, 130], low=5, high=99), [0, 0, 0, 0, 11, 3]
    scores = score(denoiser, texts, estimator, n_context=contexts, classes=[0, 2, 1])
    expected = naive_samples(denoiser, texts, estimator, 0, [0, 2, 1], contexts)
    np.testing.assert_allclose(scores.samples, expected, rtol=2e-5, atol=1e-4)


BITS = Estimator("path", n_steps=3, n_mc_samples=3)


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def reference(request, wide, texts):
    """Precision and samples of one run."""
    samples = score(wide, texts, BITS, precision=request.param).samples
    assert np.ptp(samples[:, 0] - samples[:, 1]) > 1
    return request.param, samples


@pytest.mark.parametrize("n_chosen", [1, 5, 20, None])
def test_same_bits_in_any_order_and_subset(wide, texts, reference, n_chosen):
    precision, samples = reference
    order = np.random.default_rng(n_chosen).permutation(len(texts))[:n_chosen]
    found = score(wide, [texts[row] for row in order], BITS, precision=precision).samples
    np.testing.assert_array_equal(found, samples[order])


def test_same_bits_by_draws_and_with_more_of_them(wide, texts, reference):
    precision, samples = reference
    for first, n in ((0, 1), (1, 2), (2, 1)):
        some = score(wide, texts, BITS, precision=precision, first_draw=first, n_draws=n).samples
        np.testing.assert_array_equal(some, samples[..., first : first + n])
    more = score(wide, texts[:9], Estimator("path", n_steps=3, n_mc_samples=5), precision=precision).samples
    np.testing.assert_array_equal(more[..., :3], samples[:9])


@pytest.mark.parametrize("n_threads", [1, 2])
def test_same_bits_on_any_number_of_threads(wide, texts, reference, n_threads):
    precision, samples = reference
    with torch_threads(n_threads):
        np.testing.assert_array_equal(score(wide, texts, BITS, precision=precision).samples, samples)
        assert torch.get_num_threads() == n_threads


def test_same_bits_on_two_processes(wide, texts, reference, tmp_path):
    precision, samples = reference
    store = ScoreStore(tmp_path)
    with torch_threads(2):
        np.testing.assert_array_equal(score(wide, texts, BITS, precision=precision, n_jobs=2).samples, samples)
        kept = score(wide, texts, BITS, precision=precision, n_jobs=2, store=store)
    np.testing.assert_array_equal(kept.samples, samples)
    np.testing.assert_array_equal(score(wide, texts, BITS, precision=precision, store=store).samples, samples)


def test_same_bits_with_a_store_that_knows_some_of_it(wide, texts, reference, tmp_path, monkeypatch):
    precision, samples = reference
    store = ScoreStore(tmp_path)
    score(wide, texts[::3], Estimator("path", n_steps=3, n_mc_samples=1), precision=precision, store=store)
    with torch_threads(2):
        found = score(wide, texts, BITS, precision=precision, store=store)
    np.testing.assert_array_equal(found.samples, samples)
    monkeypatch.setattr(wide, "encode", None)  # nothing is left to be encoded
    again = score(wide, texts, BITS, precision=precision, store=store)
    np.testing.assert_array_equal(again.samples, samples)
    assert again.n_forwards.tolist() == found.n_forwards.tolist()


@pytest.mark.parametrize("estimator", ESTIMATORS[:-1], ids=NAMES[:-1])
def test_same_bits_for_every_estimator(wide, estimator):
    texts = random_texts([9, 127, 9, 128, 30, 9, 2], low=5, high=99)
    together = score(wide, texts, estimator, precision="bfloat16").samples
    alone = [score(wide, [ids], estimator, precision="bfloat16").samples[0] for ids in texts]
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("mode", ["independent", "adapter", "prompt"])
def test_same_bits_in_the_other_modes(texts, mode):
    config = ConditioningConfig(mode, rank=2, n_prompt_tokens=3)
    model = away_from_its_start(Denoiser(load_backbone("tiny-random"), N_CLASSES, config))
    estimator = Estimator("path", n_steps=2, n_mc_samples=1)
    together = score(model, texts, estimator, classes=[0, 1, 2], precision="bfloat16").samples
    some = [34, 3, 12, 20]
    found = score(model, [texts[row] for row in some], estimator, classes=[0, 1, 2], precision="bfloat16").samples
    np.testing.assert_array_equal(found, together[some])


@pytest.fixture(scope="module", params=[None, 1], ids=["all layers", "last layer"])
def adapters(request):
    """Wide, with more classes than are in one product."""
    return wide_model(ConditioningConfig("adapter", rank=8, adapter_layers=request.param), n_classes=5)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_same_bits_with_adapters(adapters, precision):
    """In another order and subset, and on another number of threads."""
    texts = random_texts([9] * 6 + [20, 21] * 6 + [62, 126, 127], low=5, high=99)
    estimator = Estimator("path", n_steps=2, n_mc_samples=1)
    with torch_threads(2):
        samples = score(adapters, texts, estimator, precision=precision).samples
    assert np.ptp(samples, axis=1).min() > 1e-3
    order = np.random.default_rng(0).permutation(len(texts))[:8]
    chosen = [texts[row] for row in order]
    with torch_threads(1):
        np.testing.assert_array_equal(score(adapters, texts, estimator, precision=precision).samples, samples)
        np.testing.assert_array_equal(score(adapters, chosen, estimator, precision=precision).samples, samples[order])


def test_same_bits_with_adapters_on_two_processes(texts):
    model = Denoiser(load_backbone("tiny-random"), N_CLASSES, ConditioningConfig("adapter", rank=2, adapter_layers=1))
    model, chosen = away_from_its_start(model), texts[:12]
    estimator = Estimator("path", n_steps=2, n_mc_samples=1)
    with torch_threads(2):
        samples = score(model, chosen, estimator, precision="bfloat16").samples
        found = score(model, chosen, estimator, precision="bfloat16", n_jobs=2).samples
    np.testing.assert_array_equal(found, samples)


def test_adapters_under_other_sets_of_classes_are_the_same_up_to_rounding(adapters):
    texts, estimator = random_texts([9, 30, 70], low=5, high=99), Estimator("path", n_steps=2, n_mc_samples=1)
    every = score(adapters, texts, estimator, classes=range(6)).samples
    for classes in ([3], [5, 0], [4, 3, 2, 1, 0]):
        some = score(adapters, texts, estimator, classes=classes).samples
        np.testing.assert_allclose(some, every[:, classes], rtol=1e-6, atol=1e-3)


def test_adapters_equal_the_naive_loop(adapters):
    texts, estimator = random_texts([9, 30, 2], low=5, high=99), Estimator("path", n_steps=2, n_mc_samples=2)
    expected = naive_samples(adapters, texts, estimator, 0, [0, 4, 5])
    found = score(adapters, texts, estimator, classes=[0, 4, 5]).samples
    n_tokens = np.array([len(ids) for ids in texts])[:, None, None]
    assert (np.abs(found - expected) / n_tokens).max() < 1e-4  # nats per token


def test_short_types_are_near_float32(denoiser, texts):
    estimator = Estimator("path", n_steps=2, n_mc_samples=2)
    plain = score(denoiser, texts, estimator).samples
    for precision in ("bfloat16", "float16"):
        short = score(denoiser, texts, estimator, precision=precision).samples
        assert not np.array_equal(short, plain)
        np.testing.assert_allclose(short, plain, rtol=0.02, atol=0.1)


def test_the_shapes_that_the_scorer_sees_are_fixed(denoiser, texts, encoded, monkeypatch):
    """What the bits rest on at sizes where kernels differ more than on the tiny network."""
    pools, read = [], denoiser.read

    def spy(positions, *options):
        pools.append(len(positions))
        return read(positions, *options)

    monkeypatch.setattr(denoiser, "read", spy)
    for chosen in (texts, texts[:5]):
        score(denoiser, chosen, BITS)
    assert len({batch.input_ids.shape for batch in encoded}) == len({b.input_ids.shape[1] for b in encoded}) > 20
    for batch in encoded:
        is_full = batch.attention_mask.all(dim=1)
        assert is_full.all() or not is_full.any()
        assert batch.input_ids.numel() <= MICRO_BATCH_TOKENS["cpu"]
    assert {batch.attention_mask.all().item() for batch in encoded} == {True, False}
    assert all(n % PROJECTION_ROWS == 0 for n in pools)


def test_texts_of_one_length_share_their_blank_row(denoiser, encoded):
    texts = random_texts([30] * 15 + [31] * 4, low=5, high=99)  # one span
    scores = score(denoiser, texts, Estimator("path", n_steps=2, n_mc_samples=2))
    assert scores.n_forwards.tolist() == [3] * len(texts)
    assert real_rows(encoded) == 2 * len(texts) + 2
    encoded.clear()
    score(denoiser, texts, Estimator("path", n_steps=2, n_mc_samples=2), n_context=[1] * len(texts))
    assert real_rows(encoded) == 3 * len(texts)  # with context in sight no row is blank


def test_more_texts_than_one_blank_row_serves(denoiser, encoded, monkeypatch):
    monkeypatch.setattr("gencls.likelihood.engine.BLANK_TEXTS", 4)
    texts, estimator = random_texts([7] * 10, low=5, high=99), Estimator("path", n_steps=1, n_mc_samples=1)
    samples = score(denoiser, texts, estimator).samples
    assert real_rows(encoded) == 3
    np.testing.assert_allclose(samples, naive_samples(denoiser, texts, estimator, 0, [0, 1]), rtol=1e-5)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=NAMES)
def test_the_number_of_forwards_is_known_in_advance(denoiser, estimator, encoded):
    texts = random_texts([40, 41, 42], low=5, high=99)  # long enough for no two draws to agree
    scores = score(denoiser, texts, estimator)
    expected = [estimator.n_forwards(n_tokens=len(ids)) for ids in texts]
    if estimator.name == "bernoulli":  # a draw that hides nothing takes no pass
        expected = [int(estimator.plan(ids, seed=0).masked.any(axis=(1, 2)).sum()) for ids in texts]
    assert scores.n_forwards.tolist() == expected
    assert real_rows(encoded) == scores.n_forwards.sum()


def test_forwards_are_counted_once_where_draws_agree():
    texts = random_texts([0, 1, 2, 3])
    estimator = Estimator("elbo", n_mc_samples=20)
    expected = [len({mask.tobytes() for mask in estimator.plan(ids, seed=0).masked if mask.any()}) for ids in texts]
    assert score(TableScorer(), texts, estimator).n_forwards.tolist() == expected
    assert expected[:2] == [0, 1]
    assert expected[3] < 8


def test_little_of_a_row_is_padding():
    frame = TokenFrame(bos=0, eos=1, pad=2, mask=3)
    for framed in range(2, 3000):
        bucket = bucket_of(framed - 2, frame, None)
        assert bucket.length >= framed
        assert bucket.is_full == (bucket.length == framed)
        assert bucket.length - framed <= (framed / 32 if framed >= 64 else 0)
    assert len({bucket_of(n, frame, None) for n in range(510)}) < 400
    assert bucket_of(508, frame, 510).is_full


def test_the_mean_does_not_see_what_fills_up():
    generator = np.random.default_rng(0)
    n_draws = generator.integers(1, 40, size=200)
    samples = 1000 * generator.normal(size=(200, 3, 40))
    samples[np.broadcast_to(np.arange(40) >= n_draws[:, None, None], samples.shape)] = np.nan
    nothing = np.zeros(200, dtype=np.int64)

    def mean(padded):
        return Scores(padded, nothing, nothing, n_draws=n_draws).mean()

    means = mean(samples)
    np.testing.assert_allclose(means, np.nanmean(samples, axis=2), rtol=1e-12)
    for extra in (1, 7, 100):
        wider = np.concatenate([samples, np.full((200, 3, extra), np.nan)], axis=2)
        np.testing.assert_array_equal(mean(wider), means)
    one = np.zeros(1, dtype=np.int64)
    alone = [Scores(samples[n : n + 1, :, :k], one, one).mean()[0] for n, k in enumerate(n_draws)]
    np.testing.assert_array_equal(alone, means)


def test_classes_share_their_masks(denoiser, texts):
    parts = ("embedding", "down", "up")
    kept = {name: value.detach().clone() for name, value in denoiser.state_dict().items()}
    try:
        with torch.no_grad():
            for name in parts:
                value = getattr(denoiser.network, name)
                value[1] = value[0]
            denoiser.class_bias[1] = denoiser.class_bias[0]
            denoiser.pairs.set_table(denoiser.pairs.keys, denoiser.pairs.values[[0, 0]])
        samples = score(denoiser, texts[:20], Estimator("elbo", n_mc_samples=3)).samples
    finally:
        denoiser.load_state_dict(kept)
    np.testing.assert_array_equal(samples[:, 0], samples[:, 1])


def test_a_class_scores_the_same_whatever_is_asked_beside_it(wide, texts):
    both = score(wide, texts[:9], BITS, precision="bfloat16", classes=[0, 2, 1]).samples
    for place, index in enumerate([0, 2, 1]):
        alone = score(wide, texts[:9], BITS, precision="bfloat16", classes=[index]).samples
        np.testing.assert_array_equal(alone[:, 0], both[:, place])


def test_another_seed_is_another_score_and_duplicates_are_equal(denoiser, texts):
    pair = [texts[0], texts[0]]
    one, two = (score(denoiser, pair, Estimator(), seed=seed).samples for seed in (0, 1))
    np.testing.assert_array_equal(one[0], one[1])
    assert not np.array_equal(one, two)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=NAMES)
def test_an_empty_text_scores_zero_and_one_token_works(denoiser, estimator):
    scores = score(denoiser, [np.array([]), np.array([7])], estimator)
    assert not scores.samples[0].any()
    assert scores.n_forwards[0] == 0
    assert np.isfinite(scores.samples).all()
    assert score(denoiser, [], estimator).samples.shape == (0, N_CLASSES, estimator.n_mc_samples)


def test_the_mode_of_the_scorer_is_put_back(denoiser, texts):
    denoiser.train()
    score(denoiser, texts[:1], Estimator())
    assert denoiser.training
    denoiser.eval()
    score(denoiser, texts[:1], Estimator())
    assert not denoiser.training
    assert not torch.is_inference_mode_enabled()


def test_training_goes_on_after_scoring(texts):
    """What scoring keeps was made in inference mode; it must not get into a gradient."""
    model = away_from_its_start(Denoiser(load_backbone("tiny-random"), N_CLASSES, ConditioningConfig("conditional")))
    before = score(model, texts[:3], Estimator(), precision="bfloat16").samples
    framed = torch.from_numpy(model.frame.frame(texts[0]))[None]
    everywhere = torch.ones_like(framed)
    batch = RowBatch(framed, everywhere, framed, everywhere.bool())
    (-model.train()(batch, torch.tensor([0])).sum()).backward()
    with torch.no_grad():
        for value in model.parameters():
            value.sub_(0.01 * value.grad if value.grad is not None else 0)
    after = score(model, texts[:3], Estimator(), precision="bfloat16").samples
    assert (before != after).any(axis=(1, 2))[[len(ids) > 0 for ids in texts[:3]]].all()
    np.testing.assert_allclose(after, score(model, texts[:3], Estimator()).samples, rtol=0.02, atol=0.1)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"classes": [3]}, "class indices in 0..2"),
        ({"classes": []}, "class indices"),
        ({"precision": "float8"}, "a precision out of"),
        ({"n_jobs": 0}, "n_jobs >= 1"),
        ({"n_draws": 0}, "n_draws >= 1"),
        ({"first_draw": -1}, "first_draw >= 0"),
        ({"n_context": [3]}, "n_context as 1 numbers between 0 and each text's length"),
        ({"n_context": [0, 0]}, "n_context as 1 numbers"),
        ({"token_ids": [np.array([0.5])]}, "one-dimensional integer"),
        ({"token_ids": [np.zeros((2, 2), dtype=int)]}, "one-dimensional integer"),
    ],
)
def test_bad_requests_end_before_any_work(options, message):
    scorer = TableScorer()
    arguments = {"token_ids": [np.array([1, 2])], "seed": 0, "precision": "float32"} | options
    with pytest.raises(ValueError, match=message):
        score_texts(scorer, estimator=Estimator(), **arguments)
    assert scorer.n_calls == 0


def test_a_part_of_an_importance_sample_is_refused():
    with pytest.raises(ValueError, match="a multiple of 3 draws"):
        score(TableScorer(), [np.array([1])], Estimator("importance_path", n_importance=3), n_draws=4)


def test_a_text_longer_than_the_positions_is_refused(denoiser):
    with pytest.raises(ValueError, match="at most 510 tokens in a text; got 511"):
        score(denoiser, [np.full(511, 9)], Estimator())
    fits = score(denoiser, [np.full(510, 9)], Estimator("path", n_steps=1, n_mc_samples=1))
    assert np.isfinite(fits.samples).all()


def test_the_limit_knows_padding_offsets_and_prompts():
    model = nn.Module()
    model.position_embeddings = nn.Embedding(514, 4, padding_idx=1)
    assert row_limit(model) == 512
    assert row_limit(object()) is None
    prompted = Denoiser(load_backbone("tiny-random"), 2, ConditioningConfig("prompt", n_prompt_tokens=8))
    assert row_limit(prompted) == 504
    assert bucket_of(501, prompted.frame, 503).length == 503


@pytest.mark.parametrize("wrong", [lambda n: torch.zeros(n + 1), lambda n: torch.full((n,), torch.nan)])
def test_a_scorer_that_gives_the_wrong_thing_is_named(wrong):
    scorer = TableScorer()
    scorer.forward = lambda batch, class_ids: wrong(int(batch.scored.sum()))
    with pytest.raises(ValueError, match="log-probabilities from the scorer"):
        score(scorer, [np.array([1])], Estimator())


def test_a_denoiser_with_broken_weights_is_named(texts):
    model = Denoiser(load_backbone("tiny-random"), N_CLASSES, ConditioningConfig("conditional"))
    with torch.no_grad():
        model.bias.fill_(torch.nan)
    with pytest.raises(ValueError, match="NaN or infinite"):
        score(model, texts[:2], Estimator())
