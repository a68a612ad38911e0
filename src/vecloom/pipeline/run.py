"""One index run from start to end, in an order that a kill at any moment cannot spoil."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vecloom.chunking import CHUNKER_VERSION, Chunker
from vecloom.engine import Engine
from vecloom.pipeline.filling import Filling
from vecloom.pipeline.manifest import Manifest, load_manifest, record
from vecloom.pipeline.report import IndexReport, Listener
from vecloom.pipeline.sealing import ShardWriter
from vecloom.pipeline.shards import records, remove_leftovers
from vecloom.pipeline.states import FileStates
from vecloom.pipeline.storing import Storing
from vecloom.sources import ScanOptions
from vecloom.stores.access import ShardAccess
from vecloom.types import Filter
from vecloom.version import __version__


@dataclass(frozen=True, slots=True)
class Run:
    """What an index run works with. The caller holds the writer lock of ``folder`` all the while.

    ``instant``: vector names that cost next to nothing and are stored with the points. ``exclude``: folders
    that are no part of any tree, such as the index itself.
    """

    folder: Path
    access: ShardAccess
    engine: Engine
    chunker: Chunker
    instant: tuple[str, ...]
    exclude: tuple[Path, ...]
    listener: Listener

    def store(self, sources: Mapping[str, Path]) -> IndexReport:
        """Bring the points in line with the trees of ``sources`` (name -> root), and fill every vector."""
        started = time.perf_counter()
        report = IndexReport()
        passes = [names for names in self.engine.passes if not set(names) <= set(self.instant)]
        slow = tuple(name for names in passes for name in names)
        manifest = load_manifest(self.folder)
        remove_leftovers(self.folder, manifest)
        known = {**manifest.sources, **{name: str(root) for name, root in sources.items()}}
        unfinished = dict.fromkeys((*manifest.unfinished, *sources))
        record(self.folder, sources=known, unfinished=tuple(unfinished))
        shard = ShardWriter(self.folder, self.access, report, self.listener)
        with closing(self._states(manifest)) as states:
            storing = Storing(
                shard, states, self.chunker, self.engine, self.instant, slow, report, self.listener
            )
            for name, root in sources.items():
                storing.run(name, root, ScanOptions(exclude=self.exclude))
        left = tuple(name for name in unfinished if name not in sources)
        self._record_legs(unfinished=left, chunker=CHUNKER_VERSION, created_with=__version__)
        filling = Filling(shard, self.engine, report, self.listener)
        for name in self.instant:
            filling.run((name,))
        self._record_legs()
        report.sparse_seconds = time.perf_counter() - started
        for names in passes:
            filling.run(names)
            self._record_legs()
        shard.finish()
        report.seconds = time.perf_counter() - started
        return report

    def _states(self, manifest: Manifest) -> FileStates:
        """The file states: told again by the shard where missing, in doubt where the chunker changed."""
        states = FileStates(self.folder, manifest.uid)
        if states.blank:
            stored = records(self.access, None, ("source", "path"))
            states.rebuild({(record.payload["source"], record.payload["path"]) for record in stored})
        if manifest.chunker != CHUNKER_VERSION:
            states.doubt_all()
        return states

    def _record_legs(self, **changes: Any) -> None:
        """Record which vectors some points lack, and further changes."""
        with self.access.open("index") as store:
            names = [v.name for v in store.schema.vectors]
            lacking = tuple(name for name in names if store.count(Filter(lacks=(name,))))
        record(self.folder, incomplete=lacking, **changes)


def remove_source(folder: Path, access: ShardAccess, source: str) -> int:
    """Delete a source's points and forget it; returns how many points there were."""
    where = Filter(match={"source": (source,)})
    manifest = load_manifest(folder)
    with closing(FileStates(folder, manifest.uid)) as states:
        states.doubt(source)
        with access.open("remove") as store:
            deleted = store.count(where)
            store.delete(where=where)
            store.finalize()
        states.forget(source)
    kept = {name: root for name, root in manifest.sources.items() if name != source}
    unfinished = tuple(name for name in manifest.unfinished if name != source)
    record(folder, sources=kept, unfinished=unfinished)
    return deleted
