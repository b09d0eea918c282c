"""The confidence estimator: a normalised distribution, exact for exact conditionals, the same bits in any company."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from gencls.diffusion import exact
from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.batches import RowBatch
from gencls.diffusion.conditioning import ConditioningConfig
from gencls.diffusion.denoiser import Denoiser
from gencls.diffusion.tokens import TokenFrame
from gencls.likelihood.confidence import MAX_CONFIDENCE_TOKENS, score_by_confidence

V, L, C = 3, 4, 3
TEXTS = list(exact.all_texts(V, L))
FRAME = TokenFrame(bos=None, eos=V, pad=V + 1, mask=V + 2)
MODES = ["independent", "adapter", "conditional", "prompt"]


class TableScorer:
    """One dictionary of conditionals a class, read row by row; keeps the contexts that it was shown."""

    def __init__(self, *tables):
        self.frame, self.n_classes, self.tables, self.n_calls = FRAME, len(tables), tables, 0

    def log_probs_and_margins(self, batch, class_ids):
        self.n_calls += 1
        log_probs, margins = [], []
        for row, place in batch.scored.nonzero().tolist():
            seen = batch.input_ids[row, : int(batch.attention_mask[row].sum()) - 1].tolist()
            context = tuple(exact.HIDDEN if token == FRAME.mask else token for token in seen)
            mass = self.tables[int(class_ids[row])][place, context]
            log_probs.append(np.log(mass[batch.target_ids[row, place]]))
            margins.append(np.diff(np.sort(mass)[-2:])[0])
        return torch.tensor(log_probs, dtype=torch.float64), torch.tensor(margins, dtype=torch.float64)


@pytest.fixture(scope="module")
def joint():
    return exact.random_joint(V, L, generator=np.random.default_rng(21))


@pytest.fixture(scope="module")
def right(joint):
    return exact.exact_conditionals(joint)


@pytest.fixture(scope="module")
def wrong(right):
    return exact.perturbed_conditionals(right, 0.7, generator=np.random.default_rng(22))


def by_table(table, text, tokens_per_step):
    """The definition, from a dictionary of conditionals; returns the score and the order."""
    hidden, total, order = list(range(len(text))), 0.0, []
    while hidden:
        context = exact.hide(text, hidden)
        margins = {place: np.diff(np.sort(table[place, context])[-2:])[0] for place in hidden}
        surest = sorted(hidden, key=lambda place: (-margins[place], place))[:tokens_per_step]
        total += sum(np.log(table[place, context][text[place]]) for place in surest)
        hidden = [place for place in hidden if place not in surest]
        order.append(tuple(surest))
    return total, tuple(order)


@pytest.mark.parametrize("tokens_per_step", [1, 2, 3, 4, 9])
def test_scores_of_all_texts_are_a_distribution(right, wrong, tokens_per_step):
    """Whatever the conditionals, and however many positions are revealed at once."""
    scorer = TableScorer(right, wrong)
    scores = score_by_confidence(scorer, [np.array(text) for text in TEXTS], tokens_per_step=tokens_per_step)
    assert scores.samples.shape == (81, 2, 1)
    np.testing.assert_allclose(np.exp(scores.samples[..., 0]).sum(axis=0), 1.0, rtol=0, atol=1e-10)
    assert (scores.n_tokens == L).all()
    assert (scores.n_forwards == -(-L // tokens_per_step)).all()


def test_exact_conditionals_one_by_one_give_log_p(joint, right):
    scores = score_by_confidence(TableScorer(right), [np.array(text) for text in TEXTS])
    expected = [exact.log_probability(joint, text) for text in TEXTS]
    np.testing.assert_allclose(scores.mean()[:, 0], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("tokens_per_step", [1, 2, 3])
def test_scores_are_those_of_the_definition(right, wrong, tokens_per_step):
    scores = score_by_confidence(
        TableScorer(right, wrong), [np.array(text) for text in TEXTS], tokens_per_step=tokens_per_step
    )
    both = [[by_table(table, text, tokens_per_step) for table in (right, wrong)] for text in TEXTS]
    expected = np.array([[score for score, _ in row] for row in both])
    np.testing.assert_allclose(scores.samples[..., 0], expected, rtol=0, atol=1e-12)
    if tokens_per_step == 1:  # a test of one order for all texts would prove little
        assert len({order for row in both for _, order in row}) >= 4
        assert any(first != second for (_, first), (_, second) in both)


def test_the_order_is_none_of_the_paths_and_follows_the_margin():
    """Tokens 0 and 1 are independent; the second is surer, so it goes first. The third copies the second."""
    mass = {(0, 1): 0.5, (1, 1): 0.9}
    table = {}
    for context in itertools.product([exact.HIDDEN, 0, 1], repeat=3):
        copied = 0.5 if context[1] == exact.HIDDEN else 0.99 if context[1] == 1 else 0.01
        for place, one in enumerate([mass[0, 1], mass[1, 1], copied]):
            table[place, context] = np.array([1 - one, one])
    score, order = by_table(table, (1, 1, 1), 1)
    assert order == ((1,), (2,), (0,))
    scores = score_by_confidence(TableScorer(table), [np.array([1, 1, 1])])
    assert scores.samples[0, 0, 0] == pytest.approx(np.log(0.5 * 0.9 * 0.99), abs=1e-12)
    assert score == pytest.approx(np.log(0.5 * 0.9 * 0.99), abs=1e-12)


def test_equal_margins_are_revealed_from_the_left():
    """Whether a token knows its left or its right neighbour tells who went first."""
    table = {}
    for context in itertools.product([exact.HIDDEN, 0, 1], repeat=2):
        for place in range(2):
            other = context[1 - place]
            one = 0.7 if other == exact.HIDDEN else 0.6 + 0.1 * place
            table[place, context] = np.array([1 - one, one])
    scores = score_by_confidence(TableScorer(table), [np.array([1, 1])])
    assert scores.samples[0, 0, 0] == pytest.approx(np.log(0.7 * 0.7), abs=1e-12)  # 0.7 * 0.6 from the right


def test_many_texts_of_several_lengths_in_full_batches(wrong):
    """Every length is a bucket here: each takes a call a step for every 1024 positions."""
    table = dict(wrong)
    for length in range(1, L):
        other = exact.random_joint(V, length, generator=np.random.default_rng(length))
        table |= {(place, context): mass for (place, context), mass in exact.exact_conditionals(other).items()}
    generator = np.random.default_rng(0)
    texts = [generator.integers(V, size=length) for length in generator.permutation(np.repeat([1, 2, 4], 250))]
    scorer = TableScorer(table)
    scores = score_by_confidence(scorer, texts)
    expected = [by_table(table, tuple(ids.tolist()), 1)[0] for ids in texts]
    np.testing.assert_allclose(scores.samples[:, 0, 0], expected, rtol=0, atol=1e-12)
    assert scorer.n_calls == 1 + 2 + 2 * 4  # 512, 341 and 204 rows


def make(mode):
    """A denoiser away from its start: no two classes agree and no part is zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        denoiser = Denoiser(load_backbone("tiny-random"), C, ConditioningConfig(mode, rank=2, n_prompt_tokens=3))
        with torch.no_grad():
            for value in denoiser.parameters():
                value.add_(0.1 * torch.randn_like(value))
            denoiser.set_unigram(None, torch.randn(C, denoiser.vocab_size))
            keys = torch.randperm(denoiser.vocab_size**2)[:3000].sort().values
            denoiser.pairs.set_table(keys, torch.randn(C, len(keys)))
    return denoiser.eval()


@pytest.fixture(scope="module", params=MODES)
def denoiser(request):
    return make(request.param)


def random_texts(n_texts, longest, seed=0):
    generator = np.random.default_rng(seed)
    return [generator.integers(5, 99, size=generator.integers(0, longest + 1)) for _ in range(n_texts)]


def row_batch(frame, ids, hidden):
    framed = torch.from_numpy(frame.frame(ids))[None]
    scored = torch.zeros_like(framed, dtype=torch.bool)
    scored[0, 1:-1] = torch.from_numpy(hidden)
    return RowBatch(torch.where(scored, frame.mask, framed), torch.ones_like(framed), framed, scored)


def distribution(denoiser, ids, hidden, class_id):
    """All log-probabilities at the hidden positions, (n, V): a row for each token of the vocabulary."""
    one, size = row_batch(denoiser.frame, ids, hidden), denoiser.vocab_size
    batch = RowBatch(*(values.repeat(size, 1) for values in vars(one).values()))
    batch.target_ids[:] = torch.arange(size)[:, None]
    return denoiser(batch, torch.full((size,), class_id)).view(size, -1).T.double().numpy()


def plain_score(denoiser, ids, class_id, tokens_per_step):
    """One text, one row, no padding, through `forward` only."""
    hidden, total = np.ones(len(ids), dtype=bool), 0.0
    while hidden.any():
        log_probs, places = distribution(denoiser, ids, hidden, class_id), np.flatnonzero(hidden)
        top = np.sort(np.exp(log_probs), axis=1)
        surest = np.argsort(top[:, -2] - top[:, -1], kind="stable")[:tokens_per_step]
        total += log_probs[surest, ids[places[surest]]].sum()
        hidden[places[surest]] = False
    return total


@torch.no_grad()
def test_log_probs_and_margins_are_those_of_forward(denoiser):
    """Mixed classes in one batch: log-probabilities as from `forward`, margins as from its whole distribution."""
    ids, hidden = np.arange(20, 29), np.arange(9) % 3 != 1
    batches = [row_batch(denoiser.frame, ids + shift, np.roll(hidden, shift)) for shift in range(C + 1)]
    batch = RowBatch(*(torch.cat([getattr(one, name) for one in batches]) for name in batches[0].__dict__))
    classes = torch.arange(C + 1)
    log_probs, margins = denoiser.log_probs_and_margins(batch, classes)
    assert log_probs.dtype == margins.dtype == torch.float32
    torch.testing.assert_close(log_probs, denoiser(batch, classes), atol=2e-5, rtol=1e-5)
    expected = [
        np.sort(np.exp(distribution(denoiser, ids + shift, np.roll(hidden, shift), shift)), axis=1)
        for shift in range(C + 1)
    ]
    top = np.concatenate(expected)
    np.testing.assert_allclose(margins.numpy(), top[:, -1] - top[:, -2], atol=1e-5)
    assert margins.min() >= 0


@torch.no_grad()
def test_margins_do_not_look_at_the_true_token(denoiser):
    batch = row_batch(denoiser.frame, np.arange(20, 29), np.ones(9, dtype=bool))
    log_probs, margins = denoiser.log_probs_and_margins(batch, torch.tensor([1]))
    batch.target_ids = batch.target_ids.flip(1)
    others, same = denoiser.log_probs_and_margins(batch, torch.tensor([1]))
    assert torch.equal(margins, same)
    assert not torch.equal(log_probs, others)


def test_nothing_scored_and_gradients_wanted(denoiser):
    batch = row_batch(denoiser.frame, np.arange(20, 23), np.zeros(3, dtype=bool))
    for values in denoiser.log_probs_and_margins(batch, torch.tensor([0])):
        assert values.shape == (0,)
        assert not values.requires_grad


@torch.no_grad()
@pytest.mark.parametrize("tokens_per_step", [1, 3])
def test_scores_equal_a_plain_loop(denoiser, tokens_per_step):
    texts = random_texts(3, 7, seed=5)
    scores = score_by_confidence(denoiser, texts, classes=[C, 0], tokens_per_step=tokens_per_step)
    expected = [[plain_score(denoiser, ids, c, tokens_per_step) for c in (C, 0)] for ids in texts]
    np.testing.assert_allclose(scores.samples[..., 0], expected, atol=1e-4, rtol=1e-5)


def test_all_texts_of_two_tokens_have_the_mass_one():
    """9 801 texts over the whole vocabulary, the mask and padding tokens included."""
    denoiser = make("conditional")
    texts = [np.array(text) for text in itertools.product(range(denoiser.vocab_size), repeat=2)]
    scores = score_by_confidence(denoiser, texts, classes=[1])
    assert np.exp(scores.samples).sum() == pytest.approx(1.0, abs=2e-5)


@pytest.mark.parametrize("tokens_per_step", [1, 4])
def test_bits_do_not_depend_on_other_texts_their_order_or_the_classes(denoiser, tokens_per_step):
    texts = [*random_texts(12, 5, seed=7), *(ids for ids in random_texts(60, 19, seed=8) if len(ids) > 16)]
    texts += [np.full(14, 30), np.arange(10, 40)]  # fill their buckets to the last position
    together = score_by_confidence(denoiser, texts, tokens_per_step=tokens_per_step)
    order = np.random.default_rng(8).permutation(len(texts))
    shuffled = score_by_confidence(denoiser, [texts[row] for row in order], tokens_per_step=tokens_per_step)
    np.testing.assert_array_equal(shuffled.samples, together.samples[order])
    for row in (0, 5, len(texts) - 1):
        alone = score_by_confidence(denoiser, [texts[row]], classes=[2], tokens_per_step=tokens_per_step)
        np.testing.assert_array_equal(alone.samples[0, 0], together.samples[row, 2])


def test_more_texts_than_rows_give_the_same_bits():
    """15 rows and 32 or 33 steps: the next texts take rows as they get free, with others in the midst of their way."""
    denoiser = make("conditional")
    generator = np.random.default_rng(9)
    texts = [generator.integers(5, 99, size=length) for length in generator.integers(63, 66, size=40)]
    together = score_by_confidence(denoiser, texts, classes=[0], tokens_per_step=2)
    alone = score_by_confidence(denoiser, texts[-3:], classes=[0], tokens_per_step=2)
    np.testing.assert_array_equal(alone.samples, together.samples[-3:])


def test_empty_texts_and_no_texts(denoiser):
    scores = score_by_confidence(denoiser, [np.array([], dtype=int), np.array([30]), np.array([], dtype=float)])
    np.testing.assert_array_equal(scores.samples[[0, 2]], 0.0)
    np.testing.assert_array_equal(scores.n_forwards, [0, 1, 0])
    assert (scores.samples[1] < 0).all()
    nothing = score_by_confidence(denoiser, [])
    assert nothing.samples.shape == (0, C, 1)


def test_the_mode_of_the_scorer_is_put_back():
    denoiser = make("conditional")
    texts = [np.arange(20, 26)]
    evaluated = score_by_confidence(denoiser, texts)
    denoiser.train()
    np.testing.assert_array_equal(score_by_confidence(denoiser, texts).samples, evaluated.samples)
    assert denoiser.training


def test_bfloat16_gives_nearly_the_same(denoiser):
    texts = random_texts(4, 12, seed=2)
    short = score_by_confidence(denoiser, texts, precision="bfloat16").samples
    np.testing.assert_allclose(short, score_by_confidence(denoiser, texts).samples, rtol=0.05, atol=0.5)


@pytest.mark.parametrize(
    ("texts", "options"),
    [
        ([np.zeros(MAX_CONFIDENCE_TOKENS + 1, dtype=int)], {}),
        ([np.zeros(511, dtype=int)], {}),  # two more than the backbone's positions
        ([np.zeros(3)], {}),
        ([np.zeros((2, 2), dtype=int)], {}),
        ([np.zeros(3, dtype=int)], {"tokens_per_step": 0}),
        ([np.zeros(3, dtype=int)], {"classes": [C + 1]}),
        ([np.zeros(3, dtype=int)], {"classes": []}),
        ([np.zeros(3, dtype=int)], {"precision": "int8"}),
    ],
)
def test_errors_have_three_parts_and_come_before_any_work(texts, options, monkeypatch):
    denoiser = make("conditional")
    monkeypatch.setattr(denoiser, "log_probs_and_margins", None)
    with pytest.raises(ValueError, match=r"^Expected .+; got .+\. \S"):
        score_by_confidence(denoiser, texts, **options)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), "shape"])
def test_a_scorer_that_answers_nonsense_is_refused(right, bad):
    class Broken(TableScorer, nn.Module):
        def __init__(self, table):
            nn.Module.__init__(self)
            TableScorer.__init__(self, table)

        def log_probs_and_margins(self, batch, class_ids):
            log_probs, margins = super().log_probs_and_margins(batch, class_ids)
            return (log_probs, margins[1:]) if bad == "shape" else (log_probs, margins * bad)

    with pytest.raises(ValueError, match="margins"):
        score_by_confidence(Broken(right), [np.array([0, 1, 2, 0])])
