"""A lock between processes that the operating system takes back when its holder dies.

Own code, because every search takes such a lock, and the `filelock` library takes 70 ms to import.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from weakref import WeakSet

if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: int) -> bool:
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


#: Seconds between two looks at a lock that another process holds.
_POLL = 0.01


#: Held while a lock's file is opened or closed, and while the process forks: a child knows every such file.
_opening = threading.Lock()

_locks: WeakSet[FileLock] = WeakSet()


class FileLock:
    """An advisory lock on a file, which is made if absent and never removed.

    It is held by this object until `release` or the end of the process, kill -9 included. A child made with
    ``os.fork`` does not hold it.
    """

    def __init__(self, path: Path, read_only: bool = False) -> None:
        """``read_only``: the file is there already, and is opened for reading only."""
        self.path = path
        self._flags = os.O_RDONLY if read_only else os.O_RDWR | os.O_CREAT
        self._file: int | None = None
        self._opened: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._file is not None

    def acquire(self, wait: float = 0.0) -> bool:
        """Take the lock, if need be within ``wait`` seconds; says whether it was had.

        Taking it twice is an error of the caller. Raises OSError where the file cannot be made or written.
        """
        if self._file is not None:
            raise RuntimeError(f"{self.path} is locked already by this object")
        file = self._open()
        deadline = time.monotonic() + wait
        try:
            while not _try_lock(file):
                if time.monotonic() >= deadline:
                    return False
                time.sleep(_POLL)
            self._file = file
        finally:
            if self._file is None:
                self._close()
        return True

    def release(self) -> None:
        """Give the lock back; closing the file does that on every system."""
        if self._file is not None:
            self._file = None
            self._close()

    def _open(self) -> int:
        with _opening:
            file = self._opened = os.open(self.path, self._flags, 0o600)
            _locks.add(self)
        return file

    def _close(self) -> None:
        with _opening:
            file, self._opened = self._opened, None
            _locks.discard(self)
            if file is not None:
                os.close(file)

    def _let_go_in_child(self) -> None:
        """Close the file in a forked child. The lock is the parent's as long as that has the file open."""
        file, self._opened, self._file = self._opened, None, None
        if file is not None:
            os.close(file)


def files_below(folder: Path) -> list[int]:
    """List the file descriptors of this process that point to ``folder`` or below it.

    Empty where the system does not tell (Windows, which does not fork).
    """
    listing = Path("/dev/fd" if sys.platform == "darwin" else "/proc/self/fd")
    if not listing.is_dir():
        return []
    real = folder.resolve()
    return [int(entry.name) for entry in listing.iterdir() if _path_of(entry).is_relative_to(real)]


def _path_of(entry: Path) -> Path:
    """The path of an open file; an empty one where it has none."""
    try:
        if sys.platform == "darwin":
            found = fcntl.fcntl(int(entry.name), fcntl.F_GETPATH, bytes(1024))
            return Path(os.fsdecode(found.rstrip(b"\0")))
        return entry.readlink()
    except OSError:
        return Path()


def _forget_in_child() -> None:
    for lock in list(_locks):
        lock._let_go_in_child()
    _opening.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_opening.acquire, after_in_parent=_opening.release, after_in_child=_forget_in_child
    )
