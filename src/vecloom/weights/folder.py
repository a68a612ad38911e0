"""Files that are already here: a local folder, used in place."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from vecloom.errors import WeightsError
from vecloom.registry import ModelSpec
from vecloom.weights.cache import Shelf
from vecloom.weights.origin import (
    RECORD,
    FileRecord,
    Origin,
    check_hashes,
    convert_all,
    sources_of,
    wanted,
)


def use(spec: ModelSpec, folder: Path, cache_dir: Path) -> Origin:
    """Check that ``folder`` holds the row's files, and give their record.

    Hashes are taken once and kept in the cache; a file is read again only after its size or time changed.

    Raises:
        WeightsError: a file is missing, or has another sha256 than the row names.
    """
    memo = _memo(folder, cache_dir)
    known = Origin.read(memo)
    before = known.files if known is not None and known.name == str(folder) else {}
    names = wanted(spec, _there(spec, folder), f"the folder {folder}")
    found = {name: _hashed(folder / name, before.get(name)) for name in names}
    check_hashes(spec, found, f"the folder {folder}")
    origin = Origin("folder", str(folder), None, None, found)
    if any(before.get(name) != record for name, record in found.items()):
        _keep(Origin("folder", str(folder), None, None, {**before, **found}), memo)
    return origin


def converted(
    spec: ModelSpec, folder: Path, shelf: Shelf, notice: Callable[[str], None], *, convert: bool
) -> Path | None:
    """What was converted of a folder that holds torch files, on the shelf; None where nothing has to be.

    Files that the row names itself are converted when they are first used, others where ``convert`` says so.

    Raises:
        WeightsError: the folder holds neither, or nobody has said that its pickle may be converted.
    """
    there = _there(spec, folder)
    sources = sources_of(spec, there, f"the folder {folder}", convert=True)
    if all(name == source for name, source in sources.items()):
        return None
    stamps = [(source, *_stamp(folder / source)) for source in sources.values()]
    name = f"folder-{hashlib.sha256(repr((str(folder), stamps)).encode()).hexdigest()[:32]}"
    target = shelf.root / name
    if (target / RECORD).is_file():
        return target
    sources_of(spec, there, f"the folder {folder}", convert=convert)
    with shelf.locked(lambda: notice(f"another process converts {spec.key}; waiting")):
        if (target / RECORD).is_file():
            return target
        notice(f"converting {spec.key} of {folder} to safetensors, once")
        part = shelf.part(name, fresh=True)
        for source in sources.values():
            (part / source).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / source, part / source)
        origins = convert_all(part, sources)
        found = {file: FileRecord.of(part / file) for file in sources}
        check_hashes(spec, found, f"the folder {folder}")
        return shelf.place(part, Origin("folder", str(folder), None, None, found, origins))


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _hashed(path: Path, before: FileRecord | None) -> FileRecord:
    if before is not None and before.fits(path):
        return before
    return FileRecord.of(path, with_time=True)


def _there(spec: ModelSpec, folder: Path) -> list[str]:
    if not folder.is_dir():
        raise WeightsError(f"there is no folder {folder}, which is named for {spec.key}")
    if spec.files:
        names = (name for file in spec.files for name in (file.path, file.torch) if name is not None)
        return [name for name in names if (folder / name).is_file()]
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


def _memo(folder: Path, cache_dir: Path) -> Path:
    return (
        cache_dir / "weights" / ".folders" / f"{hashlib.sha256(str(folder).encode()).hexdigest()[:32]}.json"
    )


def _keep(origin: Origin, memo: Path) -> None:
    """Write the record whole or not at all. Without a writable cache the files are hashed every time."""
    part = memo.with_suffix(f".{os.getpid()}.part")
    try:
        memo.parent.mkdir(parents=True, exist_ok=True)
        origin.write(part)
        part.replace(memo)
    except OSError:
        with suppress(OSError):
            part.unlink()
