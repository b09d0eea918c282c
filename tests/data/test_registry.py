"""Registry artefacts in small: what the readers make of the published forms."""

from __future__ import annotations

import pytest

from gencls.data.artefacts import ARTEFACTS
from gencls.data.catalog import CATALOG
from gencls.data.registry import READERS
from gencls.data.sources import load_dataset

pytestmark = pytest.mark.usefixtures("no_pip", "no_hub")


def test_imdb_falls_back_in_one_explained_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "gencls.data")
    dataset = load_dataset("imdb")
    assert dataset.label_names == ("negative", "positive")
    assert dataset.splits["train"].labels.tolist() == [0, 1] * 6
    assert dataset.splits["train"].texts[:2] == [
        'Review 0: it was "bad", they said.',
        'Review 0: it was "good", they said.',
    ]
    assert dataset.version == "0.0.2"
    assert "no Hugging Face hub answers" in dataset.source and "\n" not in dataset.source
    assert f"data set imdb: {dataset.source}" in caplog.messages


def test_the_other_half_of_the_wheel() -> None:
    assert len(load_dataset("rotten_tomatoes").splits["train"]) == 8


def test_chosen_registry_needs_no_reason() -> None:
    assert "answers" not in load_dataset("imdb", source="registry").source


def test_reuters_has_official_splits_and_skips_the_empty_row() -> None:
    dataset = load_dataset("r8")
    assert dataset.label_names == ("earn", "trade")
    assert dataset.splits["train"].texts == ["profit rose", "profit fell", "steel tariffs", "car tariffs"]
    assert dataset.splits["test"].labels.tolist() == [1, 0]
    assert "hub" not in dataset.source


def test_a_published_class_of_one_text_is_let_through() -> None:
    assert load_dataset("r52").summary()["splits"]["train"]["class_counts"] == {"earn": 2, "nickel": 1}


def test_chinese_reviews() -> None:
    dataset = load_dataset("chinese_reviews")
    assert dataset.label_names == ("negative", "positive")
    assert dataset.splits["train"].texts == ["不好", "太差", "失望", "很好", "非常好"], (
        "the first of each, without its copies"
    )


def test_a_data_set_of_the_hub_only() -> None:
    with pytest.raises(ValueError, match="lies on the hub only"):
        load_dataset("ag_news", source="registry")


def test_the_catalogue_points_at_what_exists() -> None:
    for name, entry in CATALOG.items():
        assert name == entry.name and (entry.hub or entry.registry)
        if entry.registry:
            assert entry.registry.artefact in ARTEFACTS and entry.registry.reader in READERS
