"""The opening paragraph says what the numbers say, also when that is unwelcome."""

import pytest

from gencls.reporting.summary import summary

ROW = {"n_texts": 1000, "majority_accuracy": 0.5, "ece": 0.02, "ece_null_low": 0.01}
ROW |= {"ece_null_high": 0.03, "mcnemar_p": None}


@pytest.mark.parametrize(
    ("own", "tables", "p", "said"),
    [(0.90, 0.86, 0.001, "adds to what"), (0.90, 0.89, 0.3, "adds nothing"), (0.86, 0.90, 0.001, "takes away")],
)
def test_a_network_without_merit_of_its_own_is_named(own, tables, p, said):
    metrics = {"diffusion": {**ROW, "accuracy": own}, "naive_bayes_pairs": {"accuracy": tables, "mcnemar_p": p}}
    text = summary(metrics, {})
    assert f"the network {said}" in text
    assert text.count("So the network") == 1


def test_without_the_count_tables_nothing_is_claimed():
    assert "network adds" not in summary({"diffusion": {**ROW, "accuracy": 0.9}}, {})


def test_the_tightest_measured_bound_is_quoted():
    row = {**ROW, "accuracy": 0.9, "nats_per_token": 6.2, "bound_nats_per_token": 5.8, "unigram_nats_per_token": 6.6}
    assert "5.8" in summary({"diffusion": row}, {}) and "6.2" not in summary({"diffusion": row}, {})


@pytest.mark.parametrize(("null_high", "is_said"), [(0.03, False), (0.12, True)])
def test_few_texts_are_said_to_show_only_great_miscalibration(null_high, is_said):
    text = summary({"diffusion": {**ROW, "accuracy": 0.9, "ece_null_high": null_high}}, {})
    assert ("the texts are few" in text) == is_said


def test_all_right_is_not_told_as_certain():
    assert "100.0\u00a0% (95\u00a0% interval 89.6 to 100.0\u00a0%)" in summary(
        {"diffusion": {**ROW, "accuracy": 1.0, "n_texts": 33}}, {}
    )
