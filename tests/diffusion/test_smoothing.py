"""The choice of the smoothing: cross-fitted, by the loss at the best temperature."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax

from gencls.diffusion.smoothing import choose_smoothing, tempered_loss
from gencls.diffusion.statistics import ClassStatistics

V, F = 12, 4


def of(texts, labels, folds, n_classes=2):
    return ClassStatistics.from_texts(texts, labels, folds, n_classes, V)


def drawn(n_texts, seed, *, length=8):
    """Texts of two classes, of tokens that both have, in other shares."""
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(n_texts) % 2)
    shares = generator.dirichlet(np.full(V, 3.0), size=2)
    texts = [generator.choice(V, size=length, p=shares[label]) for label in labels]
    return texts, labels, generator.permutation(np.arange(n_texts) % F)


def chained(n_texts, seed, *, length=8):
    """Texts of two classes, each a Markov chain of its own."""
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(n_texts) % 2)
    steps, texts = generator.dirichlet(np.full(V, 0.5), size=(2, V)), []
    for label in labels:
        ids = [generator.integers(V)]
        while len(ids) < length:
            ids.append(generator.choice(V, p=steps[label, ids[-1]]))
        texts.append(np.array(ids))
    return texts, labels, generator.permutation(np.arange(n_texts) % F)


def by_hand(statistics, texts, labels, folds, smoothing, log_prior=0.0):
    """The criterion, text by text, on a grid of temperatures."""
    rows = []
    for ids, fold in zip(texts, folds, strict=True):
        table = statistics.table(**smoothing, without_fold=None if fold < 0 else int(fold))
        rows.append(statistics.scores(table, [ids])[0])
    joint = np.array(rows) + log_prior
    return min(
        -log_softmax(joint / temperature, axis=1)[np.arange(len(labels)), labels].mean()
        for temperature in np.exp(np.linspace(-3, 7, 2001))
    )


@pytest.mark.parametrize("seed", range(3))
def test_the_choice_loses_least_on_texts_that_the_tables_have_not_counted(seed):
    texts, labels, folds = drawn(40, seed)
    new, wanted, _ = drawn(12, seed + 100)
    statistics = of(texts, labels, folds)
    every, truth = [*texts, *new], np.concatenate([labels, wanted])
    places = np.concatenate([folds, np.full(12, -1)])
    log_prior = np.log([0.6, 0.4])
    unigram, pair, discount = (0.1, 1.0, 10.0), (1.0, 8.0, 64.0), (0.5,)
    chosen = choose_smoothing(
        statistics, every, truth, places, unigram=unigram, pair=pair, discount=discount, log_prior=log_prior
    )[0]

    def loss(strength, rate, between):
        smoothing = {"unigram": strength, "discount": rate, "pair": between}
        return by_hand(statistics, every, truth, places, smoothing, log_prior)

    kept = chosen["unigram"], chosen["discount"]
    tokens = {kind: loss(*kind, chosen["pair"]) for kind in [*((strength, None) for strength in unigram), (0.1, 0.5)]}
    pairs = {between: loss(*kept, between) for between in pair}
    assert min(tokens, key=tokens.get) == kept
    assert min(pairs, key=pairs.get) == chosen["pair"]


@pytest.mark.parametrize("seed", [1, 6, 9])
def test_the_tokens_are_chosen_again_once_there_are_pairs(seed):
    """Texts whose classes differ by which token follows which: tokens that stand alone are smoothed otherwise."""
    texts, labels, folds = chained(60, seed)
    statistics, unigram, pair = of(texts, labels, folds), (0.01, 0.1, 1.0, 10.0, 100.0), (0.1, 1.0, 8.0)
    alone = choose_smoothing(statistics, texts, labels, folds, unigram=unigram, pair=())[0]["unigram"]
    chosen = choose_smoothing(statistics, texts, labels, folds, unigram=unigram, pair=pair)[0]

    def loss(strength, between):
        return by_hand(statistics, texts, labels, folds, {"unigram": strength, "discount": None, "pair": between})

    best = loss(chosen["unigram"], chosen["pair"])
    assert chosen["unigram"] != alone
    assert best < min(loss(alone, between) for between in pair)
    assert best <= min(loss(strength, chosen["pair"]) for strength in unigram)
    assert best <= min(loss(chosen["unigram"], between) for between in pair)


def test_a_texts_own_counts_do_not_choose():
    """Labels that nothing tells: with its own counts every text would be right, and the weakest smoothing best."""
    generator = np.random.default_rng(0)
    texts = [generator.integers(0, V, size=3) for _ in range(60)]
    labels, folds = generator.permutation(np.arange(60) % 2), np.arange(60) % F
    statistics, unigram = of(texts, labels, folds), (0.01, 1000.0)
    assert choose_smoothing(statistics, texts, labels, folds, unigram=unigram, pair=())[0]["unigram"] == 1000.0
    seen = np.full(60, -1)
    assert choose_smoothing(statistics, texts, labels, seen, unigram=unigram, pair=())[0]["unigram"] == 0.01


def test_pairs_are_chosen_where_only_they_tell_the_classes_apart():
    """Both classes use both tokens equally often; one alternates them, the other repeats them."""
    generator = np.random.default_rng(0)

    def text(label):
        start = generator.integers(0, 2)
        return (start + np.arange(12)) % 2 if label else (start + np.arange(12) // 6) % 2

    labels, folds = np.arange(40) % 2, np.arange(40) // 2 % F
    texts = [text(label) for label in labels]
    statistics = of(texts, labels, folds)
    chosen = choose_smoothing(statistics, texts, labels, folds, unigram=(1.0, 3.0), pair=(1.0, 1e6))[0]
    assert chosen["pair"] == 1.0
    assert np.abs(statistics.table(**chosen).pair_deviations).max() > 0.1


def test_equals_go_to_the_stronger_and_to_the_additive_one():
    """Every token is as frequent in both classes: no table says anything."""
    texts, labels = [np.arange(V)] * 8, np.arange(8) % 2
    statistics = of(texts, labels, np.arange(8) // 2)
    options = {"unigram": (1.0, 9.0, 3.0), "pair": (2.0, 8.0, 4.0), "discount": (0.5,), "interpolation": (0.5,)}
    chosen = choose_smoothing(statistics, texts, labels, np.full(8, -1), **options)[0]
    assert chosen == {"unigram": 9.0, "discount": None, "interpolation": 0.0, "pair": 8.0, "triple": None}


def test_no_pair_candidates_no_pairs():
    texts, labels, folds = drawn(20, 0)
    chosen = choose_smoothing(of(texts, labels, folds), texts, labels, folds, unigram=(1.0,), pair=())[0]
    assert chosen == {"unigram": 1.0, "discount": None, "interpolation": 0.0, "pair": None, "triple": None}


def test_discounts_are_chosen_where_a_small_class_needs_them():
    """Additive smoothing gives a class of few texts so much of every token that it loses its own."""
    generator = np.random.default_rng(0)
    texts = [*(generator.integers(0, V, size=30) for _ in range(60)), *[np.array([0, 0, 0, 1])] * 4]
    labels, folds = np.array([0] * 60 + [1] * 4), np.arange(64) % F
    statistics = of(texts, labels, folds)
    options = {"unigram": (50.0,), "pair": (), "discount": (0.5,), "log_prior": np.log([60 / 64, 4 / 64])}
    assert choose_smoothing(statistics, texts, labels, folds, **options)[0]["discount"] == 0.5


@pytest.mark.parametrize("n_topic_tokens", [0, 8])
def test_the_class_free_unigram_is_mixed_in_where_texts_have_tokens_of_their_own(n_topic_tokens):
    """Eight times the token of a topic look like much evidence, and are one text: other tokens tell the classes."""
    generator, n_tokens = np.random.default_rng(0), 60
    labels, folds, shares = np.arange(160) % 2, np.arange(160) // 2 % F, np.full((2, 6), 1 / 6)
    shares[:, :2] = [[0.32, 1 / 75], [1 / 75, 0.32]]
    topics = generator.integers(6, n_tokens, size=160)
    texts = [
        np.append(generator.choice(6, size=4, p=shares[label]), np.full(n_topic_tokens, topic))
        for label, topic in zip(labels, topics, strict=True)
    ]
    statistics = ClassStatistics.from_texts(texts, labels, folds, 2, n_tokens)
    options = {"unigram": (0.1,), "pair": (), "interpolation": (0.5,)}
    chosen = choose_smoothing(statistics, texts, labels, folds, **options)[0]
    assert chosen["interpolation"] == (0.5 if n_topic_tokens else 0.0)


def test_a_class_with_one_text_has_no_say_in_what_is_chosen():
    """Its text is scored by tables without the class: the loss is large, and says nothing of the smoothing."""
    texts, labels, folds = drawn(40, 1)
    of_three = of([*texts, np.array([0, 1])], np.append(labels, 2), np.append(folds, 0), 3)
    options = {"unigram": (0.1, 1.0, 10.0), "pair": (1.0, 8.0)}
    with_it = choose_smoothing(
        of_three, [*texts, np.array([0, 1])], np.append(labels, 2), np.append(folds, 0), **options
    )[0]
    assert with_it == choose_smoothing(of_three, texts, labels, folds, **options)[0]


def test_texts_without_tokens_or_pairs_are_no_trouble():
    texts, labels, folds = drawn(20, 0)
    odd = [np.zeros(0, dtype=np.int64), np.array([3])]
    options = {"unigram": (1.0, 3.0), "pair": (1.0, 8.0)}
    statistics = of(texts, labels, folds)
    chosen = choose_smoothing(
        statistics, [*texts, *odd], np.append(labels, [0, 1]), np.append(folds, [-1, -1]), **options
    )[0]
    assert chosen["unigram"] in options["unigram"]
    assert chosen["pair"] in options["pair"]
    pair, two = [np.array([3, 4])] * 2, np.arange(2)  # no class has a text outside of its fold
    alone = choose_smoothing(of(pair, two, two), pair, two, two, **options)[0]
    assert alone == {"unigram": 3.0, "discount": None, "interpolation": 0.0, "pair": 8.0, "triple": None}


def test_the_loss_is_that_of_the_best_temperature():
    sure = 50 * np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    share = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    assert tempered_loss(sure, np.array([0, 0, 1, 1])) == pytest.approx(share, abs=1e-6)
    assert tempered_loss(-sure, np.array([0, 0, 1, 1])) == pytest.approx(np.log(2), abs=0.02), (
        "no temperature below zero"
    )
    assert tempered_loss(np.zeros((0, 2)), np.zeros(0, dtype=int)) == 0.0
