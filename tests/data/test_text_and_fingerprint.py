"""Cleaning, normal forms and fingerprints."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from gencls.data.dataset import TextSplit
from gencls.data.fingerprint import digest_of, digest_of_texts, fingerprint
from gencls.data.text import clean, normal_form

ODD = [
    "",
    " ",
    "\x00\x07",
    "😀 [MASK] </s>",
    "שלום עולם",
    "a<br/>b",
    "&lt;br&gt;",
    "ﬁn ①",
    "İstanbul",
    "ß",
    "\ud800",
]


@pytest.mark.parametrize(
    "written", ["a<br />b", "a<br>b", "a<BR/>b", "a< br / >b", "a</br>b", "a\n\tb", "a\u00a0\u3000b"]
)
def test_breaks_and_white_space_are_one_space(written: str) -> None:
    assert clean(written) == "a b"


def test_entities_and_other_markup_stay() -> None:
    assert clean("<b>x</b> &amp; y<brx>") == "<b>x</b> &amp; y<brx>"


@pytest.mark.parametrize("text", ODD)
def test_both_forms_are_idempotent(text: str) -> None:
    assert clean(clean(text)) == clean(text)
    assert normal_form(normal_form(text)) == normal_form(text)
    assert normal_form(clean(text)) == normal_form(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Good, film!", "good film"),
        ("ＧＯＯＤ", "good"),
        ("Straße", "STRASSE"),
        ("a_b", "a b"),
        ("ﬁne", "fine"),
    ],
)
def test_copies_have_one_normal_form(one: str, other: str) -> None:
    assert normal_form(one) == normal_form(other)


@pytest.mark.parametrize(("one", "other"), [("good", "goods"), ("notgood", "not good"), ("😀", "🤢"), ("是", "不是")])
def test_other_texts_have_another(one: str, other: str) -> None:
    assert normal_form(one) != normal_form(other)


def split(texts: list[str], labels: list[int]) -> TextSplit:
    return TextSplit(texts, np.array(labels, dtype=np.int64))


def test_fingerprint_tells_every_change() -> None:
    base = fingerprint(("a", "b"), {"train": split(["x", "yz"], [0, 1])})
    others = [
        fingerprint(("a", "c"), {"train": split(["x", "yz"], [0, 1])}),
        fingerprint(("a", "b"), {"train": split(["xy", "z"], [0, 1])}),
        fingerprint(("a", "b"), {"train": split(["x", "yz"], [1, 0])}),
        fingerprint(("a", "b"), {"train": split(["yz", "x"], [1, 0])}),
        fingerprint(("a", "b"), {"test": split(["x", "yz"], [0, 1])}),
        fingerprint(("a", "b", "c"), {"train": split(["x", "yz"], [0, 1])}),
    ]
    assert len({base, *others}) == 7
    assert len(base) == 64


def test_fingerprint_ignores_the_order_of_the_splits() -> None:
    one, two = split(["x"], [0]), split(["\ud800"], [1])
    assert fingerprint("ab", {"train": one, "test": two}) == fingerprint("ab", {"test": two, "train": one})


def test_digests_are_the_same_in_another_process() -> None:
    code = "from gencls.data.fingerprint import digest_of; print(digest_of(3, 'é').hex())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == digest_of(3, "é").hex()


def test_texts_without_labels_have_a_digest_of_their_order_whatever_is_in_them():
    odd = ["\ud800", "ж", ""]
    assert digest_of_texts(odd) == digest_of_texts(list(odd))
    assert len({digest_of_texts(texts) for texts in (odd, odd[::-1], odd[:2], ["a"])}) == 4
