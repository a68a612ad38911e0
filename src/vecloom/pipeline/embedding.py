"""A run that makes a pack, or goes on with one: the trees read, then every model over every shard."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vecloom.chunking import CHUNKER_VERSION
from vecloom.encoders.load import Pass, groups_of
from vecloom.engine import Encoded, Engine, Window, spans, stack_vectors, take_rows
from vecloom.errors import TimeLimitError
from vecloom.pack.columns import joined, with_vectors
from vecloom.pack.files import FolderFiles
from vecloom.pack.reading import Pack
from vecloom.pack.writing import PackWriter
from vecloom.pipeline.filling import WindowSize, window_size
from vecloom.pipeline.former import Former, hashes_of
from vecloom.pipeline.packing import Packing
from vecloom.pipeline.points import PASSAGE_FIELDS, passage_of
from vecloom.pipeline.reading import ChunkSettings, chunk_reader
from vecloom.pipeline.report import IndexReport, Listener, Progress, Whole
from vecloom.pipeline.setup import runner_for
from vecloom.runners import Runner, Serial
from vecloom.sources import ScanOptions
from vecloom.types import Passage, Vectors
from vecloom.version import __version__


@dataclass(frozen=True, slots=True)
class Embedding:
    """What the run works with. The caller is the only writer of the pack.

    ``instant``: vector names that cost next to nothing. ``engine`` yields them; ``passes`` are all that the
    pack has. ``exclude``: folders that are no part of any tree. ``until``: when to stop, on the monotonic
    clock. ``notice`` takes lines for a person.
    """

    writer: PackWriter
    engine: Engine
    passes: Sequence[Pass]
    chunking: ChunkSettings
    instant: tuple[str, ...]
    exclude: tuple[Path, ...]
    notice: Callable[[str], None]
    listener: Listener
    until: float | None = None

    def run(self, sources: Mapping[str, Path] | None) -> IndexReport:
        """Bring the pack in line with the trees of ``sources`` (None: leave its points); fill all vectors.

        Raises:
            TimeLimitError: the time is over; what is written stays.
        """
        started = time.perf_counter()
        report = IndexReport()
        try:
            if sources is not None:
                self._read(sources, report)
            here = Serial(self.engine.encode_window)
            for name in self.instant:
                self._fill(here, (name,), WindowSize(), report, self.listener)
            later = [one for one in self.passes if not set(one.names) <= set(self.instant)]
            whole = Whole({one.names: self._work(one) for one in later}, self.listener)
            for group in groups_of(later):
                names = tuple(name for one in group for name in one.names)
                if self.writer.manifest.lacking(names):
                    with closing(runner_for(group, self.notice)) as runner:
                        listener = whole.listener(one.names for one in group)
                        self._fill(runner, names, window_size(group), report, listener)
            self.writer.save(former=())
        finally:
            self.writer.save()
        report.points = self.writer.manifest.points
        report.seconds = time.perf_counter() - started
        return report

    def _read(self, sources: Mapping[str, Path], report: IndexReport) -> None:
        if self.writer.manifest.chunker != CHUNKER_VERSION:
            self.writer.cut(0)
            self.writer.save(chunker=CHUNKER_VERSION, created_with=__version__)
        with chunk_reader(self.chunking) as reader:
            packing = Packing(
                self.writer, self.engine, self.instant, report, self.listener, self._in_time, reader
            )
            packing.run(sources, ScanOptions(exclude=self.exclude))

    def _work(self, one: Pass) -> float:
        manifest = self.writer.manifest
        points = sum(manifest.shards[number].points for number in manifest.lacking(one.names))
        return points * float(max(1, one.weight_bytes))

    def _in_time(self) -> None:
        if self._over:
            manifest = self.writer.manifest
            shards = len(manifest.shards)
            done = shards - len(manifest.lacking(manifest.names))
            raise TimeLimitError(
                f"the time is over with {done} of {shards} shards done; run the same command again to go on"
            )

    @property
    def _over(self) -> bool:
        return self.until is not None and time.monotonic() >= self.until

    def _fill(
        self,
        runner: Runner[Window, Encoded],
        names: Sequence[str],
        size: WindowSize,
        report: IndexReport,
        listener: Listener,
    ) -> None:
        """Fill these vectors wherever a shard lacks them."""
        manifest = self.writer.manifest
        numbers = manifest.lacking(names)
        total = sum(manifest.shards[number].points for number in numbers)
        tasks = self._tasks(numbers, names, size)
        running: dict[Hashable, _Task] = {}
        done, tokens = 0, report.tokens
        while True:
            share = done / total if total else None
            spent = report.tokens - tokens
            listener(Progress("encode", done, total, "chunks", ", ".join(names), spent, share))
            while runner.free and (task := next(tasks, None)) is not None:
                if task.texts:
                    running[task.name] = task
                    runner.submit(task.name, (task.texts, task.rewriting.names))
                else:
                    done += task.finish(None, report)
            if not running:
                break
            name, encoded = runner.result()
            done += running.pop(name).finish(encoded, report)
        if done < total:
            self._in_time()

    def _tasks(self, numbers: Sequence[int], names: Sequence[str], size: WindowSize) -> Iterator[_Task]:
        """The windows of the shards, each shard's one behind the other; none once the time is over."""
        pack = Pack(FolderFiles(self.writer.folder), self.writer.manifest)
        former = Former(pack, names)
        for number in numbers:
            if self._over:
                return
            rewriting = _Rewriting(self.writer, number, names, size)
            for window, rows in enumerate(rewriting.windows):
                places = former.places(rewriting.hashes[rows.start : rows.stop])
                new = np.flatnonzero(places < 0)
                known = np.flatnonzero(places >= 0)
                yield _Task(
                    name=(number, window),
                    rewriting=rewriting,
                    window=window,
                    texts=[rewriting.texts[rows.start + row] for row in new],
                    order=np.argsort(np.concatenate([new, known])),
                    taken=former.vectors(places[known]) if len(known) else {},
                )


class _Rewriting:
    """A shard that gains vectors: written anew window by window, in order, as they come."""

    def __init__(self, writer: PackWriter, number: int, names: Sequence[str], size: WindowSize) -> None:
        listed = writer.manifest.shards[number]
        self._manifest = writer.manifest
        self.names = tuple(name for name in names if name not in listed.vectors)
        pack = Pack(FolderFiles(writer.folder), writer.manifest)
        self._table = joined(list(pack.tables(listed)))
        columns = (self._table.column(name).to_pylist() for name in PASSAGE_FIELDS)
        said = (dict(zip(PASSAGE_FIELDS, row, strict=True)) for row in zip(*columns, strict=True))
        self.texts = [passage_of(payload) for payload in said]
        self.hashes = hashes_of(self._table)
        sizes = np.array([len(text.encoded_text) for text in self.texts], np.int64)
        self.windows = list(spans(sizes, size.texts, size.size))
        self._ready: dict[int, Mapping[str, Vectors]] = {}
        self._next = 0
        self._stack = ExitStack()
        self._shard = self._stack.enter_context(writer.shard(number, (*listed.vectors, *self.names)))

    def take(self, window: int, vectors: Mapping[str, Vectors]) -> None:
        """What a window gave; behind the last one the shard is listed."""
        fields = [one for one in self._manifest.fields if one.name in self.names]
        self._ready[window] = vectors
        while (found := self._ready.pop(self._next, None)) is not None:
            rows = self.windows[self._next]
            part = self._table.slice(rows.start, len(rows))
            self._shard.write(with_vectors(part, fields, found, self._manifest.half))
            self._next += 1
        if self._next == len(self.windows):
            self._stack.close()


@dataclass(frozen=True, slots=True)
class _Task:
    """A window of a shard that is rewritten: ``texts`` to encode, vectors ``taken`` over from former ones.

    ``order``: of all its texts, where each stands among those that are encoded and those taken over.
    """

    name: Hashable
    rewriting: _Rewriting
    window: int
    texts: list[Passage]
    order: NDArray[np.int64]
    taken: Mapping[str, Vectors]

    def finish(self, encoded: Encoded | None, report: IndexReport) -> int:
        """Write what the window gave; returns how many texts it has."""
        vectors, costs = encoded or ({}, [])
        report.count(costs, len(self.texts), len(self.texts))
        names = self.rewriting.names
        report.reused += len(names) * (len(self.order) - len(self.texts))
        whole = {}
        for name in names:
            parts = [found[name] for found in (vectors, self.taken) if name in found]
            whole[name] = take_rows(stack_vectors(parts), self.order)
        self.rewriting.take(self.window, whole)
        return len(self.order)
