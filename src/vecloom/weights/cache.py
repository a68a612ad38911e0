"""The cache of fetched weights: one shelf per weights id, one whole folder per commit or wheel.

<cache>/weights/<weights id>/.lock              who fetches; readers take no lock
<cache>/weights/<weights id>/.part-<name>/      being fetched
<cache>/weights/<weights id>/<name>/            whole: it got this name in one rename
<cache>/weights/<weights id>/<name>/origin.json its files, their sizes and sha256
"""

from __future__ import annotations

import hashlib
import math
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from vecloom.config import OriginKind
from vecloom.errors import WeightsError
from vecloom.lock import FileLock
from vecloom.registry import ModelSpec
from vecloom.weights.origin import RECORD, Origin

_LOCK = ".lock"
#: Begins the name of a folder that is being fetched.
PART = ".part-"


class Shelf:
    """The fetched folders of one weights id."""

    def __init__(self, cache_dir: Path, weights_id: str) -> None:
        self.root = cache_dir / "weights" / safe_name(weights_id)

    def find(self, spec: ModelSpec, order: Sequence[OriginKind]) -> Path | None:
        """The folder that serves the row and is whole, or None. Reads the records, not the files."""
        found = [
            (order.index(origin.kind), folder)
            for folder, origin in self._folders()
            if origin.kind in order and origin.serves(spec) and origin.whole(folder)
        ]
        return min(found)[1] if found else None

    def recorded(self, spec: ModelSpec) -> Origin | None:
        """What the hub gave for this row the first time, even where the files have been damaged since."""
        return next(
            (origin for _, origin in self._folders() if origin.kind == "hub" and origin.meant_by(spec)), None
        )

    def damaged(self, folder: Path) -> list[str]:
        """Read every file, and list those that lost their sha256."""
        origin = Origin.read(folder / RECORD)
        return origin.damaged(folder) if origin else []

    def drop_damaged(self, folder: Path) -> bool:
        """Read every file, delete those that lost their sha256, and tell whether there were any.

        The record stays, so that what is fetched again must be what was there before.
        """
        damaged = self.damaged(folder)
        for name in damaged:
            (folder / name).unlink(missing_ok=True)
        return bool(damaged)

    @contextmanager
    def locked(self, waiting: Callable[[], None]) -> Iterator[None]:
        """Hold the shelf against other processes; ``waiting`` is called once if another one holds it.

        A process that dies lets go of it. Raises WeightsError where the cache cannot be written.
        """
        lock = FileLock(self.root / _LOCK)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            if not lock.acquire():
                waiting()
                lock.acquire(math.inf)
        except OSError as problem:
            raise WeightsError(
                f"the cache {self.root} cannot be written ({problem.strerror}); set VECLOOM_CACHE_DIR"
            ) from problem
        try:
            yield
        finally:
            lock.release()

    def part(self, name: str, *, fresh: bool = False) -> Path:
        """A folder to fetch into, beside its final place; unless ``fresh`` with what an earlier try left."""
        part = self.root / f"{PART}{name}"
        if fresh:
            shutil.rmtree(part, ignore_errors=True)
        part.mkdir(exist_ok=True)
        return part

    def place(self, part: Path, origin: Origin) -> Path:
        """Give a fetched folder its name, whole or not at all, and clear what was left by earlier tries."""
        origin.write(part / RECORD)
        target = self.root / part.name.removeprefix(PART)
        if target.exists():
            target.rename(Path(mkdtemp(prefix=PART, dir=self.root)) / "old")
        part.rename(target)
        for left in self.root.glob(f"{PART}*"):
            shutil.rmtree(left, ignore_errors=True)
        return target

    def _folders(self) -> Iterator[tuple[Path, Origin]]:
        for path in sorted(self.root.glob(f"*/{RECORD}")):
            origin = Origin.read(path)
            if origin is not None and not path.parent.name.startswith("."):
                yield path.parent, origin


def safe_name(weights_id: str) -> str:
    """A folder name for an id: ``--`` stands for ``/``; a hash is added where that would not be unique."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", weights_id.replace("/", "--")).lstrip(".")
    if name.replace("--", "/") == weights_id:
        return name
    return f"{name}-{hashlib.sha256(weights_id.encode()).hexdigest()[:8]}"
