"""Data sets in local files: CSV, TSV, JSONL, Parquet, folders of these, and one folder per class."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gencls.data.dataset import RawSplit, TextDataset, build_dataset
from gencls.data.errors import of_rows, three_parts

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
_SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test",),
}
# The folder of unlabelled texts in the published archive of IMDB is no class.
_NOT_A_CLASS = {"unsup", "__MACOSX"}


def load_file(path: Path, *, text_column: str = "text", label_column: str = "label") -> TextDataset:
    """A data set from a file or folder.

    Parameters
    ----------
    path : Path
        A table (one file is the training split); a folder with `train.*` and perhaps `validation.*` and
        `test.*` tables; a folder with one folder of `.txt` files per class; or a folder with such folders
        under `train` and `test`. In CSV and TSV an empty cell is a missing value and "NA" is a text.
    text_column, label_column : str
        Columns of a table.

    Raises
    ------
    FileNotFoundError
        There is no such path.
    ValueError
        The file cannot be read as its suffix says, a column is missing, or a check of `build_dataset` fails.
    """
    if not path.exists():
        raise FileNotFoundError(missing_file(path))
    parts = _parts(path)
    raw: dict[str, RawSplit] = {}
    for split, place in parts.items():
        raw[split] = _read_classes(place) if place.is_dir() else _read_table(place, text_column, label_column)
    return build_dataset(
        str(path),
        raw,
        source=f"local {'folder' if path.is_dir() else 'file'} {path}",
        version=_version(parts),
    )


def load_texts(path: Path, *, text_column: str = "text") -> list[str]:
    """The texts of a file without labels.

    Parameters
    ----------
    path : Path
        A table, of which only the texts are read, or any other file in UTF-8: its paragraphs, between empty lines; its
        lines, if no line is empty.
    text_column : str

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        It cannot be read, or has no such column.
    """
    if not path.is_file():
        raise FileNotFoundError(missing_file(path))
    if path.suffix.lower() in TABLE_SUFFIXES:
        column = _columns(path, (text_column,))[text_column]
        return [text for text in column if isinstance(text, str)]
    lines = [line.strip() for line in _read_text(path).splitlines()]
    blocks = "\n".join(lines).strip("\n").split("\n\n")
    return [block for block in (blocks if len(blocks) > 1 else lines) if block.strip()]


def table_texts(path: Path, *, text_column: str = "text") -> list[str]:
    """The texts of a table, one of each row.

    Parameters
    ----------
    path : Path
        Of one of `TABLE_SUFFIXES`.
    text_column : str

    Raises
    ------
    ValueError
        It cannot be read, has no such column, or a row without a text.
    """
    column = _columns(path, (text_column,))[text_column]
    if wrong := [row for row, text in enumerate(column) if not isinstance(text, str)]:
        got = f"none in {of_rows(wrong, len(column), str(path))}"
        raise ValueError(three_parts("a text in every row", got, "Fill or remove these rows."))
    return column


def missing_file(path: Path) -> str:
    """The message for a path that is not there, with its nearest neighbours."""
    folder = path.parent
    neighbours = [one.name for one in folder.iterdir()] if folder.is_dir() else []
    close = difflib.get_close_matches(path.name, neighbours, n=3)
    near = f" (near it: {', '.join(map(repr, close))})" if close else ""
    return three_parts(f"a file or folder at {path}", "nothing there", f"Check the path{near}.")


def _parts(path: Path) -> dict[str, Path]:
    """Where each split lies."""
    if path.is_file():
        return {"train": path}
    found = {split: place for split, names in _SPLIT_NAMES.items() if (place := _split_place(path, names))}
    if "train" in found:
        return found
    if found:
        raise ValueError(
            three_parts(
                f"a training split in {path}",
                f"only {', '.join(place.name for place in found.values())}",
                f"Add train{TABLE_SUFFIXES[0]} or give the path of one file.",
            )
        )
    return {"train": path}


def _split_place(path: Path, names: Sequence[str]) -> Path | None:
    places = [path / (name + suffix) for name in names for suffix in TABLE_SUFFIXES]
    # A folder "train" is a split only if it holds class folders; else it is a class of that name.
    places += [path / name for name in names if _class_folders(path / name)]
    there = [place for place in places if place.exists()]
    if len(there) > 1:
        raise ValueError(
            three_parts(
                f"one place for a split in {path}",
                " and ".join(place.name for place in there),
                "Remove all but one, or give the path of one file.",
            )
        )
    return there[0] if there else None


def _class_folders(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    folders = [one for one in sorted(path.iterdir()) if one.is_dir() and one.name not in _NOT_A_CLASS]
    return [one for one in folders if not one.name.startswith(".") and next(one.glob("*.txt"), None)]


def _read_classes(path: Path) -> RawSplit:
    texts: list[str] = []
    labels: list[str] = []
    for folder in _class_folders(path):
        for file in sorted(folder.glob("*.txt")):
            texts.append(_read_text(file))
            labels.append(folder.name)
    if not texts:
        raise ValueError(
            three_parts(
                f"in {path} a table train.csv (.tsv, .jsonl, .parquet) or a folder of .txt files per class",
                "neither",
                "Give the path of a file, or put the texts of each class in a folder of its own.",
            )
        )
    return texts, labels


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(_unreadable(file, error)) from error


def _read_table(file: Path, text_column: str, label_column: str) -> RawSplit:
    columns = _columns(file, (text_column, label_column))
    return columns[text_column], columns[label_column]


def _columns(file: Path, wanted: Sequence[str]) -> dict[str, list[Any]]:
    """All columns of a table, which has the wanted ones."""
    suffix = file.suffix.lower()
    if suffix not in TABLE_SUFFIXES:
        raise ValueError(
            three_parts(
                f"a file that ends in {', '.join(TABLE_SUFFIXES)}",
                repr(file.name),
                "Convert it or rename it.",
            )
        )
    if not file.stat().st_size:
        raise ValueError(three_parts("at least one text", f"the empty file {file}", "Give another file."))
    columns = _read_jsonl(file) if suffix == ".jsonl" else _read_with_pandas(file, suffix)
    for column in wanted:
        if column not in columns:
            raise ValueError(
                three_parts(
                    f"a column {column!r}",
                    f"the columns {', '.join(map(repr, columns))} of {file}",
                    "Give the names with text_column= and label_column= (--text-column, --label-column).",
                )
            )
    return columns


def _read_with_pandas(file: Path, suffix: str) -> dict[str, list[Any]]:
    import pandas

    try:
        if suffix == ".parquet":
            table = pandas.read_parquet(file)
        else:
            # Only an empty cell is missing: "NA", "null" and "None" are words that texts may consist of.
            table = pandas.read_csv(
                file,
                sep="\t" if suffix == ".tsv" else ",",
                dtype=str,
                keep_default_na=False,
                na_values=[""],
                encoding="utf-8-sig",
            )
    except (ValueError, OSError) as error:  # pandas' and pyarrow's parsers raise these two kinds
        raise ValueError(_unreadable(file, error)) from error
    return {str(column): table[column].tolist() for column in table.columns}


def _read_jsonl(file: Path) -> dict[str, list[Any]]:
    rows = list(_json_lines(file))
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _json_lines(file: Path) -> Iterator[dict[str, Any]]:
    try:
        with file.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _json_object(file, number, line)
    except UnicodeDecodeError as error:
        raise ValueError(_unreadable(file, error)) from error


def _json_object(file: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(
            three_parts(f"one JSON object per line in {file}", f"{error.msg} in line {number}", "Repair the line.")
        ) from error
    if not isinstance(row, dict):
        raise ValueError(
            three_parts(
                f"one JSON object per line in {file}",
                f"a {type(row).__name__} in line {number}",
                "Repair the line.",
            )
        )
    return row


def _unreadable(file: Path, error: Exception) -> str:
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return three_parts(f"a readable {file.suffix} file in UTF-8", f"{first} in {file}", "Repair or convert the file.")


def _version(parts: dict[str, Path]) -> str:
    """The first digits of a digest over the files' bytes."""
    digest = hashlib.sha256()
    for split in sorted(parts):
        files = [parts[split]] if parts[split].is_file() else sorted(parts[split].glob("*/*.txt"))
        for file in files:
            digest.update(f"{split}\x1f{file.name}\x1f".encode())
            digest.update(file.read_bytes())
    return f"sha256:{digest.hexdigest()[:16]}"
