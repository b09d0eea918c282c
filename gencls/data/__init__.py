"""Data: where texts come from (hub, registries, files), what they are, how they are cut in splits.

This room imports nothing else of gencls.
"""

from gencls.data.artefacts import ARTEFACTS, cache_dir, fetch
from gencls.data.catalog import CATALOG
from gencls.data.dataset import TextDataset, TextSplit, class_counts
from gencls.data.errors import ArtefactError, HubError
from gencls.data.pins import Artefact
from gencls.data.sources import load_dataset
from gencls.data.splits import held_out, make_splits, stratified_sample, with_fresh_test, with_unlabelled

__all__ = [
    "ARTEFACTS",
    "CATALOG",
    "Artefact",
    "ArtefactError",
    "HubError",
    "TextDataset",
    "TextSplit",
    "cache_dir",
    "class_counts",
    "fetch",
    "held_out",
    "load_dataset",
    "make_splits",
    "stratified_sample",
    "with_fresh_test",
    "with_unlabelled",
]
