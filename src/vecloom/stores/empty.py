"""Sparse vectors without a term, such as those of a text without a word.

A server refuses an update whose only vector is empty. So no store writes an empty vector: the payload of
the point names it, under a key that only the stores see. Vectors that an earlier version stored empty still
count as had.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from vecloom.types import Record, Schema, SparseRows, Vectors

#: Payload key of a point: names of its sparse vectors that are empty.
KEY = "empty_vectors"


def empty_names(vectors: Mapping[str, Vectors]) -> dict[int, tuple[str, ...]]:
    """Row -> names of the sparse vectors that are empty there, sorted; rows without one are left out."""
    found: dict[int, tuple[str, ...]] = {}
    for name in sorted(vectors):
        column = vectors[name]
        if isinstance(column, SparseRows):
            for row in np.flatnonzero(np.diff(column.indptr) == 0).tolist():
                found[row] = (*found.get(row, ()), name)
    return found


def mark_payload(payload: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The payload of a whole point whose vectors of these names are empty."""
    return {**payload, KEY: list(names)} if names else dict(payload)


def group_points(
    ids: Sequence[str], names: Mapping[int, tuple[str, ...]]
) -> dict[tuple[str, ...], list[str]]:
    """Names of empty vectors -> the points that have just these."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for row, found in names.items():
        groups.setdefault(found, []).append(ids[row])
    return groups


def change_marks(
    ids: Sequence[str], vectors: Mapping[str, Vectors], former: Mapping[str, Sequence[str]]
) -> dict[tuple[str, ...], list[str]]:
    """New names -> the points whose payload must name them, after an update of ``vectors``.

    ``former``: id -> the names so far. Points whose names stay are left out.
    """
    updated = {name for name, column in vectors.items() if isinstance(column, SparseRows)}
    now = empty_names(vectors)
    changed: dict[int, tuple[str, ...]] = {}
    for row, point in enumerate(ids):
        before = {*former.get(point, ())}
        after = before - updated | {*now.get(row, ())}
        if after != before:
            changed[row] = tuple(sorted(after))
    return group_points(ids, changed)


def is_sparse(schema: Schema, name: str) -> bool:
    """True if the vector can be empty."""
    field = schema.field(name)
    return field is not None and field.kind == "sparse"


def fields_to_read(
    schema: Schema, fields: Sequence[str] | None, vectors: Collection[str]
) -> Sequence[str] | None:
    """The payload fields to read, so that `restore_record` can tell which of these vectors are empty."""
    if fields is None or not any(is_sparse(schema, name) for name in vectors):
        return fields
    return (*fields, KEY)


def restore_record(record: Record, vectors: Collection[str]) -> Record:
    """A record as it was written: empty vectors among those that were asked for, and no key of ours."""
    names = record.payload.get(KEY)
    if names is None:
        return record
    payload = {key: value for key, value in record.payload.items() if key != KEY}
    empty = {name: _no_terms() for name in names if name in vectors and name not in record.vectors}
    return replace(record, payload=payload, vectors={**record.vectors, **empty})


def _no_terms() -> tuple[Any, Any]:
    return np.empty(0, np.uint32), np.empty(0, np.float32)
