"""The engine: equal to a naive loop, exact in closed form, the same bits however it is called."""

from __future__ import annotations

import itertools
import logging

import numpy as np
import pytest
import torch
from torch import nn

from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.conditioning import ConditioningConfig
from gencls.diffusion.denoiser import Denoiser, RowBatch
from gencls.diffusion.tokens import TokenFrame
from gencls.likelihood import precision as precision_module
from gencls.likelihood.engine import score_texts
from gencls.likelihood.estimators import Estimator
from gencls.likelihood.precision import resolve_precision
from gencls.likelihood.rows import SCORED_STEP, bucket_of, row_limit

V, LONGEST, N_CLASSES = 3, 4, 2
FRAME = TokenFrame(bos=3, eos=4, pad=5, mask=6)
ESTIMATORS = [
    Estimator("path", 2, 3),
    Estimator("path", 5, 2),
    Estimator("elbo", 2, 5),
    Estimator("bernoulli", 2, 5),
]


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


def naive_samples(scorer, texts, estimator, seed, classes):
    """One text, one class, one row at a time; no padding, no batch."""
    samples = np.zeros((len(texts), len(classes), estimator.n_mc_samples))
    for (n, ids), (c, class_id) in itertools.product(enumerate(texts), enumerate(classes)):
        plan = estimator.plan(ids, seed=seed)
        for k, r in np.ndindex(plan.weights.shape):
            if plan.scored[k, r].any():
                framed = torch.tensor([[FRAME.bos, *ids, FRAME.eos]])
                inputs, scored = framed.clone(), torch.zeros_like(framed, dtype=torch.bool)
                inputs[0, 1:-1][torch.from_numpy(plan.masked[k, r])] = FRAME.mask
                scored[0, 1:-1] = torch.from_numpy(plan.scored[k, r])
                batch = RowBatch(inputs, torch.ones_like(framed), framed, scored)
                samples[n, c, k] += plan.weights[k, r] * float(scorer(batch, torch.tensor([class_id])).sum())
    return samples


def random_texts(n, lengths, *, low=0, high=V, seed=0):
    generator = np.random.default_rng(seed)
    return [generator.integers(low, high, size=int(length)) for length in generator.choice(lengths, size=n)]


@pytest.fixture(scope="module")
def denoiser():
    """A real denoiser on a random backbone, whose classes differ in every part."""
    model = Denoiser(load_backbone("tiny-random"), N_CLASSES, ConditioningConfig("conditional", rank=4))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.randn(value.shape, generator=generator) * 0.2)
        model.set_unigram(None, torch.randn(N_CLASSES, model.vocab_size, generator=generator))
    return model


@pytest.fixture(scope="module")
def texts():
    """Lengths around the bucket borders: 14 and 30 tokens fill a row of 16 and 32 to the last position."""
    return random_texts(24, [1, 2, 9, 13, 14, 15, 29, 30, 31, 60], low=5, high=99)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
@pytest.mark.parametrize("classes", [None, [2, 0]])
def test_equals_a_naive_loop(estimator, classes):
    scorer, texts = TableScorer(), random_texts(9, [0, 1, 2, 3, 4])
    scores = score_texts(scorer, texts, estimator, seed=3, classes=classes, precision="float32")
    expected = naive_samples(scorer, texts, estimator, 3, classes or [0, 1])
    np.testing.assert_allclose(scores.samples, expected, rtol=0, atol=1e-9)
    assert scores.samples.dtype == np.float64
    assert scores.n_tokens.tolist() == [len(ids) for ids in texts]
    assert scores.forwards_per_draw == estimator.forwards_per_draw


def test_a_full_path_over_exact_conditionals_is_the_log_probability():
    scorer, texts = TableScorer(), random_texts(6, [1, 3, 4])
    scores = score_texts(scorer, texts, Estimator("path", LONGEST, 3), seed=0, classes=[0, 1, 2], precision="float32")
    expected = [[scorer.log_p(ids, class_id) for class_id in range(3)] for ids in texts]
    np.testing.assert_allclose(scores.samples, np.repeat(np.array(expected)[..., None], 3, axis=2), atol=1e-12)


@pytest.mark.parametrize("estimator", [Estimator("path", 2, 2), Estimator("elbo", 2, 3)], ids=str)
def test_same_bits_under_any_batch_order_and_subset(denoiser, texts, estimator):
    def run(chosen, batch_texts=256):
        options = {"seed": 0, "precision": "float32", "batch_texts": batch_texts}
        return score_texts(denoiser, [texts[i] for i in chosen], estimator, **options).samples

    everything = range(len(texts))
    reference = run(everything)
    assert np.ptp(reference[:, 0] - reference[:, 1]) > 0.1
    for batch_texts in (1, 7, 64):
        np.testing.assert_array_equal(run(everything, batch_texts), reference)
    order = np.random.default_rng(0).permutation(len(texts))
    np.testing.assert_array_equal(run(order), reference[order])
    np.testing.assert_array_equal(run(order[:5], 3), reference[order[:5]])


def test_the_shapes_that_the_scorer_sees_are_fixed(denoiser, texts, monkeypatch):
    """What the bits rest on at sizes where kernels differ more than on the tiny network."""
    calls = []
    by_class = denoiser.by_class

    def spy(batch, class_ids):
        calls.append(batch)
        return by_class(batch, class_ids)

    monkeypatch.setattr(denoiser, "by_class", spy)
    for batch_texts in (5, 256):
        score_texts(denoiser, texts, Estimator("path", 2, 2), seed=0, precision="float32", batch_texts=batch_texts)
    assert len({batch.input_ids.shape for batch in calls}) == len({b.input_ids.shape[1] for b in calls}) > 2
    for batch in calls:
        assert int(batch.scored.sum()) % SCORED_STEP == 0
        is_full = batch.attention_mask.all(dim=1)
        assert is_full.all() or not is_full.any()


def test_same_bits_in_bfloat16_and_near_float32(denoiser, texts):
    options = {"estimator": Estimator("path", 2, 2), "seed": 0}
    short = score_texts(denoiser, texts, precision="bfloat16", **options).samples
    some = score_texts(denoiser, texts[3:8], precision="bfloat16", batch_texts=2, **options).samples
    plain = score_texts(denoiser, texts, precision="float32", **options).samples
    np.testing.assert_array_equal(some, short[3:8])
    assert not np.array_equal(short, plain)
    np.testing.assert_allclose(short, plain, rtol=0.02, atol=0.1)


def test_equals_single_unpadded_rows_of_the_denoiser(denoiser, texts):
    estimator = Estimator("path", 2, 1)
    ids = texts[0]
    plan = estimator.plan(ids, seed=0)
    total = 0.0
    for step in range(2):
        framed = torch.from_numpy(denoiser.frame.frame(ids))[None]
        inputs, scored = framed.clone(), torch.zeros_like(framed, dtype=torch.bool)
        inputs[0, 1:-1][torch.from_numpy(plan.masked[0, step])] = denoiser.frame.mask
        scored[0, 1:-1] = torch.from_numpy(plan.scored[0, step])
        with torch.inference_mode():
            batch = RowBatch(inputs, torch.ones_like(framed), framed, scored)
            total += float(denoiser(batch, torch.tensor([1])).double().sum())
    scores = score_texts(denoiser, [ids], estimator, seed=0, precision="float32")
    assert scores.samples[0, 1, 0] == pytest.approx(total, rel=1e-5)


def test_classes_share_their_masks(denoiser, texts):
    parts = ("embedding", "down", "up")
    kept = {name: value.detach().clone() for name, value in denoiser.state_dict().items()}
    try:
        with torch.no_grad():
            for name in parts:
                value = getattr(denoiser.network, name)
                value[1] = value[0]
            denoiser.class_bias[1] = denoiser.class_bias[0]
        samples = score_texts(denoiser, texts, Estimator("elbo", 2, 3), seed=0, precision="float32").samples
    finally:
        denoiser.load_state_dict(kept)
    np.testing.assert_array_equal(samples[:, 0], samples[:, 1])


def test_another_seed_is_another_score_and_duplicates_are_equal(denoiser, texts):
    pair = [texts[0], texts[0]]
    one, two = (score_texts(denoiser, pair, Estimator(), seed=s, precision="float32").samples for s in (0, 1))
    np.testing.assert_array_equal(one[0], one[1])
    assert not np.array_equal(one, two)


def test_an_empty_text_scores_zero_and_one_token_works(denoiser):
    texts = [np.array([]), np.array([7])]
    for estimator in ESTIMATORS:
        samples = score_texts(denoiser, texts, estimator, seed=0, precision="float32").samples
        assert not samples[0].any()
        assert np.isfinite(samples).all()
    assert score_texts(denoiser, [], Estimator(), seed=0).samples.shape == (0, N_CLASSES, 4)


def test_the_mode_of_the_scorer_is_put_back(denoiser, texts):
    denoiser.train()
    score_texts(denoiser, texts[:1], Estimator(), seed=0, precision="float32")
    assert denoiser.training
    denoiser.eval()
    score_texts(denoiser, texts[:1], Estimator(), seed=0, precision="float32")
    assert not denoiser.training
    assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"classes": [3]}, "class indices in 0..2"),
        ({"classes": []}, "class indices"),
        ({"precision": "float16"}, "a precision out of"),
        ({"batch_texts": 0}, "batch_texts >= 1"),
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


def test_a_text_longer_than_the_positions_is_refused(denoiser):
    with pytest.raises(ValueError, match="at most 510 tokens in a text; got 511"):
        score_texts(denoiser, [np.full(511, 9)], Estimator(), seed=0)
    fits = score_texts(denoiser, [np.full(510, 9)], Estimator("path", 1, 1), seed=0, precision="float32")
    assert np.isfinite(fits.samples).all()


def test_the_limit_knows_padding_offsets_and_prompts():
    model = nn.Module()
    model.position_embeddings = nn.Embedding(514, 4, padding_idx=1)
    assert row_limit(model) == 512
    assert row_limit(object()) is None
    prompted = Denoiser(load_backbone("tiny-random"), 2, ConditioningConfig("prompt", n_prompt_tokens=8))
    assert row_limit(prompted) == 504
    assert bucket_of(502, prompted.frame, 504).length == 504


@pytest.mark.parametrize("wrong", [lambda n: torch.zeros(n + 1), lambda n: torch.full((n,), torch.nan)])
def test_a_scorer_that_gives_the_wrong_thing_is_named(wrong):
    scorer = TableScorer()
    scorer.forward = lambda batch, class_ids: wrong(int(batch.scored.sum()))
    with pytest.raises(ValueError, match="log-probabilities from the scorer"):
        score_texts(scorer, [np.array([1])], Estimator(), seed=0, precision="float32")


@pytest.mark.parametrize("speedup, chosen", [(4.0, "bfloat16"), (1.1, "float32")])
def test_auto_precision_is_measured_and_logged(monkeypatch, caplog, speedup, chosen):
    seconds = {torch.float32: speedup, torch.bfloat16: 1.0}
    monkeypatch.setattr(precision_module, "_matmul_seconds", lambda device, dtype: seconds[dtype])
    precision_module._faster_precision.cache_clear()
    with caplog.at_level(logging.INFO, logger="gencls.likelihood"):
        assert resolve_precision("auto", torch.device("cpu")) == chosen
    precision_module._faster_precision.cache_clear()
    assert chosen in caplog.text
