"""Data sets of the Hugging Face hub, and the one question whether a hub answers at all."""

from __future__ import annotations

import logging
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from gencls.data.catalog import CatalogEntry, HubSource
from gencls.data.dataset import RawSplit, TextDataset, build_dataset
from gencls.data.errors import HubError, three_parts

logger = logging.getLogger("gencls.data")

PROBE_SECONDS = 5.0
_OFFICIAL = ("train", "validation", "test")


def hub_reachable() -> bool:
    """Whether a hub answers: one question of at most five seconds, asked once per process.

    The endpoint is huggingface_hub's (HF_ENDPOINT changes it), the machine's proxies are used, and
    HF_HUB_OFFLINE means no. The hub's own clients retry for minutes where nothing answers.
    """
    from huggingface_hub import constants

    return not constants.HF_HUB_OFFLINE and _answers(constants.ENDPOINT)


@cache
def _answers(endpoint: str) -> bool:
    outcome: list[bool] = []
    # In a thread, because looking up a host's name obeys no timeout.
    probe = threading.Thread(target=lambda: outcome.append(_ask(endpoint)), daemon=True)
    probe.start()
    probe.join(PROBE_SECONDS)
    return bool(outcome and outcome[0])


def _ask(endpoint: str) -> bool:
    try:
        request = urllib.request.Request(endpoint, method="HEAD")
        with urllib.request.urlopen(request, timeout=PROBE_SECONDS - 1):
            return True
    except urllib.error.HTTPError as error:
        # A mirror may have no front page; 403, 407 and 5xx are what a gateway says in the place of a hub.
        return error.code in {401, 404, 405}
    except (OSError, ValueError):
        return False


def load_hub(entry: CatalogEntry) -> TextDataset:
    """A data set of the catalogue from the hub.

    Raises
    ------
    ValueError
        The data set lies in the package registries only, or its columns are not the expected ones.
    HubError
        The hub did not give it.
    """
    if entry.hub is None:
        raise ValueError(
            three_parts(
                "a data set that lies on the hub",
                f"{entry.name!r}, which lies in the package registries only",
                "Leave out source='hub'.",
            )
        )
    return _load(entry.name, entry.hub, entry.label_names, entry.min_texts)


def load_hub_name(name: str, *, text_column: str, label_column: str) -> TextDataset:
    """Any other data set of the hub, by its repository's name; raises as `load_hub`."""
    return _load(name, HubSource(name, text_column, label_column, {key: key for key in _OFFICIAL}), None, 2)


def _load(name: str, source: HubSource, label_names: Sequence[str] | None, min_texts: int) -> TextDataset:
    found = _ask_datasets(source.path)
    if "train" not in found:
        raise ValueError(
            three_parts(
                "a split 'train'",
                f"the splits {', '.join(map(repr, found))} of {source.path!r}",
                "Save the split that you want as a CSV, JSONL or Parquet file and give its path.",
            )
        )
    order = label_names or _feature_names(found["train"], source.label_column)
    raw, skipped = _raw_splits(found, source, order)
    version = _revision(found["train"])
    notes = [f"Hugging Face hub, {source.path}"]
    notes += [f"split {key!r} left out: its labels are not public" for key in skipped]
    return build_dataset(name, raw, source="; ".join(notes), version=version, label_names=order, min_texts=min_texts)


def _ask_datasets(path: str) -> Mapping[str, Any]:
    import datasets

    try:
        found = datasets.load_dataset(path)
    except Exception as error:
        # The hub's clients raise errors of many libraries (httpx, fsspec, pyarrow, their own): all mean the
        # same here.
        raise HubError(
            three_parts(
                f"the data set {path!r} from the hub",
                f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}",
                "Check the name and the network, or use a local file or a name of 'gencls data list'.",
            )
        ) from error
    return found


def _raw_splits(
    found: Mapping[str, Any], source: HubSource, order: Sequence[str] | None
) -> tuple[dict[str, RawSplit], list[str]]:
    """The wanted splits that exist; those whose labels are all -1 (hidden by the publisher) are left out."""
    raw: dict[str, RawSplit] = {}
    skipped: list[str] = []
    for ours, theirs in source.splits.items():
        if theirs not in found:
            continue
        texts = _column(found[theirs], source.text_column, source.path)
        labels = [_named(label, order) for label in _column(found[theirs], source.label_column, source.path)]
        if labels and all(label is None for label in labels) and ours != "train":
            skipped.append(theirs)
        else:
            raw[ours] = (texts, labels)
    return raw, skipped


def _column(split: Any, column: str, path: str) -> list[Any]:
    if column not in split.column_names:
        raise ValueError(
            three_parts(
                f"a column {column!r}",
                f"the columns {', '.join(map(repr, split.column_names))} of {path!r}",
                "Give the names with text_column= and label_column=.",
            )
        )
    return list(split[column])


def _feature_names(split: Any, column: str) -> Sequence[str] | None:
    return getattr(split.features.get(column), "names", None)


def _named(label: Any, order: Sequence[str] | None) -> Any:
    """A number as its class's name; -1 is the hub's sign for a label that is not public."""
    if isinstance(label, int) and not isinstance(label, bool):
        if label == -1:
            return None
        if order is not None and label < len(order):
            return order[label]
    return label


def _revision(split: Any) -> str:
    """The revision that the hub gave, as its clients note it in the addresses of the files."""
    checksums = getattr(split.info, "download_checksums", None) or {}
    found = re.search(r"@([0-9a-f]{40})", " ".join(checksums))
    return found.group(1) if found else str(getattr(split.info, "version", None) or "unknown")
