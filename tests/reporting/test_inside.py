"""What the figures of looking inside show."""

from __future__ import annotations

import numpy as np
import pytest

from gencls.reporting.canvas import DARK, LIGHT, to_png
from gencls.reporting.inside import prepare_layers, prepare_levels, prepare_schedules
from gencls.reporting.inside_plots import plot_layers, plot_levels, plot_schedules

LOG = [
    {"stage": "adapt", "step": 5, "loss": 9.0, "loss_level_0.5": 8.0, "loss_level_1.0": 10.0},
    {"stage": "adapt", "step": 10, "loss_level_1.0": 9.0},
    {"stage": "adapt", "step": 10, "train_runtime": 3.0},
    {"stage": "classes", "step": 5, "loss_level_0.5": 4.0, "loss_level_1.0": 7.0},
]


@pytest.fixture
def layers():
    """Two texts at two levels in one layer: 2 and 4 hidden tokens, then 4 and 8."""
    return prepare_layers(
        levels=[0.5, 1.0],
        n_hidden=[[2, 4], [4, 8]],
        right=[[[0, 1], [0, 0]], [[1, 3], [0, 4]]],
        log_prob=[[[-6.0, -3.0], [-8.0, -8.0]], [[-6.0, -3.0], [-16.0, -4.0]]],
        attention=[[[[0.5, 0.2, 0.3]], [[0.0, 0.6, 0.4]]], [[[0.7, 0.1, 0.2]], [[0.0, 0.6, 0.4]]]],
        visible_share=[[0.3, 0.0], [0.3, 0.0]],
    )


def test_layers_are_averaged_over_tokens(layers):
    assert layers.accuracy.tolist() == [[1 / 6, 4 / 6], [0.0, 4 / 12]]
    assert layers.nats.tolist() == [[2.0, 1.0], [2.0, 1.0]]
    assert layers.attention[0] == pytest.approx([2.0])
    assert np.isnan(layers.attention[1]).all()  # where nothing is visible, nothing can be looked at


def test_the_error_is_that_of_a_mean_where_all_texts_are_equally_long():
    right = np.array([3, 1, 4, 1, 5, 9, 2, 6.0])
    curves = prepare_layers([0.5], np.full((8, 1), 10), right[:, None, None], right[:, None, None] * 0.0,
                            np.zeros((8, 1, 1, 3)), np.ones((8, 1)))  # fmt: skip
    assert curves.standard_error[0, 0] == pytest.approx((right / 10).std(ddof=1) / 8**0.5)


def test_one_text_has_no_error():
    curves = prepare_layers([0.5], [[3]], [[[1, 2]]], [[[-1.0, -1.0]]], [[[[1.0, 0.0, 0.0]]]], [[0.5]])
    assert np.isnan(curves.standard_error).all()


def test_levels_are_read_stage_by_stage():
    adapt, classes = prepare_levels(LOG)
    assert (adapt.name, classes.name) == ("class-free model", "class models")
    assert adapt.steps.tolist() == [5, 10] and adapt.levels.tolist() == [0.5, 1.0]
    assert np.array_equal(adapt.loss, [[8.0, 10.0], [np.nan, 9.0]], equal_nan=True)
    with pytest.raises(ValueError, match="loss_level_"):
        prepare_levels([{"stage": "adapt", "step": 1, "loss": 1.0}])


def test_schedules_start_with_everything_hidden():
    curve = prepare_schedules({"linear": [6, 3, 0]}, 9)["linear"]
    assert curve.hidden.tolist() == [9, 6, 3, 0] and curve.revealed.tolist() == [3, 3, 3]


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_figures_show_every_line(layers, theme):
    schedules = prepare_schedules({"linear": [6, 3, 0], "cosine": [8, 5, 0]}, 9)
    figures = [plot_schedules(schedules, theme), plot_levels(prepare_levels(LOG), theme), plot_layers(layers, theme)]
    assert [len(ax.lines) for figure in figures for ax in figure.axes] == [2, 2, 2, 2, 2, 1 + 1]
    labels = [text.get_text() for figure in figures for ax in figure.axes if ax.legend_ for text in ax.legend_.texts]
    assert labels == ["linear", "cosine", "50 to 100 %", "0 to 50 %", "50 % hidden", "100 % hidden"]
    assert all(to_png(figure).startswith(b"\x89PNG") for figure in figures)


def test_a_level_that_was_not_seen_leaves_no_gap_in_a_line():
    lines = plot_levels(prepare_levels(LOG)).axes[0].lines
    assert lines[0].get_xdata().tolist() == [5] and lines[1].get_xdata().tolist() == [5, 10]
