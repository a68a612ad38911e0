"""Files that are there as a whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from vecloom.errors import StoreError, StoreFullError

#: What is appended to the name of a file that is being written.
PART = ".part"

#: No JSON file that vecloom writes for itself comes near this size.
_MOST_JSON_BYTES = 64 << 20

_FULL = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)})


@contextmanager
def written(path: Path) -> Iterator[IO[bytes]]:
    """A file that gets its name, durably, once the block has ended well; else what was there stays.

    Killed in between, it leaves a file of the name with `PART`, which the next one of that name takes over.

    Raises:
        StoreFullError: no room on the disk.
        StoreError: it cannot be written.
    """
    part = path.with_name(path.name + PART)
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        _sync(path.parent)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        said = f"cannot write {path}: {error.strerror or error}"
        if error.errno in _FULL:
            raise StoreFullError(f"{said}; make room and run again") from error
        raise StoreError(f"{said}; see to its permissions") from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def read_json(path: Path) -> Any:
    """Read a JSON file that vecloom wrote, and that anything may have happened to since.

    Raises:
        OSError: it is not there, or cannot be read.
        ValueError: it is not a regular file, too large, not UTF-8, not JSON, or nested too deeply.
    """
    # A FIFO would block in `open`: the kind of file is asked for first.
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is not a regular file")
    if status.st_size > _MOST_JSON_BYTES:
        raise ValueError(f"it has {status.st_size >> 20} MiB")
    return parse_json(path.read_bytes())


def parse_json(data: bytes) -> Any:
    """Parse JSON.

    Raises:
        ValueError: it is not UTF-8, not JSON, or nested too deeply.
    """
    try:
        return json.loads(data.decode("utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    if os.name == "posix":
        file = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)
