"""Poems: patience with bad records, and nothing held out that was trained on."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from gencls.data.poems import Poem, PoemSplits, contamination, joined_lines, poem_of, read_poems, split_of, split_poems

GOOD = {"title": "题", "author": "某人", "content": "一行字\n\n　　又一行"}


def write(path: Path, lines: list[bytes]) -> Path:
    path.write_bytes(b"\n".join(lines))
    return path


def record(**changes: object) -> bytes:
    return json.dumps({**GOOD, **changes}, ensure_ascii=False).encode("utf-8", "surrogatepass")


def test_whatever_a_file_holds_is_read_or_counted(tmp_path: Path) -> None:
    lines = [
        b"\xef\xbb\xbf" + record(),
        b"",
        b"{broken",
        b"\xff\xfe",
        b"[1, 2]",
        b'"a string"',
        b"[" * 100_000,
        json.dumps({"title": "x", "author": "y"}).encode(),
        record(content=None),
        record(author="  "),
        record(content="\n \u3000\n"),
        record(content="一"),
        record(content="。。。。"),
        record(content="长" * 15_000),
        record(content="mixed 中文 と かな 한글 \U0001f319 text\r\nsecond"),
        json.dumps({**GOOD, "content": "half \ud83d emoji"}).encode(),
    ]
    poems = read_poems(write(tmp_path / "poems.jsonl", lines))
    assert [len(poem.text) for poem in poems.poems] == [7, 15_000, 30, 12]
    assert poems.poems[2].lines == ["mixed 中文 と かな 한글 \U0001f319 text", "second"]
    assert poems.skipped == {
        "empty": 1,
        "fewer than two letters": 2,
        "no JSON": 2,
        "no UTF-8": 1,
        "no author": 1,
        "no object": 2,
        "no text in the field 'content'": 2,
    }
    poems.poems[3].text.encode()  # no lone surrogate is left


def test_a_file_without_a_poem_says_why(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Expected a poem in .*; got 2 x no JSON\. Give"):
        read_poems(write(tmp_path / "p.jsonl", [b"{", b"}"]))
    with pytest.raises(ValueError, match="an empty file"):
        read_poems(write(tmp_path / "p.jsonl", []))
    with pytest.raises(FileNotFoundError, match="GENCLS_POEMS"):
        read_poems(tmp_path / "none.jsonl")


def test_a_slash_of_the_poem_is_no_line_break() -> None:
    assert joined_lines("a/b\nc") == "a\uff0fb/c"


def test_an_author_stays_in_place() -> None:
    assert split_of("余光中") == split_of(" 余光中 ")
    assert {split_of("余光中", seed=seed) for seed in range(40)} == {"train", "validation", "test"}


def test_the_shares_are_those_of_the_hash() -> None:
    names = [split_of(f"author {number}") for number in range(4000)]
    for name, share in {"train": 0.8, "validation": 0.1, "test": 0.1}.items():
        error = (share * (1 - share) / 4000) ** 0.5
        assert abs(names.count(name) / 4000 - share) < 4 * error


def of(split: str, start: int = 0) -> str:
    """An author of a split."""
    return next(f"a{n}" for n in range(start, 10_000) if split_of(f"a{n}") == split)


def test_near_copies_do_not_straddle() -> None:
    words = "".join(chr(0x4E00 + 7 * n) for n in range(200))
    poems = [
        Poem("", of("train"), words[:20]),
        Poem("", of("train"), words[100:120]),
        Poem("", of("train"), words[100:120] + "。"),  # a copy in its own split
        Poem("", of("train"), words[40:60]),
        Poem("", of("validation"), words[50:70]),  # half of it in training and half of it in test
        Poem("", of("test"), words[10:20] + words[150:160]),
        Poem("", of("test"), words[60:80]),
    ]
    splits = split_poems(poems)
    assert [poem.text for poem in splits.train] == [words[100:120]]
    assert splits.validation == []
    assert splits.test == poems[5:]
    assert splits.dropped == {"copies": 1, "train": 2, "validation": 1}
    shared = contamination(splits)["shared"]
    assert all(count == 0 for facts in shared.values() for count in facts.values())


def test_contamination_is_seen_where_it_is() -> None:
    poem = Poem("", "one author", "春眠不觉晓，处处闻啼鸟。")
    near = Poem("", "another", "夜来风雨声处处闻啼鸟，花")
    facts = contamination(PoemSplits([poem, near], [], [poem], {}))["shared"]["train-test"]
    assert facts == {"authors": 1, "copies": 1, "near_copies": 1}
    facts = contamination(PoemSplits([near], [], [Poem("", "x", "处处闻啼鸟")], {}))["shared"]["train-test"]
    assert facts == {"authors": 0, "copies": 0, "near_copies": 1}


def test_a_record_keeps_its_title_and_author() -> None:
    assert poem_of(GOOD) == Poem("题", "某人", "一行字/又一行")


@pytest.mark.skipif(not os.environ.get("GENCLS_POEMS"), reason="GENCLS_POEMS names no file of modern poems")
def test_no_leak_in_the_real_file() -> None:
    splits = split_poems(read_poems(os.environ["GENCLS_POEMS"]).poems)
    facts = contamination(splits)
    assert all(count == 0 for shared in facts["shared"].values() for count in shared.values())
    assert min(part["poems"] for part in facts["splits"].values()) > 100
