"""What the last run saw of each file, so that the next one skips what did not change.

A cache: the shard is the truth, and everything here can be had again from its payloads.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from vecloom.errors import StoreError, StoreFullError

FILE_NAME = "files.db"

#: In place of a hash: the shard holds points of this file, but nobody knows whether all of them.
UNVERIFIED = ""

_TABLES = """
CREATE TABLE IF NOT EXISTS meta (uid TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS files (
    source TEXT NOT NULL, path TEXT NOT NULL, hash TEXT NOT NULL, chunks INTEGER NOT NULL,
    PRIMARY KEY (source, path)
) WITHOUT ROWID;
"""


class FileStates:
    """Per source and path: the hash of the bytes that are stored, and how many chunks they gave.

    Before points of a file are written its hash becomes UNVERIFIED, and the new hash is recorded only when
    the shard has acknowledged them. So after a kill at any time the files in doubt are compared with the
    shard, and no others.
    """

    def __init__(self, folder: Path, uid: str) -> None:
        """Open the cache of the index ``uid``; a damaged one is begun anew.

        Raises:
            StoreFullError: no room on the disk.
            StoreError: it cannot be opened or written.
        """
        self._path = folder / FILE_NAME
        self._uid = uid
        try:
            self._db = self._open()
        except sqlite3.OperationalError as error:
            raise _refusal(self._path, error) from None
        except sqlite3.DatabaseError:
            remove_states(folder)
            self._db = self._open()

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.executescript(_TABLES)
            row = db.execute("SELECT uid FROM meta").fetchone()
            #: True where this cache knows nothing of the shard's points and has to be told by `rebuild`.
            self.blank = row is None or row[0] != self._uid
            if self.blank:
                db.execute("DELETE FROM files")
        except sqlite3.Error:
            db.close()
            raise
        return db

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._guarded():
            self._db.execute("BEGIN IMMEDIATE")
            yield self._db
            self._db.execute("COMMIT")

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Refusals of the database in our words. A damaged one is removed: the next run asks the shard."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise _refusal(self._path, error) from None
        except sqlite3.DatabaseError as error:
            self._db.close()
            remove_states(self._path.parent)
            raise StoreError(
                f"{self._path} was damaged ({error}) and is removed; run again, nothing stored is lost"
            ) from None

    def rebuild(self, files: Iterable[tuple[str, str]]) -> None:
        """Take the shard's files (source, path), all of them unverified, and be blank no more."""
        with self._transaction() as db:
            db.execute("DELETE FROM files")
            db.executemany(
                "INSERT INTO files VALUES (?, ?, ?, 0)",
                ((source, path, UNVERIFIED) for source, path in files),
            )
            db.execute("DELETE FROM meta")
            db.execute("INSERT INTO meta VALUES (?)", (self._uid,))
        self.blank = False

    def hashes(self, source: str) -> dict[str, str]:
        """Path -> recorded hash of a source's files."""
        with self._guarded():
            return dict(self._db.execute("SELECT path, hash FROM files WHERE source = ?", (source,)))

    def begin(self, source: str, paths: Iterable[str]) -> None:
        """Put files in doubt: their points are about to be written or deleted."""
        with self._transaction() as db:
            db.executemany(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, 0)",
                ((source, path, UNVERIFIED) for path in paths),
            )

    def commit(self, source: str, files: Iterable[tuple[str, str, int]], gone: Iterable[str] = ()) -> None:
        """Record files (path, hash, chunks) whose points the shard has, and forget those ``gone``."""
        with self._transaction() as db:
            db.executemany(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)",
                ((source, path, digest, chunks) for path, digest, chunks in files),
            )
            db.executemany(
                "DELETE FROM files WHERE source = ? AND path = ?", ((source, path) for path in gone)
            )

    def doubt_all(self) -> None:
        """Make every file unverified (another chunker will look at them)."""
        with self._transaction() as db:
            db.execute("UPDATE files SET hash = ?", (UNVERIFIED,))

    def doubt(self, source: str) -> None:
        """Make every file of a source unverified: its points are about to be deleted."""
        with self._transaction() as db:
            db.execute("UPDATE files SET hash = ? WHERE source = ?", (UNVERIFIED, source))

    def forget(self, source: str) -> None:
        """Forget a source."""
        with self._transaction() as db:
            db.execute("DELETE FROM files WHERE source = ?", (source,))

    def close(self) -> None:
        """Close the database."""
        self._db.close()


def remove_states(folder: Path) -> None:
    """Remove the cache of an index, its log included: another database must never be given an old log."""
    for name in (f"{FILE_NAME}-wal", f"{FILE_NAME}-shm", FILE_NAME):
        (folder / name).unlink(missing_ok=True)


def _refusal(path: Path, error: sqlite3.OperationalError) -> StoreError:
    # The low byte is the kind of failure, the others say more about it (sqlite.org/rescode.html).
    if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return StoreFullError(f"cannot write {path}: {error}; make room and run again")
    return StoreError(f"cannot write {path}: {error}; see who else uses it, and to its permissions")
