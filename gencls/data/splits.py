"""Splits: stratified, seeded, and disjoint after text normalisation.

Every normal form (`gencls.data.text.normal_form`) has one digest of (seed, normal form), and each class is
cut at the same shares of its texts sorted by digest. So all copies of a text are on one side, the order of
the rows has no influence, and adding a few texts to a data set moves only texts whose digests lie next to a
cut (sharing out by fixed thresholds of the digest would move none, but then the shares of the classes would
be random).
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Mapping

import numpy as np

from gencls.data.dataset import TextDataset, TextSplit
from gencls.data.errors import three_parts
from gencls.data.fingerprint import digest_of
from gencls.data.text import normal_form

logger = logging.getLogger("gencls.data")

SPLIT_NAMES = ("train", "validation", "calibration", "test")

# Who gets a text first when a class has fewer texts than there are sides.
_PRIORITY = ("train", "test", "calibration", "validation")


def make_splits(
    dataset: TextDataset,
    *,
    seed: int = 0,
    validation: float = 0.04,
    calibration: float = 0.04,
    test: float = 0.16,
) -> dict[str, TextSplit]:
    """Cut a data set into training, validation, calibration and test splits.

    Official test and validation splits are used as they are; the other splits are cut from the training
    split. A training text whose normal form is also in an official split is dropped from training (the
    number is logged), and so is an official validation text that is also in the test split.

    Parameters
    ----------
    dataset : TextDataset
        The data.
    seed : int
        Another seed, another cut.
    validation, calibration, test : float
        Shares of the training split's distinct texts; a share of an official split's name is not used.

    Returns
    -------
    dict from str to TextSplit
        Keys "train", "validation", "calibration", "test". Splits that are cut here are in the order of
        their digests, a random order, so that the first n rows of one are a fair sample. A class of few
        texts is served in the order training, test, calibration, validation.

    Raises
    ------
    ValueError
        A share is out of range, or a class has too few distinct texts to be in both training and test.
    """
    shares = {"test": test, "calibration": calibration, "validation": validation}
    official: dict[str, TextSplit] = {
        key: dataset.splits[key] for key in ("test", "validation") if key in dataset.splits
    }
    shares = {key: share for key, share in shares.items() if key not in official}
    _check_shares(shares)
    pool, official = _without_copies(dataset, official)
    sides = _assign(pool, shares, dataset.label_names, seed)
    return {key: official[key] if key in official else sides[key] for key in SPLIT_NAMES}


def _check_shares(shares: dict[str, float]) -> None:
    if all(0 <= share < 1 for share in shares.values()) and sum(shares.values()) < 1:
        return
    given = ", ".join(f"{key}={share}" for key, share in shares.items())
    raise ValueError(
        three_parts("shares from 0 to 1 that leave something to train on", given, "Give shares with a sum under 1.")
    )


def _without_copies(dataset: TextDataset, official: dict[str, TextSplit]) -> tuple[TextSplit, dict[str, TextSplit]]:
    """The training split without what is held out, and the official splits without each other's texts."""
    held_out: set[str] = set()
    kept = dict(official)
    for key in ("test", "validation"):
        if key in kept:
            kept[key] = _drop(kept[key], held_out, f"{key} texts of {dataset.name} that are also in the test split")
            held_out |= {normal_form(text) for text in kept[key].texts}
    what = f"training texts of {dataset.name} that are also in a held-out official split"
    return _drop(dataset.splits["train"], held_out, what), kept


def _drop(split: TextSplit, forbidden: set[str], what: str) -> TextSplit:
    kept = _rows_without(split, forbidden)
    if len(kept) == len(split):
        return split
    logger.info("dropped %d %s", len(split) - len(kept), what)
    return split.take(kept)


def _rows_without(split: TextSplit, forbidden: set[str]) -> list[int]:
    """Rows of the texts whose normal form is none of those."""
    return [row for row, text in enumerate(split.texts) if not forbidden or normal_form(text) not in forbidden]


def _assign(pool: TextSplit, shares: dict[str, float], label_names: tuple[str, ...], seed: int) -> dict[str, TextSplit]:
    """Cut the pool: groups of equal normal form, within each class, in the order of their digests."""
    groups: dict[bytes, list[int]] = defaultdict(list)
    for row, text in enumerate(pool.texts):
        groups[digest_of(seed, normal_form(text))].append(row)
    by_class: dict[int, list[bytes]] = defaultdict(list)
    for digest, rows in groups.items():
        by_class[_group_class(pool, rows)].append(digest)
    chosen: dict[str, list[bytes]] = {side: [] for side in ("train", *shares)}
    for label, label_name in enumerate(label_names):
        digests = sorted(by_class.get(label, []))
        start = 0
        for side, size in _quotas(len(digests), shares, label_name).items():
            chosen[side] += digests[start : start + size]
            start += size
    return {side: pool.take(_rows(pool, groups, sorted(digests))) for side, digests in chosen.items()}


def _group_class(pool: TextSplit, rows: list[int]) -> int:
    """The class that a group counts for: the most frequent one, the first of equals."""
    counts = Counter(pool.labels[rows].tolist())
    return min(counts, key=lambda label: (-counts[label], label))


def _quotas(n: int, shares: dict[str, float], label_name: str) -> dict[str, int]:
    """How many of a class's n distinct texts each side gets, the held-out sides first."""
    wanted = [side for side in _PRIORITY if side == "train" or shares.get(side, 0) > 0]
    needed = 2 if shares.get("test", 0) > 0 else 1
    if n < needed:
        raise ValueError(
            three_parts(
                f"at least {needed} distinct training texts of every class",
                f"{n} of class {label_name!r} (case, punctuation and spacing make no difference)",
                "Add texts of this class or remove it.",
            )
        )
    served = wanted[:n]
    quotas = {side: max(1, round(n * share)) for side, share in shares.items() if side in served}
    # In a small class the sides of at least one text may eat up the training texts: the largest gives way.
    while quotas and sum(quotas.values()) > n - 1:
        quotas[max(quotas, key=lambda side: quotas[side])] -= 1
    return quotas | {"train": n - sum(quotas.values())}


def _rows(pool: TextSplit, groups: dict[bytes, list[int]], digests: list[bytes]) -> list[int]:
    """Rows in the order of digests; copies in the order of what they are, not of where they stood."""
    ordered = []
    for digest in digests:
        ordered += sorted(groups[digest], key=lambda row: (int(pool.labels[row]), pool.texts[row]))
    return ordered


def stratified_sample(split: TextSplit, max_texts: int, *, seed: int) -> TextSplit:
    """At most `max_texts` texts with the classes in their shares, in the order of the split.

    Parameters
    ----------
    split : TextSplit
        N texts.
    max_texts : int
        Positive; from N on, the split itself is returned. If there is room, every class keeps at least one
        text.
    seed : int
        Another seed, another sample.

    Raises
    ------
    ValueError
        `max_texts` is not positive.
    """
    if max_texts < 1:
        raise ValueError(three_parts("max_texts of at least 1", repr(max_texts), "Leave it out to use all texts."))
    if max_texts >= len(split):
        return split
    sizes = _sample_sizes(np.bincount(split.labels), max_texts)
    rows: list[int] = []
    for label, size in enumerate(sizes):
        of_class = np.flatnonzero(split.labels == label).tolist()
        rows += sorted(of_class, key=lambda row: (digest_of(seed, split.texts[row]), row))[:size]
    return split.take(sorted(rows))


def _sample_sizes(counts: np.ndarray, total: int) -> list[int]:
    """Largest remainders, (C,) int: proportional, sum `total`, at least one per class if they fit."""
    exact = counts / counts.sum() * total
    sizes = np.floor(exact).astype(int)
    if total >= np.count_nonzero(counts):
        sizes = np.maximum(sizes, counts > 0)
    while sizes.sum() < total:
        sizes[np.argmax(exact - sizes)] += 1
    while sizes.sum() > total:
        sizes[np.argmax(np.where(sizes > 1, sizes - exact, -np.inf))] -= 1
    return sizes.tolist()


def held_out(splits: Mapping[str, TextSplit]) -> TextSplit:
    """Return the texts that a run's temperature is fitted to: those that train no weight and are not judged on.

    The calibration texts, and behind them the validation texts: these have helped to choose between a few settings, no
    more, and twice the texts tell a temperature better.
    """
    return splits["calibration"].followed_by(splits["validation"])


def with_fresh_test(splits: dict[str, TextSplit], n_test: int, *, seed: int = 0) -> dict[str, TextSplit]:
    """Exchange the test split for training texts that no earlier evaluation has seen.

    While a method is made, the test split is looked at. For a last number a part of the training texts becomes the
    test split, and the old test split joins the training texts.

    Parameters
    ----------
    splits : dict from str to TextSplit
        As `make_splits` gives them.
    n_test : int
        Texts of the new test split, a stratified sample; a few more where the sample takes one of several copies.
    seed : int
        Another seed, another sample.

    Returns
    -------
    dict from str to TextSplit

    Raises
    ------
    ValueError
        `n_test` is not positive, or leaves less than half of the training texts.
    """
    train = splits["train"]
    if not 1 <= n_test <= len(train) // 2:
        raise ValueError(
            three_parts(f"a fresh test split of 1 to {len(train) // 2} texts", str(n_test), "Ask for fewer texts.")
        )
    chosen = {normal_form(text) for text in stratified_sample(train, n_test, seed=seed).texts}
    is_chosen = np.array([normal_form(text) in chosen for text in train.texts])
    test, kept, old = train.take(np.flatnonzero(is_chosen)), train.take(np.flatnonzero(~is_chosen)), splits["test"]
    return {**splits, "train": kept.followed_by(old), "test": test}


def with_unlabelled(splits: dict[str, TextSplit], n_test: int, *, seed: int = 0) -> dict[str, TextSplit]:
    """Judge on a part of the test split alone, and leave its other texts to a training that does not see their labels.

    Where the test texts are of another time or place than the training texts, those others tell what has changed.

    Parameters
    ----------
    splits : dict from str to TextSplit
        As `make_splits` gives them.
    n_test : int
        Texts of the new test split, a stratified sample.
    seed : int
        Another seed, another sample.

    Returns
    -------
    dict from str to TextSplit
        With "unlabelled": the other texts, without those that are also in another split. Their labels are kept, to
        say afterwards how many of them were told right.

    Raises
    ------
    ValueError
        `n_test` is not positive, or leaves no other text.
    """
    whole = splits["test"]
    if not 1 <= n_test < len(whole):
        raise ValueError(
            three_parts(f"1 to {len(whole) - 1} of {len(whole)} test texts", str(n_test), "Ask for fewer texts.")
        )
    found = {**splits, "test": stratified_sample(whole, n_test, seed=seed)}
    known = {normal_form(text) for split in found.values() for text in split.texts}
    others = _rows_without(whole, known)
    if not others:
        raise ValueError(three_parts("test texts that no other split has", "copies alone", "Ask for fewer texts."))
    return {**found, "unlabelled": whole.take(others)}
