"""Bytes of files, read so that no link, pipe or growing file can harm."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from vecloom.errors import VecloomError
from vecloom.sources.entries import File, Reason, Skip

# Nonblocking, because opening a pipe that nobody writes to would wait for ever.
_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)

_REASONS: dict[int | None, Reason] = {
    errno.EACCES: "permission",
    errno.EPERM: "permission",
    errno.ENOENT: "vanished",
    errno.ESTALE: "vanished",
    errno.ENOTDIR: "vanished",
    errno.EISDIR: "vanished",
    errno.ELOOP: "vanished",
    errno.ENXIO: "special file",
}


def read_regular(path: str | os.PathLike[str], size: int, offset: int = 0) -> bytes:
    """Up to ``size`` bytes of a regular file, from ``offset``.

    A symbolic link in the last place of ``path`` is not followed, and a pipe or device does not block.

    Raises:
        OSError: what the system says; ENXIO for what is no regular file, EISDIR for a folder.
    """
    descriptor = os.open(path, _FLAGS)
    try:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            code = errno.EISDIR if stat.S_ISDIR(info.st_mode) else errno.ENXIO
            raise OSError(code, os.strerror(code))
        if offset:
            os.lseek(descriptor, offset, os.SEEK_SET)
        return _read_up_to(descriptor, size, info.st_size - offset)
    finally:
        os.close(descriptor)


def _read_up_to(descriptor: int, size: int, expected: int) -> bytes:
    """Up to ``size`` bytes; one more than ``expected`` is asked for at once, so that growth is seen."""
    parts: list[bytes] = []
    found = 0
    ask = min(size, max(expected, 0) + 1)
    while found < size and (part := os.read(descriptor, ask)):
        parts.append(part)
        found += len(part)
        if found == expected:
            break
        ask = size - found
    return b"".join(parts)


def unreadable_root(root: Path, error: OSError) -> VecloomError:
    """The refusal of a root that cannot be read: an empty scan would look like an emptied tree."""
    said = error.strerror or error
    return VecloomError(f"cannot read {str(root)!r}: {said}; check its permissions, or name another folder")


def skip_for(path: str, error: OSError) -> Skip:
    """The skip that an error of the operating system means."""
    detail = error.strerror or str(error)
    if error.errno == errno.ELOOP:
        detail = "replaced by a link"
    return Skip(path, _REASONS.get(error.errno, "unreadable"), detail)


def too_large(path: str, size: int | None, limit: int) -> Skip:
    """The skip of a file above its cap; ``size`` is None where it is only known to be larger."""
    found = f"{size:,} bytes" if size is not None else "grew while it was read"
    return Skip(path, "too large", f"{found}; the cap is {limit:,}")


def read(file: File) -> bytes | Skip:
    """The bytes of a file or record; never more than its limit, even if it grew since it was listed."""
    try:
        if file.offset is not None:
            return read_regular(file.absolute, file.size, file.offset)
        data = read_regular(file.absolute, file.limit + 1)
    except OSError as error:
        return skip_for(file.path, error)
    return data if len(data) <= file.limit else too_large(file.path, None, file.limit)
