"""The benchmark from a run to its report, on a tiny one; and the rows of its targets."""

from __future__ import annotations

import json

import pytest

from benchmarks.estimators import PRESETS, Config, _parser, main, target_rows
from benchmarks.estimators_figures import prepare_agreement, prepare_noise, prepare_speed
from benchmarks.estimators_report import number, percent, speed_sentence, table
from benchmarks.estimators_speed import EARLIER, LLADA

TINY = Config(
    n_texts=8,
    n_noise_texts=4,
    forwards=(1, 2, 4),
    n_short_texts=2,
    short_tokens=5,
    n_rule_texts=8,
    n_speed_texts=4,
    n_pairs=2,
    n_rival_texts=1,
    earlier_draws=(5,),
    llada_draws=(32,),
    n_limit_texts=2,
    earlier_limit_draws=(8,),
    n_long_texts=8,
    n_weighting_texts=6,
)
NAMES = [
    "speedup_over_earlier_scorer",
    "speedup_over_llada_estimator",
    "mean_forwards_at_99_agreement",
    "flip_rate_at_0.01",
]


@pytest.fixture(scope="module")
def report(toy_run, tmp_path_factory):
    """A copy of the run, because forwards are kept in its folder."""
    import shutil

    folder = tmp_path_factory.mktemp("estimators")
    shutil.copytree(toy_run, folder / "run")
    lines = []
    options = {"run": folder / "run", "output": folder / "report", "command": "the command", "progress": False}
    page = main(TINY, **options, log=lines.append)
    return page, folder, lines, options


def test_the_report_has_its_files(report):
    page, folder, lines, _ = report
    output = folder / "report"
    assert page == output / "report.md"
    text = page.read_text(encoding="utf-8")
    for name in ("agreement", "speed", "estimators", "lengths"):
        assert (output / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert f"({name}.png)" in text
    assert "What would disappoint" in text
    assert [line.split(":")[0] for line in lines] == ["noise", "decisions", "long texts", "weightings"]


def test_the_targets_stand_beside_the_report(report):
    _, folder, _, _ = report
    rows = json.loads((folder / "report" / "targets.json").read_text())
    assert [row["name"] for row in rows] == NAMES
    assert [row["target"] for row in rows] == [100, 40, 4, 0.01]
    assert [row["direction"] for row in rows] == [">=", ">=", "<=", "<="]
    assert {row["command"] for row in rows} == {"the command"}
    text = (folder / "report" / "report.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in NAMES)


def test_the_results_are_those_of_the_tables(report):
    _, folder, _, _ = report
    results = json.loads((folder / "report" / "results.json").read_text())
    assert len(prepare_noise(results["noise"])) == 2 * len(results["noise"])
    assert len(prepare_agreement(results["agreement"])) == len(results["agreement"])
    # ours, and every rival that was timed
    assert set(prepare_speed(results["speed"])["name"]) == {"ours", EARLIER, LLADA}
    assert results["speed"]["same_as_replay"] == 1
    assert sum(results["reference"].values()) == TINY.n_texts
    record = json.loads((folder / "report" / "run.json").read_text())
    assert sum(record["splits"].values()) == record["n_texts"] == TINY.n_texts
    assert next(iter(record["splits"])) == "validation"


def test_a_second_call_makes_no_forward_again(report):
    """All but the times comes from the store: the same figures to the last bit."""
    _, folder, _, options = report
    before = json.loads((folder / "report" / "results.json").read_text())
    main(TINY, **{**options, "output": folder / "again"})
    after = json.loads((folder / "again" / "results.json").read_text())
    for part in ("noise", "short", "agreement", "reference", "long", "weighting"):
        assert before[part] == after[part]
    assert before["speed"]["rivals"] == after["speed"]["rivals"]


def test_targets_come_from_the_rows_that_they_name():
    speedups = {EARLIER: {"ratio": 150.0}, LLADA: {"ratio": 39.0}}
    adaptive = {"rule": "adaptive", "target": 0.01, "agreement": 0.995, "flip_rate": 0.005, "forwards": 3.5}
    rows = target_rows({"agreement": [adaptive], "speed": {"speedups": speedups}}, "command")
    assert [(row["name"], row["value"], row["met"]) for row in rows] == list(
        zip(NAMES, (150.0, 39.0, 3.5, 0.005), (True, False, True, True), strict=True)
    )


def test_a_bound_is_called_a_bound():
    row = {"draws": 640, "ratio": 200.0, "ratios": [190.0, 210.0], "published_draws": 5, "published_ratio": 1.6}
    assert "lower bound" in speed_sentence(EARLIER, {**row, "reaches": False})
    assert "lower bound" not in speed_sentence(EARLIER, {**row, "reaches": True})


def test_a_limit_reaches_every_number_of_texts():
    limited = PRESETS["full"].limited(7)
    assert limited.n_texts == limited.n_speed_texts == limited.n_rule_texts == limited.n_long_texts == 7
    assert limited.n_rival_texts == min(7, PRESETS["full"].n_rival_texts)
    assert limited.n_pairs == PRESETS["full"].n_pairs
    assert PRESETS["small"].limited(None) == PRESETS["small"]
    assert PRESETS["full"].n_texts >= 2000
    assert PRESETS["full"].n_speed_texts == 500


def test_numbers_and_tables():
    assert [number(value) for value in (1234.5, 12.34, 0.12345, None, float("nan"))] == [
        "1,234",
        "12.3",
        "0.123",
        "–",
        "–",
    ]
    assert percent(0.5) == "50.0 %"
    assert table({"a": lambda row: row["a"], "b": lambda row: str(row["b"])}, [{"a": "x", "b": 1}]).splitlines() == [
        "| a | b |", "|---|--:|", "| x | 1 |",
    ]  # fmt: skip


def test_the_command_line_names_its_options():
    assert _parser().parse_args(["--preset", "full", "--limit", "5"]).limit == 5
