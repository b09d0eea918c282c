import json

import numpy as np
import pytest

from gencls.reporting import records


def test_run_record_has_what_is_needed_to_run_it_again():
    record = records.run_record(["gencls", "evaluate", "r"], {"k": 4}, 7, data={"name": "toy"}, n_texts=3)
    assert record["command"] == "gencls evaluate r"
    assert (record["seed"], record["n_texts"], record["data"]) == (7, 3, {"name": "toy"})
    assert record["versions"]["numpy"] == np.__version__
    assert record["device"] and record["n_cores"] >= 1
    json.dumps(record, allow_nan=False)


def test_commit_is_none_outside_a_repository(tmp_path):
    assert records.git_commit(tmp_path) is None


def test_missing_packages_are_none():
    assert records.package_versions(["no-such-package-here"]) == {"no-such-package-here": None}


@pytest.mark.parametrize(
    ("value", "direction", "met"),
    [
        (0.84, ">=", True),
        (0.839, ">=", False),
        (0.0, "<=", False),
        (0.9, "<=", False),
        (np.nan, ">=", False),
        (None, "<=", False),
    ],
)
def test_targets_say_what_was_measured(value, direction, met):
    target = 0.84 if direction == ">=" else -0.1
    row = records.target_row("a", value, target, direction, "make demo")
    assert list(row) == ["name", "value", "target", "direction", "met", "command"]
    assert row["met"] is met
    assert row["value"] == (None if value is None or np.isnan(value) else value)


def test_direction_is_checked():
    with pytest.raises(ValueError, match="direction: expected one of"):
        records.target_row("a", 1.0, 1.0, "==", "make demo")


def test_targets_file(tmp_path):
    rows = [records.target_row("a", 0.9, 0.84, ">=", "make demo")]
    assert json.loads(records.write_targets(tmp_path / "targets.json", rows).read_text()) == rows
