"""Texts without labels: files, tables, the catalogue's names, and a stream of a hub that is not there."""

from __future__ import annotations

import json

import pytest

from gencls.data import corpus as module
from gencls.data.corpus import load_corpus
from gencls.data.errors import HubError


def test_paragraphs_of_a_text_file(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text("One line\nand its second.\n\n\n  Another   one. \n \n", encoding="utf-8")
    corpus = load_corpus(str(path))
    assert list(corpus.open()) == ["One line and its second.", "Another one."]
    assert list(corpus.open()) == list(corpus.open()), "from the first, each time"
    assert not corpus.is_stream


def test_lines_where_no_line_is_empty(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("One.\nTwo.\n", encoding="utf-8")
    assert list(load_corpus(str(path)).open()) == ["One.", "Two."]


def test_a_table_needs_no_labels(tmp_path):
    path = tmp_path / "texts.jsonl"
    rows = [{"text": "One<br />line."}, {"text": None}, {"text": ""}, {"text": "Two."}]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert list(load_corpus(str(path)).open()) == ["One line.", "Two."]
    with pytest.raises(ValueError, match="column 'story'"):
        load_corpus(str(path), text_column="story")


def test_the_fingerprint_is_of_the_texts(tmp_path):
    prints = []
    for name, content in (("a.txt", "One.\n\nTwo."), ("b.txt", "One.\n\n\nTwo."), ("c.txt", "One.\n\nTwo!")):
        (tmp_path / name).write_text(content)
        prints.append(load_corpus(str(tmp_path / name)).fingerprint)
    assert prints[0] == prints[1] != prints[2]


def test_a_folder_of_classes_gives_its_training_texts(tmp_path, table, toy):
    texts, labels = toy(10)
    table(tmp_path / "train.csv", (texts, labels))
    assert sorted(load_corpus(str(tmp_path)).open()) == sorted(texts)


@pytest.fixture
def hub(monkeypatch):
    """A hub with one corpus; what was asked of it."""
    asked = []

    def load(path, config, *, split, streaming):
        asked.append((path, config, split, streaming))
        return iter([{"text": " = Title = \n"}, {"text": ""}, {"text": "A  paragraph .\n"}])

    monkeypatch.setattr(module, "hub_reachable", lambda: True)
    monkeypatch.setattr("datasets.load_dataset", load)
    return asked


def test_hub_corpora_are_streamed(hub):
    corpus = load_corpus("wikitext")
    assert corpus.is_stream
    assert hub == [], "nothing is read before it is needed"
    assert list(corpus.open()) == ["= Title =", "A paragraph ."]
    assert hub == [("Salesforce/wikitext", "wikitext-103-raw-v1", "train", True)]
    load_corpus("someone/stories", text_column="text").open().__next__()
    assert hub[-1] == ("someone/stories", None, "train", True)
    with pytest.raises(ValueError, match="--text-column"):
        next(load_corpus("openwebtext", text_column="story").open())


def test_errors(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "hub_reachable", lambda: False)
    with pytest.raises(HubError, match="no answer"):
        load_corpus("openwebtext")
    with pytest.raises(ValueError, match="'wikitext'"):
        load_corpus("wikitex")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.txt"):
        load_corpus(str(tmp_path / "nowhere.txt"))
    (tmp_path / "empty.txt").write_text(" \n\n")
    with pytest.raises(ValueError, match="text in it"):
        load_corpus(str(tmp_path / "empty.txt"))


def test_a_hub_that_fails_says_so(monkeypatch):
    def load(*args, **options):
        raise RuntimeError("gone")

    monkeypatch.setattr(module, "hub_reachable", lambda: True)
    monkeypatch.setattr("datasets.load_dataset", load)
    with pytest.raises(HubError, match="gone"):
        next(load_corpus("wikitext").open())
