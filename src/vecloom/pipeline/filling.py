"""Step two of an index run: what the stored points still lack is encoded, window by window."""

from __future__ import annotations

import uuid
from array import array
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vecloom.engine import Encoded, Window, spans, take_rows
from vecloom.pipeline.home import Visits
from vecloom.pipeline.points import (
    OPERATION_POINTS,
    PASSAGE_FIELDS,
    PASSAGE_HASH_FIELDS,
    passage_hash,
    passage_of,
)
from vecloom.pipeline.report import IndexReport, Listener, Progress
from vecloom.pipeline.shards import records
from vecloom.runners import Runner
from vecloom.stores import has_points
from vecloom.types import Filter, Passage, Record, Vectors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vecloom.encoders.load import Pass


#: Texts in a window, and bytes of text: some seconds of encoding, and all that a kill can cost.
WINDOW_TEXTS, WINDOW_BYTES = 1024, 2 << 20

#: Bytes of text where a vector is a matrix: each gives a thousandfold of them.
_MATRIX_WINDOW_BYTES = 1 << 18

#: Weights with which a core takes some seconds for a window; heavier ones get less, but some texts at least.
_CORE_WEIGHTS = 50 << 20
_LEAST_TEXTS = 8

_PLAN_FIELDS = (*PASSAGE_HASH_FIELDS, "start_byte", "end_byte")


class WindowSize(NamedTuple):
    """What a window has at most: texts, and bytes of text (but one text whatever its size)."""

    texts: int = WINDOW_TEXTS
    size: int = WINDOW_BYTES


def window_size(passes: Sequence[Pass]) -> WindowSize:
    """The size of a window that these passes encode together."""
    matrices = any(spec.kind == "multivector" for one in passes for spec in one.specs)
    texts, size = WINDOW_TEXTS, _MATRIX_WINDOW_BYTES if matrices else WINDOW_BYTES
    weights = sum(one.weight_bytes for one in passes)
    cores = passes[0].threads
    if set(passes[0].devices) == {"cpu"} and weights > _CORE_WEIGHTS * cores:
        share = _CORE_WEIGHTS * cores / weights
        return WindowSize(max(_LEAST_TEXTS * cores, int(texts * share)), int(size * share))
    return WindowSize(texts, size)


@dataclass(frozen=True, slots=True)
class Backlog:
    """Points that lack vectors, grouped by equal encoded text: 16 bytes a point and 16 a text.

    ``ids`` uint8 [n, 16], sorted by group; group g is rows ``starts[g]:starts[g + 1]``, its text has
    ``sizes[g]`` bytes. Groups stand in the order of their sizes, largest first, so that a window holds texts
    of one length.
    """

    ids: NDArray[np.uint8]
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.sizes)

    def members(self, group: int) -> list[str]:
        """Ids of the points of one text."""
        rows = self.ids[self.starts[group] : self.starts[group + 1]]
        return [str(uuid.UUID(bytes=row.tobytes())) for row in rows]

    def windows(self, size: WindowSize) -> Iterator[Task]:
        """The texts that are encoded at a time, from the first group to the last."""
        for rows in spans(self.sizes, size.texts, size.size):
            groups = [self.members(group) for group in rows]
            yield Task(rows.start, groups, int(self.sizes[rows.start : rows.stop].sum()))


def backlog_of(lacking: Iterable[Record]) -> Backlog:
    """Read points (what their hash is made of, and their byte span) into a backlog."""
    ids, hashes, lengths = bytearray(), bytearray(), array("q")
    for record in lacking:
        payload = record.payload
        ids += uuid.UUID(record.id).bytes
        hashes += passage_hash(payload)
        lengths.append(len(payload["header"]) + payload["end_byte"] - payload["start_byte"])
    digests = np.frombuffer(bytes(hashes), dtype=">u8").reshape(-1, 2)
    length = np.frombuffer(lengths, dtype=np.int64)
    id_rows = np.frombuffer(bytes(ids), dtype=np.uint8).reshape(-1, 16)
    order = np.lexsort((id_rows[:, 0], digests[:, 1], digests[:, 0], -length))
    digests = digests[order]
    first = np.ones(len(order), dtype=np.bool_)
    first[1:] = np.any(digests[1:] != digests[:-1], axis=1)
    starts = np.flatnonzero(first)
    return Backlog(id_rows[order], np.append(starts, len(order)), length[order][starts])


@dataclass(frozen=True, slots=True)
class Task:
    """Texts that are encoded at a time: the first one's number, the ids of the points of each, all bytes."""

    number: int
    groups: Sequence[Sequence[str]]
    size: int

    @property
    def points(self) -> list[str]:
        """The ids of all points."""
        return [point for group in self.groups for point in group]


class Filling:
    """Encodes what points lack and writes it back, holding the shard between windows only."""

    def __init__(self, shard: Visits, report: IndexReport, listener: Listener) -> None:
        self._shard = shard
        self._report = report
        self._listener = listener

    def run(
        self,
        runner: Runner[Window, Encoded],
        passes: Sequence[Sequence[str]],
        size: WindowSize | None = None,
    ) -> None:
        """Fill the vectors of ``passes`` (their names), which ``runner`` runs together, wherever they lack.

        Points that lack all of them are encoded by all at once; then those that lack one pass's only (a model
        added later), and those that lack one vector of a pass, by the part that yields it.
        """
        wanted = [tuple(name for names in passes for name in names), *map(tuple, passes)]
        wanted += [(name,) for names in passes for name in names]
        for names in filter(None, dict.fromkeys(wanted)):
            self._fill(runner, names, size or WindowSize(WINDOW_TEXTS))

    def _fill(self, runner: Runner[Window, Encoded], names: tuple[str, ...], size: WindowSize) -> None:
        with self._shard.visit() as store:
            if not has_points(store, Filter(lacks=names)):
                return
        backlog = backlog_of(records(self._shard.access, Filter(lacks=names), _PLAN_FIELDS))
        progress = _Progress(backlog, names, self._report, self._listener)
        tasks = backlog.windows(size)
        running: dict[Hashable, Task] = {}
        done: tuple[Task, Encoded] | None = None
        while True:
            progress.tell()
            further = list(islice(tasks, runner.free))
            for task, texts in self._exchange(done, further):
                running[task.number] = task
                runner.submit(task.number, (texts, names))
            if not running:
                return
            number, encoded = runner.result()
            done = running.pop(number), encoded
            progress.count(done[0])

    def _exchange(
        self, done: tuple[Task, Encoded] | None, further: Sequence[Task]
    ) -> list[tuple[Task, list[Passage]]]:
        """In one visit to the shard: write what a window gave, read the texts of further ones."""
        read: list[tuple[Task, list[Record]]] = []
        with self._shard.visit() as store:
            if done is not None:
                ids, vectors = self._vectors(*done)
                for start in range(0, len(ids), OPERATION_POINTS):
                    rows = np.arange(start, min(start + OPERATION_POINTS, len(ids)))
                    batch = {name: take_rows(value, rows) for name, value in vectors.items()}
                    store.update_vectors(ids[start : start + OPERATION_POINTS], batch)
            for task in further:
                found = store.get([group[0] for group in task.groups], PASSAGE_FIELDS)
                read.append((task, found))
        return [(task, [passage_of(record.payload) for record in found]) for task, found in read]

    def _vectors(self, task: Task, encoded: Encoded) -> tuple[list[str], Mapping[str, Vectors]]:
        """What is written for a window: a text's vectors go to every point that has it."""
        vectors, costs = encoded
        ids, texts = task.points, len(task.groups)
        self._report.count(costs, len(ids), texts)
        if len(ids) > texts:
            rows = np.repeat(np.arange(texts), [len(group) for group in task.groups])
            vectors = {name: take_rows(value, rows) for name, value in vectors.items()}
        return ids, vectors


class _Progress:
    """How far one filling is, in chunks, and in bytes of text as the measure of the time that it takes."""

    def __init__(
        self, backlog: Backlog, names: Sequence[str], report: IndexReport, listener: Listener
    ) -> None:
        self._total = len(backlog.ids)
        self._size = int(backlog.sizes.sum())
        self._done = self._done_size = 0
        self._names = ", ".join(names)
        self._report = report
        self._tokens = report.tokens
        self._listener = listener

    def count(self, task: Task) -> None:
        """A window is done."""
        self._done += len(task.points)
        self._done_size += task.size

    def tell(self) -> None:
        """Tell the listener."""
        self._listener(
            Progress(
                "encode",
                self._done,
                self._total,
                "chunks",
                self._names,
                tokens=self._report.tokens - self._tokens,
                share=self._done_size / max(1, self._size),
            )
        )
