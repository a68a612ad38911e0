"""Where an index lives: a folder of its own, or a collection of a Qdrant server."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from vecloom.pipeline.manifest import FILE_NAME, Manifest, load_manifest, stamp
from vecloom.pipeline.report import IndexReport, Listener
from vecloom.pipeline.writer import writer_of, writing
from vecloom.registry import Registry
from vecloom.stores import Access, Store
from vecloom.stores.access import ShardAccess, is_read_only
from vecloom.stores.room import allocated
from vecloom.types import Schema

if TYPE_CHECKING:
    from vecloom.stores.edge import EdgeStore

#: Opening a shard costs more than a search, so it stays open that long after its last use; whoever else wants
#: it gets it at once.
IDLE_SECONDS = 30.0

#: How far a load of a pack is, in the folder of this machine.
LEDGER = "load.json"


class Visits(Protocol):
    """A store as the only writer of an index uses it: for moments."""

    @property
    def access(self) -> Access:
        """Opens the store for a moment."""
        ...

    def visit(self) -> AbstractContextManager[Store]:
        """The open store, for this ``with`` block only; what was written is durable behind it."""
        ...

    def begin_bulk(self) -> None:
        """Much is about to be written: what makes searches quick waits until `finish`."""
        ...

    def finish(self) -> None:
        """All is written: count the points, and make searches quick."""
        ...


class Home(Protocol):
    """Where an index lives."""

    @property
    def name(self) -> str:
        """What its user calls it: the folder, or the URL with the collection."""
        ...

    @property
    def access(self) -> Access:
        """Opens the store for a moment."""
        ...

    @property
    def local(self) -> Path:
        """A folder of this machine, for what can be had again from the store."""
        ...

    def exists(self) -> bool:
        """Whether an index is there, readable or not."""
        ...

    def require_vacant(self, manifest: Manifest) -> None:
        """Refuse a place that holds something already.

        Raises:
            UsageError: it does.
        """
        ...

    def create(self, manifest: Manifest, schema: Schema) -> None:
        """Make an empty index.

        Raises:
            UsageError: the place holds something already.
            StoreError: it cannot be written.
        """
        ...

    def load(self) -> Manifest:
        """The manifest as it is now.

        Raises:
            IndexFormatError: there is no index, or none that this version reads.
        """
        ...

    def save(self, manifest: Manifest) -> None:
        """Replace the manifest. The caller is the only writer."""
        ...

    def stamp(self) -> object:
        """What changes whenever the manifest is replaced."""
        ...

    def writing(self, command: str) -> AbstractContextManager[Listener]:
        """Be the only writer; yields a listener that leaves word of how far the run is.

        Raises:
            StoreBusyError: there is a writer already.
        """
        ...

    def writer(self) -> str:
        """Who writes now, and how far that is; "" where nobody does."""
        ...

    def visits(self, report: IndexReport, listener: Listener) -> Visits:
        """The store for a run that writes."""
        ...

    def tidy(self) -> None:
        """Remove what a killed run left, and make what it left unmade."""
        ...

    def size(self) -> int | None:
        """Bytes on the disk; None where nobody tells."""
        ...


def forget_load(home: Home) -> None:
    """Forget how far a load of a pack is: it sends all of it again."""
    (home.local / LEDGER).unlink(missing_ok=True)


def record(home: Home, **changes: Any) -> None:
    """Change fields of an index's manifest. The caller is its only writer."""
    home.save(replace(home.load(), **changes))


class FolderHome:
    """An index in a folder: ``index.json``, a shard of the embedded engine, and who uses it."""

    def __init__(
        self, folder: Path, registry: Registry, notice: Callable[[str], None] = lambda _line: None
    ) -> None:
        """``registry`` knows the rows of the index's models. ``notice`` takes lines for the user."""
        self.folder = self.local = folder
        self.name = str(folder)
        self._registry = registry
        self._shared = ShardAccess(folder, self._open_shard, idle=IDLE_SECONDS)
        self.access: Access = self._shared
        if is_read_only(folder):
            from vecloom.stores.read_only import CopyAccess

            self.access = CopyAccess(folder, self._shard, self._open_copy, self.stamp, notice)

    def _shard(self) -> Path:
        return self.folder / self.load().shard

    def _open_shard(self) -> EdgeStore:
        """Open the shard that is current now: called with the shard's lock held."""
        return self._open_copy(self._shard())

    def _open_copy(self, path: Path) -> EdgeStore:
        """Open the current shard, or a copy of it."""
        from vecloom.stores.edge import EdgeStore, check_engine

        manifest = self.load()
        check_engine(path, manifest.engine)
        return EdgeStore.open(path, manifest.schema(self._registry))

    def exists(self) -> bool:
        """Whether the folder holds an index; see `Home`."""
        return (self.folder / FILE_NAME).exists()

    def require_vacant(self, manifest: Manifest) -> None:
        """Refuse a folder that is not empty; see `Home`."""
        from vecloom.pipeline.shards import require_vacant

        require_vacant(self.folder, manifest)

    def create(self, manifest: Manifest, schema: Schema) -> None:
        """Make the folder; see `Home`."""
        from vecloom.pipeline.shards import create_index

        create_index(self.folder, manifest, schema)

    def load(self) -> Manifest:
        """The manifest as it is now; see `Home`."""
        return load_manifest(self.folder)

    def save(self, manifest: Manifest) -> None:
        """Replace the manifest; see `Home`."""
        manifest.save(self.folder)

    def stamp(self) -> object:
        """What changes with the manifest; see `Home`."""
        return stamp(self.folder)

    def writing(self, command: str) -> AbstractContextManager[Listener]:
        """Be the only writer; see `Home`."""
        return writing(self.folder, command)

    def writer(self) -> str:
        """Who writes now; see `Home`."""
        return writer_of(self.folder)

    def visits(self, report: IndexReport, listener: Listener) -> Visits:
        """The shard, sealed as soon as that is worth its while; see `Home`."""
        from vecloom.pipeline.sealing import ShardWriter

        return ShardWriter(self.folder, self._shared, report, listener)

    def tidy(self) -> None:
        """Remove shards that a killed run was building; see `Home`."""
        from vecloom.pipeline.shards import remove_leftovers

        remove_leftovers(self.folder, self.load())

    def size(self) -> int | None:
        """Bytes of the folder; see `Home`."""
        return allocated(self.folder)
