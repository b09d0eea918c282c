"""The reverse process: it samples the joint, keeps what is given, ends, and no text depends on its batch mates."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from gencls.diffusion.exact import exact_conditionals, random_joint
from gencls.generation import GenerationConfig, generate
from gencls.generation.growth import Start
from gencls.generation.sampler import ReverseProcess
from gencls.generation.scorers import scorer_of
from gencls.generation.vocabulary import vocabulary_of

FLOAT32 = {"precision": "float32"}
N_TEXTS = 1500
ORDERS = ["random", "confidence", "margin", "entropy", "left_to_right", "blocks"]
NOTHING = np.zeros(0, dtype=np.int64)


def starts(n_texts, token_ids, mask_id):
    ids = np.array(token_ids, dtype=np.int64)
    return [Start(ids, ids != mask_id, np.full(len(ids), -1))] * n_texts


def drawn(scorer, config, n_texts, token_ids, class_ids=(0,)):
    """Final tokens (N, L) of many texts."""
    process = ReverseProcess(scorer, config, class_ids, None, NOTHING)
    generators = [np.random.default_rng([7, row]) for row in range(n_texts)]
    return np.stack(
        [steps[-1].token_ids for steps in process.sample(starts(n_texts, token_ids, scorer.mask_id), generators)]
    )


def p_value(texts, joint):
    """Chi-square p of texts (N, L) against a joint table."""
    cells = np.ravel_multi_index(texts.T, joint.shape)
    return chisquare(np.bincount(cells, minlength=joint.size), len(texts) * joint.ravel()).pvalue


@pytest.fixture(scope="module")
def joint():
    return random_joint(3, 3, generator=np.random.default_rng(0))


@pytest.fixture(scope="module")
def scorer(joint, table_scorer):
    return table_scorer([exact_conditionals(joint)], 3)


@pytest.mark.parametrize("order", ["random", "left_to_right"])
def test_one_token_a_step_reproduces_the_joint(scorer, joint, order):
    texts = drawn(scorer, GenerationConfig(order=order), N_TEXTS, [3, 3, 3])
    assert p_value(texts, joint) > 1e-4


def test_a_step_for_several_tokens_does_not_reproduce_the_joint(scorer, joint):
    """The check above can fail: two tokens of one step are drawn as if they were independent."""
    texts = drawn(scorer, GenerationConfig(n_steps=1, order="random"), N_TEXTS, [3, 3, 3])
    assert p_value(texts, joint) < 1e-4
    alone = joint.sum(axis=(1, 2))
    z = (np.bincount(texts[:, 0], minlength=3) / N_TEXTS - alone) / np.sqrt(alone * (1 - alone) / N_TEXTS)
    assert np.abs(z).max() < 4, "each token by itself has its marginal"


def test_given_tokens_condition_the_joint(scorer, joint):
    texts = drawn(scorer, GenerationConfig(order="random"), N_TEXTS, [3, 2, 3])
    assert (texts[:, 1] == 2).all()
    expected = joint[:, 2] / joint[:, 2].sum()
    assert p_value(texts[:, [0, 2]], expected) > 1e-4


def test_temperature_sharpens_and_greedy_takes_the_likeliest(scorer, joint):
    half = drawn(scorer, GenerationConfig(temperature=0.5, order="left_to_right"), N_TEXTS, [0, 0, 3])
    expected = joint[0, 0] ** 2 / (joint[0, 0] ** 2).sum()
    assert chisquare(np.bincount(half[:, 2], minlength=3), N_TEXTS * expected).pvalue > 1e-4
    greedy = drawn(scorer, GenerationConfig(temperature=0), 20, [0, 0, 3])
    assert (greedy[:, 2] == joint[0, 0].argmax()).all()


def test_guidance_moves_from_the_class_free_model_to_the_class_and_beyond(joint, table_scorer):
    other = random_joint(3, 3, generator=np.random.default_rng(5))
    scorer = table_scorer([exact_conditionals(other), exact_conditionals(joint)], 3)
    for weight, classes in ((0.0, [0, 1]), (1.0, [0, 1]), (2.0, [0, 1])):
        config = GenerationConfig(label="class", guidance=weight, order="left_to_right")
        texts = drawn(scorer, config, N_TEXTS, [0, 1, 3], classes)
        free, own = joint[0, 1] / joint[0, 1].sum(), other[0, 1] / other[0, 1].sum()
        expected = free ** (1 - weight) * own**weight
        counts = np.bincount(texts[:, 2], minlength=3)
        assert chisquare(counts, N_TEXTS * expected / expected.sum()).pvalue > 1e-4


CONFIGS = st.fixed_dictionaries(
    {
        "order": st.sampled_from(ORDERS),
        "schedule": st.sampled_from(["linear", "cosine", "exponential"]),
        "n_steps": st.one_of(st.none(), st.integers(1, 30)),
        "temperature": st.sampled_from([0.0, 0.7, 1.0, 1.5]),
        "top_k": st.one_of(st.none(), st.integers(1, 100)),
        "top_p": st.one_of(st.none(), st.floats(0.05, 1.0)),
        "remask": st.sampled_from([0.0, 0.2, 0.9]),
        "repetition_penalty": st.sampled_from([1.0, 1.5]),
        "no_repeat_ngram": st.integers(0, 3),
        "block_size": st.integers(1, 8),
        "length": st.integers(1, 16),
        "require": st.sampled_from([(), ("dog",), ("unknown", "terrible")]),
        "forbid": st.sampled_from([(), ("good",), ("terribly", "the cat")]),
    }
)


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(options=CONFIGS, prefix=st.sampled_from(["", "The cat", "un"]), suffix=st.sampled_from(["", ", good!"]))
def test_given_tokens_never_change_and_every_schedule_ends_without_a_mask(model, options, prefix, suffix):
    config = GenerationConfig(**options, **FLOAT32)
    for trajectory in generate(model, config, prefix=prefix, suffix=suffix, n_samples=2):
        first, last = trajectory.steps[0], trajectory.steps[-1]
        assert (first.token_ids == trajectory.mask_id).tolist() == (~trajectory.given).tolist()
        assert not (last.token_ids == trajectory.mask_id).any()
        assert trajectory.text.startswith(prefix)
        assert trajectory.text.endswith(suffix)
        assert not set(last.token_ids[~trajectory.given]) & set(model.tokenizer.all_special_ids)
        _check_steps(trajectory)


def _check_steps(trajectory):
    for before, after in zip(trajectory.steps, trajectory.steps[1:], strict=False):
        was_hidden, is_hidden = (step.token_ids == trajectory.mask_id for step in (before, after))
        assert (after.token_ids[trajectory.given] == before.token_ids[trajectory.given]).all()
        assert (after.revealed == (was_hidden & ~is_hidden)).all()
        assert (after.remasked == (~was_hidden & is_hidden)).all()
        kept = ~was_hidden & ~is_hidden
        assert (after.token_ids[kept] == before.token_ids[kept]).all()
        assert np.isnan(after.confidence).tolist() == (is_hidden | trajectory.given).tolist()
        assert after.n_forwards == before.n_forwards + 1
        assert after.seconds >= before.seconds


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("options", [{}, {"temperature": 0.0}, {"remask": 0.3, "n_steps": 6}, {"no_repeat_ngram": 2}])
def test_a_text_is_the_same_alone_in_a_batch_and_again(model, order, options):
    config = GenerationConfig(length=10, order=order, **options, **FLOAT32)
    batch = generate(model, config, prefix="the dog", seed=3, n_samples=4)
    again = generate(model, config, prefix="the dog", seed=3, n_samples=4)
    assert [one.text for one in batch] == [one.text for one in again]
    for seed in (3, 6):
        (alone,) = generate(model, config, prefix="the dog", seed=seed)
        mate = batch[seed - 3]
        assert len(alone.steps) == len(mate.steps)
        for own, other in zip(alone.steps, mate.steps, strict=True):
            assert own.token_ids.tolist() == other.token_ids.tolist()
    if options.get("temperature") != 0:
        assert len({one.text for one in batch}) == 4


def test_the_number_of_steps_and_of_forwards(model):
    config = GenerationConfig(length=12, n_steps=4, schedule="linear", **FLOAT32)
    steps = generate(model, config)[0].steps
    assert [int(step.revealed.sum()) for step in steps] == [0, 3, 3, 3, 3]
    assert [step.n_forwards for step in steps] == [0, 1, 2, 3, 4]


def test_left_to_right_blocks_and_forced_words_come_in_their_order(model):
    for order, size in (("left_to_right", 1), ("blocks", 4)):
        config = GenerationConfig(length=12, order=order, block_size=4, **FLOAT32)
        steps = generate(model, config, seed=2)[0].steps[1:]
        places = [int(np.flatnonzero(step.revealed)[0]) // size for step in steps]
        assert places == sorted(places)
    config = GenerationConfig(length=12, require=("terrible",), **FLOAT32)
    first = generate(model, config)[0].steps[1]
    assert first.revealed.sum() == 2, "ter ##rible, both in the first step"


def test_surest_tokens_are_revealed_first(model):
    config = GenerationConfig(length=8, temperature=0, order="confidence", **FLOAT32)
    greedy = generate(model, config)[0].steps
    first = int(np.flatnonzero(greedy[1].revealed)[0])
    vocabulary = vocabulary_of(model.tokenizer, model.denoiser.vocab_size)
    start = np.full((1, 8), model.denoiser.frame.mask)
    with scorer_of(model.denoiser, "float32") as scorer:
        logits = next(scorer.logits(start, start > 0, [0]))[0]
    logits[:, vocabulary.banned_ids] = -np.inf
    logits[0, vocabulary.continuing_ids] = -np.inf
    best = logits.softmax(dim=1).amax(dim=1)
    assert first == int(best.argmax())
    assert greedy[1].confidence[first] == pytest.approx(float(best.max()), rel=1e-5)


def test_a_threshold_reveals_what_is_sure_and_at_least_one(model):
    def counts(threshold):
        config = GenerationConfig(length=12, threshold=threshold, temperature=0, **FLOAT32)
        return [int(step.revealed.sum()) for step in generate(model, config)[0].steps[1:]]

    assert counts(0.0)[0] >= 10  # all at once, but for word pieces that do not go together
    assert counts(1.0) == [1] * 12
    config = GenerationConfig(length=12, threshold=0.3, temperature=0, **FLOAT32)
    for step in generate(model, config)[0].steps[1:]:
        assert step.revealed.sum() == 1 or (step.confidence[step.revealed] >= 0.3).all()


def test_remasking_keeps_the_schedule(model):
    config = GenerationConfig(length=16, n_steps=8, remask=0.3, **FLOAT32)
    for trajectory in generate(model, config, n_samples=4):
        hidden = [int((step.token_ids == trajectory.mask_id).sum()) for step in trajectory.steps]
        assert hidden == [16, 14, 12, 10, 8, 6, 4, 2, 0]
        again = [int(step.remasked.sum()) for step in trajectory.steps]
        # a share of 0.3 of what is visible, but not more than stays hidden, and none in the last step
        assert again == [0, 0, 0, 1, 1, 2, 3, 2, 0]
