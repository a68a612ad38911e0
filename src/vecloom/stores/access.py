"""One shard for many processes.

The embedded engine lets one process open a folder, readers included. So everybody takes turns: a lock file in
the index folder says whose turn it is, ``shard.holder`` says who that is and how far, and a folder of tickets
holds who waits, in order. Who has had the shard keeps it open for a while, because opening it costs more than
a search, and gives it up as soon as a ticket appears.
"""

from __future__ import annotations

import atexit
import errno
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from vecloom.durable import read_json
from vecloom.errors import StoreBusyError, StoreError
from vecloom.lock import FileLock
from vecloom.stores.waiting import Queue, Ticket

if TYPE_CHECKING:
    from vecloom.stores.edge import EdgeStore

#: Seconds between two looks at the lock, or at who waits.
_POLL = 0.005

#: Seconds between two tries to open a shard that a program without this lock holds.
_POLL_FOREIGN = 0.05

#: Seconds between two reports of progress to the holder file.
_TELL = 0.5

#: The file that is locked while the shard is open.
LOCK = "shard.lock"

_HOLDER, _WAITING = "shard.holder", "shard.waiting"


#: Errors of the system that mean: you may read here, and no more.
_FORBIDDEN = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


def is_read_only(folder: Path) -> bool:
    """True if this user may not write to the index in ``folder``, so that its lock cannot be taken."""
    lock = folder / LOCK
    try:
        if not lock.exists():
            return folder.is_dir() and not os.access(folder, os.W_OK)
        os.close(os.open(lock, os.O_RDWR))
    except OSError as error:
        return error.errno in _FORBIDDEN
    return not os.access(folder, os.W_OK)


class ShardAccess:
    """Opens the shard of an index folder for a moment, again and again.

    Within a process one thread has the store at a time. A child made with ``os.fork`` cannot use it (the
    engine would hang), and does not keep others from the shard: start processes by spawn, and give each its
    own.
    """

    def __init__(
        self, folder: Path, open_store: Callable[[], EdgeStore], idle: float = 1.0, wait: float = 10.0
    ) -> None:
        """``open_store`` is called with the lock held, and so finds which shard is the current one.

        ``idle``: seconds that the shard stays open after its last use while nobody else wants it. ``wait``:
        seconds in which the queue must move, or `open` gives up.
        """
        self.folder = folder
        self._open_store = open_store
        self._idle = idle
        self._wait = wait
        self._lock = FileLock(folder / LOCK)
        self._queue = Queue(folder / _WAITING)
        self._mine = threading.Lock()
        self._store: EdgeStore | None = None
        self._used = 0.0
        self._told = 0.0
        self._holder: dict[str, str | float] = {}
        self._keeper: threading.Thread | None = None
        self._pid = os.getpid()

    @contextmanager
    def open(self, purpose: str) -> Iterator[EdgeStore]:
        """The open store, for this ``with`` block only. Not reentrant.

        Raises:
            StoreBusyError: the shard could not be had in time; the message says who holds it and how far
                that is.
            StoreError: it cannot be opened.
        """
        with self._turn(purpose):
            if self._store is None:
                self._store = self._opened()
            try:
                yield self._store
            finally:
                self._used = time.monotonic()
                if self._queue.first() is None and not self._store.is_closed:
                    self._keep()
                else:
                    self._give_up()

    @contextmanager
    def locked(self, purpose: str) -> Iterator[None]:
        """The lock without an open store, so that files can be copied or switched."""
        with self._turn(purpose):
            try:
                self._close_store()
                yield
            finally:
                self._give_up()

    def tell(self, progress: str) -> None:
        """Say how far the work is that holds the shard. Cheap: written twice a second at most."""
        self._holder["progress"] = progress
        if self._lock.held and time.monotonic() - self._told > _TELL:
            self._write_holder()

    def close(self) -> None:
        """Close the shard if it is still open, and let others have it."""
        if os.getpid() != self._pid:
            return  # it is the parent's
        with self._mine:
            self._give_up()

    @contextmanager
    def _turn(self, purpose: str) -> Iterator[None]:
        """A thread's turn in this process, and this process's turn among all."""
        if os.getpid() != self._pid:
            raise StoreError(f"{self.folder} was opened before a fork; start processes by spawn")
        if not self._mine.acquire(timeout=self._wait):
            raise StoreBusyError(f"{self.folder} is in use by another thread of this process; try again")
        try:
            if self._lock.held and self._queue.first() is not None:
                self._give_up()
            if not self._lock.held:
                self._take_lock()
                self._holder["since"] = time.time()
            if self._holder.get("purpose") != purpose or not self._store:
                self._holder["purpose"] = purpose
                self._write_holder()
            yield
        finally:
            if self._store is None:
                self._give_up()
            self._mine.release()

    def _take_lock(self) -> None:
        try:
            if self._queue.first() is None and self._lock.acquire():
                return
            ticket = Ticket(self._queue)
            try:
                self._wait_for_lock(ticket)
            finally:
                ticket.leave()
        except OSError as error:
            raise StoreError(f"{self.folder} cannot be locked: {error.strerror}") from error

    def _wait_for_lock(self, ticket: Ticket) -> None:
        """Wait in the queue; while it moves, patience starts anew."""
        first, since = None, time.monotonic()
        while True:
            ahead = self._queue.first()
            if ticket.precedes(ahead) and self._lock.acquire():
                return
            now = time.monotonic()
            if ahead != first:
                first, since = ahead, now
            elif now - since > self._wait:
                raise StoreBusyError(
                    f"{self.folder} is busy: {self._held_by()}; waited {self._wait:.0f} s, try again"
                )
            time.sleep(_POLL)
            ticket.touch()

    def _opened(self) -> EdgeStore:
        """Open the store; a program that knows nothing of this lock may have it for a moment."""
        deadline = time.monotonic() + self._wait
        while True:
            try:
                return self._open_store()
            except StoreBusyError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(_POLL_FOREIGN)

    def _keep(self) -> None:
        """See to it that the open shard is closed in time, by a thread that ends with that."""
        if self._keeper is None:
            self._keeper = threading.Thread(target=self._watch, name="vecloom-shard", daemon=True)
            self._keeper.start()
            atexit.register(self.close)

    def _watch(self) -> None:
        done = False
        while not done:
            time.sleep(_POLL)
            if not self._mine.acquire(blocking=False):
                continue
            done = True
            try:
                done = self._let_go_in_time()
            finally:
                if done:
                    self._keeper = None
                    atexit.unregister(self.close)
                self._mine.release()

    def _let_go_in_time(self) -> bool:
        if time.monotonic() - self._used > self._idle or self._queue.first() is not None:
            self._give_up()
        return self._store is None

    def _close_store(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            store.close()

    def _give_up(self) -> None:
        try:
            self._close_store()
        finally:
            self._lock.release()

    def _write_holder(self) -> None:
        self._told = time.monotonic()
        said = {"pid": os.getpid(), "command": _command(), **self._holder}
        temporary = self.folder / f"{_HOLDER}.tmp"
        # On a full disk a search goes on without the note: it only serves another's error message.
        with suppress(OSError):
            temporary.write_text(json.dumps(said), encoding="utf-8")
            temporary.replace(self.folder / _HOLDER)

    def _held_by(self) -> str:
        try:
            said = read_json(self.folder / _HOLDER)
            seconds = max(0.0, time.time() - float(said["since"]))
            progress = f", {said['progress']}" if said.get("progress") else ""
            return (
                f"process {said['pid']} ({said['command']}) holds it "
                f"to {said['purpose']} for {seconds:.0f} s{progress}"
            )
        except (OSError, ValueError, KeyError, TypeError):
            return "another process holds it"


def _command() -> str:
    """What this process was called as, short."""
    words = [Path(sys.argv[0]).name or "python", *sys.argv[1:]] if sys.argv else ["python"]
    said = " ".join(words)
    return said if len(said) <= 80 else f"{said[:79]}…"
