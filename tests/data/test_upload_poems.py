"""The uploader up to the hub's call: splits by author, and what it hands over."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

from gencls.data.poems import split_of

SCRIPT = Path(__file__).parents[2] / "scripts" / "upload_poems.py"


def test_what_is_handed_to_the_hub(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("upload_poems", SCRIPT)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    path, sent = tmp_path / "poems.jsonl", {}
    signs = "".join(chr(0x4E00 + n) for n in range(300))
    poems = [{"title": "t", "author": f"a{n}", "content": signs[5 * n : 5 * n + 5]} for n in range(40)]
    path.write_text("\n".join(map(json.dumps, poems)))

    def push(data: Any, name: str, *, private: bool) -> None:
        sent.update(data=data, name=name, private=private)

    script.upload(path, "me/poems", private=True, push=push)
    assert sent["name"] == "me/poems" and sent["private"]
    assert sum(len(part) for part in sent["data"].values()) == 40
    for split, part in sent["data"].items():
        assert {split_of(author) for author in part["author"]} == {split}
        assert part.column_names == ["title", "author", "text"]
