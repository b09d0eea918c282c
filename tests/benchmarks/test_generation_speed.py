"""Timing in turns, and the sampler beside the loop on a tiny network."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.generation_speed import Task, measure_speed, times_in_turns
from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.language_model import LanguageModel, class_free_denoiser
from gencls.generation.config import GenerationConfig


@pytest.fixture(scope="module")
def model():
    backbone = load_backbone("tiny-random")
    return LanguageModel(class_free_denoiser(backbone).eval(), backbone)


def test_works_take_turns_after_one_untimed_round():
    calls = []
    works = {name: lambda name=name: calls.append(name) for name in "ab"}
    seconds = times_in_turns(works, 3)
    assert "".join(calls) == "ab" + "ab" + "ba" + "ab"
    assert all(len(own) == 3 and (own >= 0).all() for own in seconds.values())


def test_an_even_number_of_rounds_is_refused():
    with pytest.raises(ValueError, match="odd"):
        times_in_turns({"a": lambda: None}, 2)


def test_rates_belong_to_the_times_and_the_loop_stands_beside_orders_that_it_has(model):
    task = Task("a", length=3, n_texts=2, n_repeats=1)
    rows = measure_speed(model, task, GenerationConfig(), ("confidence", "margin"))
    ways = rows[0]["ways"]
    assert list(ways) == ["batch", "one by one", "loop"]
    assert list(rows[1]["ways"]) == ["batch", "one by one"]
    for way in ways.values():
        assert way["tokens_per_second"] == pytest.approx(6 / way["seconds"])
    expected = ways["loop"]["seconds"] / ways["batch"]["seconds"]
    assert rows[0]["speedup_over_loop"]["value"] == pytest.approx(expected)
    assert "speedup_over_loop" not in rows[1]


def test_all_ways_write_the_same_number_of_tokens_behind_the_prefix(model, monkeypatch):
    from benchmarks import generation_speed

    seen = []
    write = generation_speed.position_loop.write
    monkeypatch.setattr(
        generation_speed.position_loop,
        "write",
        lambda model, start, **options: (
            seen.append(int((start == model.denoiser.frame.mask).sum())) or write(model, start, **options)
        ),
    )
    measure_speed(model, Task("a", length=3, n_texts=2, n_repeats=1), GenerationConfig(), ("random",))
    assert np.unique(seen).tolist() == [3]
    assert len(seen) == 4  # two texts, in an untimed and in a timed round
