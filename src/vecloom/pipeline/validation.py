"""A pack is read and checked as a whole before anything of its target changes."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vecloom.errors import PackError, StoreError
from vecloom.pack.reading import Pack
from vecloom.pipeline.points import chunk_id
from vecloom.pipeline.report import Listener, Progress
from vecloom.stores.validate import checked_points
from vecloom.types import Points, Schema


def validate_pack(pack: Pack, schema: Schema, listener: Listener) -> None:
    """Read every point of a pack and check it: types, vectors, sources, positions, and ids.

    ``schema``: of the store that is to take the points. A point's id must be the one that its source, path
    and text give, so that no row can overwrite another source's point.

    Raises:
        PackError: a shard is damaged, or a point is not one that vecloom would write.
    """
    checker = _Checker(pack.manifest.sources)
    done = 0
    for shard in pack.manifest.shards:
        for points in pack.points(shard):
            try:
                checked_points(schema, points)
                checker.check(points)
            except (StoreError, PackError) as error:
                raise PackError(f"{pack.files.place}: {shard.name}: {error}; do not use it") from error
            done += len(points)
            listener(Progress("check", done, pack.manifest.points, "chunks", str(pack.files.place)))
    twice = checker.find_twice()
    if twice is not None:
        raise PackError(f"{pack.files.place}: the id {twice} comes twice; do not use it")


class _Checker:
    """Checks points in the order of the pack: the points of a document stand together."""

    def __init__(self, sources: Sequence[str]) -> None:
        self._sources = frozenset(sources)
        self._document: tuple[str, str] | None = None
        self._seen: Counter[str] = Counter()
        self._ids: list[NDArray[np.bytes_]] = []

    def check(self, points: Points) -> None:
        """Refuse points that vecloom would not write.

        Raises:
            PackError: the message names the first one.
        """
        for point, payload in zip(points.ids, points.payloads, strict=True):
            source, path, text = payload["source"], payload["path"], payload["text"]
            if source not in self._sources:
                raise PackError(f"{point} is of the source {source!r:.80}, which its manifest does not name")
            if path.startswith("/") or "\0" in path or not path or ".." in path.split("/"):
                raise PackError(f"{point} has the path {path!r:.80}, which leaves its source")
            lines, span = (
                [payload[f"{end}_{unit}"] for end in ("start", "end")] for unit in ("line", "byte")
            )
            if not 0 <= lines[0] <= lines[1] or not 0 <= span[0] <= span[1]:
                raise PackError(f"{point} has lines {lines[0]} to {lines[1]}, bytes {span[0]} to {span[1]}")
            chunk_hash = hashlib.sha256(text.encode()).hexdigest()
            if chunk_hash != payload["chunk_hash"]:
                raise PackError(f"{point} has another chunk_hash than its text")
            if (source, path) != self._document:
                self._document, self._seen = (source, path), Counter()
            if chunk_id(source, path, chunk_hash, self._seen[chunk_hash]) != point:
                raise PackError(f"{point} is not the id of its source, path and text")
            self._seen[chunk_hash] += 1
        self._ids.append(np.array([bytes.fromhex(point.replace("-", "")) for point in points.ids], "S16"))

    def find_twice(self) -> str | None:
        """An id that came twice, in hex, or None."""
        if not self._ids:
            return None
        ids = np.sort(np.concatenate(self._ids))
        same = np.flatnonzero(ids[1:] == ids[:-1])
        return bytes(ids[same[0]]).hex() if len(same) else None
