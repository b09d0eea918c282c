"""Scoring with a store: a killed run resumes with the same bits, and a top-up computes only what is new."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import gencls
from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.conditioning import ConditioningConfig
from gencls.diffusion.denoiser import Denoiser
from gencls.diffusion.tokens import TokenFrame
from gencls.likelihood.engine import score_texts
from gencls.likelihood.estimators import Estimator
from gencls.likelihood.store import FILE, ScoreStore

N_TEXTS = 12


class SumScorer:
    """A number that depends on class, target and visible tokens; can kill its process at a given call."""

    frame = TokenFrame(bos=None, eos=None, pad=90, mask=91)
    n_classes = 2

    def __init__(self, kill_at: int = -1) -> None:
        self.n_calls, self.n_rows, self.kill_at = 0, 0, kill_at

    def __call__(self, batch, class_ids):
        if self.n_calls == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.n_calls += 1
        # under one class, and without the copies that fill up a micro-batch
        self.n_rows += len(torch.unique(torch.cat([batch.input_ids, batch.target_ids], dim=1), dim=0)) / self.n_classes
        visible = ((batch.input_ids < 90) * batch.input_ids).sum(dim=1).double()
        value = -((batch.target_ids + 1) * (1 + 0.3 * class_ids + 0.01 * visible)[:, None]).sqrt()
        return value[batch.scored]


def texts():
    generator = np.random.default_rng(0)
    return [generator.integers(0, 90, size=5 + 3 * index) for index in range(N_TEXTS)]


def estimator(n_steps=2, n_draws=2, order="spaced"):
    return Estimator("path", n_steps=n_steps, n_mc_samples=n_draws, order=order)


def score(scorer, folder=None, *, plan=None, **options):
    store = None if folder is None else ScoreStore(folder, fingerprint="sum")
    arguments = {"seed": 0, "precision": "float32", "store": store} | options
    return score_texts(scorer, texts(), plan or estimator(), **arguments).samples


def calls(folder=None, **options):
    """Return how often the scorer is called, and the samples."""
    scorer = SumScorer()
    samples = score(scorer, folder, **options)
    return scorer.n_calls, samples


def rows(folder=None, **options):
    """Return how many rows the scorer is asked about, and the samples."""
    scorer = SumScorer()
    samples = score(scorer, folder, **options)
    return scorer.n_rows, samples


def known_places(plan):
    """What a store knows after a plan: for each text and mask the places that were scored."""
    places = {}
    for n, ids in enumerate(texts()):
        passes = plan.plan(ids, seed=0)
        for k, r in np.argwhere(passes.scored.any(axis=-1)):
            at = places.setdefault((n, passes.masked[k, r].tobytes()), set())
            at.update(np.flatnonzero(passes.scored[k, r]).tolist())
    return places


def test_kill_and_resume_gives_the_same_bits(tmp_path):
    n_calls, expected = calls(tmp_path / "whole")
    command = [sys.executable, __file__, str(tmp_path / "killed"), str(n_calls // 2)]
    environment = os.environ | {"PYTHONPATH": str(Path(gencls.__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == -signal.SIGKILL, done.stderr

    n_resumed, resumed = calls(tmp_path / "killed")
    np.testing.assert_array_equal(resumed, expected)
    assert 0 < n_resumed < n_calls
    n_again, again = calls(tmp_path / "killed")
    np.testing.assert_array_equal(again, expected)
    assert n_again == 0


def test_the_store_changes_no_score(tmp_path):
    np.testing.assert_array_equal(calls(tmp_path)[1], calls()[1])


TOP_UPS = [
    (estimator(n_draws=4), estimator(n_draws=16)),
    (estimator(n_steps=4, order="uniform"), estimator(n_steps=16, order="uniform")),
    (estimator(n_steps=16, order="uniform"), estimator(n_steps=4, order="uniform")),
    (estimator(n_steps=1), Estimator("complementary_elbo", n_mc_samples=3)),
]


@pytest.mark.parametrize(("few", "many"), TOP_UPS, ids=["draws", "steps", "fewer steps", "estimator"])
def test_a_top_up_is_the_same_as_scoring_at_once_and_computes_only_what_is_new(tmp_path, few, many):
    n_at_once, expected = rows(plan=many)
    rows(tmp_path, plan=few)
    n_more, topped_up = rows(tmp_path, plan=many)
    np.testing.assert_array_equal(topped_up, expected)
    known, wanted = known_places(few), known_places(many)
    new = [key for key, places in wanted.items() if not places <= known.get(key, set())]
    assert n_at_once == len(wanted)
    assert n_more == len(new) < len(wanted)


def test_more_draws_by_range_find_the_first_ones(tmp_path):
    n_at_once, expected = rows(plan=estimator(n_draws=5))
    counts, parts = zip(*(rows(tmp_path, first_draw=k, n_draws=n) for k, n in ((0, 2), (2, 3))), strict=True)
    np.testing.assert_array_equal(np.concatenate(parts, axis=2), expected)
    assert sum(counts) <= n_at_once + N_TEXTS  # other places of the blank pass are asked about
    assert rows(tmp_path, plan=estimator(n_draws=5))[0] == 0


def test_a_denoiser_that_was_interrupted_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("gencls.likelihood.passes.POOL", 64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        denoiser = Denoiser(load_backbone("tiny-random"), 2, ConditioningConfig("conditional", rank=2)).eval()
        denoiser.set_unigram(None, torch.randn(2, denoiser.vocab_size))
    seen, encode = [], denoiser.encode

    def spy(batch, *options):
        seen.append(int(batch.scored.any(dim=1).sum()))
        if len(seen) == stop_at:
            raise KeyboardInterrupt
        return encode(batch, *options)

    monkeypatch.setattr(denoiser, "encode", spy)
    stop_at = 0
    expected = score(denoiser)
    n_rows, stop_at = sum(seen), len(seen) // 2
    seen.clear()
    store = ScoreStore(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        score(denoiser, store=store)
    stop_at = 0
    seen.clear()
    np.testing.assert_array_equal(score(denoiser, store=store), expected)
    assert 0 < sum(seen) < n_rows
    seen.clear()
    np.testing.assert_array_equal(score(denoiser, store=store), expected)
    assert not seen


def test_a_damaged_store_is_scored_again_with_a_warning(tmp_path, caplog):
    n_calls, expected = calls(tmp_path)
    (tmp_path / FILE).write_bytes(b"no database" * 1000)
    with caplog.at_level(logging.WARNING, logger="gencls.likelihood"):
        n_again, samples = calls(tmp_path)
    np.testing.assert_array_equal(samples, expected)
    assert n_again == n_calls
    assert f"{FILE} is damaged" in caplog.text


def test_another_scorer_does_not_find_the_forwards(tmp_path):
    n_calls, _ = calls(tmp_path)
    assert calls(store=ScoreStore(tmp_path, fingerprint="another"))[0] == n_calls
    with pytest.raises(TypeError, match="fingerprint"):
        calls(store=ScoreStore(tmp_path))


@pytest.mark.parametrize("options", [{"seed": 1}, {"classes": [1]}, {"precision": "bfloat16"}])
def test_other_settings_do_not_find_the_forwards(tmp_path, options):
    calls(tmp_path)
    n_rows, samples = rows(tmp_path, **options)
    assert n_rows > 0.9 * rows(**options)[0]  # two seeds may give a short text the same mask
    np.testing.assert_array_equal(samples, score(SumScorer(), **options))


if __name__ == "__main__":
    score(SumScorer(kill_at=int(sys.argv[2])), Path(sys.argv[1]))
