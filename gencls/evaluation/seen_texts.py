"""Which texts a run has seen: more of them without labels, and none that it is judged on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gencls.data import TextSplit
from gencls.data.errors import three_parts
from gencls.data.files import load_texts
from gencls.data.storage import read_json, write_json
from gencls.data.text import clean, normal_form
from gencls.evaluation.scores import text_digest

logger = logging.getLogger("gencls.evaluation")
#: Digests of the texts that trained a run without their labels.
UNLABELLED = "unlabelled.json"


def texts_without_labels(path: Path, splits: Mapping[str, TextSplit], text_column: str) -> list[str]:
    """Return the texts of a file that are in none of the splits: held-out and test texts stay out of the training.

    Raises
    ------
    FileNotFoundError, ValueError
        There is no such file, it cannot be read, or no text is left.
    """
    found = [clean(text) for text in load_texts(path, text_column=text_column)]
    labelled = {normal_form(text) for split in splits.values() for text in split.texts}
    kept = [text for text in found if normal_form(text) not in labelled]
    if len(kept) < len(found):
        logger.warning("%d unlabelled texts left out: the data set has them with labels", len(found) - len(kept))
    if not kept:
        raise ValueError(three_parts("texts that the data set has not", f"none in {path.name}", "Give other texts."))
    return kept


def note_unlabelled(folder: Path, texts: Sequence[str]) -> None:
    """Write into a run's folder the digests of the texts that train it without their labels."""
    write_json(folder / UNLABELLED, {"digests": sorted({digest_of_form(text) for text in texts})})


def digest_of_form(text: str) -> str:
    """Return what near-copies of a text have in common: the digest of its `normal_form`."""
    return text_digest(normal_form(text))


def was_trained_on(run: Path, splits: Mapping[str, TextSplit]) -> Callable[[str], bool]:
    """Return whether a text, or a near-copy of it, trained, chose or calibrated a run, with its label or without it.

    What a language model that a run starts from has read is not known.
    """
    known = {digest_of_form(text) for name in splits if name != "test" for text in splits[name].texts}
    if (run / UNLABELLED).exists():
        known |= set(read_json(run / UNLABELLED)["digests"])
    elif "unlabelled" in read_json(run / "run.json"):
        logger.warning("which texts trained %s unlabelled is not known: train it again, which only notes them", run)
    return lambda text: digest_of_form(text) in known


def other_unlabelled(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Return what to call the unlabelled texts of two records if they are not the same, whatever their files' names."""
    digests = [(record.get("unlabelled") or {}).get("digest") for record in (one, other)]  # no older run has any
    return ["unlabelled texts"] * (digests[0] != digests[1])
