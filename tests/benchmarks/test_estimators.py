"""The estimator benchmark's figures against closed forms, and its files on a toy scorer."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.estimators import (
    MASKS,
    Config,
    _parser,
    compare,
    log_odds_figures,
    main,
    nats_per_token,
)
from benchmarks.estimators_report import prepare_lines, write_report
from gencls.diffusion.tokens import TokenFrame
from gencls.likelihood.store import ScoreStore

CONFIG = Config(n_texts=20, n_repeats=2, forwards=(1, 2))


class UnigramScorer:
    """A class unigram that sees no context: every path has the same score, whatever its order."""

    frame = TokenFrame(bos=None, eos=None, pad=10, mask=11)
    n_classes = 2
    log_p = np.log(np.random.default_rng(0).dirichlet(np.ones(10), size=2))

    def __init__(self):
        self.n_calls = 0

    def __call__(self, batch, class_ids):
        import torch

        self.n_calls += 1
        table = torch.from_numpy(np.pad(self.log_p, ((0, 0), (0, 2))))
        return table[class_ids[:, None], batch.target_ids][batch.scored]


@pytest.fixture
def sample():
    """Texts drawn from the two unigrams, with their labels."""
    generator = np.random.default_rng(1)
    labels = np.arange(20) % 2
    token_ids = [generator.choice(10, size=15 + i, p=np.exp(UnigramScorer.log_p[c])) for i, c in enumerate(labels)]
    return token_ids, labels


def test_figures_of_simulated_noise_are_its_parameters():
    """Scores = truth + noise common to the classes + noise of each: shared masks cancel the common part."""
    n_repeats, n_texts, common, own, spread = 4, 4000, 3.0, 0.5, 10.0
    generator = np.random.default_rng(0)
    truth = np.stack([np.zeros(n_texts), generator.normal(0, spread, n_texts)], axis=1)
    scores = truth + generator.normal(0, common, (n_repeats, n_texts, 1))
    scores = scores + generator.normal(0, own, (n_repeats, n_texts, 2))
    labels, prior = (truth[:, 1] > 0).astype(int), np.log([0.5, 0.5])
    shared, independent = (log_odds_figures(scores, labels, prior, masks=masks) for masks in MASKS)
    for found, expected in ((shared, 2 * own**2), (independent, 2 * (own**2 + common**2))):
        assert abs(found["mc_variance"] - expected) < 4 * found["mc_variance_se"]
    assert shared["spread"] == pytest.approx(spread**2 + 2 * own**2, rel=0.1)
    assert shared["accuracy"] > independent["accuracy"] + 0.05


def test_the_pair_of_many_classes_is_the_two_best():
    scores = np.array([[[0.0, -50.0, 1.0]], [[0.0, -50.0, 3.0]]])
    figures = log_odds_figures(np.repeat(scores, 2, axis=1), np.array([2, 2]), np.zeros(3), masks="shared")
    assert figures["mc_variance"] == pytest.approx(np.var([1.0, 3.0], ddof=1))
    assert figures["accuracy"] == 1


def test_nats_per_token_counts_tokens_alike():
    scores = np.array([[[-10.0, -99.0], [-99.0, -5.0]]])
    nats, error = nats_per_token(scores, np.array([0, 1]), np.array([2, 5]))
    assert nats == pytest.approx(15 / 7)
    assert error > 0


def test_a_unigram_has_no_path_noise_and_the_bounds_do(sample):
    token_ids, labels = sample
    rows = compare(UnigramScorer(), token_ids, labels, np.log([0.5, 0.5]), CONFIG, precision="float32")
    assert [(row["estimator"], row["forwards"]) for row in rows] == [
        (name, forwards) for name in ("path", "elbo", "bernoulli") for forwards in (1, 2)
    ]
    exact = [UnigramScorer.log_p[c][ids].sum() for c, ids in zip(labels, token_ids, strict=True)]
    for row in rows:
        noise = [row[masks]["mc_variance"] for masks in MASKS]
        if row["estimator"] == "path":
            np.testing.assert_allclose(noise, 0, atol=1e-18)
            assert row["nats_per_token"] == pytest.approx(-np.sum(exact) / sum(map(len, token_ids)))
        else:
            assert min(noise) > 1e-3


def test_it_resumes_from_the_store(tmp_path, sample):
    token_ids, labels = sample
    first, second = UnigramScorer(), UnigramScorer()
    options = {"store": ScoreStore(tmp_path, fingerprint="unigram"), "precision": "float32"}
    rows = [compare(scorer, token_ids, labels, np.zeros(2), CONFIG, **options) for scorer in (first, second)]
    assert rows[0] == rows[1]
    assert first.n_calls > 0
    assert second.n_calls == 0


def test_the_report_has_its_files(tmp_path, sample):
    token_ids, labels = sample
    rows = compare(UnigramScorer(), token_ids, labels, np.log([0.5, 0.5]), CONFIG, precision="float32")
    assert len(prepare_lines(rows)) == 2 * len(rows)
    record = {"n_seeds": 2, "n_texts": 20, "command": "python -m benchmarks.estimators"}
    path = write_report(rows, record, tmp_path)
    text = path.read_text()
    assert text.count("\n| ") == 1 + len(rows)
    assert "What would disappoint" in text
    assert (tmp_path / "estimators.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "results.json").read_text())["rows"] == rows
    assert (tmp_path / "run.json").is_file()


def test_the_command_line_names_its_options():
    assert _parser().parse_args(["--preset", "full", "--limit", "5"]).limit == 5
    assert callable(main)
