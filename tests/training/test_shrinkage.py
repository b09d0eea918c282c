"""Classes of few texts keep less of what their steps taught them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gencls.diffusion.shrinkage import shrink_classes
from gencls.training import per_class
from gencls.training.examples import TokenizedSplit

K = 6.0


class Killed(Exception):
    """Raised in the middle of a training."""


@pytest.fixture(scope="module")
def uneven(split):
    """Five texts of the first class, all of the second."""
    texts = split(40)
    keep = np.r_[np.flatnonzero(texts.labels == 0)[:5], np.flatnonzero(texts.labels == 1)]
    return TokenizedSplit([texts.token_ids[place] for place in keep], texts.labels[keep])


@pytest.mark.parametrize("mode", ["conditional", "adapter"])
def test_the_training_is_the_same_and_its_class_parts_are_shrunk(train, uneven, tmp_path, mode):
    whole = train(tmp_path / "whole", data=uneven, mode=mode).denoiser.state_dict()
    shrunk = train(tmp_path / "shrunk", data=uneven, mode=mode, class_shrinkage=K).denoiser.state_dict()
    counts = np.bincount(uneven.labels)
    assert counts[0] == 5 < counts[1]
    shares = counts / (counts + K)
    n_changed = 0
    for name, value in whole.items():
        if name in ("network.up", "network.embedding"):
            wanted = torch.stack([part * share for part, share in zip(value, shares, strict=True)])
        elif "lora_B" in name:
            wanted = value * shares[int(name.split("class_")[1].split(".")[0])]
        else:
            assert torch.equal(shrunk[name], value), name
            continue
        n_changed += not torch.equal(wanted, value)
        assert torch.allclose(shrunk[name], wanted.float(), rtol=1e-5, atol=0), name
    assert n_changed >= 2


@pytest.mark.parametrize("steps_before", [1, 4])
def test_a_killed_training_ends_as_it_would_have(train, uneven, tmp_path, steps_before, same):
    def kill(step):
        if step == steps_before:
            raise Killed

    options = {"data": uneven, "class_shrinkage": K, "adapt_steps": 0, "class_steps": 5}
    wanted = train(tmp_path / "whole", **options)
    with pytest.raises(Killed):
        train(tmp_path / "killed", call={"on_step": kill}, **options)
    for _ in range(2):
        assert same(train(tmp_path / "killed", **options), wanted)


def test_a_training_killed_after_its_last_step_is_shrunk_once(train, uneven, tmp_path, monkeypatch, same):
    def shrink_and_die(*args):
        shrink_classes(*args)
        raise Killed

    options = {"data": uneven, "class_shrinkage": K, "adapt_steps": 0, "class_steps": 5}
    with monkeypatch.context() as context, pytest.raises(Killed):
        context.setattr(per_class, "shrink_classes", shrink_and_die)
        train(tmp_path / "killed", **options)
    assert same(train(tmp_path / "killed", **options), train(tmp_path / "whole", **options))


def test_another_shrinkage_of_the_same_training(train, uneven, tmp_path, same):
    """No step is trained again, and what was shrunk once is not shrunk again."""
    options = {"data": uneven, "class_steps": 5}
    whole = train(tmp_path / "whole", **options)

    def fail(step):
        pytest.fail("trained again")

    for k in (K, 0.0):
        train(tmp_path / "other", **options, class_shrinkage=2 * K)
        found = train(tmp_path / "other", call={"on_step": fail}, **options, class_shrinkage=k)
        assert same(found, train(tmp_path / str(k), **options, class_shrinkage=k))
        ups = [result.denoiser.state_dict()["network.up"] for result in (found, whole)]
        assert torch.equal(*ups) == (k == 0)


def test_the_verdict_is_on_the_shrunk_classes(train, split, tmp_path):
    """Next to nothing of what the steps taught is left, in the same folder."""
    options = {"smoothing": (1e6,), "pair_smoothing": (), "class_steps": 60, "class_learning_rate": 0.05}
    options |= {"held": split(40, seed=1), "class_steps_must_help": True}
    verdicts = {
        k: train(tmp_path, **options, class_shrinkage=k).record["classes"]["verdict"] for k in (0.0, 1e9, 1e9 + 1)
    }
    assert verdicts[0.0]["loss_after"] < verdicts[1e9]["loss_after"] - 0.05
    assert verdicts[0.0]["class_shrinkage"] == 0.0
    assert verdicts[1e9 + 1]["class_shrinkage"] == 1e9 + 1


def test_what_is_taken_back_is_the_start(train, uneven, split, tmp_path, same):
    """The classes of labels that have nothing to do with the words."""
    held = split(40, seed=1)
    held = TokenizedSplit(held.token_ids, np.random.default_rng(0).permutation(held.labels))
    options = {"data": uneven, "held": held, "smoothing": (1e6,), "pair_smoothing": ()}
    steps = {"class_steps": 60, "class_learning_rate": 0.05, "class_shrinkage": 0.5, "class_steps_must_help": True}
    result = train(tmp_path / "must", **options, **steps)
    assert result.record["classes"]["verdict"]["is_kept"] is False
    assert same(result, train(tmp_path / "none", **options, class_steps=0))
