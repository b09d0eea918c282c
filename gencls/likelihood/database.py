"""One SQLite file that survives a kill, two writers and its own damage.

The journal is SQLite's default, a rollback journal, and not the write-ahead log (WAL): WAL needs shared memory and so
does not work over a network file system, and after a kill it leaves finished transactions in a ``-wal`` file that is
lost when somebody copies or tidies the folder. With the rollback journal the finished transactions are all in the one
file; what a kill leaves is the journal of the *unfinished* one, which the next reader takes back. The price is that
readers and a writer take turns, which does not matter at one short transaction (some milliseconds) per batch of
forwards. SQLite's full synchronisation stays on: what is lost to a power cut is a batch too, not the file.

A connection lives for one operation (0.4 ms). So nothing has to be closed, pickled or kept out of other threads and
forked processes, and no process goes on with a file that another one has found damaged.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from gencls.data.errors import three_parts

logger = logging.getLogger("gencls.likelihood")
Result = TypeVar("Result")
#: Seconds that an operation waits for the other processes.
PATIENCE = 60.0
ATTEMPTS = 3
#: What SQLite says when not the file is at fault but the disk, the rights or another process.
SURROUNDINGS = ("locked", "locking protocol", "readonly", "unable to open", "disk", "large file", "interrupted")


class Database:
    """A file with given tables; when it is damaged, a new one takes its place.

    The damaged file stays where it is, and the new one has the next number in its name: ``scores.sqlite``,
    ``scores-2.sqlite``. To rename the damaged one would be a race between the processes that find the damage at the
    same time, and the one that is still writing to it would have its journal under the new file's name.

    Parameters
    ----------
    path : Path
        Of the first file. Made, with its folder, by the first operation.
    tables : dict of str to str
        Name and columns of each table.
    """

    def __init__(self, path: Path, tables: dict[str, str]) -> None:
        self.first = path
        self.tables = tables

    @property
    def path(self) -> Path:
        """The file in use: the one with the highest number."""
        return self._numbered(self._number())

    def run(self, operation: Callable[[sqlite3.Connection], Result]) -> Result:
        """Return what an operation returns.

        Parameters
        ----------
        operation : callable
            Takes a connection. It is called again when the file turns out to be damaged.

        Raises
        ------
        OSError
            If the folder cannot be written to, the disk is full or another process holds the file.
        """
        for _ in range(ATTEMPTS):
            number = self._number()
            path = self._numbered(number)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with closing(_connect(path)) as connection:
                    self._make_tables(connection)
                    return operation(connection)
            except (sqlite3.DatabaseError, UnicodeDecodeError, OSError) as error:
                if _is_damage(error):
                    self._begin_anew(number, error)
                elif isinstance(error, (sqlite3.OperationalError, OSError)):
                    raise _unusable(path, error) from error
                else:  # a mistake of ours
                    raise
        raise _unusable(self.first, f"a damaged file {ATTEMPTS} times in a row")

    def _number(self) -> int:
        """The number of the file in use."""
        found = self.first.parent.glob(f"{self.first.stem}-*{self.first.suffix}")
        numbers = [path.stem.removeprefix(f"{self.first.stem}-") for path in found]
        return max((int(number) for number in numbers if number.isdecimal()), default=1)

    def _numbered(self, number: int) -> Path:
        return self.first if number == 1 else self.first.with_stem(f"{self.first.stem}-{number}")

    def _begin_anew(self, number: int, error: Exception) -> None:
        """Make the next file; no harm is done when another process has made it already."""
        damaged, fresh = self._numbered(number), self._numbered(number + 1)
        logger.warning(
            "%s is damaged (%s); %s takes its place, and what was in it is scored again.", damaged, error, fresh.name
        )
        try:
            fresh.touch()
        except OSError as problem:
            raise _unusable(fresh, problem) from problem

    def _make_tables(self, connection: sqlite3.Connection) -> None:
        """Make the missing tables; takes no write lock when there is none, so that a read-only folder can be read."""
        known = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if not self.tables.keys() <= known:
            with transaction(connection):
                for name, columns in self.tables.items():
                    connection.execute(f"CREATE TABLE IF NOT EXISTS {name} ({columns})")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, and no other writer from the first statement on."""
    connection.execute("BEGIN IMMEDIATE")
    yield  # whatever is raised here closes the connection, which takes the transaction back
    connection.execute("COMMIT")


def _connect(path: Path) -> sqlite3.Connection:
    # no isolation level: transactions begin and end where we say so
    return sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)


def _is_damage(error: Exception) -> bool:
    """Tell a damaged file from surroundings in which no file would work, and from a mistake of ours."""
    if isinstance(error, sqlite3.OperationalError):
        # the rest: a column that does not exist, text that is no UTF-8
        return not any(words in str(error) for words in SURROUNDINGS)
    # sqlite3 quotes names out of the damaged file as if they were UTF-8
    return type(error) in (sqlite3.DatabaseError, UnicodeDecodeError)


def _unusable(path: Path, problem: object) -> OSError:
    todo = "Make room on the disk, or give the store a folder that this process may write to and lock files in."
    return OSError(three_parts(f"to read and write scores in {path}", str(problem), todo))
