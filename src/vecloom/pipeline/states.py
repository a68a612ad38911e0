"""What the last run saw of each file, so that the next one skips what did not change.

A cache: the shard is the truth, and everything here can be had again from its payloads.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from vecloom.errors import StoreError, StoreFullError

FILE_NAME = "files.db"
_FILE_NAMES = (f"{FILE_NAME}-wal", f"{FILE_NAME}-shm", FILE_NAME)

#: In place of a hash: the shard holds points of this file, but nobody knows whether all of them.
UNVERIFIED = ""

#: Version of the tables. A database of a newer one is begun anew, as a damaged one is.
_VERSION = 1

#: Table -> its columns.
_COLUMNS = {
    "meta": ("uid",),
    "files": ("source", "path", "hash", "chunks"),
    "roots": ("source", "device", "has_git"),
}

_TABLES = f"""
CREATE TABLE IF NOT EXISTS meta (uid TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS files (
    source TEXT NOT NULL, path TEXT NOT NULL, hash TEXT NOT NULL, chunks INTEGER NOT NULL,
    PRIMARY KEY (source, path)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS roots (source TEXT PRIMARY KEY, device INTEGER NOT NULL, has_git INTEGER NOT NULL);
PRAGMA user_version = {_VERSION};
"""

#: Rows that no version has written: SQLite keeps any type in any column.
_STRANGE = """
SELECT 1 FROM files WHERE typeof(source) != 'text' OR typeof(path) != 'text' OR typeof(hash) != 'text'
UNION ALL SELECT 1 FROM roots WHERE typeof(device) != 'integer' OR typeof(has_git) != 'integer'
UNION ALL SELECT 1 FROM meta WHERE typeof(uid) != 'text' LIMIT 1
"""


class _StrangeError(Exception):
    """The database is not one of ours."""


@dataclass(frozen=True, slots=True)
class RootMark:
    """What the root of a source looked like when its last run was complete.

    ``device``: the number of the device that it lay on (``st_dev``), signed as SQLite keeps it.
    ``has_git``: it held a repository.
    """

    device: int
    has_git: bool


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
        if any((folder / name).exists() and not (folder / name).is_file() for name in _FILE_NAMES):
            remove_states(folder)
        try:
            self._db = self._open()
        except (sqlite3.DatabaseError, _StrangeError) as error:
            if _is_refusal(error):
                raise _refusal(self._path, error) from None
            remove_states(folder)
            self._db = self._open()

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            _check_tables(db)
            db.executescript(_TABLES)
            if db.execute(_STRANGE).fetchone():
                raise _StrangeError
            row = db.execute("SELECT uid FROM meta").fetchone()
            #: True where this cache knows nothing of the shard's points and has to be told by `rebuild`.
            self.blank = row is None or row[0] != self._uid
            if self.blank:
                db.execute("DELETE FROM files")
                db.execute("DELETE FROM roots")
        except (sqlite3.Error, _StrangeError):
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
        except sqlite3.DatabaseError as error:
            if _is_refusal(error):
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise _refusal(self._path, error) from None
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
            db.execute("DELETE FROM roots WHERE source = ?", (source,))

    def root(self, source: str) -> RootMark | None:
        """What the root of a source looked like when its last run was complete; None where nobody knows."""
        with self._guarded():
            row = self._db.execute("SELECT device, has_git FROM roots WHERE source = ?", (source,)).fetchone()
        return None if row is None else RootMark(row[0], bool(row[1]))

    def mark_root(self, source: str, mark: RootMark) -> None:
        """Record what the root of a source looks like now that its run is complete."""
        row = (source, mark.device, int(mark.has_git))
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO roots VALUES (?, ?, ?)", row)

    def close(self) -> None:
        """Close the database."""
        self._db.close()


def remove_states(folder: Path) -> None:
    """Remove the cache of an index, its log included: another database must never be given an old log."""
    for path in (folder / name for name in _FILE_NAMES):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _check_tables(db: sqlite3.Connection) -> None:
    """Refuse tables of other columns, and what a newer version wrote."""
    if db.execute("PRAGMA user_version").fetchone()[0] not in range(_VERSION + 1):
        raise _StrangeError
    for table, columns in _COLUMNS.items():
        kinds = {row[0] for row in db.execute("SELECT type FROM sqlite_master WHERE name = ?", (table,))}
        found = tuple(row[1] for row in db.execute(f"PRAGMA table_info({table})"))
        if kinds not in (set(), {"table"}) or found not in ((), columns):
            raise _StrangeError


def _is_refusal(error: Exception) -> TypeGuard[sqlite3.OperationalError]:
    """True if the system or another process refused, and the database itself may be whole.

    Text that is not UTF-8 has no code, a table that is not as expected has SQLITE_ERROR.
    """
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, sqlite3.OperationalError) and code not in (None, sqlite3.SQLITE_ERROR)


def _refusal(path: Path, error: sqlite3.OperationalError) -> StoreError:
    # The low byte is the kind of failure, the others say more about it (sqlite.org/rescode.html).
    if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return StoreFullError(f"cannot write {path}: {error}; make room and run again")
    return StoreError(f"cannot write {path}: {error}; see who else uses it, and to its permissions")
