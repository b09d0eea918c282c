"""Runs of language models: a streamed corpus from its name to a saved model, and what loads it."""

from __future__ import annotations

import json

import pytest

from gencls.evaluation.generators import load_language_model, train_language_model_run
from gencls.generation import GenerationConfig, generate
from gencls.training.language_model import language_model_preset


@pytest.fixture
def hub(monkeypatch, toy):
    """A hub that streams toy texts, longer than a window, without end."""
    n_read = [0]

    def load(path, config, *, split, streaming):
        assert streaming
        for text in toy(2000)[0]:
            n_read[0] += 1
            yield {"text": f"{text}. {text}."}

    monkeypatch.setattr("gencls.data.corpus.hub_reachable", lambda: True)
    monkeypatch.setattr("datasets.load_dataset", load)
    return n_read


def test_a_streamed_corpus_is_trained_on_and_generates(tmp_path, hub):
    changes = {"backbone": "tiny-random", "backbone_layers": None, "adapt_steps": 3, "batch_size": 8, "max_length": 24}
    config = language_model_preset("quick", **changes, precision="float32")
    model = train_language_model_run("wikitext", tmp_path / "run", config)
    assert model.record["adapt"]["steps"] == 3
    assert hub[0] <= 2 * 256, "not more of the stream than is needed, a call of the tokenizer at a time"
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["data"]["came_from"] == "Hugging Face hub, Salesforce/wikitext, streamed; training split"
    loaded = load_language_model(tmp_path / "run")
    options = GenerationConfig(length=6, precision="float32")
    assert generate(loaded, options)[0].text == generate(model, options)[0].text


def test_neither_kind_of_run(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"train-lm.*train-per-class"):
        load_language_model(tmp_path)
