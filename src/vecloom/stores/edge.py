"""The embedded engine: one folder, one shard, one owner.

Importing this module loads qdrant-edge (some 40 ms): import it where a shard is opened. Its exceptions are
translated here and nowhere else.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakSet

import numpy as np
import qdrant_edge as engine

from vecloom import panics
from vecloom.durable import read_json
from vecloom.errors import StoreBusyError, StoreError, StoreFullError, is_panic
from vecloom.lock import files_below
from vecloom.stores import INDEXED_KEYS, edge_terms, empty
from vecloom.stores.room import allocated, holes, require_room, reserve
from vecloom.stores.shared import grown, missing_point, pages
from vecloom.stores.validate import check_ids, check_payloads, checked_leg, checked_points, checked_vectors
from vecloom.types import Filter, Leg, Points, Record, Schema, Scored, SparseRows, VectorField, Vectors

T = TypeVar("T")

#: Points written between two flushes at most: opening a shard replays what was not flushed. Who writes in
#: visits flushes at the end of each, and sooner than that.
_FLUSH_POINTS = 8000

#: Bytes on the disk for a byte written: the log's, the store's, and the indexes'.
_SPREAD = 4

#: Bytes of a point beside its vectors and texts.
_POINT_BYTES = 1024

_SEGMENTS = "segments"

#: Stands in the shard while something was written since the last flush.
_UNFLUSHED = "unflushed"


class EdgeStore:
    """A shard of qdrant-edge in a folder of its own (see `vecloom.stores.Store`).

    One process owns the folder from open to close, readers included: `vecloom.stores.access` shares it. One
    call writes one record of the engine's log, which is applied as a whole or not at all; an update of empty
    vectors writes some more, and the one that counts them as had comes last. Until the shard is opened
    again, the weights of a sparse idf vector still count deleted points.
    """

    def __init__(self, path: Path, shard: engine.EdgeShard, schema: Schema) -> None:
        """Use `create` or `open`."""
        self.path = path
        self.schema = schema
        self._shard: engine.EdgeShard | None = shard
        self._unflushed = 0
        self._reserve = reserve(path / _SEGMENTS)
        _stores.add(self)

    @classmethod
    def create(cls, path: Path, schema: Schema) -> EdgeStore:
        """Make an empty shard at ``path``, with its payload indexes.

        Raises:
            StoreError: there is one already, or the schema names no vector.
            StoreFullError: no room on the disk.
        """
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        require_room(path, 0)
        shard = _engine_call(path, engine.EdgeShard.create, str(path), edge_terms.config(schema))
        store = cls(path, shard, schema)
        for key in INDEXED_KEYS:
            store._update(edge_terms.indexed(key), 0, 0)
        store.finalize()
        require_room(path, store._reserve)
        return store

    @classmethod
    def open(cls, path: Path, schema: Schema, tune: bool = False) -> EdgeStore:
        """Open the shard at ``path``; a vector of ``schema`` that it does not know yet is added.

        ``tune``: declare the profile's settings anew, for `seal` to build by.

        Raises:
            StoreError: there is none, it is damaged, or one of its vectors differs from the schema's.
            StoreBusyError: another process holds it.
            StoreFullError: what a killed process left in the log finds no room.
        """
        missing = _missing_vectors(path, schema)
        marker = path / _UNFLUSHED
        unflushed = marker.exists()
        if unflushed:
            require_room(path, allocated(path / "wal") + holes(path / _SEGMENTS))
        elif size := holes(path / _SEGMENTS):
            require_room(path, size, margin=0)
        settings = () if missing or not tune else (edge_terms.config(schema),)
        shard = _engine_call(path, engine.EdgeShard.load, str(path), *settings)
        # A killed `optimize` leaves segments there that the engine never looks at again. Only the owner of
        # the shard may tell that nobody writes them.
        shutil.rmtree(path / "temp_segments", ignore_errors=True)
        store = cls(path, shard, schema)
        for field in missing:
            store._update(edge_terms.added(field), 0, 0)
        if missing or unflushed:
            store._flush()
        return store

    def add_vector(self, field: VectorField) -> None:
        """Add a named vector; see `vecloom.stores.Store`."""
        schema = grown(self.path, self.schema, field)
        if schema is not None:
            self._update(edge_terms.added(field), 0, 0)
            self.schema = schema
            self.finalize()

    def upsert(self, points: Points) -> None:
        """Write whole points; see `vecloom.stores.Store`."""
        points, characters = checked_points(self.schema, points)
        if points.ids:
            size = _vector_bytes(points.vectors) + characters
            self._update(edge_terms.upserted(points), len(points), size)

    def update_vectors(self, ids: Sequence[str], vectors: Mapping[str, Vectors]) -> None:
        """Set named vectors of existing points; see `vecloom.stores.Store`."""
        checked = checked_vectors(self.schema, ids, vectors)
        if not ids or not checked:
            return
        former = self._require(ids, marks=any(isinstance(column, SparseRows) for column in checked.values()))
        if rows := edge_terms.filled_rows(ids, checked):
            self._update(edge_terms.updated(rows), len(rows), _vector_bytes(checked))
        for names, points in empty.group_points(ids, empty.empty_names(checked)).items():
            self._update(engine.UpdateOperation.delete_vectors([*points], list(names)), len(points), 0)
        marks = empty.change_marks(ids, checked, former)
        if marks and empty.KEY not in self._call(self._opened().info).payload_schema:
            self._update(edge_terms.indexed(empty.KEY), 0, 0)  # an earlier version made the shard
        for names, points in marks.items():
            marked = engine.UpdateOperation.set_payload([*points], {empty.KEY: list(names)})
            self._update(marked, len(points), 0)

    def update_payloads(self, ids: Sequence[str], payloads: Sequence[Mapping[str, Any]]) -> None:
        """Merge payload keys of existing points, one log record a point; see `vecloom.stores.Store`."""
        check_ids(ids)
        characters = check_payloads(ids, payloads)
        if ids:
            self._require(ids)
            require_room(self.path, _SPREAD * characters + self._reserve)
        for point, payload in zip(ids, payloads, strict=True):
            self._apply(engine.UpdateOperation.set_payload([point], dict(payload)), 1)

    def index_key(self, key: str) -> None:
        """Index a payload key; see `vecloom.stores.Store`."""
        self._update(edge_terms.indexed(key), 0, 0)

    def mark(self, where: Filter, key: str, value: str | None) -> None:
        """Set or remove a payload key of points; see `vecloom.stores.Store`."""
        wanted = edge_terms.condition(self.schema, where) or engine.Filter()
        count = self.count(where)
        if not count:
            return
        if value is None:
            self._update(engine.UpdateOperation.delete_payload_by_filter(wanted, [key]), count, 0)
        else:
            self._update(engine.UpdateOperation.set_payload_by_filter(wanted, {key: value}), count, 0)

    def delete(self, ids: Sequence[str] | None = None, where: Filter | None = None) -> None:
        """Delete by id or by filter; see `vecloom.stores.Store`."""
        if (ids is None) == (where is None):
            raise StoreError("delete takes ids or a filter: exactly one of them")
        if ids is None:
            wanted = edge_terms.condition(self.schema, where) or engine.Filter()
            self._update(engine.UpdateOperation.delete_points_by_filter(wanted), 0, 0)
        elif ids:
            check_ids(ids)
            self._update(engine.UpdateOperation.delete_points(list(ids)), len(ids), 0)

    def search(
        self, legs: Sequence[Leg], where: Filter | None, limit: int, fields: Sequence[str]
    ) -> list[list[Scored]]:
        """One ranked list a leg; see `vecloom.stores.Store`."""
        if not legs:
            return []
        checked = [checked_leg(self.schema, leg) for leg in legs]
        request = edge_terms.queries(self.schema, checked, where, limit, fields)
        return [edge_terms.scored(found) for found in self._call(self._opened().query_batch, request)]

    def get(
        self, ids: Sequence[str], fields: Sequence[str] | None = None, vectors: Sequence[str] = ()
    ) -> list[Record]:
        """Points by id; see `vecloom.stores.Store`."""
        check_ids(ids)
        read = _selected(empty.fields_to_read(self.schema, fields, vectors))
        found = self._call(self._opened().retrieve, list(ids), read, list(vectors) or False)
        records = {one.id: empty.restore_record(one, vectors) for one in map(edge_terms.record, found)}
        return [records[point] for point in ids if point in records]

    def scroll(
        self,
        where: Filter | None = None,
        fields: Sequence[str] | None = None,
        vectors: Sequence[str] = (),
        after: str | None = None,
        limit: int | None = None,
    ) -> Iterator[Record]:
        """Points in the order of their ids; see `vecloom.stores.Store`."""
        wanted = edge_terms.condition(self.schema, where)
        read = _selected(empty.fields_to_read(self.schema, fields, vectors))

        def fetch(offset: Any, size: int) -> tuple[list[Record], Any]:
            request = engine.ScrollRequest(offset, size, wanted, read, list(vectors) or False)
            found, following = self._call(self._opened().scroll, request)
            return [empty.restore_record(edge_terms.record(one), vectors) for one in found], following

        return pages(fetch, after, limit)

    def count(self, where: Filter | None = None, exact: bool = True) -> int:
        """How many points; see `vecloom.stores.Store`."""
        request = engine.CountRequest(exact, edge_terms.condition(self.schema, where))
        return self._call(self._opened().count, request)

    def facet(self, key: str, where: Filter | None = None) -> dict[str, int]:
        """Points by value of an indexed key; see `vecloom.stores.Store`."""
        request = engine.FacetRequest(
            key, max(1, self.count()), True, edge_terms.condition(self.schema, where)
        )
        hits = self._call(self._opened().facet, request).hits
        # The engine also names values that only deleted points have.
        return {str(hit.value): hit.count for hit in hits if hit.count}

    def indexed(self) -> int:
        """How many points, as of the last flush, lie in sealed segments, which carry the graph.

        The others are searched one by one. Only `vecloom.stores.optimise` seals.
        """
        # Eight bytes a point, deleted ones included; the engine's own count takes every sparse vector for
        # indexed.
        versions = (self.path / _SEGMENTS).glob("*/mutable_id_tracker.versions")
        return max(0, self.count() - sum(file.stat().st_size for file in versions) // 8)

    def seal(self) -> None:
        """Merge segments and build their graphs, in place: some 0.3 ms a point, and no thread runs beside it.

        Killed halfway it loses nothing, but leaves files that the next `open` removes.
        """
        self._call(self._opened().optimize)
        self._flush()

    def finalize(self) -> None:
        """Flush what was written: durable against power loss, and the next open replays nothing."""
        if self._unflushed:
            self._flush()
        self._opened()

    def _flush(self) -> None:
        self._call(self._opened().flush)
        (self.path / _UNFLUSHED).unlink(missing_ok=True)
        self._unflushed = 0
        self._reserve = reserve(self.path / _SEGMENTS)

    def close(self) -> None:
        """Flush what was written, and let the folder go; see `vecloom.stores.Store`."""
        if self._shard is None:
            return
        try:
            self.finalize()
        finally:
            shard, self._shard = self._shard, None
            if shard is not None:
                _engine_call(self.path, shard.close)

    @property
    def is_closed(self) -> bool:
        """True if it cannot be used any more: it was closed, or the engine panicked."""
        return self._shard is None

    def _opened(self) -> engine.EdgeShard:
        if self._shard is None:
            raise StoreError(f"{self.path} is closed; open it again")
        return self._shard

    def _leave_to_parent(self) -> None:
        """Let go of the shard in a forked child, where it cannot be used, and must not keep others out.

        The engine's lock lives as long as any process has its file open, so that is closed here. The object
        stays alive for good: its end would unlock what is the parent's.
        """
        if self._shard is None:
            return
        import ctypes

        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._shard))
        self._shard = None
        for file in files_below(self.path):
            os.close(file)

    def _call(self, function: Callable[..., T], *args: Any) -> T:
        try:
            return _engine_call(self.path, function, *args)
        except EnginePanicError:
            self._shard = None  # its locks may never be given back: closing it could wait for ever
            raise

    def _update(self, operation: engine.UpdateOperation, points: int, size: int) -> None:
        require_room(self.path, _SPREAD * (size + points * _POINT_BYTES) + self._reserve)
        self._apply(operation, points)

    def _apply(self, operation: engine.UpdateOperation, points: int) -> None:
        if not self._unflushed:
            (self.path / _UNFLUSHED).touch()
        self._unflushed += max(1, points)
        self._call(self._opened().update, operation)
        if self._unflushed >= _FLUSH_POINTS:
            self._flush()

    def _require(self, ids: Sequence[str], marks: bool = False) -> dict[str, list[str]]:
        """Refuse ids that are not there: the engine would update the points before the first of them.

        Returns the names of the points' empty vectors, where ``marks`` are asked for.
        """
        read = [empty.KEY] if marks else False
        found = self._call(self._opened().retrieve, list(ids), read, False)
        refusal = missing_point(self.path, ids, {str(one.id) for one in found})
        if refusal is not None:
            raise refusal
        return {str(one.id): (one.payload or {}).get(empty.KEY, []) for one in found}


_stores: WeakSet[EdgeStore] = WeakSet()


def _leave_all_to_parent() -> None:
    for store in list(_stores):
        store._leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_all_to_parent)


def engine_version() -> str:
    """The version of the installed engine."""
    return importlib.metadata.version("qdrant-edge-py")


def check_engine(path: Path, written_by: str) -> None:
    """Refuse a shard that another major or minor version of the engine wrote; "" is not known, and passes.

    Raises:
        StoreError: another version wrote it.
    """
    here = engine_version()
    if written_by and written_by.split(".")[:2] != here.split(".")[:2]:
        raise StoreError(
            f"{path} was written by version {written_by} of the engine qdrant-edge, and this is {here}; use "
            f"the vecloom that made the index, or {_rebuild(path)}"
        )


def _rebuild(path: Path) -> str:
    return f'make the index again with "vecloom index --rebuild --index {path.parent}"'


class EnginePanicError(StoreError):
    """The engine failed in a way that leaves its object unusable."""


#: Refusals of the system, which say nothing about the shard: no permission, a read-only disk, no memory, no
#: file or process left to open, an error of the disk.
_OF_THE_SYSTEM = tuple(f"os error {number})" for number in (1, 5, 11, 12, 13, 23, 24, 30))


def _engine_call(path: Path, function: Callable[..., T], *args: Any) -> T:
    """Call the engine, which raises bare Exception for all that goes wrong in it, and panics on damage."""
    try:
        with panics.hidden_stderr():
            return function(*args)
    except Exception as error:
        said = " ".join(str(error).split())
        if "WouldBlock" in said:
            raise StoreBusyError(f"{path} is held by another process; try again when that is done") from error
        if "os error 28" in said or "No space left" in said:
            raise StoreFullError(f"the disk of {path} is full; make room and run again") from error
        if type(error) is not Exception:
            raise
        if any(refusal in said for refusal in _OF_THE_SYSTEM):
            raise StoreError(f"{path}: {said:.300}") from error
        if function in (engine.EdgeShard.load, engine.EdgeShard.create):
            raise StoreError(f"{path} cannot be opened ({said:.300}); {_rebuild(path)}") from error
        raise StoreError(f"{path}: {said:.300}") from error
    except BaseException as error:
        if not is_panic(error):
            raise
        said = " ".join(str(error).split())
        raise EnginePanicError(
            f"{path} is damaged (the engine stopped: {said:.200}); {_rebuild(path)}"
        ) from None


def _missing_vectors(path: Path, schema: Schema) -> list[VectorField]:
    """Fields of the schema that the shard lacks; one that differs, or that only the shard has, is refused."""
    try:
        said = read_json(path / "edge_config.json")
        dims = {name: params["size"] for name, params in (said.get("vectors") or {}).items()}
        dims |= dict.fromkeys(said.get("sparse_vectors") or {})
    except PermissionError as error:
        raise StoreError(f"{path} cannot be read ({error.strerror}); see to its permissions") from error
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise StoreError(f"{path} holds no shard that can be read ({error}); {_rebuild(path)}") from error
    for field in schema.vectors:
        if field.name in dims and dims[field.name] != field.dim:
            raise StoreError(f"{path}: {field.name!r} has {dims[field.name]} dimensions, not {field.dim}")
    unknown = sorted(set(dims) - {field.name for field in schema.vectors})
    if unknown:
        raise StoreError(f"{path} has a vector {unknown[0]!r} that the schema does not name")
    return [field for field in schema.vectors if field.name not in dims]


def _selected(fields: Sequence[str] | None) -> Any:
    return True if fields is None else (list(fields) or False)


def _vector_bytes(vectors: Mapping[str, Vectors]) -> int:
    size = 0
    for column in vectors.values():
        if isinstance(column, SparseRows):
            size += column.indices.nbytes + column.values.nbytes
        elif isinstance(column, np.ndarray):
            size += column.nbytes
        else:
            size += sum(one.nbytes for one in column)
    return size
