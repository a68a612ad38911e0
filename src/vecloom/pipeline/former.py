"""Vectors of a pack's former shards, taken over where the text is still the same."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecloom.engine import stack_vectors, take_rows
from vecloom.pack.columns import joined, vectors_of
from vecloom.pack.reading import Pack
from vecloom.pipeline.points import encoded_hash
from vecloom.types import Vectors

#: Shards whose vectors are held: documents come in much the same order as before.
_HELD = 2


class Former:
    """The vectors ``names`` in shards that were replaced; 24 bytes a point are held."""

    def __init__(self, pack: Pack, names: Sequence[str]) -> None:
        """Raises PackError where a shard is damaged."""
        self._pack = pack
        self._fields = [field for field in pack.manifest.fields if field.name in names]
        self._shards = [shard for shard in pack.manifest.former if set(names) <= set(shard.vectors)]
        self._held: dict[int, Mapping[str, Vectors]] = {}
        hashes, places = bytearray(), array("q")
        for number, shard in enumerate(self._shards):
            row = 0
            for table in pack.tables(shard, ("header", "chunk_hash")):
                for said in hashes_of(table):
                    hashes += said
                    places.append(number << 32 | row)
                    row += 1
        found = np.frombuffer(bytes(hashes), dtype="S16")
        order = np.argsort(found, kind="stable")
        self._hashes = found[order]
        self._places = np.frombuffer(places, dtype=np.int64)[order]

    def places(self, hashes: Sequence[bytes]) -> NDArray[np.int64]:
        """Where the vectors of these texts are, -1 where nowhere."""
        asked = np.array(hashes, dtype="S16")
        if not len(self._hashes):
            return np.full(len(asked), -1, np.int64)
        at = np.minimum(np.searchsorted(self._hashes, asked), len(self._hashes) - 1)
        return np.where(self._hashes[at] == asked, self._places[at], -1)

    def vectors(self, places: NDArray[np.int64]) -> dict[str, Vectors]:
        """The vectors at these places, in their order; there is at least one."""
        numbers = places >> 32
        parts: dict[str, list[Vectors]] = {field.name: [] for field in self._fields}
        behind: list[NDArray[np.int64]] = []
        for number in np.unique(numbers).tolist():
            chosen = np.flatnonzero(numbers == number)
            behind.append(chosen)
            for name, column in self._read(number).items():
                parts[name].append(take_rows(column, places[chosen] & 0xFFFFFFFF))
        order = np.argsort(np.concatenate(behind))
        return {name: take_rows(stack_vectors(found), order) for name, found in parts.items()}

    def _read(self, number: int) -> Mapping[str, Vectors]:
        if number not in self._held:
            if len(self._held) >= _HELD:
                del self._held[next(iter(self._held))]
            names = [field.name for field in self._fields]
            table = joined(list(self._pack.tables(self._shards[number], names)))
            self._held[number] = {field.name: vectors_of(table, field) for field in self._fields}
        return self._held[number]


def hashes_of(table: Any) -> list[bytes]:
    """What is equal where the encoded texts of points are, for the rows of a shard."""
    columns = (table.column(name).to_pylist() for name in ("header", "chunk_hash"))
    pairs = zip(*columns, strict=True)
    return [encoded_hash({"header": header, "chunk_hash": said}) for header, said in pairs]
