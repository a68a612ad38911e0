"""A lock between processes that the operating system takes back when its holder dies.

Own code, because every search takes such a lock, and the `filelock` library takes 70 ms to import.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

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


class FileLock:
    """An advisory lock on a file, which is made if absent and never removed.

    It is held by this object until `release` or the end of the process, kill -9 included. A child made with
    ``os.fork`` inherits it and may keep it longer: start processes by spawn.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

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
        file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + wait
        while not _try_lock(file):
            if time.monotonic() >= deadline:
                os.close(file)
                return False
            time.sleep(_POLL)
        self._file = file
        return True

    def release(self) -> None:
        """Give the lock back; closing the file does that on every system."""
        if self._file is not None:
            file, self._file = self._file, None
            os.close(file)
