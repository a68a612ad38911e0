"""Step two of an index run: what the stored points still lack is encoded, window by window."""

from __future__ import annotations

import uuid
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vecloom.engine import Engine, take_rows
from vecloom.pipeline.points import OPERATION_POINTS, encoded_hash
from vecloom.pipeline.report import Cut, IndexReport, Listener, Progress
from vecloom.pipeline.sealing import ShardWriter
from vecloom.pipeline.shards import records
from vecloom.types import Filter, Record, Vectors

if TYPE_CHECKING:
    from numpy.typing import NDArray


#: Texts in a window: some seconds of encoding, and all that a kill can cost.
WINDOW_TEXTS = 1024

_PLAN_FIELDS = ("header", "chunk_hash", "start_byte", "end_byte")


@dataclass(frozen=True, slots=True)
class Backlog:
    """Points that lack vectors, 36 bytes each, grouped by equal encoded text.

    ``ids`` uint8 [n, 16], sorted by group; group g is rows ``starts[g]:starts[g + 1]``; groups stand in the
    order of their text's length, longest first, so that a window holds texts of one length.
    """

    ids: NDArray[np.uint8]
    starts: NDArray[np.int64]

    def groups(self) -> int:
        """How many texts there are to encode."""
        return len(self.starts) - 1

    def members(self, group: int) -> list[str]:
        """Ids of the points of one text."""
        rows = self.ids[self.starts[group] : self.starts[group + 1]]
        return [str(uuid.UUID(bytes=row.tobytes())) for row in rows]


def backlog_of(lacking: Iterable[Record]) -> Backlog:
    """Read points (their header, hash and byte span) into a backlog."""
    ids, hashes, lengths = bytearray(), bytearray(), array("q")
    for record in lacking:
        payload = record.payload
        ids += uuid.UUID(record.id).bytes
        hashes += encoded_hash(payload)
        lengths.append(len(payload["header"]) + payload["end_byte"] - payload["start_byte"])
    digests = np.frombuffer(bytes(hashes), dtype=">u8").reshape(-1, 2)
    length = np.frombuffer(lengths, dtype=np.int64)
    id_rows = np.frombuffer(bytes(ids), dtype=np.uint8).reshape(-1, 16)
    order = np.lexsort((id_rows[:, 0], digests[:, 1], digests[:, 0], -length))
    digests = digests[order]
    changes = np.any(digests[1:] != digests[:-1], axis=1)
    starts = np.concatenate([[0], np.flatnonzero(changes) + 1, [len(order)]]) if len(order) else np.zeros(1)
    return Backlog(id_rows[order], starts.astype(np.int64))


@dataclass(frozen=True, slots=True)
class _Encoded:
    """Vectors that wait to be written, one row a point."""

    ids: Sequence[str]
    vectors: Mapping[str, Vectors]


class Filling:
    """Encodes what points lack and writes it back, holding the shard between windows only."""

    def __init__(self, shard: ShardWriter, engine: Engine, report: IndexReport, listener: Listener) -> None:
        self._shard = shard
        self._engine = engine
        self._report = report
        self._listener = listener

    def run(self, names: Sequence[str]) -> None:
        """Fill the vectors ``names``, which come out of one pass, of every point that lacks them.

        Points that lack all of them go through the whole pass; then those that lack one only (a model added
        later) through the part of the pass that yields it.
        """
        self._fill(tuple(names))
        if len(names) > 1:
            for name in names:
                self._fill((name,))

    def _fill(self, names: tuple[str, ...]) -> None:
        with self._shard.visit() as store:
            if not store.count(Filter(lacks=names)):
                return
        backlog = backlog_of(records(self._shard.access, Filter(lacks=names), _PLAN_FIELDS))
        total = len(backlog.ids)
        before = self._report.tokens
        done = 0
        encoded: _Encoded | None = None
        for first in range(0, backlog.groups(), WINDOW_TEXTS):
            self._tell(done, total, names, before)
            groups = [backlog.members(g) for g in range(first, min(first + WINDOW_TEXTS, backlog.groups()))]
            texts = self._exchange(encoded, [group[0] for group in groups])
            encoded = self._encode(groups, texts, names)
            done += len(encoded.ids)
        self._exchange(encoded, [])
        self._tell(total, total, names, before)

    def _tell(self, done: int, total: int, names: Sequence[str], before: int) -> None:
        tokens = self._report.tokens - before
        self._listener(Progress("encode", done, total, "chunks", ", ".join(names), tokens))

    def _exchange(self, written: _Encoded | None, wanted: Sequence[str]) -> list[str]:
        """In one visit to the shard: write the last window's vectors, read the next one's texts."""
        with self._shard.visit() as store:
            if written is not None:
                for start in range(0, len(written.ids), OPERATION_POINTS):
                    rows = np.arange(start, min(start + OPERATION_POINTS, len(written.ids)))
                    batch = {name: take_rows(value, rows) for name, value in written.vectors.items()}
                    store.update_vectors(written.ids[start : start + OPERATION_POINTS], batch)
            found = store.get(wanted, ("header", "text"))
        return [record.payload["header"] + record.payload["text"] for record in found]

    def _encode(
        self, groups: Sequence[Sequence[str]], texts: Sequence[str], names: tuple[str, ...]
    ) -> _Encoded:
        """Each text once; its vectors go to every point of its group."""
        vectors, stats = self._engine.encode_documents(texts, names)
        ids = [point for group in groups for point in group]
        if len(ids) > len(texts):
            rows = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
            vectors = {name: take_rows(value, rows) for name, value in vectors.items()}
        report = self._report
        report.tokens += stats.tokens
        report.padded += stats.padded
        report.reused += len(names) * (len(ids) - len(texts))
        for name in names:
            report.encoded[name] += len(texts)
            cut = report.cut.setdefault(name, Cut())
            cut.texts += stats.cut_texts
            cut.tokens += stats.cut_tokens
        return _Encoded(ids, vectors)
