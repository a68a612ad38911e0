"""An index that this user may only read: on a read-only mount, or somebody else's.

The embedded engine writes to the folder that it opens. So the shard is copied to a temporary folder, which is
kept as long as the process lives, and copied again after the index has changed.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from vecloom.errors import StoreBusyError, StoreError
from vecloom.lock import FileLock
from vecloom.stores.access import LOCK
from vecloom.stores.copying import FolderCopy
from vecloom.stores.room import allocated, require_room

if TYPE_CHECKING:
    from vecloom.stores.edge import EdgeStore

#: A copy of more bytes than this takes so long that the user is told of it.
_LARGE = 64 << 20

#: Seconds that a writer may go on changing the shard before the copy is given up, and between two tries.
_PATIENCE, _PAUSE = 10.0, 0.05

#: Temporary folders begin with this; each holds a lock while its process lives.
_PREFIX = "vecloom-read-"

#: Where in it the copied shard lies.
_INDEX = "index"

_UNFLUSHED = "unflushed"

_copies: set[Path] = set()


class CopyAccess:
    """Opens a copy of the current shard of an index for moments; see `vecloom.stores.Access`."""

    def __init__(
        self,
        folder: Path,
        current: Callable[[], Path],
        open_store: Callable[[Path], EdgeStore],
        stamp: Callable[[], object],
        notice: Callable[[str], None],
    ) -> None:
        """``current`` gives the shard's folder; ``stamp`` changes whenever a writer has changed the index.

        ``open_store`` opens the copy of the shard. ``notice`` takes a line for the user.
        """
        self._folder = folder
        self._current = current
        self._open_store = open_store
        self._stamp = stamp
        self._notice = notice
        self._mine = threading.Lock()
        self._store: EdgeStore | None = None
        self._seen: object = None
        self._place: Path | None = None
        self._alive: FileLock | None = None
        self._pid = os.getpid()

    @contextmanager
    def open(self, purpose: str) -> Iterator[EdgeStore]:
        """The copy, opened, for this ``with`` block only; see `vecloom.stores.Access`.

        Raises:
            StoreBusyError: a writer goes on changing the shard.
            StoreFullError: the temporary folder has no room for the copy.
            StoreError: the shard cannot be read.
        """
        if os.getpid() != self._pid:
            raise StoreError(f"{self._folder} was opened before a fork; start processes by spawn")
        with self._mine, self._named():
            if self._store is None or self._store.is_closed or self._stamp() != self._seen:
                self._drop()
                self._store, self._seen = self._copy()
            yield self._store

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Let errors name the index that the user knows, and not the copy."""
        try:
            yield
        except StoreError as error:
            said = str(error)
            index = None if self._place is None else str(self._place / _INDEX)
            if index is None or index not in said:
                raise
            raise type(error)(said.replace(index, str(self._folder))) from error

    def close(self) -> None:
        """Close the copy and remove it."""
        if os.getpid() == self._pid:
            with self._mine:
                self._drop()

    def _copy(self) -> tuple[EdgeStore, object]:
        """Copy the shard; returns the copy, opened, and the stamp of what was copied."""
        remove_abandoned()
        try:
            self._place = Path(tempfile.mkdtemp(prefix=_PREFIX))
            self._alive = FileLock(self._place / LOCK)
            self._alive.acquire()
            _copies.add(self._place)
            if len(_copies) == 1:
                atexit.register(remove_copies)
            deadline = time.monotonic() + _PATIENCE
            while True:
                stamp, shard = self._stamp(), self._current()
                copy = self._place / _INDEX / shard.name
                size = allocated(shard)
                require_room(self._place, size)
                if size > _LARGE:
                    self._notice(
                        f"{self._folder} can only be read: copying {size >> 20} MiB to {self._place}"
                    )
                whole = self._copy_whole(shard, copy, deadline)
                if whole and self._stamp() == stamp:
                    break
                shutil.rmtree(copy, ignore_errors=True)
                if time.monotonic() > deadline:
                    raise StoreBusyError(f"{self._folder} is being written to; wait for that, and try again")
                time.sleep(_PAUSE)
            return self._open_store(copy), stamp
        except OSError as error:
            raise StoreError(
                f"{error.filename or self._folder} cannot be read or copied: {error.strerror}; see to its "
                f"permissions, or name another folder for the copy in TMPDIR"
            ) from error

    def _copy_whole(self, shard: Path, target: Path, deadline: float) -> bool:
        """Copy a shard, with the lock where it can be had; says whether the copy is of one moment."""
        if not shard.is_dir():
            raise StoreError(f"{shard} is missing; make the index again with vecloom index --rebuild")
        copy = FolderCopy(shard, target)
        copy.bring_up()
        with _reading_lock(self._folder / LOCK) as alone:
            if alone:
                copy.bring_up()
                return True
        # Somebody has the shard open, or nobody can lock here: it is whole where nothing changes meanwhile.
        while True:
            before = _state(shard)
            copy.bring_up()
            if before == _state(shard) and not (shard / _UNFLUSHED).exists():
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(_PAUSE)

    def _drop(self) -> None:
        store, self._store = self._store, None
        place, self._place = self._place, None
        alive, self._alive = self._alive, None
        try:
            if store is not None:
                store.close()
        finally:
            if alive is not None:
                alive.release()
            if place is not None:
                _remove(place)


@contextmanager
def _reading_lock(path: Path) -> Iterator[bool]:
    """Hold a lock that can only be read, for an instant; yields whether it was had."""
    lock = FileLock(path, read_only=True)
    try:
        had = lock.acquire()
    except OSError:
        had = False  # none is there, or this file system knows no such locks
    try:
        yield had
    finally:
        lock.release()


def _state(folder: Path) -> dict[str, tuple[int, int]]:
    """Path -> size and time of every file below a folder."""
    found = {}
    for base, _, names in os.walk(folder):
        for name in names:
            path = Path(base, name)
            with suppress(FileNotFoundError):
                status = path.stat()
                found[str(path)] = (status.st_size, status.st_mtime_ns)
    return found


def remove_copies() -> None:
    """Remove the copies of this process."""
    for place in list(_copies):
        _remove(place)


def _remove(place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    _copies.discard(place)


def remove_abandoned() -> None:
    """Remove the copies of processes that were killed."""
    for place in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        lock = FileLock(place / LOCK)
        with suppress(OSError):  # another user's, or gone meanwhile
            if hasattr(os, "getuid") and place.lstat().st_uid != os.getuid():
                continue
            if (place / LOCK).exists() and place not in _copies and lock.acquire():
                lock.release()
                shutil.rmtree(place, ignore_errors=True)
