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

import gencls
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
        self.n_calls, self.kill_at = 0, kill_at

    def __call__(self, batch, class_ids):
        if self.n_calls == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.n_calls += 1
        visible = ((batch.input_ids < 90) * batch.input_ids).sum(dim=1).double()
        value = -((batch.target_ids + 1) * (1 + 0.3 * class_ids + 0.01 * visible)[:, None]).sqrt()
        return value[batch.scored]


def texts():
    generator = np.random.default_rng(0)
    return [generator.integers(0, 90, size=5 + 3 * index) for index in range(N_TEXTS)]


def score(scorer, folder=None, *, n_steps=2, n_draws=2, **options):
    store = None if folder is None else ScoreStore(folder, fingerprint="sum")
    arguments = {"seed": 0, "precision": "float32", "store": store} | options
    return score_texts(scorer, texts(), Estimator("path", n_steps, n_draws), **arguments).samples


def calls(folder=None, **options):
    """Return how often the scorer is called, and the samples."""
    scorer = SumScorer()
    samples = score(scorer, folder, **options)
    return scorer.n_calls, samples


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


@pytest.mark.parametrize(("few", "many"), [({"n_draws": 4}, {"n_draws": 16}), ({"n_steps": 4}, {"n_steps": 16})])
def test_a_top_up_is_the_same_as_scoring_at_once_and_cheaper(tmp_path, few, many):
    n_at_once, expected = calls(**many)
    calls(tmp_path, **few)
    n_more, topped_up = calls(tmp_path, **many)
    np.testing.assert_array_equal(topped_up, expected)
    assert 0 < n_more < n_at_once


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
    assert calls(tmp_path, **options)[0] > 0


if __name__ == "__main__":
    score(SumScorer(kill_at=int(sys.argv[2])), Path(sys.argv[1]))
