"""The store: what was put is found again to the last bit, whatever is killed, damaged, shared, full or read-only."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import gencls
from gencls.likelihood import database, store
from gencls.likelihood.store import FILE, ScoreStore, StoredForward, forward_key, scorer_fingerprint

SETTINGS = {"scorer": "toy", "classes": [0, 1], "precision": "float32", "device": "cpu"}
BATCH = 20


def opened(folder, **settings):
    return ScoreStore(folder).open(SETTINGS | settings)


def items(number, size=BATCH, n_places=64):
    """Return keys and forwards of a batch; they depend on its number only."""
    generator = np.random.default_rng(number)
    places = np.sort(generator.permuted(np.tile(np.arange(2 * n_places), (size, 1)), axis=1)[:, :n_places], axis=1)
    log_probs = generator.standard_normal((size, 2, n_places), dtype=np.float32)
    keys = [forward_key(np.array([number, row]), np.ones(2, dtype=bool)) for row in range(size)]
    return keys, [StoredForward(*pair) for pair in zip(places.astype(np.int32), log_probs, strict=True)]


def n_found(forwards, number, size=BATCH):
    """Return how many forwards of a batch are there; those that are must be the right ones."""
    keys, expected = items(number, size)
    found = forwards.get(keys)
    for one, wanted in zip(found, expected, strict=True):
        if one is not None:
            np.testing.assert_array_equal(one.places, wanted.places)
            np.testing.assert_array_equal(one.log_probs, wanted.log_probs.astype(np.float64))
    return sum(one is not None for one in found)


def start(*arguments):
    """Run this file as a writer in another process."""
    environment = os.environ | {"PYTHONPATH": str(Path(gencls.__file__).parents[1])}
    command = [sys.executable, __file__, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def test_what_was_put_is_found_in_the_order_asked(tmp_path):
    forwards = opened(tmp_path / "a" / "b")
    assert forwards.get([]) == []
    forwards.put([], [])
    for number in (1, 2):
        forwards.put(*items(number))
    keys, expected = items(2)
    order = [3, 0, 3]
    for one, row in zip(forwards.get([keys[row] for row in order]), order, strict=True):
        np.testing.assert_array_equal(one.log_probs, expected[row].log_probs)
    assert n_found(opened(tmp_path / "a" / "b"), 1) == n_found(pickle.loads(pickle.dumps(forwards)), 2) == BATCH
    unknown = items(3)[0]
    assert [one is None for one in forwards.get([unknown[0], keys[0], unknown[1]])] == [True, False, True]


def test_places_are_added_and_never_lost(tmp_path):
    forwards, key = opened(tmp_path), b"k" * 16
    numbers = np.arange(20, dtype=np.float32).reshape(2, 10)

    def forward(*places):
        return StoredForward(np.array(places, dtype=np.int32), numbers[:, places])

    for given in (forward(2, 3), forward(3), forward(1, 2, 3), forward(7, 9)):
        forwards.put([key], [given])
    (found,) = forwards.get([key])
    assert found.places.tolist() == [1, 2, 3, 7, 9]
    np.testing.assert_array_equal(found.at([2, 7]), numbers[:, [2, 7]])
    assert found.at([2, 4]) is None
    forwards.put([key, key], [forward(4), forward(5)])
    assert forwards.get([key])[0].places.tolist() == [1, 2, 3, 4, 5, 7, 9]


@pytest.mark.parametrize(
    "other", [{"scorer": "another"}, {"classes": [1, 0]}, {"precision": "bfloat16"}, {"device": "cuda"}, {"extra": 1}]
)
def test_other_settings_do_not_find_the_forwards(tmp_path, other):
    opened(tmp_path).put(*items(1))
    assert n_found(opened(tmp_path, **other), 1) == 0
    assert n_found(ScoreStore(tmp_path).open(dict(reversed(SETTINGS.items()))), 1) == BATCH


def test_another_version_does_not_find_the_forwards(tmp_path, monkeypatch):
    opened(tmp_path).put(*items(1))
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "0.0")
        assert n_found(opened(tmp_path), 1) == 0
    monkeypatch.setattr(store, "STORE_VERSION", -1)
    assert n_found(opened(tmp_path), 1) == 0


def test_a_writer_killed_at_any_moment_beside_another_writer(tmp_path):
    """Both have all batches that they finished; the killed one's last batch is there as a whole or not at all."""
    forwards = opened(tmp_path)
    own = range(10**6, 10**6 + 20)  # the other one may be fast: it gets nowhere near them
    with start("forever", tmp_path) as writer:
        for number in own:
            if number > own[5]:
                writer.stdout.readline()  # both are writing by now
            forwards.put(*items(number))
        writer.kill()
        said = 14 + len(writer.stdout.read().split())
    assert all(n_found(forwards, number) == BATCH for number in (*own, *range(said)))
    assert n_found(forwards, said) in (0, BATCH)
    assert n_found(forwards, said + 1) == 0


def test_a_kill_inside_a_transaction_takes_it_back(tmp_path):
    """The killed writer leaves half of a batch in the file and a journal; the next reader takes that half back."""
    size = 5000
    with start("inside", tmp_path, size) as writer:
        assert writer.wait() == -signal.SIGKILL
    assert (tmp_path / f"{FILE}-journal").stat().st_size > 0
    assert (tmp_path / FILE).stat().st_size > 1e6
    forwards = opened(tmp_path)
    assert n_found(forwards, 0) == BATCH
    assert n_found(forwards, 1, size) == 0
    assert not (tmp_path / f"{FILE}-journal").exists()
    forwards.put(*items(1, size))
    assert n_found(forwards, 1, size) == size


def test_many_threads_write_at_once(tmp_path):
    forwards = opened(tmp_path)
    threads = [threading.Thread(target=lambda n=n: forwards.put(*items(n % 6))) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [n_found(forwards, number) for number in range(7)] == [BATCH] * 6 + [0]


@pytest.mark.parametrize("damage", ["no database", "cut", "header", "schema", "other tables"])
def test_a_damaged_file_is_left_aside_with_a_warning(tmp_path, caplog, damage):
    forwards, path = opened(tmp_path), tmp_path / FILE
    for number in range(10):
        forwards.put(*items(number))
    content = bytearray(path.read_bytes())
    place = content.index(b"CREATE TABLE forwards")
    if damage == "other tables":
        path.unlink()
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE forwards (mine)")
    else:
        schema = content[:place] + b"\xff" * 9 + content[place + 9 :]
        header = b"\xff" * 100 + content[100:]
        damaged = {"no database": b"x" * 9999, "cut": content[:20_000], "header": header, "schema": schema}
        path.write_bytes(damaged[damage])
    with caplog.at_level(logging.WARNING, logger="gencls.likelihood"):
        assert sum(n_found(forwards, number) for number in range(10)) < 10 * BATCH
    assert f"{FILE} is damaged" in caplog.text
    assert "is scored again" in caplog.text
    assert {one.name for one in tmp_path.iterdir()} == {FILE, "scores-2.sqlite"}
    for number in range(10):
        forwards.put(*items(number))
    assert sum(n_found(opened(tmp_path), number) for number in range(10)) == 10 * BATCH


def test_every_damaged_file_is_kept(tmp_path):
    names = [FILE, *(f"scores-{number}.sqlite" for number in range(2, 12))]
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(b"x" * 9999)
        opened(tmp_path).put(*items(number))
        assert n_found(opened(tmp_path), number) == BATCH
    assert {path.name for path in tmp_path.iterdir()} == {*names, "scores-12.sqlite"}


def test_processes_that_find_the_same_damage_go_on_with_the_same_file(tmp_path, monkeypatch):
    (tmp_path / FILE).write_bytes(b"x" * 9999)
    make_tables = database.Database._make_tables

    def after_the_other(self, connection):
        monkeypatch.setattr(database.Database, "_make_tables", make_tables)
        opened(tmp_path).put(*items(1))
        make_tables(self, connection)

    monkeypatch.setattr(database.Database, "_make_tables", after_the_other)
    assert n_found(opened(tmp_path), 1) == BATCH
    assert {path.name for path in tmp_path.iterdir()} == {FILE, "scores-2.sqlite"}


def test_a_flipped_bit_loses_its_record_and_no_other(tmp_path, caplog):
    forwards, path = opened(tmp_path), tmp_path / FILE
    forwards.put(*items(1))
    content = bytearray(path.read_bytes())
    number = items(1)[1][7].log_probs.tobytes()[100:140]
    content[content.index(number) + 20] ^= 1
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING, logger="gencls.likelihood"):
        assert n_found(forwards, 1) == BATCH - 1
    assert "1 records" in caplog.text
    forwards.put(*items(1))
    assert n_found(forwards, 1) == BATCH
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("part", ["first page", "rest"])
def test_no_flipped_byte_gives_a_wrong_number(tmp_path, part):
    path = tmp_path / FILE
    opened(tmp_path).put(*items(1))
    content = path.read_bytes()
    places = range(0, 110) if part == "first page" else range(3600, len(content), 211)
    for place in places:
        path.write_bytes(content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :])
        assert n_found(opened(tmp_path), 1) <= BATCH  # and compares those that are found
        for other in tmp_path.iterdir():
            other.unlink()


def connecting(statement):
    """Return a way to connect that gives SQLite's own error of a full disk or a read-only file."""
    connect = sqlite3.connect

    def limited(*arguments, **options):
        connection = connect(*arguments, **options)
        connection.execute(statement)
        return connection

    return limited


@pytest.mark.parametrize(
    ("statement", "problem"),
    [("PRAGMA max_page_count = 9", "database or disk is full"), ("PRAGMA query_only = 1", "readonly")],
)
def test_a_full_disk_and_a_read_only_file_are_said_so(tmp_path, monkeypatch, statement, problem):
    forwards = opened(tmp_path)
    forwards.put(*items(1, 2))
    monkeypatch.setattr(database.sqlite3, "connect", connecting(statement))
    with pytest.raises(OSError, match=rf"Expected to read and write scores in .*{FILE}; got .*{problem}.*\. Make room"):
        forwards.put(*items(2, 500))
    assert n_found(opened(tmp_path), 1, 2) == 2  # what is there can be read
    monkeypatch.undo()
    assert n_found(opened(tmp_path), 2, 500) == 0
    assert list(tmp_path.iterdir()) == [tmp_path / FILE]


def test_a_folder_that_cannot_be_made_is_refused_before_any_scoring(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"Expected to read and write scores in .*; got .*\. Make room"):
        opened(tmp_path / "file" / "scores")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(tmp_path):
    opened(tmp_path).put(*items(1))
    tmp_path.chmod(0o500)
    try:
        assert n_found(opened(tmp_path), 1) == BATCH
        with pytest.raises(OSError, match="Make room on the disk, or give"):
            opened(tmp_path).put(*items(2))
        with pytest.raises(OSError, match="Make room on the disk, or give"):
            opened(tmp_path / "new")
    finally:
        tmp_path.chmod(0o700)


def test_a_file_that_another_process_holds_is_waited_for(tmp_path, monkeypatch):
    forwards = opened(tmp_path)
    monkeypatch.setattr(database, "PATIENCE", 0.05)
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(OSError, match=r"got database is locked\. "):
            forwards.get(items(1)[0])
    assert n_found(forwards, 1) == 0


def test_ten_thousand_forwards_are_small_and_quick(tmp_path):
    forwards, (keys, values) = opened(tmp_path), items(0, 10_000)
    began = time.thread_time()  # not the clock on the wall: a busy disk may stall any write
    for first in range(0, 10_000, 1000):
        forwards.put(keys[first : first + 1000], values[first : first + 1000])
    found = forwards.get(keys)
    assert time.thread_time() - began < 5  # about one
    assert None not in found
    numbers = 64 * 2 * 4
    assert (tmp_path / FILE).stat().st_size / 10_000 < 1.4 * numbers


def test_a_measured_choice_is_kept_for_the_folder(tmp_path, caplog):
    folder, allowed = ScoreStore(tmp_path), ["float32", "bfloat16"]
    assert folder.settle("precision", lambda: "bfloat16", allowed) == "bfloat16"
    assert folder.settle("precision", lambda: "float32", allowed) == "bfloat16"
    assert folder.settle("another", lambda: "float32", allowed) == "float32"
    assert folder.settle("precision", lambda: "float8", ["float8"]) == "float8"
    assert "chosen again" in caplog.text


def test_of_two_processes_the_first_one_chooses(tmp_path):
    folder, allowed = ScoreStore(tmp_path), ["float32", "bfloat16"]

    def choose_while_the_other_does():
        assert ScoreStore(tmp_path).settle("precision", lambda: "bfloat16", allowed) == "bfloat16"
        return "float32"

    assert folder.settle("precision", choose_while_the_other_does, allowed) == "bfloat16"


def test_a_fingerprint_follows_the_weights():
    torch_module = nn.Linear(3, 2)
    before = scorer_fingerprint(torch_module)
    assert scorer_fingerprint(torch_module) == before
    with torch.no_grad():
        torch_module.weight[0, 0] += 1
    assert scorer_fingerprint(torch_module) != before
    assert scorer_fingerprint(torch_module.bfloat16()) != before
    assert scorer_fingerprint(nn.Module())
    with pytest.raises(TypeError, match="fingerprint"):
        scorer_fingerprint(object())


def write_forever(folder):
    forwards = opened(folder)
    for number in range(10**6):
        forwards.put(*items(number))
        print(number, flush=True)


def die_inside_a_transaction(folder, size):
    forwards, encode = opened(folder), store.encode
    forwards.put(*items(0))
    n_left = size - 10

    def encode_or_die(*arguments):
        nonlocal n_left
        n_left -= 1
        if n_left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return encode(*arguments)

    store.encode = encode_or_die
    forwards.put(*items(1, size))


if __name__ == "__main__":
    if sys.argv[1] == "forever":
        write_forever(sys.argv[2])
    else:
        die_inside_a_transaction(sys.argv[2], int(sys.argv[3]))
