"""Step one of a pack: the trees read and chunked, as shards with the vectors that cost next to nothing."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vecloom.engine import Engine, spans
from vecloom.pack.columns import table_of
from vecloom.pack.files import FolderFiles
from vecloom.pack.reading import Pack
from vecloom.pack.writing import PackWriter
from vecloom.pipeline.points import NewPoint
from vecloom.pipeline.reading import UNREADABLE, Reader, ReadFile, collect_points, is_below
from vecloom.pipeline.report import IndexReport, Listener, Progress
from vecloom.sources import File, ScanOptions, Skip, digest, read, scan
from vecloom.types import Points

_DOCUMENT = ("source", "path", "document_hash")


@dataclass(frozen=True, slots=True)
class _Packed:
    """A document as it is packed: who it is, in which shard, and behind how many points of that."""

    key: tuple[str, ...]
    shard: int
    before: int


@dataclass(slots=True)
class _Shard:
    """Points that wait to be written."""

    points: list[NewPoint] = field(default_factory=list)
    bytes: int = 0

    def add(self, points: Sequence[NewPoint]) -> None:
        self.points += points
        self.bytes += sum(point.size for point in points)


class Packing:
    """Brings a pack's points in line with trees: the same trees give the same shards.

    Documents are packed in order, and stay whole in a shard. What is packed already is compared document by
    document; the first one that differs, and all behind it, is packed anew.
    """

    def __init__(
        self,
        writer: PackWriter,
        engine: Engine,
        instant: Sequence[str],
        report: IndexReport,
        listener: Listener,
        in_time: Callable[[], None],
        reader: Reader[ReadFile],
    ) -> None:
        """``instant``: vectors that are written along. ``in_time`` raises where the time is over."""
        self._writer = writer
        self._engine = engine
        self._instant = tuple(instant)
        self._report = report
        self._listener = listener
        self._in_time = in_time
        self._reader = reader
        self._shard = _Shard()
        self._number = len(writer.manifest.shards)

    def run(self, sources: Mapping[str, Path], options: ScanOptions) -> None:
        """Pack the trees of ``sources`` (name -> root), which is then all that the pack holds."""
        packed = self._packed()
        expected = next(packed, None)
        same = True
        for source in sorted(sources):
            for item in scan(sources[source], options):
                found = self._looked_at(source, item, expected if same else None)
                if isinstance(found, Skip):
                    self._report.skips.append(found)
                    while same and expected is not None and _stays(found, source, expected):
                        expected = next(packed, None)
                elif isinstance(found, _Packed):
                    expected = next(packed, None)
                elif found:
                    if same:
                        packed.close()  # it holds the shard that it reads open
                        self._go_back(expected)
                        same = False
                    self._add(found)
        packed.close()
        if same and expected is not None:
            self._go_back(expected)
        if self._shard.points:
            self._write()
        if not self._writer.manifest.read or self._writer.manifest.sources != tuple(sorted(sources)):
            self._writer.save(read=True, sources=tuple(sorted(sources)))

    def _looked_at(
        self, source: str, item: File | Skip, expected: _Packed | None
    ) -> list[NewPoint] | _Packed | Skip:
        """The points of a file; or the document that is expected, if it is that; or why there is none."""
        if isinstance(item, Skip):
            return item
        self._in_time()
        self._listener(Progress("read", self._report.files, None, "files", source))
        data = read(item)
        if isinstance(data, Skip):
            return data
        if expected is not None and expected.key == (source, item.path, digest(data)):
            self._report.files += 1
            self._report.unchanged += 1
            return expected
        found = self._reader.read(source, item, data)
        if isinstance(found, Skip):
            return found
        self._report.files += 1
        return collect_points(found, self._report)

    def _packed(self) -> Generator[_Packed, None, None]:
        """The documents of the pack, in order."""
        manifest = self._writer.manifest
        pack = Pack(FolderFiles(self._writer.folder), manifest)
        for number, shard in enumerate(manifest.shards):
            last: tuple[str, ...] | None = None
            row = 0
            for table in pack.tables(shard, _DOCUMENT):
                for key in zip(*(table.column(name).to_pylist() for name in _DOCUMENT), strict=True):
                    if key != last:
                        yield _Packed(key, number, row)
                        last = key
                    row += 1

    def _go_back(self, expected: _Packed | None) -> None:
        """Pack anew from the expected document on; where none is, behind the last one."""
        manifest = self._writer.manifest
        number, before = len(manifest.shards), 0
        if expected is not None:
            number, before = expected.shard, expected.before
        elif manifest.shards and not self._full(*self._size_of(number - 1)):
            number, before = number - 1, manifest.shards[-1].points
        if before:
            self._shard.add(self._points_of(number)[:before])
        self._report.deleted += sum(shard.points for shard in manifest.shards[number:]) - before
        self._writer.cut(number)
        self._number = number

    def _points_of(self, number: int) -> list[NewPoint]:
        """The points of a shard as they were before they were written."""
        shard = self._writer.manifest.shards[number]
        pack = Pack(FolderFiles(self._writer.folder), self._writer.manifest)
        return [
            NewPoint(point, payload)
            for points in pack.points(shard, ())
            for point, payload in zip(points.ids, points.payloads, strict=True)
        ]

    def _size_of(self, number: int) -> tuple[int, int]:
        points = self._points_of(number)
        return len(points), sum(point.size for point in points)

    def _full(self, points: int, size: int) -> bool:
        manifest = self._writer.manifest
        return points >= manifest.shard_points or size >= manifest.shard_bytes

    def _add(self, points: Sequence[NewPoint]) -> None:
        self._report.new += len(points)
        self._shard.add(points)
        if self._full(len(self._shard.points), self._shard.bytes):
            self._write()

    def _write(self) -> None:
        points = self._shard.points
        manifest = self._writer.manifest
        sizes = np.array([point.size for point in points], np.int64)
        with self._writer.shard(self._number, self._instant) as shard:
            for rows in spans(sizes, manifest.shard_points, manifest.shard_bytes):
                chosen = points[rows.start : rows.stop]
                texts = [point.passage for point in chosen]
                vectors, costs = self._engine.encode_window((texts, self._instant))
                self._report.count(costs, len(texts), len(texts))
                found = Points([point.id for point in chosen], [point.payload for point in chosen], vectors)
                shard.write(table_of(found, shard.schema))
        self._number += 1
        self._shard = _Shard()


def _stays(skip: Skip, source: str, document: _Packed) -> bool:
    """Whether a skip says nothing about what a packed document holds, so that it stays as it is packed."""
    return skip.reason in UNREADABLE and document.key[0] == source and is_below(document.key[1], [skip.path])
