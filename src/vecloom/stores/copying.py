"""A copy of a closed shard's folder, made while others open and close it for reading.

Readers change nothing that counts, but the engine writes its small files anew whenever it opens: the large
files are copied without the lock, and what is small or was touched since once more with it.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
from pathlib import Path

#: Files up to this size are copied again in any case: a map can be written without a new modification time.
_SMALL = 2 << 20

_CHUNK = 1 << 26


class FolderCopy:
    """Brings ``target`` in line with ``source``, pass by pass."""

    def __init__(self, source: Path, target: Path) -> None:
        self.source = source
        self.target = target
        self._copied: dict[Path, tuple[int, int]] = {}

    def bring_up(self) -> None:
        """Copy what is new or changed since the last pass, and remove what is gone."""
        there = _files(self.source)
        for path in self._copied.keys() - there:
            (self.target / path).unlink(missing_ok=True)
            del self._copied[path]
        for path in sorted(there):
            try:
                self._bring_file(path)
            except FileNotFoundError:
                # A temporary name, renamed meanwhile: the pass with the lock sees what came of it.
                self._copied.pop(path, None)
                (self.target / path).unlink(missing_ok=True)

    def _bring_file(self, path: Path) -> None:
        stat = (self.source / path).stat()
        state = (stat.st_size, stat.st_mtime_ns)
        if self._copied.get(path) == state and stat.st_size > _SMALL:
            return
        (self.target / path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _copy_file(self.source / path, self.target / path)
        self._copied[path] = state


def make_durable(folder: Path) -> None:
    """Flush every file and folder below ``folder`` to the disk."""
    for base, _, names in os.walk(folder):
        for path in (*(Path(base, name) for name in names), *([Path(base)] if os.name == "posix" else [])):
            file = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
            try:
                os.fsync(file)
            finally:
                os.close(file)


def _files(folder: Path) -> set[Path]:
    return {Path(base, name).relative_to(folder) for base, _, names in os.walk(folder) for name in names}


def _copy_file(source: Path, target: Path) -> None:
    if sys.platform != "linux":
        shutil.copyfile(source, target)
        return
    with source.open("rb") as reader, target.open("wb") as writer:
        size = os.fstat(reader.fileno()).st_size
        writer.truncate(size)
        start = 0
        # Most of a shard is holes: 300 MB in name, 15 on the disk.
        while (extent := _next_extent(reader.fileno(), start, size)) is not None:
            start, end = extent
            while start < end:
                count = os.copy_file_range(
                    reader.fileno(), writer.fileno(), min(end - start, _CHUNK), start, start
                )
                if not count:
                    return
                start += count


def _next_extent(file: int, start: int, size: int) -> tuple[int, int] | None:
    """Where the next data of a sparse file begins and ends."""
    if start >= size:
        return None
    try:
        begin = os.lseek(file, start, os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return None
    return begin, os.lseek(file, begin, os.SEEK_HOLE)
