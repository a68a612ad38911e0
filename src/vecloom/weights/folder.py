"""Files that are already here: a local folder, used in place."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from vecloom.errors import WeightsError
from vecloom.registry import ModelSpec
from vecloom.weights.origin import FileRecord, Origin, check_hashes, wanted


def use(spec: ModelSpec, folder: Path, cache_dir: Path) -> Origin:
    """Check that ``folder`` holds the row's files, and give their record.

    Hashes are taken once and kept in the cache; a file is read again only after its size or time changed.

    Raises:
        WeightsError: a file is missing, or has another sha256 than the row names.
    """
    memo = _memo(folder, cache_dir)
    known = Origin.read(memo)
    before = known.files if known is not None and known.name == str(folder) else {}
    names = wanted(spec, _files(spec, folder), f"the folder {folder}")
    found = {name: _hashed(folder / name, before.get(name)) for name in names}
    check_hashes(spec, found, f"the folder {folder}")
    origin = Origin("folder", str(folder), None, None, found)
    if any(before.get(name) != record for name, record in found.items()):
        _keep(Origin("folder", str(folder), None, None, {**before, **found}), memo)
    return origin


def _hashed(path: Path, before: FileRecord | None) -> FileRecord:
    if before is not None and before.fits(path):
        return before
    return FileRecord.of(path, with_time=True)


def _files(spec: ModelSpec, folder: Path) -> list[str]:
    if not folder.is_dir():
        raise WeightsError(f"there is no folder {folder}, which is named for {spec.key}")
    if spec.files:
        return [file.path for file in spec.files if (folder / file.path).is_file()]
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
