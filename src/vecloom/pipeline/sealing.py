"""The shard as an index run writes to it: open for moments, and sealed as soon as that is worth its while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vecloom.errors import StoreFullError
from vecloom.pipeline.manifest import load_manifest, record_in
from vecloom.pipeline.report import IndexReport, Listener, Progress
from vecloom.pipeline.shards import next_shard
from vecloom.stores.access import ShardAccess
from vecloom.stores.optimise import optimise

if TYPE_CHECKING:
    from vecloom.stores.edge import EdgeStore

#: So many points outside sealed segments are searched one by one, exactly, within milliseconds, and make
#: opening the shard 0.2 s longer. To seal them takes seconds; to encode them took minutes.
OPTIMISE_POINTS = 20_000

#: The same as a share of all points, because sealing copies the whole shard.
OPTIMISE_SHARE = 0.2


class ShardWriter:
    """Visits to a shard by its only writer."""

    def __init__(self, folder: Path, access: ShardAccess, report: IndexReport, listener: Listener) -> None:
        self.access = access
        self._folder = folder
        self._report = report
        self._listener = listener
        self._sealed = self._bulk = False

    @contextmanager
    def visit(self) -> Iterator[EdgeStore]:
        """The open store, for this ``with`` block only; what was written is durable behind it.

        Then, with nobody kept waiting, the shard is sealed where enough points lie outside sealed segments.
        """
        with self.access.open("index") as store:
            yield store
            store.finalize()
            points, bare = self._count(store)
        if not self._bulk and _due(points, bare):
            self._seal(points)

    def begin_bulk(self) -> None:
        """Seal nothing until `finish`."""
        self._bulk = True

    def finish(self) -> None:
        """The run has written all: count the points, and seal what is left where it sealed before.

        A run that wrote so much has the seconds for it, and searches are the quicker from then on.
        """
        with self.access.open("index") as store:
            points, bare = self._count(store)
        if bare and (self._sealed or _due(points, bare)):
            self._seal(points)
        self._record_engine()

    def _record_engine(self) -> None:
        """Record which engine wrote the shard, where another patch version did before."""
        from vecloom.stores.edge import engine_version

        if load_manifest(self._folder).engine != engine_version():
            record_in(self._folder, engine=engine_version())

    def _count(self, store: EdgeStore) -> tuple[int, int]:
        """All points, and those outside sealed segments as of the last flush."""
        points = self._report.points = store.count()
        return points, points - store.indexed()

    def _seal(self, points: int) -> None:
        """Build a sealed copy and let it take the shard's place.

        A disk without room for the copy ends no run: the shard is as whole as before, and the report says
        that searches take longer.
        """
        self._listener(Progress("optimise", 0, None, "", f"{points:,} points"))
        shard, target = self._folder / load_manifest(self._folder).shard, next_shard(self._folder)
        self._report.unsealed = ""
        try:
            optimise(self.access, shard, target, lambda: record_in(self._folder, shard=target.name))
        except StoreFullError as error:
            self._report.unsealed = str(error)
        else:
            self._sealed = True


def _due(points: int, bare: int) -> bool:
    """Whether so many points outside sealed segments are worth sealing."""
    return bare >= OPTIMISE_POINTS and bare >= OPTIMISE_SHARE * points
