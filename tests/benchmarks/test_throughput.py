"""Counts of multiply-adds against PyTorch's own counter, the plain way against the engine, and the report's files."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import throughput, throughput_memory
from benchmarks.throughput import Config, _parser, main
from benchmarks.throughput_counting import (
    Rows,
    encoder_blocks,
    encoder_gradients,
    encoder_products,
    scoring_products,
    shape_of,
    training_products,
    useful_rows,
)
from benchmarks.throughput_memory import peak_bytes, resident_bytes
from benchmarks.throughput_padding import padding_waste
from benchmarks.throughput_plain import plain_rows, plain_scoring
from benchmarks.throughput_rates import Pairs
from benchmarks.throughput_report import class_verdict, option_verdict, target_rows
from benchmarks.throughput_studies import denoiser_of, differences
from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.batches import frame_rows
from gencls.diffusion.conditioning import ConditioningConfig
from gencls.diffusion.denoiser import Denoiser
from gencls.diffusion.tokens import TokenFrame
from gencls.likelihood.engine import score_texts
from gencls.likelihood.estimators import Estimator

MODES = ("conditional", "adapter", "independent", "prompt")
PATH = Estimator("path", n_steps=2, n_mc_samples=2)


@pytest.fixture(scope="module")
def denoisers():
    """One of every mode, untrained, with class deviations."""
    torch.manual_seed(0)
    made = {}
    for mode in MODES:
        denoiser = Denoiser(load_backbone("tiny-random"), 2, ConditioningConfig(mode, 4, 3)).eval()
        denoiser.set_unigram(None, torch.randn(2, denoiser.vocab_size))
        made[mode] = denoiser
    return made


@pytest.fixture(scope="module")
def texts():
    generator = np.random.default_rng(0)
    return [generator.integers(5, 30, size=size) for size in (9, 9, 12, 17, 30, 30, 30, 41)]


def batch_of(denoiser, texts):
    """Texts of one length, everything hidden and scored."""
    everything = [np.ones(len(ids), dtype=bool) for ids in texts]
    return frame_rows(texts, everything, everything, denoiser.frame)


def with_plain_attention(denoiser):
    """A copy whose attention is matrix products: the fused one of a processor is not in PyTorch's counter."""
    copied = copy.deepcopy(denoiser).eval()
    for module in copied.network.modules():
        if hasattr(module, "set_attn_implementation"):
            module.set_attn_implementation("eager")
    return copied


def counted(work):
    """Multiply-adds by PyTorch's counter."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("mode", MODES)
def test_the_encoder_is_counted_as_pytorch_counts_it(denoisers, texts, mode):
    denoiser = with_plain_attention(denoisers[mode])
    batch, shape = batch_of(denoiser, texts[4:7]), shape_of(denoiser, 1)
    lengths = np.full(3, 30 + shape.n_special)
    with torch.no_grad():
        found = counted(lambda: denoiser.network.hidden(batch.input_ids, batch.attention_mask, batch.scored, 1))
    head = 3 * 30 * 32 * 32 if mode == "prompt" else 0  # whose `hidden` runs the head too
    assert found == encoder_products(shape, lengths) + head


def test_head_and_class_map_are_counted_as_pytorch_counts_them(denoisers, texts):
    denoiser = with_plain_attention(denoisers["conditional"])
    batch, shape = batch_of(denoiser, texts[4:7]), shape_of(denoiser)
    with torch.no_grad():
        found = counted(lambda: denoiser.features(batch, torch.zeros(3, dtype=torch.int64)))
    # it runs the maps of both classes on all rows, and adds their embeddings by a matrix product
    at_position = shape.head.forward + 2 * (shape.low_rank.forward + 32)
    assert found == encoder_products(shape, np.full(3, 32)) + 3 * 30 * at_position


def test_the_vocabulary_is_counted_at_scored_positions(denoisers):
    shape, size = shape_of(denoisers["conditional"]), denoisers["conditional"].vocab_size
    rows = Rows(np.array([32]), np.array([7]))
    assert shape.projection.forward == size * 32
    assert shape.class_columns == size * (4 + 2)
    position = shape.head.forward + size * 32 + 2 * (shape.low_rank.forward + size * (4 + 2))
    assert scoring_products(shape, rows, 2) == encoder_products(shape, rows.lengths) + 7 * position


@pytest.mark.parametrize("frozen", ["nothing", "embeddings", "first layer too", "all but the last layer"])
def test_gradients_of_frozen_parts_are_not_counted(texts, frozen):
    backbone = load_backbone("tiny-random")
    encoder = backbone.encoder.eval()
    encoder.set_attn_implementation("eager")
    if frozen != "nothing":
        encoder.embeddings.requires_grad_(False)
    if frozen in ("first layer too", "all but the last layer"):
        encoder.encoder.layer[0].requires_grad_(False)
    input_ids = torch.from_numpy(np.stack(texts[4:7]))

    def train():
        encoder(input_ids=input_ids).last_hidden_state.sum().backward()

    denoiser = Denoiser(backbone, 2, ConditioningConfig("conditional", 4))
    shape = replace(shape_of(denoiser), encoder=tuple(encoder_blocks(encoder)))
    lengths = np.full(3, 30)
    expected = encoder_products(shape, lengths) + encoder_gradients(shape, lengths)
    found = counted(train)
    if frozen == "nothing":
        assert expected == found
    else:  # inputs within the first trained layer are left out, on purpose
        first = shape.encoder[0 if frozen == "embeddings" else 1].forward
        assert expected <= found <= expected + first * lengths.sum()
    layers = 2 if frozen in ("nothing", "embeddings") else 1
    assert encoder_gradients(shape, lengths) >= layers * shape.encoder[0].forward * lengths.sum()


def test_training_counts_three_times_the_forward_pass_where_all_is_trained(denoisers):
    denoiser = copy.deepcopy(denoisers["conditional"]).requires_grad_(True)
    rows = Rows(np.array([12, 20]), np.array([4, 6]))
    trained, columns = shape_of(denoiser), 10 * denoiser.vocab_size * 2
    forward = scoring_products(trained, rows, 1) - 10 * denoiser.vocab_size * (4 + 2)
    assert training_products(trained, rows) == 3 * forward + columns
    frozen = shape_of(denoiser.requires_grad_(False))
    assert training_products(frozen, rows) == forward + columns
    no_class = training_products(trained, rows) - training_products(trained, rows, has_class=False)
    assert no_class == 10 * 3 * trained.low_rank.forward


def test_further_classes_pay_for_their_own_parts_only(denoisers):
    rows = Rows(np.array([10]), np.array([5]))
    shared, own = shape_of(denoisers["conditional"]), shape_of(denoisers["adapter"])
    added = scoring_products(shared, rows, 3) - scoring_products(shared, rows, 2)
    assert added == 5 * (shared.low_rank.forward + shared.vocab_size * (4 + 2))
    assert scoring_products(own, rows, 4) == 2 * scoring_products(own, rows, 2)


def test_layers_below_the_adapters_are_counted_once():
    rows = Rows(np.array([10, 20]), np.array([5, 7]))
    config = ConditioningConfig("adapter", 4, adapter_layers=1)
    every, last = (
        shape_of(Denoiser(load_backbone("tiny-random"), 2, options))
        for options in (ConditioningConfig("adapter", 4), config)
    )
    assert (every.n_shared, last.n_shared) == (0, 1)
    first = replace(last, encoder=last.encoder[:1])
    saved = 2 * encoder_products(first, rows.lengths)
    assert scoring_products(last, rows, 3) == 3 * scoring_products(last, rows, 1) - saved
    assert last.encoder[0].forward < every.encoder[0].forward  # no adapter there
    assert last.encoder[1].forward == every.encoder[1].forward


def test_useful_rows_are_those_that_the_engine_runs(denoisers, texts, monkeypatch):
    denoiser = denoisers["conditional"]
    rows = useful_rows(texts, PATH, seed=0, n_special=denoiser.frame.n_special)
    seen, encode = [], denoiser.encode

    def tally(batch, *arguments):
        real = batch.scored.any(dim=1)
        sizes = (mask.sum(dim=1)[real].tolist() for mask in (batch.attention_mask, batch.scored))
        seen.extend(zip(*sizes, strict=True))
        return encode(batch, *arguments)

    monkeypatch.setitem(denoiser.__dict__, "encode", tally)
    score_texts(denoiser, texts, PATH, seed=0, precision="float32")
    assert sorted(rows.lengths.tolist()) == sorted(length for length, _ in seen)
    # the engine asks a blank row for all tokens; useful are those that a text scores there
    assert int(rows.n_scored.sum()) <= sum(n for _, n in seen)
    n_blank = len({len(ids) for ids in texts})
    assert len(rows.lengths) == n_blank + 2 * len(texts)


def test_padding_waste_is_that_of_the_engine(denoisers, texts, monkeypatch):
    denoiser = denoisers["conditional"]
    positions, encode = [], denoiser.encode

    def tally(batch, *arguments):
        real = batch.attention_mask[batch.scored.any(dim=1)].sum()
        positions.append((int(real), batch.input_ids.numel()))
        return encode(batch, *arguments)

    monkeypatch.setitem(denoiser.__dict__, "encode", tally)
    score_texts(denoiser, texts, PATH, seed=0, precision="float32")
    real, total = np.sum(positions, axis=0)
    lengths = np.array([len(ids) for ids in texts])
    assert padding_waste(lengths, denoiser.frame, 512, n_draws=2) == pytest.approx(1 - real / total)


def test_padding_waste_of_equal_texts_is_that_of_their_last_batch():
    frame = TokenFrame(bos=0, eos=1, pad=2, mask=3)
    # 62 + 2 fill a bucket of 64: 16 rows a batch; 256 texts, one draw and 4 shared passes: 260 rows in 17 batches
    waste = padding_waste(np.full(256, 62), frame, None)
    assert waste == pytest.approx(1 - 260 / (17 * 16))
    assert padding_waste(np.zeros(3, dtype=np.int64), frame, None) == 0.0


@pytest.mark.parametrize("mode", MODES)
def test_the_plain_way_gives_the_engine_s_scores(denoisers, texts, mode):
    plain = plain_scoring(denoisers[mode], texts, PATH, seed=3, precision="float32")
    engine = score_texts(denoisers[mode], texts, PATH, seed=3, precision="float32").samples
    np.testing.assert_allclose(plain, engine, atol=2e-3, rtol=1e-5)
    assert len(plain_rows(texts, PATH, seed=3)) == 2 * 2 * len(texts)


def test_fractions_are_taken_within_pairs():
    pairs = Pairs(seconds=[2.0, 1.0], flops=[10.0, 10.0], matmul=[8.0, 12.0, 28.0])
    assert pairs.fractions == [0.5, 0.5]
    assert pairs.figures()["fraction"] == 0.5


def test_a_denoiser_of_many_classes_has_the_trained_tables(denoisers):
    trained = denoisers["conditional"]
    many = denoiser_of(load_backbone("tiny-random"), trained, 5, ConditioningConfig("conditional", 4))
    torch.testing.assert_close(many.class_bias[4], trained.class_bias[0])
    assert many.pairs.values.shape[0] == 5


def test_differences_and_verdicts():
    reference = np.zeros((2, 2, 1))
    samples = reference.copy()
    samples[1, 1] = 3.0
    assert differences(samples, reference) == {
        "largest_sum_difference": 3.0,
        "largest_log_odds_difference": 3.0,
        "decisions_changed": 1,
    }
    rows = [{"option": "engine", "ratio": 1.0}, {"option": "a", "ratio": 0.5}, {"option": "b", "ratio": 1.0}]
    classes = [
        {"mode": "adapter", "adapter_layers": n, "n_classes": count, "ratio": ratio, "classes_ratio": count / 2}
        for n, count, ratio in ((None, 8, 3.9), (None, 2, 1.0), (1, 2, 1.0), (1, 8, 2.25))
    ]
    expected = "Time for times the classes: adapter 3.9 for 4; adapter, last 1 layer(s) 2.2 for 4."
    assert class_verdict(classes) == expected
    verdict = option_verdict([*rows, {"option": "c", "error": "no compiler"}])
    assert verdict == "a pays: 0.50 of the time. b does not pay: 1.00 of the time. c does not run here."


def test_targets_are_those_of_the_issue():
    results = {
        "scoring": [{"fraction": 0.61}, {"fraction": 0.1}],
        "training": {"fraction": 0.4},
        "memory": {"texts": {"extra_gib": 0.5}},
    }
    rows = {row["name"]: (row["target"], row["met"]) for row in target_rows(results, "command")}
    assert rows == {
        "scoring_fraction_of_matmul_rate": (0.60, True),
        "training_fraction_of_matmul_rate": (0.45, False),
        "scoring_extra_gib": (2.0, True),
    }


def test_memory_is_that_of_this_process():
    assert 0 < resident_bytes() <= peak_bytes() * 1.01


def memory_of_a_long_text_here(run, text, *, max_length):
    """In this process, whose peak says nothing."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "long.txt"
        path.write_text(text)
        arguments = ["--run", str(run), "--text", str(path), "--max-length", str(max_length)]
        return throughput_memory.main(throughput_memory._parser().parse_args(arguments))


def test_a_tiny_run_ends_in_a_report(toy_run, tmp_path, monkeypatch):
    # a worker process takes as long to start as all else; the engine's own tests have them. Of the two child processes
    # for memory one is enough.
    monkeypatch.setattr(throughput, "worker_processes", partial(throughput.worker_processes, n_jobs=1))
    monkeypatch.setattr(throughput, "memory_of_a_long_text", memory_of_a_long_text_here)
    config = Config(n_classes=(2, 3), n_train_steps=5, with_compile=False)
    page = main(config, 4, run=toy_run, output=tmp_path, command="python -m benchmarks.throughput")
    text = page.read_text(encoding="utf-8")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"report.md", "results.json", "targets.json", "run.json", *(
        f"{name}.png" for name in ("fractions", "classes", "profile")
    )}  # fmt: skip
    assert len(json.loads((tmp_path / "targets.json").read_text())) == 3
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["workers"]["is_identical"]
    assert results["before"]["largest_log_odds_difference"] < 1
    for name in ("before", "after"):  # the engine works on threads of its own
        assert "aten::addmm" in {row["operation"] for row in results["before"][name]["profile"]}
    assert not [row for row in results["options"] if "error" in row]
    sets = {(row["mode"], row["adapter_layers"]) for row in results["classes"]}
    assert sets == {("conditional", None), ("adapter", None), ("adapter", 1), ("independent", None)}
    assert "| adapter, last 1 layer(s) | 3 |" in text
    for stage in results["training"]["stages"].values():
        assert 0 < stage["fraction"] < 1
    assert "the same to the last bit" in text


def test_the_command_line_names_its_options():
    assert _parser().parse_args(["--preset", "full", "--limit", "5"]).limit == 5
    assert Config().limited(None) == Config()
    assert Config().limited(3).n_texts == 3
