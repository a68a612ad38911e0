"""A pack into an index: shard by shard, resumed where it was acknowledged, verified in the end."""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from vecloom.durable import read_json, written
from vecloom.engine import take_rows
from vecloom.errors import IndexMismatchError, PackError, StoreError
from vecloom.pack.manifest import PackManifest, Shard
from vecloom.pack.reading import Pack
from vecloom.pipeline.home import LEDGER, Home, Visits, forget_load, record
from vecloom.pipeline.manifest import Manifest
from vecloom.pipeline.points import OPERATION_POINTS, PASSAGE_HASH_FIELDS, passage_hash
from vecloom.pipeline.report import IndexReport, Listener, Progress
from vecloom.pipeline.shards import records
from vecloom.pipeline.states import remove_states
from vecloom.stores import ABSENT, ABSENT_KEY, Store, has_points
from vecloom.types import Filter, Points, SparseRows, Vectors

#: Points whose vectors are compared in the end, and how far apart a value may be: float32 of unit length.
_SAMPLED, _APART = 64, 1e-5

#: Shards that they are of.
_SHARDS = 4

#: Points sent in one visit to the store, and acknowledged together: what a kill can cost.
VISIT_POINTS = 8000

#: Points of a source that are looked at before any is deleted; their ids are drawn as if by lot.
_LOOKED_AT = 1000


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What a load did. ``points``: of the pack; ``sent`` of them in this run; ``deleted`` that were gone.

    ``unsealed``: why no graph was built where one was due.
    """

    points: int
    sent: int
    deleted: int
    seconds: float
    unsealed: str = ""


def pack_id(manifest: PackManifest) -> str:
    """16 hex digits over the contents of a pack."""
    said = json.dumps([shard.sha256 for shard in manifest.shards])
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def require_finished(pack: Pack) -> None:
    """Refuse a pack that an embed run has not finished.

    Raises:
        PackError: it has not.
    """
    manifest = pack.manifest
    if not manifest.read or manifest.incomplete:
        what = ", ".join(manifest.incomplete) or "the trees"
        raise PackError(f"{pack.files.place} is not finished ({what}); go on with vecloom embed")


def joined_with(manifest: Manifest, pack: PackManifest, place: str) -> Manifest:
    """The manifest of an index that takes the pack's points too, with models that only the pack has.

    Raises:
        IndexMismatchError: it was made otherwise; the message names the differences.
    """
    differences = manifest.differences(pack)
    if differences:
        raise IndexMismatchError(
            f"{place} differs from the pack: {'; '.join(differences)}; load it into another one"
        )
    further = tuple(model for model in pack.models if model.vector_name not in manifest.names)
    counted = dict.fromkeys((*manifest.counted_by, *pack.counted_by))
    return replace(
        manifest,
        models=manifest.models + further,
        counted_by=tuple(counted),
        sources={**dict.fromkeys(pack.sources, ""), **manifest.sources},
        incomplete=manifest.incomplete + tuple(model.vector_name for model in further),
    )


class Loading:
    """Brings an index in line with a pack. The caller is the only writer of ``home``."""

    def __init__(self, pack: Pack, home: Home, listener: Listener) -> None:
        self._pack = pack
        self._home = home
        self._listener = listener
        self._ledger = home.local / LEDGER
        self._id = pack_id(pack.manifest)
        self._report = IndexReport()

    def run(self) -> LoadReport:
        """Send what is not acknowledged yet, delete what the pack's sources have no more, and verify.

        Call `require_same_trees` before.

        Raises:
            PackError: the pack is damaged.
            StoreError: the store refuses, or does not hold what was sent.
        """
        started = time.perf_counter()
        pack, manifest = self._pack.manifest, self._home.load()
        left = tuple(name for name in manifest.unfinished if name not in pack.sources)
        record(self._home, unfinished=(*left, *pack.sources))
        remove_states(self._home.local)  # they know nothing of what comes; the next index run asks the store
        self._home.tidy()
        visits = self._home.visits(self._report, self._listener)
        visits.begin_bulk()
        keep = not set(manifest.names) <= set(pack.names)
        first = self._done()
        wanted = self._counts(pack.shards[:first])
        sent = self._send(visits, first, keep, wanted)
        stored = self._stored(wanted)
        if first and any(stored[source] < wanted[source] for source in wanted):
            sent = self._send(visits, 0, keep, Counter())  # somebody has deleted points meanwhile
            stored = self._stored(wanted)
        deleted = self._delete_stale([source for source in wanted if stored[source] > wanted[source]])
        try:
            self._verify(wanted, self._stored(wanted) if deleted else stored)
        except StoreError:
            forget_load(self._home)  # what it says is not so: the next load sends all
            raise
        self._show_again(manifest.absent)
        visits.finish()
        alone = not keep and self._report.points == pack.points
        absent = tuple(name for name in manifest.absent if name not in pack.sources)
        record(self._home, unfinished=left, absent=absent, incomplete=() if alone else self._lacking())
        forget_load(self._home)
        seconds = time.perf_counter() - started
        return LoadReport(pack.points, sent, deleted, seconds, self._report.unsealed)

    def _show_again(self, absent: Sequence[str]) -> None:
        """Show what was hidden of the pack's sources, as their trees are known again."""
        if shown := tuple(name for name in absent if name in self._pack.manifest.sources):
            with self._home.access.open("load") as store:
                where = Filter(match={"source": shown, ABSENT_KEY: (ABSENT,)})
                store.mark(where, ABSENT_KEY, None)
                store.finalize()

    def require_same_trees(self) -> None:
        """Refuse a pack that would delete most of what the index has of a source.

        That is another tree of the same name, or the same one cut into other chunks.

        Raises:
            IndexMismatchError: it would.
        """
        for source, count in self._stored(dict.fromkeys(self._pack.manifest.sources, 0)).items():
            if not count:
                continue
            with self._home.access.open("load") as store:
                where = Filter(match={"source": (source,)})
                sample = [uuid.UUID(one.id).bytes for one in store.scroll(where, (), limit=_LOOKED_AT)]
            kept = len(self._ids.intersection(sample))
            if 2 * kept < len(sample):
                raise IndexMismatchError(
                    f"{self._home.name} holds {count:,} points of {source}; of {len(sample)} looked at, the "
                    f"pack has {kept}: another tree, or other chunks. Load it into another index, embed it "
                    f"with --source OTHER, or first: vecloom index --remove {source}"
                )

    def _lacking(self) -> tuple[str, ...]:
        """Vectors that some points of the index lack."""
        with self._home.access.open("load") as store:
            names = [v.name for v in store.schema.vectors]
            return tuple(name for name in names if has_points(store, Filter(lacks=(name,))))

    def _done(self) -> int:
        """How many shards of this very pack are acknowledged; none where the ledger cannot be read."""
        try:
            said = read_json(self._ledger)
        except (OSError, ValueError):
            return 0
        if not isinstance(said, dict) or said.get("pack") != self._id:
            return 0
        done, most = said.get("shards"), len(self._pack.manifest.shards)
        return done if type(done) is int and 0 <= done <= most else 0

    def _acknowledge(self, shards: int) -> None:
        with written(self._ledger) as file:
            file.write(json.dumps({"pack": self._id, "shards": shards}).encode())

    def _send(self, visits: Visits, first: int, keep: bool, counts: Counter[str]) -> int:
        """Send the shards from ``first`` on, and count their points by source.

        ``keep``: vectors that the index has and the pack has not stay.
        """
        pack = self._pack.manifest
        sent, before = 0, sum(shard.points for shard in pack.shards[:first])
        for numbers in _visited(pack.shards, first):
            with visits.visit() as store:
                for points in (found for i in numbers for found in self._pack.points(pack.shards[i])):
                    for batch in _batches(points):
                        _merge(store, batch) if keep else store.upsert(batch)
                    counts.update(payload["source"] for payload in points.payloads)
                    sent += len(points)
                    event = Progress("load", before + sent, pack.points, "chunks", self._home.name)
                    self._listener(event)
            self._acknowledge(numbers.stop)
        return sent

    def _counts(self, shards: Sequence[Shard]) -> Counter[str]:
        """Source -> its points in these shards."""
        counts: Counter[str] = Counter(dict.fromkeys(self._pack.manifest.sources, 0))
        for shard in shards:
            for table in self._pack.tables(shard, ["source"]):
                counts.update(table.column("source").to_pylist())
        return counts

    def _stored(self, sources: Mapping[str, int]) -> dict[str, int]:
        with self._home.access.open("load") as store:
            return {source: store.count(Filter(match={"source": (source,)})) for source in sources}

    def _delete_stale(self, sources: Sequence[str]) -> int:
        """Delete points of these sources that the pack has not: of an earlier state of the trees."""
        if not sources:
            return 0
        mine = self._ids
        stored = records(self._home.access, Filter(match={"source": tuple(sources)}), ())
        stale = [one.id for one in stored if uuid.UUID(one.id).bytes not in mine]
        with self._home.access.open("load") as store:
            for start in range(0, len(stale), OPERATION_POINTS):
                store.delete(ids=stale[start : start + OPERATION_POINTS])
            store.finalize()
        return len(stale)

    @cached_property
    def _ids(self) -> frozenset[bytes]:
        """The ids of the pack."""
        return frozenset(
            uuid.UUID(point).bytes
            for shard in self._pack.manifest.shards
            for table in self._pack.tables(shard, ["id"])
            for point in table.column("id").to_pylist()
        )

    def _verify(self, wanted: Mapping[str, int], stored: Mapping[str, int]) -> None:
        """Compare counts, and some points' vectors."""
        for source, have in stored.items():
            if have != wanted[source]:
                raise StoreError(
                    f"{self._home.name} holds {have:,} points of {source} and the pack {wanted[source]:,}; "
                    f"load it again"
                )
        for shard, rows in _sample(self._pack.manifest.shards):
            points = next(self._pack.points(shard, most=rows))
            with self._home.access.open("load") as store:
                found = store.get(points.ids, (), shard.vectors)
            if [one.id for one in found] != list(points.ids):
                raise StoreError(f"{self._home.name} lacks points of {shard.name}; load it again")
            for i, one in enumerate(found):
                for name in shard.vectors:
                    if name not in one.vectors or not _alike(one.vectors[name], points.vectors[name], i):
                        raise StoreError(
                            f"{self._home.name}: {name!r} of {one.id} is not the pack's; load it again"
                        )


def _visited(shards: Sequence[Shard], first: int) -> Iterator[range]:
    """Numbers of the shards, from ``first`` on, that are sent in one visit to the store."""
    begin, points = first, 0
    for number in range(first, len(shards)):
        points += shards[number].points
        if points >= VISIT_POINTS or number == len(shards) - 1:
            yield range(begin, number + 1)
            begin, points = number + 1, 0


def _batches(points: Points) -> Iterator[Points]:
    for start in range(0, len(points), OPERATION_POINTS):
        rows = range(start, min(start + OPERATION_POINTS, len(points)))
        yield _taken(points, rows) if len(rows) < len(points) else points


def _taken(points: Points, rows: Sequence[int]) -> Points:
    chosen = np.asarray(rows, np.int64)
    vectors = {name: take_rows(column, chosen) for name, column in points.vectors.items()}
    return Points([points.ids[i] for i in rows], [points.payloads[i] for i in rows], vectors)


def _merge(store: Store, points: Points) -> None:
    """Write points beside vectors that only the store has, where they were made of the same text."""
    former = store.get(points.ids, PASSAGE_HASH_FIELDS)
    there = {one.id: passage_hash(one.payload) for one in former if one.payload}
    same = [i for i, one in enumerate(points.ids) if there.get(one) == passage_hash(points.payloads[i])]
    kept = _taken(points, same)
    store.update_vectors(kept.ids, kept.vectors)
    store.update_payloads(kept.ids, kept.payloads)
    others = sorted(set(range(len(points))) - set(same))
    if others:
        store.upsert(_taken(points, others))


def _sample(shards: Sequence[Shard]) -> Iterator[tuple[Shard, int]]:
    """Some shards, evenly spread, and how many points of each are looked at."""
    filled = [shard for shard in shards if shard.points]
    step = -(-len(filled) // _SHARDS) or 1
    for shard in filled[::step]:
        yield shard, min(shard.points, _SAMPLED // _SHARDS)


def _alike(stored: Any, column: Vectors, i: int) -> bool:
    """Whether a stored vector is row ``i`` of the column; dense ones are stored with the length 1."""
    if isinstance(column, SparseRows):
        indices, values = column.row(i)
        return bool(np.array_equal(stored[0], indices) and np.allclose(stored[1], values, rtol=_APART))
    mine = np.asarray(column[i])
    mine = mine / np.linalg.norm(mine, axis=-1, keepdims=True)
    return stored.shape == mine.shape and bool(np.allclose(stored, mine, atol=_APART))
