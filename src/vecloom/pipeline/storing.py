"""Step one of an index run: the tree read, chunked and stored, with the vectors that cost next to nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from vecloom.engine import Engine, take_rows
from vecloom.pipeline.home import Visits
from vecloom.pipeline.points import OPERATION_POINTS, NewPoint, passage_hash
from vecloom.pipeline.reading import UNREADABLE, Input, Reader, ReadFile, collect_points, is_below
from vecloom.pipeline.report import IndexReport, Listener, Progress
from vecloom.pipeline.reuse import vectors_of_equal_texts
from vecloom.pipeline.states import FileStates
from vecloom.sources import File, ScanOptions, Skip, digest, read, scan
from vecloom.stores import Store, has_points
from vecloom.types import Filter, Points

T = TypeVar("T")

#: A window is stored once it has this many chunks or bytes of text: some hundredths of a second of the shard.
WINDOW_CHUNKS = 4000
WINDOW_BYTES = 8 << 20


@dataclass(slots=True)
class _Window:
    """Changed files that wait to be stored."""

    files: list[tuple[str, str, int]] = field(default_factory=list)  # path, hash, chunks
    points: list[NewPoint] = field(default_factory=list)
    bytes: int = 0

    @property
    def full(self) -> bool:
        return len(self.points) >= WINDOW_CHUNKS or self.bytes >= WINDOW_BYTES


@dataclass(frozen=True, slots=True)
class KnownFiles:
    """How many files of a source were known before a run, those that are gone now, and those still there."""

    count: int
    gone: list[str]
    there: list[str]


class Storing:
    """Brings a shard's points in line with a source's files."""

    def __init__(
        self,
        shard: Visits,
        states: FileStates,
        engine: Engine,
        instant: Sequence[str],
        slow: Sequence[str],
        report: IndexReport,
        listener: Listener,
        reader: Reader[ReadFile],
    ) -> None:
        """``instant``: vector names encoded here; ``slow``: names that are filled in later."""
        self._shard = shard
        self._states = states
        self._engine = engine
        self._instant = tuple(instant)
        self._slow = tuple(slow)
        self._slow_filled = False
        self._report = report
        self._listener = listener
        self._reader = reader

    def run(self, source: str, root: Path, options: ScanOptions) -> KnownFiles:
        """Store what is new or changed below ``root``; returns what became of the files known before."""
        known = self._states.hashes(source)
        with self._shard.visit() as store:
            self._slow_filled = any(has_points(store, Filter(has=(name,))) for name in self._slow)
        seen: set[str] = set()
        kept: list[str] = []
        window = _Window()
        for file, found in self._reader.read_all(
            self._changed_files(source, root, options, known, seen, kept)
        ):
            if isinstance(found, Skip):
                self._skip(found, kept)
                continue
            seen.add(file.path)
            self._report.files += 1
            points = collect_points(found, self._report)
            window.files.append((file.path, _format_state(file, found.document.hash), len(points)))
            window.points += points
            window.bytes += sum(point.size for point in points)
            if window.full:
                self._store(source, window, known)
                window = _Window()
        if window.files:
            self._store(source, window, known)
        gone = [path for path in known if path not in seen and not is_below(path, kept)]
        return KnownFiles(len(known), gone, [path for path in known if path in seen])

    def _skip(self, skip: Skip, kept: list[str]) -> None:
        self._report.skips.append(skip)
        if skip.reason in UNREADABLE:
            kept.append(skip.path)

    def _changed_files(
        self,
        source: str,
        root: Path,
        options: ScanOptions,
        known: Mapping[str, str],
        seen: set[str],
        kept: list[str],
    ) -> Iterator[Input]:
        """Files below ``root`` whose bytes are not the ones stored; the others go to ``seen`` or ``kept``."""
        done = self._report.files
        for item in scan(root, options):
            if isinstance(item, Skip):
                self._skip(item, kept)
                continue
            self._listener(Progress("read", done, None, "files", source))
            done += 1
            data = read(item)
            if isinstance(data, Skip):
                self._skip(data, kept)
            elif _format_state(item, digest(data)) == known.get(item.path):
                seen.add(item.path)
                self._report.files += 1
                self._report.unchanged += 1
            else:
                yield source, item, data

    def _store(self, source: str, window: _Window, known: Mapping[str, str]) -> None:
        """Write a window: new points in, changed payloads set, points of former content out."""
        wanted = {point.id: point for point in window.points}
        vectors, _ = self._engine.encode_documents([p.passage for p in wanted.values()], self._instant)
        rows = {point: row for row, point in enumerate(wanted)}
        paths = [path for path, _, _ in window.files]
        self._states.begin(source, paths)
        with self._shard.visit() as store:
            former = _payloads_of_files(store, source, [path for path in paths if path in known])
            new = [p for p in wanted.values() if not _same_text(p, former.get(p.id))]
            moved = [
                p for p in wanted.values() if _same_text(p, former.get(p.id)) and p.payload != former[p.id]
            ]
            stale = [point for point in former if point not in wanted]
            taken = vectors_of_equal_texts(store, new, self._slow) if self._slow_filled else {}
            for batch in batches(new):
                chosen = [rows[p.id] for p in batch]
                encoded = {name: take_rows(value, chosen) for name, value in vectors.items()}
                store.upsert(Points([p.id for p in batch], [p.payload for p in batch], encoded))
            for name, (ids, values) in taken.items():
                store.update_vectors(ids, {name: values})
                self._report.reused += len(ids)
            for batch in batches(moved):
                store.update_payloads([p.id for p in batch], [p.payload for p in batch])
            if stale:
                store.delete(ids=stale)
        self._states.commit(source, window.files)
        self._report.new += len(new)
        self._report.moved += len(moved)
        self._report.deleted += len(stale)

    def delete_files(self, source: str, paths: Sequence[str]) -> None:
        """Delete the points of files."""
        for batch in batches(paths):
            self._states.begin(source, batch)
            where = Filter(match={"source": (source,), "path": tuple(batch)})
            with self._shard.visit() as store:
                self._report.deleted += store.count(where)
                store.delete(where=where)
            self._states.commit(source, (), gone=batch)
        self._report.gone += len(paths)


def _format_state(file: File, digest: str) -> str:
    """What is recorded of a file: what a "!" rule keeps is read again once the rule is gone."""
    return f"{'!' if file.wanted else ''}{digest}"


def batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Items in runs of what one operation of the store takes."""
    for start in range(0, len(items), OPERATION_POINTS):
        yield items[start : start + OPERATION_POINTS]


def _same_text(point: NewPoint, former: Mapping[str, Any] | None) -> bool:
    """Whether a stored point of this id was encoded from the same text (the id holds the chunk's own)."""
    return former is not None and passage_hash(former) == passage_hash(point.payload)


def _payloads_of_files(store: Store, source: str, paths: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Id -> payload of what is stored of these files."""
    return {
        record.id: record.payload
        for batch in batches(paths)
        for record in store.scroll(Filter(match={"source": (source,), "path": tuple(batch)}))
    }
