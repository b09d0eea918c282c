"""Local files: every format gives the same data set, and every mistake a message."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gencls.data.sources import load_dataset

TEXTS = ["NA", 'said "so",\nthen left', "null", "100", "naïve 😀", "שלום"]
LABELS = ["pos", "neg", "pos", "neg", "pos", "neg"]


def write_table(path: Path, texts: list[object] = TEXTS, labels: list[object] = LABELS, **names: str) -> Path:
    import pandas

    columns = {names.get("text", "text"): texts, names.get("label", "label"): labels}
    if path.suffix == ".jsonl":
        lines = [json.dumps(dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]
        path.write_text("\n".join(lines) + "\n\n", encoding="utf-8")
    elif path.suffix == ".parquet":
        pandas.DataFrame(columns).to_parquet(path)
    else:
        pandas.DataFrame(columns).to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_every_table_gives_the_same_data(tmp_path: Path, suffix: str) -> None:
    dataset = load_dataset(write_table(tmp_path / f"any{suffix}"))
    assert dataset.splits["train"].texts == [*TEXTS[:1], 'said "so", then left', *TEXTS[2:]]
    assert dataset.label_names == ("neg", "pos")
    assert dataset.splits["train"].labels.tolist() == [1, 0, 1, 0, 1, 0]
    assert str(tmp_path) in dataset.source
    assert list(dataset.splits) == ["train"]


def test_the_fingerprint_does_not_know_the_format(tmp_path: Path) -> None:
    kinds = [load_dataset(write_table(tmp_path / f"t{suffix}")) for suffix in (".csv", ".jsonl", ".parquet")]
    assert len({one.fingerprint for one in kinds}) == 1
    assert len({one.version for one in kinds}) == 3


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_columns_can_be_named(tmp_path: Path, suffix: str) -> None:
    path = write_table(tmp_path / f"t{suffix}", text="review", label="stars")
    with pytest.raises(ValueError, match=r"a column 'text'; got the columns 'review', 'stars'"):
        load_dataset(path)
    assert len(load_dataset(path, text_column="review", label_column="stars").splits["train"]) == 6


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text,label\na,0\nb,0\nc,1\nd,1\n", encoding="utf-8-sig")
    assert load_dataset(tmp_path / "t.csv").label_names == ("0", "1")


def test_a_folder_of_tables_has_official_splits(tmp_path: Path) -> None:
    write_table(tmp_path / "train.csv")
    write_table(tmp_path / "test.jsonl", ["x", "y"], ["neg", "pos"])
    write_table(tmp_path / "dev.parquet", ["z", "w"], ["pos", "neg"])
    dataset = load_dataset(tmp_path)
    assert {key: len(split) for key, split in dataset.splits.items()} == {
        "train": 6,
        "validation": 2,
        "test": 2,
    }
    assert dataset.splits["validation"].labels.tolist() == [1, 0]


def write_classes(root: Path, classes: dict[str, list[str]]) -> None:
    for name, texts in classes.items():
        (root / name).mkdir(parents=True)
        for number, text in enumerate(texts):
            (root / name / f"{number}.txt").write_text(text, encoding="utf-8")


def test_a_folder_per_class(tmp_path: Path) -> None:
    write_classes(tmp_path, {"good": ["a", "b"], "bad": ["c<br />d", "e"], ".git": ["no"]})
    (tmp_path / "README.md").write_text("not a text")
    dataset = load_dataset(tmp_path)
    assert dataset.label_names == ("bad", "good")
    assert dataset.splits["train"].texts == ["c d", "e", "a", "b"]


def test_folders_per_split_and_class_as_imdbs_archive(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", {"pos": ["a", "b"], "neg": ["c", "d"], "unsup": ["u"]})
    write_classes(tmp_path / "test", {"pos": ["e"], "neg": ["f", "g"]})
    dataset = load_dataset(tmp_path)
    assert dataset.label_names == ("neg", "pos")
    assert {key: len(split) for key, split in dataset.splits.items()} == {"train": 4, "test": 3}


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    write_classes(tmp_path, {"train": ["by rail", "on time"], "bus": ["by road", "late"]})
    assert load_dataset(tmp_path).label_names == ("bus", "train")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_missing_texts_are_refused(tmp_path: Path, suffix: str) -> None:
    path = write_table(tmp_path / f"t{suffix}", ["a", None, "c", "d"], [0, 0, 1, 1])
    with pytest.raises(ValueError, match=r"missing text .* in 1 of 4 rows .*\(rows 2\)"):
        load_dataset(path)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_numbers_are_no_texts(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(ValueError, match="int in 4 of 4 rows"):
        load_dataset(write_table(tmp_path / f"t{suffix}", [1, 2, 3, 4], [0, 0, 1, 1]))


def test_a_json_row_without_the_column_is_missing_it(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"text": "a", "label": 0}\n{"label": 1}\n')
    with pytest.raises(ValueError, match=r"missing text.*\(rows 2\)"):
        load_dataset(tmp_path / "t.jsonl")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"", "empty file"),
        ("t.jsonl", b"", "empty file"),
        ("t.parquet", b"", "empty file"),
        ("t.csv", b"text,label\n", "at least one text"),
        ("t.csv", b"\n\n", "readable .csv file"),
        ("t.csv", b"text,label\na,0\nb,0\n", "at least two classes"),
        ("t.csv", b"text,label\na,0\nb,0\nc,1\n", "at least 2 texts of every class"),
        ("t.csv", b"text,label\na,0\nb,\nc,1\n", "a label in every row"),
        ("t.csv", b"text,label\n\xff\xfe,0\n", "in UTF-8"),
        ("t.csv", b"text,label\na,0,1,2\nb,0\nc,1,5,6,7,8\n", "readable .csv|a column"),
        ("t.jsonl", b'{"text": "a", "label": 0}\n{"text": ', "in line 2"),
        ("t.jsonl", b"[1]\n", "a list in line 1"),
        ("t.jsonl", b'{"text": "\xff"}\n', "in UTF-8"),
        ("t.parquet", b"PAR1 cut short", "readable .parquet file"),
        ("t.xlsx", b"x", "ends in .csv, .tsv, .jsonl, .parquet"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        load_dataset(tmp_path / name)
    assert str(caught.value).startswith("Expected ") and "; got " in str(caught.value)


def test_bad_folders(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a folder of \.txt"):
        load_dataset(tmp_path)
    write_table(tmp_path / "test.csv")
    with pytest.raises(ValueError, match="a training split"):
        load_dataset(tmp_path)
    write_table(tmp_path / "train.csv")
    write_table(tmp_path / "train.tsv")
    with pytest.raises(ValueError, match=r"got train.csv and train.tsv"):
        load_dataset(tmp_path)


@pytest.mark.parametrize("source", ["auto", "file"])
def test_a_path_that_is_not_there(tmp_path: Path, source: str) -> None:
    write_table(tmp_path / "reviews.csv")
    with pytest.raises(FileNotFoundError, match=r"near it: 'reviews\.csv'"):
        load_dataset(tmp_path / "review.csv", source=source)
