"""Which type a scorer runs in: measured once, kept by a store, and never a surprise to who asks for one."""

from __future__ import annotations

import logging

import pytest
import torch

from gencls.likelihood import precision as precision_module
from gencls.likelihood.precision import autocast, resolve_precision
from gencls.likelihood.store import ScoreStore

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def seconds(monkeypatch):
    """Seconds of a matrix product by type, in place of a measurement; and what was measured."""
    table, asked = {torch.float32: 1.0, torch.bfloat16: 1.0, torch.float16: 1.0}, []

    def measure(device_type, dtype):
        asked.append((device_type, dtype))
        return table[dtype]

    monkeypatch.setattr(precision_module, "_matmul_seconds", measure)
    precision_module._faster_precision.cache_clear()
    yield table, asked
    precision_module._faster_precision.cache_clear()


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_a_named_precision_is_taken_without_measuring(seconds, tmp_path, name):
    assert resolve_precision(name, CPU) == name
    assert resolve_precision(name, CPU, ScoreStore(tmp_path)) == name
    assert not seconds[1]


@pytest.mark.parametrize("speedup, chosen", [(4.0, "bfloat16"), (1.1, "float32")])
def test_auto_is_measured_once_and_logged(seconds, caplog, speedup, chosen):
    table, asked = seconds
    table[torch.bfloat16] = 1.0 / speedup
    with caplog.at_level(logging.INFO, logger="gencls.likelihood"):
        assert resolve_precision("auto", CPU) == chosen
    assert ("computing in bfloat16" in caplog.text) == (chosen == "bfloat16")
    n_measured = len(asked)
    assert resolve_precision("auto", CPU) == chosen
    assert len(asked) == n_measured > 0


def test_a_processor_is_never_tried_at_float16(seconds):
    seconds[0][torch.float16] = 0.01
    assert resolve_precision("auto", CPU) == "float32"
    assert ("cpu", torch.float16) not in seconds[1]


@pytest.mark.parametrize(
    "bfloat16, float16, chosen", [(0.2, 0.1, "bfloat16"), (0.9, 0.1, "float16"), (0.9, 0.9, "float32")]
)
def test_a_gpu_prefers_bfloat16_and_falls_back_to_float16(seconds, bfloat16, float16, chosen):
    seconds[0].update({torch.bfloat16: bfloat16, torch.float16: float16})
    assert resolve_precision("auto", CUDA) == chosen


def test_other_devices_are_not_guessed_about(seconds):
    assert resolve_precision("auto", torch.device("mps")) == "float32"
    assert not seconds[1]


def test_a_store_keeps_the_choice_by_device(seconds, tmp_path):
    table, _ = seconds
    table[torch.bfloat16] = 0.1
    assert resolve_precision("auto", CPU, ScoreStore(tmp_path)) == "bfloat16"
    table[torch.bfloat16] = 1.0
    precision_module._faster_precision.cache_clear()
    assert resolve_precision("auto", CPU, ScoreStore(tmp_path)) == "bfloat16"
    assert resolve_precision("auto", CPU) == "float32"
    assert resolve_precision("auto", CUDA, ScoreStore(tmp_path)) == "float32"


def test_the_real_measurement_gives_a_time():
    assert 0 < precision_module._matmul_seconds("cpu", torch.float32, size=16, repeats=2) < 60


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_autocast_runs_products_in_the_type_whatever_the_caller_does(name):
    square = torch.ones(4, 4)
    for outer in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=outer), autocast(name, CPU):
            assert (square @ square).dtype == getattr(torch, name)
