"""Rivals that give texts without labels their classes, and train on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gencls.evaluation import self_training
from gencls.evaluation.rival_data import RivalData
from gencls.evaluation.self_training import with_classes


def test_a_rival_that_trains_itself_sees_no_label_of_the_unlabelled_texts(monkeypatch):
    """And trains, the second time, on all texts in the classes that its first fit gave them, half each."""
    part = lambda n: RivalData([str(row) for row in range(n)], [np.array([row]) for row in range(n)], np.arange(n) % 2)  # noqa: E731
    parts = {"train": part(4), "unlabelled": replace(part(10), labels=np.full(10, 99)), "test": part(3)}
    seen = []

    def fit(name, classifier, data, **_):
        seen.append(data)
        scores = np.array([ids[0] for ids in data["test"].ids], dtype=float)
        return np.stack([-scores, scores], axis=1), {"seconds": 1.0}

    monkeypatch.setattr(self_training, "fit_baseline", fit)
    _, record = self_training.self_trained("nb_svm", None, parts, np.array([0.5, 0.5]))
    first, second = seen
    assert first["train"].labels.tolist() == [0, 1, 0, 1]
    assert second["train"].texts == parts["train"].texts + parts["unlabelled"].texts
    assert second["train"].labels.tolist() == [0, 1, 0, 1] + [0] * 5 + [1] * 5
    assert second["test"] is parts["test"]
    assert record == {"seconds": 2.0, "self_trained": 10}
    assert with_classes(parts, np.zeros(10, dtype=int))["train"].labels[4:].sum() == 0
