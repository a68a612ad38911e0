"""Room on the disk, asked for before an engine writes.

The embedded engine writes through memory maps of sparse files: where the disk is full, the kernel answers a
write with SIGBUS, and the whole process is gone without a word. So it never gets that far.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from vecloom.errors import StoreFullError

#: Kept free on top of what a write needs: the engine's page tables, logs and flags grow in steps.
MARGIN = 24 << 20

#: Size of the sparse files in which the engine's storages grow.
_PAGE = 32 << 20


def require_room(folder: Path, size: int, margin: int | None = None) -> None:
    """Refuse where the disk of ``folder`` has less than ``size`` bytes free, and a margin (`MARGIN`).

    Raises:
        StoreFullError: it has not.
    """
    free = shutil.disk_usage(folder).free
    needed = size + (MARGIN if margin is None else margin)
    if free < needed:
        raise StoreFullError(
            f"the disk of {folder} has {free >> 20} MiB free and this takes {needed >> 20} MiB; "
            f"make room and run again, what is stored stays"
        )


def allocated(path: Path) -> int:
    """Bytes that a file or a whole folder takes on the disk, holes left out."""
    if not path.is_dir():
        return _blocks(path)
    return sum(_blocks(Path(base, name)) for base, _, names in os.walk(path) for name in names)


def _blocks(path: Path) -> int:
    try:
        stat = path.stat()
    except FileNotFoundError:  # removed while the folder was listed
        return 0
    # Windows does not tell the blocks of a file.
    return int(getattr(stat, "st_blocks", -(-stat.st_size // 512))) * 512


def reserve(folder: Path) -> int:
    """Bytes that a write to the shard's files in ``folder`` must leave so that they can be read again."""
    open_holes = holes(folder)
    return open_holes + _PAGE if open_holes else 0


def holes(folder: Path) -> int:
    """Bytes that reading the files of ``folder`` through a memory map takes on the disk.

    None on a disk. A tmpfs fills the holes of a sparse file when a map of it is read, and opening a shard
    reads maps from end to end: it can run out of room by opening alone.
    """
    if _file_system(folder) != "tmpfs":
        return 0
    files = (Path(base, name) for base, _, names in os.walk(folder) for name in names)
    return sum(max(0, file.stat().st_size - _blocks(file)) for file in files)


def _file_system(folder: Path) -> str | None:
    """The type of the file system that holds ``folder``, where Linux tells it."""
    try:
        lines = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return None
    inside = folder.resolve()
    depth, found = -1, None
    for line in lines:
        mount, _, source = line.partition(" - ")
        point = Path(mount.split(" ")[4].replace("\\040", " "))
        if inside.is_relative_to(point) and len(point.parts) >= depth:
            depth, found = len(point.parts), source.split(" ")[0]
    return found
