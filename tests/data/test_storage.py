import json
import os

import numpy as np
import pytest

from gencls.data import storage


def test_json_is_strict_and_atomic(tmp_path):
    path = tmp_path / "deep" / "a.json"
    storage.write_json(
        path, {"x": np.float64("inf"), "y": [np.int64(1), np.array([0.5, np.nan])], "z": None, "b": True}
    )
    assert json.loads(path.read_text()) == {"x": None, "y": [1, [0.5, None]], "z": None, "b": True}
    assert os.listdir(path.parent) == ["a.json"]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = storage.write_json(tmp_path / "a.json", 1)

    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", no_space)
    with pytest.raises(OSError, match="No space"):
        storage.write_json(path, 2)
    assert json.loads(path.read_text()) == 1
    assert os.listdir(tmp_path) == ["a.json"]


def test_broken_json_is_named(tmp_path):
    (tmp_path / "a.json").write_text('{"a": ')
    with pytest.raises(ValueError, match=r"a\.json: expected JSON, got an error at line 1"):
        storage.read_json(tmp_path / "a.json")
