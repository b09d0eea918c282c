"""The store: a killed scoring resumes with the same bytes, and a damaged file costs time, not correctness."""

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
from torch import nn

import gencls
from gencls.diffusion.tokens import TokenFrame
from gencls.likelihood.engine import score_texts
from gencls.likelihood.estimators import Estimator
from gencls.likelihood.store import ScoreStore, scorer_fingerprint

ESTIMATOR = Estimator("path", n_steps=2, n_mc_samples=2)
N_TEXTS, BATCH = 12, 3


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


def score(scorer, folder=None, **options):
    store = None if folder is None else ScoreStore(folder, fingerprint="sum")
    arguments = {"seed": 0, "precision": "float32", "batch_texts": BATCH, "store": store} | options
    return score_texts(scorer, texts(), ESTIMATOR, **arguments).samples


def shards(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def test_kill_and_resume_gives_the_same_bytes(tmp_path):
    whole = SumScorer()
    expected = score(whole, tmp_path / "whole")
    assert len(shards(tmp_path / "whole")) == N_TEXTS // BATCH
    kill_at = whole.n_calls // 2
    command = [sys.executable, __file__, str(tmp_path / "killed"), str(kill_at)]
    environment = os.environ | {"PYTHONPATH": str(Path(gencls.__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == -signal.SIGKILL, done.stderr
    finished = shards(tmp_path / "killed")
    assert 0 < len(finished) < N_TEXTS // BATCH

    resumed = SumScorer()
    np.testing.assert_array_equal(score(resumed, tmp_path / "killed"), expected)
    assert 0 < resumed.n_calls < whole.n_calls
    after = shards(tmp_path / "killed")
    assert after == shards(tmp_path / "whole")
    assert finished.items() <= after.items()

    again = SumScorer()
    np.testing.assert_array_equal(score(again, tmp_path / "killed"), expected)
    assert again.n_calls == 0


def test_the_store_changes_no_score(tmp_path):
    np.testing.assert_array_equal(score(SumScorer(), tmp_path), score(SumScorer(), batch_texts=5))


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other shape"])
def test_a_damaged_shard_is_scored_again_with_a_warning(tmp_path, caplog, damage):
    expected = score(SumScorer(), tmp_path)
    path = sorted(tmp_path.glob("*.npz"))[0]
    content = path.read_bytes()
    if damage == "other shape":
        np.savez(path, samples=np.zeros((1, 2, 2)))
    else:
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]
        path.write_bytes({"cut": content[:-40], "flipped": flipped, "empty": b""}[damage])
    scorer = SumScorer()
    with caplog.at_level(logging.WARNING, logger="gencls.likelihood"):
        np.testing.assert_array_equal(score(scorer, tmp_path), expected)
    assert scorer.n_calls > 0
    assert f"{path.name} is damaged" in caplog.text
    assert path.read_bytes() == content


def test_the_key_knows_everything_that_decides_a_score(tmp_path):
    store, ids = ScoreStore(tmp_path), [np.array([1]), np.array([2, 3])]
    settings = {"scorer": "a", "seed": 0, "classes": [0, 1]}
    keys = [
        store.key(settings, ids),
        store.key(settings | {"seed": 1}, ids),
        store.key(settings | {"classes": [1, 0]}, ids),
        store.key(settings, ids[::-1]),
        store.key(settings, [np.array([1, 2]), np.array([3])]),
        store.key(settings, [np.array([1]), np.array([2, 4])]),
        store.key(settings | {"scorer": "b"}, ids),
    ]
    assert len(set(keys)) == len(keys)
    assert store.key(dict(reversed(settings.items())), [ids[0].astype(np.int32), ids[1]]) == keys[0]


def test_another_scorer_does_not_find_the_shards(tmp_path):
    score(SumScorer(), tmp_path)
    scorer = SumScorer()
    score(scorer, store=ScoreStore(tmp_path, fingerprint="another"))
    assert scorer.n_calls > 0
    with pytest.raises(TypeError, match="fingerprint"):
        score(scorer, store=ScoreStore(tmp_path))


@pytest.mark.parametrize("options", [{"seed": 1}, {"classes": [1]}, {"precision": "bfloat16"}])
def test_other_settings_do_not_find_the_shards(tmp_path, options):
    score(SumScorer(), tmp_path)
    scorer = SumScorer()
    score(scorer, tmp_path, **options)
    assert scorer.n_calls > 0


def test_a_measured_choice_is_kept_for_the_folder(tmp_path, caplog):
    store, allowed = ScoreStore(tmp_path, fingerprint="a"), ["float32", "bfloat16"]
    assert store.settle("precision", lambda: "bfloat16", allowed) == "bfloat16"
    assert store.settle("precision", lambda: "float32", allowed) == "bfloat16"
    for content in ("{", '"float8"'):
        (tmp_path / "precision.json").write_text(content)
        assert store.settle("precision", lambda: "float32", allowed) == "float32"
    assert caplog.text.count("chosen again") == 2


def test_a_fingerprint_follows_the_weights():
    torch_module = nn.Linear(3, 2)
    before = scorer_fingerprint(torch_module)
    assert scorer_fingerprint(torch_module) == before
    with torch.no_grad():
        torch_module.weight[0, 0] += 1
    assert scorer_fingerprint(torch_module) != before
    assert scorer_fingerprint(torch_module.bfloat16()) != before
    assert scorer_fingerprint(nn.Module())


if __name__ == "__main__":
    score(SumScorer(kill_at=int(sys.argv[2])), Path(sys.argv[1]))
