"""A pack's files: a folder that is written, or a folder or archive that is read and never trusted."""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import zipfile
import zlib
from collections.abc import Callable, Container
from pathlib import Path
from typing import IO, Protocol, TypeVar, cast

from vecloom.durable import PART, written
from vecloom.errors import PackError

MANIFEST = "manifest.json"

#: Bytes of a manifest at the most: more is not read.
MOST_MANIFEST = 64 << 20

#: A file of a zip that is larger than this may unpack to so many times its packed bytes.
_SMALL_MEMBER, _MOST_RATIO = 4 << 20, 100

_BLOCK = 1 << 20

#: What the standard library raises for a zip that is damaged, or of a kind that it does not know.
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)

T = TypeVar("T")

_is_shard = re.compile(r"\d{5,}-\d+\.parquet|former-[0-9a-f]{64}\.parquet").fullmatch


def shard_name(number: int, vectors: int) -> str:
    """What a shard of so many named vectors is called."""
    return f"{number:05d}-{vectors}.parquet"


def keep_former(folder: Path, name: str, sha256: str) -> str:
    """Give a shard a second name, which stays when its own is taken by another one; returns it."""
    kept = f"former-{sha256}.parquet"
    if not (folder / kept).exists():
        try:
            (folder / kept).hardlink_to(folder / name)
        except OSError:  # a file system without links
            with written(folder / kept) as target, (folder / name).open("rb") as file:
                shutil.copyfileobj(file, target)
    return kept


def check_shard_name(place: object, name: object) -> str:
    """A shard's name as a manifest gives it.

    Raises:
        PackError: it is another kind of name, such as one that leaves the pack.
    """
    if not isinstance(name, str) or _is_shard(name) is None:
        raise PackError(f"{place} lists {name!r:.80}, which is no name of a shard; get the pack again")
    return name


class Files(Protocol):
    """The files of a pack, by name."""

    @property
    def place(self) -> Path:
        """The folder or archive."""
        ...

    def size(self, name: str) -> int | None:
        """Bytes of a file; None where there is none of that name."""
        ...

    def open(self, name: str) -> IO[bytes]:
        """A file to read, at any place of it.

        Raises:
            PackError: there is none of that name, or it cannot be read.
        """
        ...


class FolderFiles:
    """See `Files`."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def size(self, name: str) -> int | None:
        """Bytes of a regular file; see `Files`."""
        path = self.place / name
        return path.stat().st_size if path.is_file() and not path.is_symlink() else None

    def open(self, name: str) -> IO[bytes]:
        """A file to read; see `Files`."""
        if self.size(name) is None:
            raise PackError(f"{self.place} has no {name}; get the pack again")
        try:
            return (self.place / name).open("rb")
        except OSError as error:
            raise PackError(f"{self.place / name} cannot be read: {error.strerror}") from error


class ArchiveFiles:
    """A zip of a pack, read where it is: nothing is unpacked. Its files may lie in one folder of the zip."""

    def __init__(self, place: Path) -> None:
        """Read the list of files.

        Raises:
            PackError: it is no zip, a name leaves it or comes twice, or it holds no pack or several.
        """
        self.place = place
        try:
            self._zip = zipfile.ZipFile(place)
        except (*_DAMAGE, OSError) as error:
            raise PackError(f"{place} cannot be read as a zip ({error}); get it again") from error
        for info in self._zip.infolist():
            if info.file_size > max(_SMALL_MEMBER, _MOST_RATIO * info.compress_size):
                raise PackError(
                    f"{place} holds {info.filename!r:.80}, which unpacks from {info.compress_size >> 10} KiB "
                    f"to {info.file_size >> 20} MiB; do not use it"
                )
        names = [info.filename for info in self._zip.infolist()]
        for name in names:
            if name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name) or ":" in name:
                raise PackError(f"{place} holds {name!r}, which leaves its folder; do not use it")
        if len(set(names)) != len(names):
            raise PackError(f"{place} holds a name twice; do not use it")
        found = [name for name in names if name.rpartition("/")[2] == MANIFEST]
        if len(found) != 1:
            raise PackError(f"{place} holds {len(found)} packs; it must be the zip of one")
        self._inside = found[0].removesuffix(MANIFEST)

    def size(self, name: str) -> int | None:
        """Bytes of a file, unpacked; see `Files`."""
        try:
            return self._zip.getinfo(self._inside + name).file_size
        except KeyError:
            return None

    def open(self, name: str) -> IO[bytes]:
        """A file to read; see `Files`."""
        if self.size(name) is None:
            raise PackError(f"{self.place} has no {name}; get it again")
        try:
            return cast("IO[bytes]", _Member(self._zip.open(self._inside + name), f"{name} in {self.place}"))
        except (*_DAMAGE, OSError) as error:
            raise PackError(f"{name} in {self.place} cannot be read ({error}); get it again") from error


class _Member(io.RawIOBase):
    """A file of a zip; what is damaged in it is a PackError."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file = file
        self._name = name

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._tried(self._file.read, size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._tried(self._file.seek, offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
        super().close()

    def _tried(self, function: Callable[..., T], *arguments: int) -> T:
        try:
            return function(*arguments)
        except (*_DAMAGE, OSError) as error:
            raise PackError(f"{self._name} cannot be read ({error}); get it again") from error


def files_of(place: Path) -> Files:
    """The files of a pack's folder or archive.

    Raises:
        PackError: there is neither.
    """
    if place.is_dir():
        return FolderFiles(place)
    if place.is_file():
        return ArchiveFiles(place)
    raise PackError(f"there is no pack at {place}; make one with: vecloom embed PATH --out {place}")


def sha256_of(file: IO[bytes]) -> str:
    """The sha256 of a file from its beginning, in hex; it stands at the beginning again afterwards."""
    file.seek(0)
    digest = hashlib.sha256()
    while block := file.read(_BLOCK):
        digest.update(block)
    file.seek(0)
    return digest.hexdigest()


def remove_others(folder: Path, listed: Container[str], parts: bool = False) -> None:
    """Remove shards that are not listed; with ``parts`` also what a killed run had begun to write."""
    for path in folder.iterdir():
        if (parts and path.name.endswith(PART)) or (_is_shard(path.name) and path.name not in listed):
            path.unlink()
