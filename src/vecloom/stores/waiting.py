"""Who waits for a lock, in the order of arrival, in a folder of small files.

The holder sees in it that somebody waits, and those who wait see whose turn it is. A ticket counts while its
owner touches it: one that was killed or stopped is passed over.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

#: A ticket is touched every so often, and counts for so long (in seconds).
_TOUCH, _ALIVE = 0.25, 2.0

#: Tickets of the dead are removed after so many seconds.
_REMOVE = 60.0


class Queue:
    """The tickets in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def first(self) -> str | None:
        """The name of the oldest living ticket; None where nobody waits."""
        try:
            names = sorted(path.name for path in self.folder.iterdir())
        except FileNotFoundError:
            return None
        return next((name for name in names if self._lives(name)), None)

    def _lives(self, name: str) -> bool:
        path = self.folder / name
        try:
            silent = time.time() - path.stat().st_mtime
        except FileNotFoundError:
            return False
        if silent > _REMOVE:
            path.unlink(missing_ok=True)
        return -_ALIVE < silent < _ALIVE


class Ticket:
    """A place in a queue, kept while `touch` is called and until `leave`."""

    def __init__(self, queue: Queue) -> None:
        queue.folder.mkdir(mode=0o700, exist_ok=True)
        self._queue = queue
        self._name = f"{time.time_ns():020d}-{os.getpid()}"
        self._touched = 0.0
        self.touch()

    def touch(self) -> None:
        """Say that the owner still waits. Cheap enough for every turn of a waiting loop."""
        now = time.monotonic()
        if now - self._touched > _TOUCH:
            self._touched = now
            (self._queue.folder / self._name).touch(mode=0o600)

    def precedes(self, first: str | None) -> bool:
        """Whether it is this ticket's turn, ``first`` being the first of the queue."""
        return first is None or self._name <= first

    def leave(self) -> None:
        """Give the place up."""
        (self._queue.folder / self._name).unlink(missing_ok=True)
