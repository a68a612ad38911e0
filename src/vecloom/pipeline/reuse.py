"""Vectors of new points taken from stored ones whose encoded text is the same.

This is what makes a second worktree, a moved chunk or a copied file free: the context header holds no
source, so equal paths in two sources give equal encoded texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vecloom.pipeline.points import NewPoint, encoded_hash
from vecloom.stores import Store
from vecloom.types import Filter, SparseRows, Vectors

#: Hashes asked for at once.
_HASHES = 500


def vectors_of_equal_texts(
    store: Store, points: Sequence[NewPoint], names: Sequence[str]
) -> dict[str, tuple[list[str], Vectors]]:
    """Per vector name: the ids of ``points`` that a stored equal text has a vector for, and those."""
    wanted = {point.id: encoded_hash(point.payload) for point in points}
    chunk_hashes = sorted({str(point.payload["chunk_hash"]) for point in points})
    taken: dict[str, tuple[list[str], Vectors]] = {}
    for name in names:
        twins = _stored_twins(store, chunk_hashes, frozenset(wanted.values()), name)
        ids = [point for point, said in wanted.items() if said in twins]
        if not ids:
            continue
        stored = {record.id: record.vectors[name] for record in store.get([*twins.values()], (), (name,))}
        taken[name] = ids, stacked([stored[twins[wanted[point]]] for point in ids])
    return taken


def _stored_twins(
    store: Store, chunk_hashes: Sequence[str], wanted: frozenset[bytes], name: str
) -> dict[bytes, str]:
    """Hash of an encoded text -> the id of a stored point that has it and the vector ``name``."""
    twins: dict[bytes, str] = {}
    for start in range(0, len(chunk_hashes), _HASHES):
        hashes = tuple(chunk_hashes[start : start + _HASHES])
        for record in store.scroll(
            Filter(match={"chunk_hash": hashes}, has=(name,)), ("header", "chunk_hash")
        ):
            said = encoded_hash(record.payload)
            if said in wanted:
                twins.setdefault(said, record.id)
    return twins


def stacked(vectors: Sequence[Any]) -> Vectors:
    """Vectors of single points as the columns that a store takes."""
    if not isinstance(vectors[0], tuple):
        if vectors[0].ndim == 2:  # a matrix a point, of as many rows as its text has tokens
            return list(vectors)
        return np.stack(vectors).astype(np.float32, copy=False)
    lengths = [len(indices) for indices, _ in vectors]
    return SparseRows(
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.concatenate([indices for indices, _ in vectors]).astype(np.uint32),
        np.concatenate([values for _, values in vectors]).astype(np.float32),
    )
