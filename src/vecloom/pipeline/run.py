"""One index run from start to end, in an order that a kill at any moment cannot spoil."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vecloom.chunking import CHUNKER_VERSION
from vecloom.encoders.load import Pass, groups_of
from vecloom.engine import Engine
from vecloom.errors import UsageError
from vecloom.pipeline.absence import Absence, absence_reason, mark_of
from vecloom.pipeline.filling import Filling, window_size
from vecloom.pipeline.home import FolderHome, Home, Visits, forget_load, record
from vecloom.pipeline.manifest import Manifest, load_manifest
from vecloom.pipeline.reading import ChunkSettings, chunk_reader
from vecloom.pipeline.report import IndexReport, Listener, Whole
from vecloom.pipeline.setup import runner_for
from vecloom.pipeline.shards import records
from vecloom.pipeline.states import FileStates, RootMark
from vecloom.pipeline.storing import KnownFiles, Storing, batches
from vecloom.runners import Serial
from vecloom.sources import ScanOptions
from vecloom.stores import ABSENT, ABSENT_KEY, has_points
from vecloom.types import Filter
from vecloom.version import __version__


@dataclass(frozen=True, slots=True)
class Run:
    """What an index run works with. The caller is the only writer of ``home`` all the while.

    ``instant``: vector names that cost next to nothing and are stored with the points. ``engine`` yields
    them; ``passes`` are all that the index has. ``exclude``: folders that are no part of any tree, such as
    the index itself. ``notice`` takes lines for a person. ``delete_gone``: delete the points of files that
    are gone also where their root is gone with them (`vecloom.pipeline.absence`).
    """

    home: Home
    engine: Engine
    passes: Sequence[Pass]
    chunking: ChunkSettings
    instant: tuple[str, ...]
    exclude: tuple[Path, ...]
    notice: Callable[[str], None]
    listener: Listener
    delete_gone: bool = False

    def store(self, sources: Mapping[str, Path]) -> IndexReport:
        """Bring the points in line with the trees of ``sources`` (name -> root), and fill every vector."""
        started = time.perf_counter()
        report = IndexReport()
        later = [one for one in self.passes if not set(one.names) <= set(self.instant)]
        slow = tuple(name for one in later for name in one.names)
        self.home.tidy()
        forget_load(self.home)
        manifest = self.home.load()
        known = {**manifest.sources, **{name: str(root) for name, root in sources.items()}}
        unfinished = dict.fromkeys((*manifest.unfinished, *sources))
        record(self.home, sources=known, unfinished=tuple(unfinished))
        shard = self.home.visits(report, self.listener)
        with closing(self._states(manifest)) as states, chunk_reader(self.chunking) as reader:
            storing = Storing(shard, states, self.engine, self.instant, slow, report, self.listener, reader)
            for name, root in sources.items():
                files = storing.run(name, root, ScanOptions(exclude=self.exclude))
                absence = self._find_absence(root, files, states.root(name))
                if absence is None:
                    storing.delete_files(name, files.gone)
                    states.mark_root(name, mark_of(root))
                else:
                    report.absent[name] = absence
                self._hide_absent(shard, name, files, absence)
        left = tuple(name for name in unfinished if name not in sources)
        self._record_legs(unfinished=left, chunker=CHUNKER_VERSION, created_with=__version__)
        here = Serial(self.engine.encode_window)
        Filling(shard, report, self.listener).run(here, [[name] for name in self.instant])
        self._record_legs()
        if self.instant:
            report.sparse_seconds = time.perf_counter() - started
        whole = Whole(self._work(later), self.listener)
        for group in groups_of(later):
            with closing(runner_for(group, self.notice)) as runner:
                filling = Filling(shard, report, whole.listener(one.names for one in group))
                filling.run(runner, [one.names for one in group], window_size(group))
            self._record_legs()
        shard.finish()
        report.seconds = time.perf_counter() - started
        return report

    def _find_absence(self, root: Path, files: KnownFiles, before: RootMark | None) -> Absence | None:
        """Why the points of files that are gone are kept; None where they are to be deleted."""
        if self.delete_gone:
            return None
        reason = absence_reason(root, before, files.count, len(files.gone))
        return Absence(str(root), len(files.gone), reason) if reason else None

    def _hide_absent(self, shard: Visits, source: str, files: KnownFiles, absence: Absence | None) -> None:
        """Hide the points of files that went with their root from search, and show those that are back."""
        absent = self.home.load().absent
        hidden = {ABSENT_KEY: (ABSENT,)}
        if absence is not None:
            with shard.visit() as store:
                store.index_key(ABSENT_KEY)
            if source not in absent:
                record(self.home, absent=(*absent, source))
            for batch in batches(files.gone):
                shown = Filter(match={"source": (source,), "path": tuple(batch)}, unless=hidden)
                self._set_absent(shard, shown, ABSENT)
            for batch in batches(files.there if source in absent else ()):
                back = Filter(match={"source": (source,), "path": tuple(batch), **hidden})
                self._set_absent(shard, back, None)
        elif source in absent:
            # All of the source: a file that cannot be read just now is shown again too.
            self._set_absent(shard, Filter(match={"source": (source,), **hidden}), None)
            record(self.home, absent=tuple(name for name in absent if name != source))

    def _set_absent(self, shard: Visits, where: Filter, value: str | None) -> None:
        with shard.visit() as store:
            if has_points(store, where):
                store.mark(where, ABSENT_KEY, value)

    def _work(self, passes: Sequence[Pass]) -> dict[tuple[str, ...], float]:
        """What is left to do, by the names of a pass: points that lack its vectors, times its weights."""
        with self.home.access.open("index") as store:
            return {
                one.names: store.count(Filter(lacks=one.names), exact=False) * float(max(1, one.weight_bytes))
                for one in passes
            }

    def _states(self, manifest: Manifest) -> FileStates:
        """The file states: told again by the shard where missing, in doubt where the chunker changed."""
        states = FileStates(self.home.local, manifest.uid)
        if states.blank:
            stored = records(self.home.access, None, ("source", "path"))
            states.rebuild({(record.payload["source"], record.payload["path"]) for record in stored})
        if manifest.chunker != CHUNKER_VERSION:
            states.doubt_all()
        return states

    def _record_legs(self, **changes: Any) -> None:
        """Record which vectors some points lack, and further changes."""
        with self.home.access.open("index") as store:
            names = [v.name for v in store.schema.vectors]
            lacking = tuple(name for name in names if has_points(store, Filter(lacks=(name,))))
        record(self.home, incomplete=lacking, **changes)


def require_present(home: FolderHome, former: Manifest, side: Path, sources: Mapping[str, Path]) -> None:
    """Refuse an index made anew that lacks what the old one has of a source whose root is gone.

    ``side``: the folder of the new one.

    Raises:
        UsageError: files of a source are gone as `vecloom.pipeline.absence` describes it.
    """
    with (
        closing(FileStates(home.local, former.uid)) as before,
        closing(FileStates(side, load_manifest(side).uid)) as after,
    ):
        for name, root in sources.items():
            known = before.hashes(name)
            gone = len(known.keys() - after.hashes(name).keys())
            if reason := absence_reason(root, before.root(name), len(known), gone):
                raise UsageError(
                    f"{gone:,} files of {name} are gone and {root} {reason}: the index stays as it was; "
                    f"bring the tree back, or make it without them: vecloom index --rebuild --yes"
                )


def remove_source(home: Home, source: str) -> int:
    """Delete a source's points and forget it; returns how many points there were."""
    where = Filter(match={"source": (source,)})
    manifest = home.load()
    forget_load(home)
    home.save(manifest)  # who may not write it must not delete first
    with closing(FileStates(home.local, manifest.uid)) as states:
        states.doubt(source)
        with home.access.open("remove") as store:
            deleted = store.count(where)
            store.delete(where=where)
            store.finalize()
        states.forget(source)
    kept = {name: root for name, root in manifest.sources.items() if name != source}
    unfinished = tuple(name for name in manifest.unfinished if name != source)
    absent = tuple(name for name in manifest.absent if name != source)
    record(home, sources=kept, unfinished=unfinished, absent=absent)
    return deleted
