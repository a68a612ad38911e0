"""One writer an index: its lock, and what it tells those who ask."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vecloom.durable import read_json
from vecloom.errors import StoreBusyError, StoreError
from vecloom.lock import FileLock
from vecloom.pipeline.report import Listener, Progress

_LOCK = "writer.lock"
_NOTE = "writer.json"
_NOTE_PART = f"{_NOTE}.tmp"

#: The files that a writer leaves in a folder.
FILE_NAMES = frozenset({_LOCK, _NOTE, _NOTE_PART})

#: Seconds between two notes on how far the writer is.
_NOTE_SECONDS = 1.0

#: Seconds that a writer waits for another one to end.
_PATIENCE = 1.0


@contextmanager
def writing(folder: Path, command: str) -> Iterator[Listener]:
    """Be the only writer of an index; yields a listener that leaves word of how far the run is.

    The operating system releases the lock of a process that dies.

    Raises:
        StoreBusyError: there is a writer already; the message says who and how far.
        StoreError: the folder cannot be written.
    """
    lock = FileLock(folder / _LOCK)
    try:
        # Those who ask who writes take the lock for an instant.
        alone = lock.acquire(_PATIENCE)
    except OSError as error:
        raise StoreError(f"{folder} cannot be written: {error.strerror}; see to its permissions") from None
    if not alone:
        who = writer_of(folder) or "another process"
        raise StoreBusyError(f"{folder} is being written to by {who}; wait for it, or stop it")
    note = {"pid": os.getpid(), "command": command, "since": time.time(), "progress": ""}
    try:
        _leave(folder, note)
        yield _note_keeper(folder, note)
    finally:
        if note["pid"] == os.getpid():  # a forked child leaves the note to its parent
            (folder / _NOTE).unlink(missing_ok=True)
        lock.release()


def _note_keeper(folder: Path, note: dict[str, object]) -> Listener:
    last = 0.0

    def listen(event: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _NOTE_SECONDS:
            last = now
            of = "" if event.total is None else f" of {event.total}"
            note["progress"] = f"{event.step} {event.done}{of} {event.unit}"
            _leave(folder, note)

    return listen


def _leave(folder: Path, note: dict[str, object]) -> None:
    """Replace the note in one step; on a full disk the run itself will say so, not its note."""
    temporary = folder / _NOTE_PART
    try:
        temporary.write_text(json.dumps(note), "utf-8")
        temporary.replace(folder / _NOTE)
    except OSError:
        temporary.unlink(missing_ok=True)


def writer_of(folder: Path) -> str:
    """Who writes to an index now: ``vecloom index src (process 47, 3 min, encode 10 of 99 chunks)`` or ""."""
    lock = FileLock(folder / _LOCK)
    try:
        nobody = lock.acquire()
    except OSError:  # an index that this user may only read
        return ""
    if nobody:
        lock.release()
        return ""
    try:
        note = read_json(folder / _NOTE)
        minutes = int((time.time() - note["since"]) / 60)
        parts = [f"process {note['pid']}", f"{minutes} min", str(note["progress"])]
        return f"vecloom {note['command']} ({', '.join(filter(None, parts))})"
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return "another process"
