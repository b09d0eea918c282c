"""One line for a model, however many seeds it has."""

from __future__ import annotations

import pytest

from benchmarks.accuracy_figures import plot_accuracy, plot_ece


def row(model, seed, accuracy, data="toy"):
    values = {name: 0.1 * place for place, name in enumerate(("ece_null_low", "ece_low", "ece", "ece_high"))}
    ends = {"accuracy_low": accuracy - 0.1, "accuracy_high": accuracy + 0.1, "ece_null_high": 0.4}
    return {"data": data, "model": model, "seed": seed, "accuracy": accuracy, **ends, **values}


ROWS = [row("diffusion", 0, 0.9), row("nb_svm", 0, 0.8), row("diffusion", 1, 0.5), row("nb_svm", 1, 0.7)]


@pytest.mark.parametrize("plot", [plot_accuracy, plot_ece])
def test_seeds_of_a_model_share_its_name(plot):
    one, two = plot([*ROWS, row("diffusion", 0, 0.9, data="other")]).axes
    assert one.get_title() == "toy, 2 seeds"
    assert two.get_title() == "other"
    assert len(one.get_yticks()) == 2
    places = sorted({float(line.get_ydata()[0]) for line in one.lines})
    assert places == pytest.approx([-0.2, 0.2, 0.8, 1.2])
    assert sorted({float(line.get_ydata()[0]) for line in two.lines}) == [0.0]


def test_models_are_in_the_order_of_their_means():
    (ax,) = plot_accuracy(ROWS).axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["generative", "NB-SVM"]
