"""Cells of a trajectory, and frames of several."""

from __future__ import annotations

import numpy as np
import pytest

from gencls.generation.view import (
    State,
    all_cells,
    ends_line,
    legend_entries,
    progress,
    revealed_at,
    shown_text,
    starts_word,
    states,
    status,
    timeline,
    widest_texts,
)


def test_states_follow_the_steps(toy_trajectory):
    trajectory = toy_trajectory()
    rows = states(trajectory)
    assert rows[0].tolist() == [State.GIVEN] * 2 + [State.HIDDEN] * 10
    assert rows[1].tolist() == [State.GIVEN] * 2 + [State.HIDDEN] * 6 + [State.NEW] * 4
    assert rows[2].tolist() == [0, 0, *[State.HIDDEN] * 2, *[State.NEW] * 4, *[State.SHOWN] * 3, State.REMASKED]
    assert (rows[-1] >= State.NEW).sum() == 10
    assert revealed_at(trajectory)[-1].tolist() == [-1, -1, 3, 3, 2, 2, 2, 2, 1, 1, 1, 3]


def test_cells_know_when_and_how_surely_a_token_came(toy_trajectory):
    cells = all_cells(toy_trajectory())
    assert (cells[0][2].text, cells[0][2].confidence, cells[0][2].since) == (None, None, None)
    assert (cells[0][0].text, cells[0][0].confidence) == ("the", None)
    assert (cells[3][8].text, cells[3][8].confidence, cells[3][8].since) == ("\ufffd[31m", 1.0, 1)
    assert cells[2][11].text is None  # hidden again


def test_nothing_in_a_text_can_steer_its_surroundings():
    unsafe = [chr(code) for code in (*range(32), *range(127, 160), 0x2028, 0x202E, 0x2066, 0xD800)]
    for char in unsafe:
        assert all(shown not in unsafe for shown in shown_text(f"a{char}b"))


def test_words_and_lines(toy_trajectory):
    trajectory = toy_trajectory()
    assert starts_word(trajectory).tolist() == [True] * 4 + [False] * 3 + [True, False, False, True, True]
    assert np.flatnonzero(ends_line(trajectory)).tolist() == [9]
    assert widest_texts(trajectory)[7] == "</script><b>"


def test_words_are_known_where_the_last_step_hides_them(toy_trajectory):
    trajectory = toy_trajectory()
    trajectory.steps.append(trajectory.steps[0])
    assert starts_word(trajectory)[4:7].tolist() == [False] * 3


def test_status_and_progress(toy_trajectory):
    trajectory = toy_trajectory()
    assert status(trajectory, 1) == "step 1 of 3 · 4 of 10 tokens · 1 forward · 0.50 s"
    assert [progress(trajectory, index) for index in range(4)] == [0.0, 0.4, 0.7, 1.0]
    assert progress(toy_trajectory(n_given=12), 0) == 1.0


def test_the_legend_has_what_occurs(toy_trajectory):
    words = [entry.words for entry in legend_entries([toy_trajectory()])]
    assert words == ["given", "hidden", "hidden again", "new in this step", "revealed, unsure to sure"]
    assert "hidden again" not in [entry.words for entry in legend_entries([toy_trajectory(remasks=False)])]


def test_frames_by_steps_wait_for_the_longer(toy_trajectory):
    long, short = toy_trajectory(per_step=4), toy_trajectory(per_step=10, remasks=False)
    assert timeline([long, short]) == [(0, 0), (1, 1), (2, 1), (3, 1)]


def test_frames_by_time_are_a_race(toy_trajectory):
    slow = toy_trajectory(per_step=5, remasks=False, seconds=1.0)
    fast = toy_trajectory(per_step=4, remasks=False, seconds=0.4)
    frames = timeline([slow, fast], "time")
    assert frames == [(0, 0), (0, 1), (0, 2), (1, 2), (1, 3), (2, 3)]


@pytest.mark.parametrize(
    ("n", "aligned_by", "match"), [(0, "steps", "at least one trajectory"), (1, "dates", "'dates'")]
)
def test_errors(toy_trajectory, n, aligned_by, match):
    with pytest.raises(ValueError, match=match):
        timeline([toy_trajectory()] * n, aligned_by)
