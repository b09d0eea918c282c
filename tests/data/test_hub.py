"""The hub, tested up to its one call; and the question whether it answers."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from gencls.data import hub
from gencls.data.errors import HubError
from gencls.data.sources import load_dataset

datasets = pytest.importorskip("datasets")


def table(texts: list[str], labels: list[Any], names: list[str] | None = None, text: str = "text") -> Any:
    features = {text: datasets.Value("string"), "label": datasets.ClassLabel(names=names)} if names else None
    made = datasets.Dataset.from_dict({text: texts, "label": labels})
    return made.cast(datasets.Features(features)) if features else made


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A hub: its data sets by name; names that it has not raise what the real client raises."""
    on_hub: dict[str, Any] = {}

    def load(path: str) -> Any:
        if path not in on_hub:
            raise datasets.exceptions.DatasetNotFoundError(f"Dataset '{path}' doesn't exist on the Hub")
        if isinstance(on_hub[path], Exception):
            raise on_hub[path]
        return datasets.DatasetDict(on_hub[path])

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(hub, "hub_reachable", lambda: True)
    return on_hub


@pytest.mark.parametrize("source", ["auto", "hub"])
def test_imdb_from_the_hub(asked: dict[str, Any], source: str) -> None:
    asked["stanfordnlp/imdb"] = {
        "train": table(["a<br />b", "c", "d", "e"], [0, 0, 1, 1], ["neg", "pos"]),
        "test": table(["f", "g"], [1, 0], ["neg", "pos"]),
        "unsupervised": table(["u"], [-1], ["neg", "pos"]),
    }
    dataset = load_dataset("imdb", source=source)
    assert dataset.label_names == ("negative", "positive")
    assert list(dataset.splits) == ["train", "test"]
    assert dataset.splits["train"].texts[0] == "a b"
    assert dataset.splits["test"].labels.tolist() == [1, 0]
    assert "stanfordnlp/imdb" in dataset.source


def test_sst2_is_tested_on_its_validation_split(asked: dict[str, Any]) -> None:
    names = ["negative", "positive"]
    asked["stanfordnlp/sst2"] = {
        "train": table(["a", "b", "c", "d"], [0, 0, 1, 1], names, "sentence"),
        "validation": table(["e", "f"], [1, 0], names, "sentence"),
        "test": table(["g"], [-1], names, "sentence"),
    }
    dataset = load_dataset("sst2")
    assert {key: split.texts for key, split in dataset.splits.items()}["test"] == ["e", "f"]


def test_any_other_name_with_its_own_class_names(asked: dict[str, Any]) -> None:
    asked["user/name"] = {
        "train": table(["a", "b", "c", "d"], [1, 1, 0, 0], ["zebra", "ant"]),
        "test": table(["e", "f"], [-1, -1], ["zebra", "ant"]),
    }
    dataset = load_dataset("user/name")
    assert dataset.label_names == ("zebra", "ant")
    assert list(dataset.splits) == ["train"]
    assert "'test' left out: its labels are not public" in dataset.source


def test_columns_without_class_names(asked: dict[str, Any]) -> None:
    asked["plain"] = {"train": table(["a", "b", "c", "d"], ["x", "y", "x", "y"])}
    assert load_dataset("plain").label_names == ("x", "y")
    with pytest.raises(ValueError, match=r"a column 'body'; got the columns 'text', 'label'"):
        load_dataset("plain", text_column="body")


def test_no_training_split(asked: dict[str, Any]) -> None:
    asked["odd"] = {"test": table(["a", "b"], ["x", "y"])}
    with pytest.raises(ValueError, match="a split 'train'; got the splits 'test'"):
        load_dataset("odd")


@pytest.mark.parametrize("source", ["auto", "hub"])
def test_a_name_that_the_hub_has_not(asked: dict[str, Any], source: str) -> None:
    with pytest.raises(ValueError, match=r"got 'imbd'.*nearest: 'imdb'"):
        load_dataset("imbd", source=source)


def test_a_hub_that_fails_is_an_error_for_its_own_names(asked: dict[str, Any]) -> None:
    asked["user/name"] = ConnectionError("cut off")
    with pytest.raises(HubError, match="ConnectionError: cut off"):
        load_dataset("user/name")


@pytest.mark.usefixtures("no_pip")
def test_a_hub_that_fails_is_a_reason_to_fall_back(asked: dict[str, Any]) -> None:
    asked["stanfordnlp/imdb"] = ConnectionError("cut off")
    assert "hub failed to give it" in load_dataset("imdb").source
    with pytest.raises(HubError, match="cut off"):
        load_dataset("imdb", source="hub")


def test_the_revision_is_the_version(asked: dict[str, Any]) -> None:
    train = table(["a", "b", "c", "d"], ["x", "y", "x", "y"])
    train.info.download_checksums = {f"hf://datasets/user/name@{'ab' * 20}/train.parquet": {}}
    asked["user/name"] = {"train": train}
    assert load_dataset("user/name").version == "ab" * 20


def test_a_data_set_of_the_registries_only(asked: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="package registries only"):
        load_dataset("r8", source="hub")


@pytest.mark.usefixtures("no_hub")
class TestNoHub:
    def test_a_catalogue_name_of_the_hub_only(self) -> None:
        with pytest.raises(HubError, match=r"where 'ag_news' lies; got no answer.*'imdb'"):
            load_dataset("ag_news")

    def test_the_hub_was_asked_for(self) -> None:
        with pytest.raises(HubError, match="no answer"):
            load_dataset("imdb", source="hub")

    @pytest.mark.parametrize("source", ["auto", "registry"])
    def test_an_unknown_name(self, source: str) -> None:
        with pytest.raises(ValueError, match="nearest: 'imdb'"):
            load_dataset("imbd", source=source)

    def test_an_unknown_source(self) -> None:
        with pytest.raises(ValueError, match="a source among auto, hub, registry, file; got 'web'"):
            load_dataset("imdb", source="web")


@pytest.fixture
def server() -> Iterator[tuple[str, list[int]]]:
    """A local endpoint whose one list is the status codes that it answers with, the last one for ever."""
    codes = [200]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(codes.pop(0) if len(codes) > 1 else codes[0])
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as service:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{service.server_address[1]}", codes
        service.shutdown()


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("no_proxy", "*")
    hub._answers.cache_clear()
    yield
    hub._answers.cache_clear()


def test_reachable_asks_the_endpoint_once(server: tuple[str, list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", server[0])
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    server[1][:] = [200, 503]
    assert hub.hub_reachable() and hub.hub_reachable()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert not hub.hub_reachable()


@pytest.mark.parametrize(("code", "answers"), [(404, True), (401, True), (403, False), (407, False), (502, False)])
def test_what_counts_as_a_hub(server: tuple[str, list[int]], code: int, answers: bool) -> None:
    server[1][:] = [code]
    assert hub._answers(server[0]) is answers


def test_a_closed_port_and_an_odd_endpoint_are_no_hub() -> None:
    assert not hub._answers("http://127.0.0.1:9")
    assert not hub._answers("nonsense")


def test_a_silent_hub_costs_no_more_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "PROBE_SECONDS", 0.2)
    monkeypatch.setattr(hub, "_ask", lambda endpoint: time.sleep(2) or True)
    start = time.monotonic()
    assert not hub._answers("http://silent")
    assert time.monotonic() - start < 1.5
