"""The generation benchmark on toy texts, from training to page: kept, resumed, escaped, with the promised targets."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import generation
from benchmarks.generation import as_sample, compare_orders, main
from benchmarks.generation_config import Config
from benchmarks.generation_examples import escaped
from benchmarks.generation_guidance import guided_shares
from benchmarks.generation_material import beginnings
from benchmarks.generation_report import _verdict
from benchmarks.generation_settings import settings
from gencls.baselines.causal import CausalLM, new_causal
from gencls.data.storage import read_json
from gencls.diffusion.tokens import tiny_tokenizer
from gencls.evaluation.runs import train_run
from gencls.generation.config import GenerationConfig
from gencls.training.config import TrainConfig

TARGETS = ["sampler_speedup_over_loop", "batch16_speedup", "prefix_respected", "guided_class_share"]
TINY = {"backbone": "tiny-random", "max_length": 24, "batch_size": 8, "n_scored": 8, "adapt_steps": 2}


@pytest.fixture(scope="module")
def judge_model():
    tokenizer = tiny_tokenizer()
    model = new_causal(len(tokenizer), width=16, n_layers=1, n_heads=2, n_positions=64, seed=0)
    return CausalLM(model, tokenizer, int(tokenizer.cls_token_id), "random weights")


@pytest.fixture(scope="module")
def made(tmp_path_factory, toy, table, judge_model):
    folder = tmp_path_factory.mktemp("generation")
    data = str(table(folder / "toy.csv", toy(120)))
    train_run(data, folder / "classifier", TrainConfig(**TINY, class_steps=2))
    base = GenerationConfig(length=8, n_steps=4, top_p=0.9)
    config = Config(
        data=data,
        n_prefixes=2,
        n_per_prefix=2,
        n_reference=4,
        prefix=3,
        length=8,
        training=TrainConfig(**TINY, class_steps=0),
        base=base,
        n_clusters=2,
        n_pretrained=2,
        n_guided=4,
        n_referee_steps=2,
        n_referee_texts=6,
        n_repeats=1,
    )
    options = {"classifier": folder / "classifier", "runs": folder / "runs", "judge_model": judge_model}
    with pytest.MonkeyPatch.context() as patch:
        few = [one for one in settings(base) if one.factor.startswith("steps") or one.factor == "order"]
        patch.setattr(generation, "settings", lambda _: few)
        page = main(config, **options, output=folder / "report", command="c")
        for name in ("generate", "write_guided", "measure_speed", "Referee", "score"):
            patch.setattr(generation, name, lambda *_, **__: pytest.fail("made again"))
        again = main(config, **options, output=folder / "again", command="c")
    return page, again


def test_the_report_has_everything_and_a_second_call_reads_it_back(made):
    page, again = made
    assert (page.parent / "results.json").read_bytes() == (again.parent / "results.json").read_bytes()
    rows = read_json(page.parent / "targets.json")
    assert [row["name"] for row in rows] == TARGETS
    assert all(row["value"] is not None for row in rows)
    assert rows[2]["value"] == 1
    text = page.read_text(encoding="utf-8")
    for title in (
        "## Targets",
        "## Steps and orders",
        "## Speed",
        "## Class guidance",
        "### human",
        "### guided, weight 4",
    ):
        assert title in text
    for name in ("quality.png", "steps.png"):
        assert (page.parent / name).read_bytes().startswith(b"\x89PNG")
    results = read_json(page.parent / "results.json")
    assert set(results["guidance"]["shares"]) == {"0.0", "1.0", "2.0", "4.0"}
    assert results["settings"][0]["n_samples"] == 4
    assert results["models"]["causal"]["steps"] == results["models"]["diffusion"]["steps"] == 2


def test_beginnings_are_read_back_as_they_are_written():
    tokenizer = tiny_tokenizer()
    texts = [f"{'abcdefgh'[place % 8] * 12}" for place in range(10)] + ["ab"]
    found = beginnings(texts, tokenizer, 4, 3, 5, seed=1)
    assert len({one.prefix for one in found}) > 1
    assert [one.prefix for one in found] != [one.prefix for one in beginnings(texts, tokenizer, 4, 3, 5, seed=2)]
    for one in found:
        assert len(one.token_ids) == 5
        assert (one.prefix + one.continuation).startswith(one.prefix)
    with pytest.raises(ValueError, match="held-out texts of 8 tokens"):
        beginnings(texts, tokenizer, 11, 3, 5, seed=1)


def test_orders_are_compared_on_the_same_texts():
    rows = [
        {"factor": f"steps, {order}", "value": "4", "nats_per_token_of_texts": list(nats)}
        for order, nats in (("confidence", [1.0, 2.0, 3.0]), ("random", [2.0, 3.0, 4.0]))
    ]
    (row,) = compare_orders(rows, seed=0)
    assert (row["steps"], row["value"]) == (4, pytest.approx(-1.0))
    assert tuple(row["interval"]) == pytest.approx((-1.0, -1.0))
    assert "prefers confidence at every" in _verdict([row])
    assert "not distinguishable" in _verdict([{**row, "interval": (-1, 1)}])
    assert "worse at 4 steps" in _verdict([{**row, "interval": (1, 2)}, {**row, "steps": 8, "interval": (-1, 1)}])


def test_shares_by_half_of_the_seeds():
    rows = [{"label": "a", "seed": seed, "posterior": 0.9 if seed else 0.1} for seed in range(4)]
    found = guided_shares(rows, ["a", "b", "a", "a"], half=2)
    assert [found[name]["value"] for name in ("chosen_by", "judged_by", "own")] == [0.5, 1.0, 0.75]


def test_text_from_a_model_is_no_markup():
    assert escaped(" <b>*x* [a](b)\n| `c`") == " &lt;b&gt;\\*x\\* \\[a\\](b) \\| \\`c\\`"


def test_a_changed_prefix_is_seen():
    from gencls.generation.trajectory import Step, Trajectory

    nothing, given = np.zeros(3, dtype=bool), np.array([True, False, False])
    start = Step(np.array([5, 0, 0]), np.full(3, np.nan), nothing, nothing, 0, 0.0)

    def trajectory(ids, text):
        end = Step(np.array(ids), np.ones(3), ~given, nothing, 1, 0.1)
        return Trajectory([start, end], given, 0, [], text)

    assert as_sample("a", trajectory([5, 6, 7], "a b c"), 0.1).given_kept
    assert as_sample("a", trajectory([5, 6, 7], "a b c"), 0.1).token_ids == [6, 7]
    assert not as_sample("a", trajectory([4, 6, 7], "a b c"), 0.1).given_kept
    assert not as_sample("a", trajectory([5, 6, 7], "x b c"), 0.1).given_kept
